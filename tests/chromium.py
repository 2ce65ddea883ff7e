"""A real headless Chromium, spoken to over its debugging pipe: one process, no network port."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import F_DUPFD, fcntl
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
WHY_NOT = "no chromium here (Debian's package `chromium`): pages are not looked at in a browser"
FLAGS = (
    "--headless",
    "--no-sandbox",  # tests may run as root, in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
LONGEST_LIFE_S = 120


class Page:
    """One tab. `events` are all that the browser told of it: requests, log entries, exceptions."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._sent, self._rest, self._session = 0, b"", ""
        self.events: list[dict[str, Any]] = []
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = str(attached["sessionId"])
        for domain in ("Page", "Network", "Log", "Runtime"):
            self._ask(f"{domain}.enable")

    def open(self, path: Path) -> None:
        """Loads a file and waits until all of it is there."""
        self._ask("Page.navigate", url=path.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._read()

    def look(self, width: int, height: int, dark: bool = False, media: str = "") -> None:
        """Makes the window that wide, in the light or the dark theme; `media` may be 'print'."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._ask("Emulation.setDeviceMetricsOverride", **metrics)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", media=media, features=[theme])

    def screenshot(self, whole: bool = False) -> bytes:
        """What the window shows as PNG; the whole page where asked for."""
        taken = self._ask("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(taken["data"])

    def pdf(self) -> bytes:
        """The page as it would be printed."""
        printed = self._ask("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        return base64.b64decode(printed["data"])

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is in the page; the page's policy does not bind the test."""
        answer = self._ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def requests(self) -> list[str]:
        """Every address that was asked for, what the page holds itself left out."""
        asked = [event for event in self.events if event["method"] == "Network.requestWillBeSent"]
        addresses = [str(event["params"]["request"]["url"]) for event in asked]
        return [address for address in addresses if not address.startswith("data:")]

    def complaints(self) -> list[str]:
        """Everything that the console would show."""
        told = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return [json.dumps(event["params"]) for event in self.events if event["method"] in told]

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._sent += 1
        message: dict[str, Any] = {"id": self._sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._commands, data) :]
        while True:
            answer = self._read()
            if answer.get("id") == self._sent:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])

    def _read(self) -> dict[str, Any]:
        """The next message; an event is kept."""
        while b"\0" not in self._rest:
            received = os.read(self._answers, 1 << 20)
            assert received, "chromium has ended"
            self._rest += received
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message


@contextmanager
def chromium() -> Iterator[Page]:
    """A browser with one empty page, gone with its profile at the end."""
    assert PROGRAM is not None
    (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        # The browser reads commands from descriptor 3 and answers on 4; by their paths, since a plain
        # sh knows descriptors of one digit only, and moved up, so that neither is 3 or 4 already.
        high_in, high_out = (fcntl(one, F_DUPFD, 100) for one in (their_in, their_out))
        os.close(their_in)
        os.close(their_out)
        start = f'exec "$@" 3</proc/self/fd/{high_in} 4>/proc/self/fd/{high_out}'
        command = [PROGRAM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        browser = subprocess.Popen(
            ["timeout", str(LONGEST_LIFE_S), "sh", "-c", start, "sh", *command],
            pass_fds=(high_in, high_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": profile},
        )
        os.close(high_in)
        os.close(high_out)
        try:
            yield Page(our_out, our_in)
        finally:
            os.close(our_out)  # it ends where nobody commands it
            os.close(our_in)
            browser.terminate()
            browser.wait(LONGEST_LIFE_S)
