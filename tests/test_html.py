from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from distbench.analysis.collect import load_run
from distbench.report import plots, style
from distbench.report.build import find
from distbench.report.html import html_report
from distbench.report.html_svg import HtmlChart
from tests.fakes import ladder_blocks, study_config, write_run, write_study

HOSTILE = "<script>alert(1)</script>&\"'\x1b[2J$\\frac{1}{2}$\u202eevil" + "x" * 300
VOID = {"meta", "br", "wbr", "link"}


class Document(HTMLParser):
    """A page as its elements: checks that they nest, and keeps what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def page_of(directory: Path) -> str:
    """The page of a run with all its charts."""
    findings = find(load_run(directory))
    with style.style():
        charts = [
            HtmlChart(name, caption, style.image_bytes(figure, "svg").decode())
            for name, (figure, caption) in plots.figures(findings).items()
        ]
    return html_report(findings, charts)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("html") / "run"
    write_study(directory, study_config(), [0, 0, 1, 1])
    return page_of(directory)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(write_hostile_run(tmp_path_factory.mktemp("html") / "run"))


def write_hostile_run(directory: Path) -> Path:
    """A run in which every text that somebody chooses is hostile."""
    device = {"kind": "CPU", "name": HOSTILE, "nvml_name": HOSTILE, "threads": 1}
    changes = {"host": HOSTILE, "device": {**device, "threads_reason": HOSTILE}}
    blocks = [ladder_blocks(), ladder_blocks(1.3)]
    layout = write_run(directory, blocks, header_changes={**changes, "transport": HOSTILE})
    machine = {"host": HOSTILE, "device": device, "cores_allowed": [0], "cpu": HOSTILE}
    manifest: dict[str, Any] = {
        "ranks": [{"rank": rank, **machine} for rank in range(2)],
        "environment": {HOSTILE: HOSTILE, "HOROVOD_TIMELINE": HOSTILE},
        "versions": {HOSTILE: HOSTILE, "horovod": HOSTILE},
        "git_commit": HOSTILE,
        "mpi_library": HOSTILE,
    }
    layout.manifest.write_text(json.dumps(manifest))
    return directory


def outside(page: str) -> list[str]:
    """Everything in a page that could be an address outside it, images in data: left out."""
    without = re.sub(r'"data:image/png;base64,[A-Za-z0-9+/=]*"', '""', page)
    found = re.findall(r"https?:|//|@import|srcset|<link|<iframe|<object|<embed|<base", without)
    found += [target for target in re.findall(r"url\(([^)]*)\)", without) if target[:1] != "#"]
    targets = re.findall(r'\b(?:src|href|action|data)="([^"]*)"', without)
    return found + [target for target in targets if target and target[0] != "#"]


def test_no_address_outside_and_no_script(study: str) -> None:
    assert outside(study) == []
    assert "<script" not in study
    assert not re.search(r"<[^>]*\son\w+=", study)
    policy = Document(study).named("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert str(policy["content"]).startswith(
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    )


def test_an_address_outside_would_be_seen() -> None:
    for text in ('<img src="http://x">', '<a href="x">', "url(a.png)", '<image href="/a"/>'):
        assert outside(text), text


def test_hostile_text_stays_text(hostile: str) -> None:
    document = Document(hostile)
    assert document.named("script") == []
    assert outside(hostile) == []
    assert not set(hostile) & {"\x1b", "\u202e"}
    assert hostile.count("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#x27;?[2J$\\frac") > 5
    assert not re.search(r"<[^>]*\son\w+=", hostile)


def test_ids_are_unique_and_every_link_has_its_target(study: str) -> None:
    document = Document(study)
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [str(link["href"]) for link in document.named("a", "use")]
    assert targets
    assert {target.removeprefix("#") for target in targets} <= set(map(str, ids))


def test_who_cannot_see_can_use_it(study: str) -> None:
    document = Document(study)
    assert document.named("html")[0]["lang"] == "en"
    headings = [int(tag[1]) for tag, _ in document.elements if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))
    charts = document.named("svg")
    assert len(charts) == len(document.named("figure")) == len(document.named("figcaption")) > 4
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)
    assert all(cell["scope"] in ("row", "col") for cell in document.named("th"))
    assert all(table["aria-label"] for table in document.named("table"))
    scrolling = [box for box in document.named("div") if box.get("class") in ("scroll", "chart")]
    assert len(scrolling) == len(charts) + len(document.named("table"))
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in scrolling)


def test_it_says_the_answer_first_and_then_everything_else(study: str) -> None:
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", study)
    assert [title for title in titles if title != "Limits of the hardware"] == [
        "What to do next",
        "Contents",
        "The scaling curve",
        "Where the time goes",
        "Stragglers",
        "The phases of a step",
        "Checks",
        "Environment",
        "Method and formulas",
        "How to reproduce it",
    ]
    assert "images/s</dd>" in study[: study.index("What to do next")]


def test_a_phone_is_told_the_width_and_themes_are_announced(study: str) -> None:
    named = {meta.get("name"): meta.get("content") for meta in Document(study).named("meta")}
    assert named["viewport"] == "width=device-width, initial-scale=1"
    assert named["color-scheme"] == "light dark"


def test_the_same_records_give_the_same_bytes(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks(1.1)])
    assert page_of(run_directory) == page_of(run_directory)


def test_it_is_small_enough_to_be_sent(study: str) -> None:
    assert len(study.encode()) < 1_500_000
