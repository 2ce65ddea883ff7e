"""What the report makes of run directories that were damaged: whole, incomplete, refused, wrong or a crash.

Each input is a small simulated run in which one to three things were changed at random: bytes, lines,
values, whole files. Bytes that lie must never change a result without a word (silently wrong), nor end
in anything but a sentence (crash). Where the checksum of a changed line was made right again (forged),
no reader can know; such inputs must not crash, and are counted apart.

    python benchmarks/fuzz_records.py [--inputs 20000] [--seed 1] [--only NUMBER]
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import resource
import signal
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from interleaved import save

from distbench.analysis.collect import load_run
from distbench.config import Config
from distbench.errors import DistbenchError
from distbench.records import encode, settings_checksum
from distbench.report.build import find, report
from distbench.report.tables import terminal_report
from distbench.simulation.cluster import Cluster
from distbench.simulation.simulate import simulate

MOST_S = 30  # for one input; a longer one counts as a crash
FULL_REPORT_EVERY = 200  # inputs; the others are analysed and printed, but not drawn
ANALYSED_EVERY = (
    10  # of those whose records are known to lack something; others are always analysed
)
INPUTS_AT_ONCE = 50
WHOLE, INCOMPLETE, REFUSED = "read whole", "marked incomplete or invalid", "refused with a sentence"
WRONG, CRASHED = "SILENTLY WRONG", "CRASHED"
OUTCOMES = (WHOLE, INCOMPLETE, REFUSED, WRONG, CRASHED)
SMALL = {
    "preset": "quick",
    "image_size": 32,
    "batch_size": 2,
    "classes": 10,
    "fc_units": 64,
    "width_multiplier": 0.25,
    "warmup_steps": 1,
    "steps": 6,
    "blocks": 6,
}
Files = dict[str, bytes]
# What stands for something that is no file, until it is written.
FIFO, DIRECTORY = b"<fifo>", b"<directory>"
LINKS = {
    b"<device>": "/dev/zero",
    b"<dangling>": "nowhere",
    b"<memory>": "/proc/self/mem",
    b"<neighbour>": "rank-00001.jsonl",
}
STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**31, 2**63, 10**18, 10**400, 1e308, 0.5, "", "x", "\ud800", "\x1b[2J",
    "=cmd()", "x" * 5000, [], [[]], {}, {"a": {}}, [1, "a"], [10**20], "NaN", "../..", "1e999999999",
)  # fmt: skip


class Case(NamedTuple):
    """A run before it is damaged, and what its report says."""

    files: Files
    other: Files  # those of another run
    truth: str


class Damage(NamedTuple):
    """A way to change the files of a run; `forges` where checksums are right afterwards."""

    change: Callable[[random.Random, Files, Files], None]
    forges: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="one input, with its traceback; keeps no output")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    begin_s = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="distbench-fuzz-") as folder:
        cases = _cases(Path(folder))
        if arguments.only is not None:
            print(_one(cases, arguments.seed, arguments.only))
            return
        starts = range(0, arguments.inputs, INPUTS_AT_ONCE)
        work = [
            (cases, arguments.seed, range(start, min(start + INPUTS_AT_ONCE, arguments.inputs)))
            for start in starts
        ]
        with ProcessPoolExecutor(arguments.jobs) as pool:
            results = [one for found in pool.map(_some, work) for one in found]
    _tell(results, arguments, time.perf_counter() - begin_s)


def _tell(results: list[dict[str, Any]], arguments: argparse.Namespace, took_s: float) -> None:
    lines = [
        f"{len(results):,} damaged run directories (seed {arguments.seed}), every "
        f"{FULL_REPORT_EVERY}th reported with its charts and pages, of those known to lack something "
        f"every {ANALYSED_EVERY}th analysed, all others analysed, in {took_s:.0f} s; the slowest took "
        f"{max(one['seconds'] for one in results):.1f} s, the most memory of a process was "
        f"{max(one['memory_bytes'] for one in results) / 2**30:.2f} GiB"
    ]
    tables: dict[str, dict[str, int]] = {}
    for name, forged in (("damaged", False), ("forged", True)):
        counts = Counter(one["outcome"] for one in results if one["forged"] is forged)
        tables[name] = {outcome: counts[outcome] for outcome in OUTCOMES}
        lines.append(f"{name}: {sum(counts.values()):,}")
        lines += [f"  {counts[outcome]:7,}  {outcome}" for outcome in OUTCOMES]
    bad = [one for one in results if one["outcome"] in (WRONG, CRASHED)]
    lines += [
        f"input {one['number']} ({one['damages']}): {one['outcome']}: {one['told']}"
        for one in bad[:20]
    ]
    damages = Counter(name for one in results for name in one["damages"].split(", "))
    save("fuzz_records", lines, {"inputs": len(results), "seed": arguments.seed, "took_s": took_s,
        "outcomes": tables, "damages": dict(sorted(damages.items())), "bad": bad[:20]})  # fmt: skip


def _cases(folder: Path) -> list[Case]:
    """A plain run and a study; each is the other one's other run."""
    plain = Config(**SMALL, phases=("forward", "allreduce", "train_step"))
    study = Config(**SMALL, sizes=(1, 2), rounds=6)
    runs = [_run(folder / "plain", plain, 1), _run(folder / "study", study, 2)]
    truths = [_outcome(folder / f"truth-{index}", files)[1] for index, files in enumerate(runs)]
    return [Case(runs[0], runs[1], truths[0]), Case(runs[1], runs[0], truths[1])]


def _run(directory: Path, config: Config, seed: int) -> Files:
    values = {**vars(config), "seed": seed, "output": str(directory)}
    layout, _ = simulate(Cluster(ranks=2, ranks_per_node=2, noise=0.01), Config(**values))
    files = {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
    settings = json.loads(files[layout.config.name])
    del settings["run_id"]
    for name in _raw(files):
        files[name] = _with_checksum_of(files[name], settings)
    return files


def _with_checksum_of(content: bytes, settings: dict[str, Any]) -> bytes:
    """The file of a rank, whose header tells the checksum of the settings."""
    first, *others = content.splitlines(keepends=True)
    header = json.loads(first)
    header.pop("crc32")
    return b"".join([encode({**header, "settings_crc32": settings_checksum(settings)}), *others])


def _some(work: tuple[list[Case], int, range]) -> list[dict[str, Any]]:
    cases, seed, numbers = work
    return [_one(cases, seed, number) for number in numbers]


def _one(cases: list[Case], seed: int, number: int) -> dict[str, Any]:
    """Makes input `number`, and says what came of it."""
    source = random.Random(f"{seed} {number}")
    case = source.choice(cases)
    files = dict(case.files)
    names = source.choices(list(DAMAGES), k=source.choice((1, 1, 1, 2, 3)))
    for name in names:
        DAMAGES[name].change(source, files, case.other)
    begin_s = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="distbench-fuzz-") as folder:
        outcome, told = _outcome(Path(folder) / "run", files, number)
    if outcome == WHOLE and told != case.truth:
        outcome, told = WRONG, "the numbers are others and nothing is named"
    forged = any(DAMAGES[name].forges for name in names)
    if outcome == WRONG and forged:
        outcome = WHOLE
    return {
        "number": number,
        "damages": ", ".join(names),
        "forged": forged,
        "outcome": outcome,
        "told": told if outcome in (WRONG, CRASHED) else "",
        "seconds": time.perf_counter() - begin_s,
        "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _outcome(directory: Path, files: Files, number: int = 1) -> tuple[str, str]:
    """What the report makes of these files, and its numbers, sentence or traceback."""
    _write(directory, files)
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(MOST_S)
    try:
        run = load_run(directory)
        if (run.problems or run.incomplete) and number % ANALYSED_EVERY:
            return INCOMPLETE, ""
        findings = find(run) if number % FULL_REPORT_EVERY else report(directory)[0]
        text = terminal_report(findings)
        if len(text.splitlines()) > 200:
            raise AssertionError(f"the report has {len(text.splitlines())} lines")
        numbers = [
            frame.to_csv() for frame in (findings.groups, findings.scaling) if frame is not None
        ]
        named = not findings.is_valid or findings.run.incomplete or findings.run.problems
        return (INCOMPLETE if named else WHOLE), "".join(
            [*numbers, findings.run.config.network_label]
        )
    except DistbenchError as error:
        return REFUSED, error.sentence
    except Exception:
        return CRASHED, traceback.format_exc()
    finally:
        signal.alarm(0)


def _too_long(*_: Any) -> None:
    raise TimeoutError(f"longer than {MOST_S} s")


def _write(directory: Path, files: Files) -> None:
    (directory / "raw").mkdir(parents=True)
    for name, content in files.items():
        path = directory / name
        if content == FIFO:
            os.mkfifo(path)
        elif content == DIRECTORY:
            path.mkdir()
        elif content in LINKS:
            path.symlink_to(LINKS[content])
        else:
            path.write_bytes(content)


def _raw(files: Files) -> list[str]:
    return [name for name in files if name.startswith("raw/")]


def _any_file(source: random.Random, files: Files) -> str:
    """Mostly a file of records."""
    raw = _raw(files)
    return source.choice(
        raw if raw and source.random() < 0.7 else list(files) or [_some_raw(files)]
    )


def _some_raw(files: Files) -> str:
    files.setdefault("raw/rank-00000.jsonl", b"")
    return "raw/rank-00000.jsonl"


def _truncate(source: random.Random, files: Files, _: Files) -> None:
    name = _any_file(source, files)
    files[name] = files[name][: source.randrange(len(files[name]) + 1)]


def _flip_bits(source: random.Random, files: Files, _: Files) -> None:
    name = _any_file(source, files)
    content = bytearray(files[name])
    for _place in range(source.choice((1, 1, 2, 8))):
        if content:
            content[source.randrange(len(content))] ^= 1 << source.randrange(8)
    files[name] = bytes(content)


def _overwrite(source: random.Random, files: Files, _: Files) -> None:
    """NULs as after a power failure, or any bytes, over a part."""
    name = _any_file(source, files)
    start, length = source.randrange(len(files[name]) + 1), source.choice((1, 16, 512, 4096))
    filling = source.choice((bytes(length), source.randbytes(length), b"\n" * length))
    files[name] = files[name][:start] + filling + files[name][start + length :]


def _insert(source: random.Random, files: Files, _: Files) -> None:
    name = _any_file(source, files)
    start = source.choice((0, len(files[name]), source.randrange(len(files[name]) + 1)))
    filling = source.choice(
        (b"\xef\xbb\xbf", b"\0" * 4096, b"\n", b"\r\n", b"{}\n", b"x" * 2**20, b"x\n" * 5000, b"NaN",
        b"[" * 100_000, b"Infinity", b"\xff\xfe", b"1e400", b"9" * 10_000)
    )  # fmt: skip
    files[name] = files[name][:start] + filling + files[name][start:]


def _line_ends(source: random.Random, files: Files, _: Files) -> None:
    name = _any_file(source, files)
    files[name] = files[name].replace(b"\n", b"\r\n")


def _move_lines(source: random.Random, files: Files, other: Files) -> None:
    """Lines that are lost, doubled, in another order, or from another rank or run."""
    name = source.choice(_raw(files) or [_some_raw(files)])
    lines = files[name].splitlines(keepends=True) or [b"\n"]
    place, target = source.randrange(len(lines)), source.randrange(len(lines))
    foreign = source.choice(list(source.choice((files, other)).values())).splitlines(keepends=True)
    how = source.randrange(5)
    if how == 0:
        del lines[place : place + source.choice((1, 1, 2, 10))]
    elif how == 1:
        lines.insert(target, lines[place])
    elif how == 2:
        lines[place], lines[target] = lines[target], lines[place]
    elif how == 3:
        lines.insert(target, source.choice(foreign or [b""]))
    else:
        lines += foreign
    files[name] = b"".join(lines)


def _change_file(source: random.Random, files: Files, other: Files) -> None:
    """A file that is not there, no file, or another one's."""
    name = _any_file(source, files)
    how = source.randrange(6)
    if how == 0:
        del files[name]
    elif how == 1:
        files[name] = source.choice((FIFO, DIRECTORY, *LINKS))
    elif how == 2:
        files[name] = source.choice(list(files.values()))
    elif how == 3 and name in other:
        files[name] = other[name]
    elif how == 4:
        moved = source.choice(
            ("rank-00007.jsonl", "rank-x.jsonl", "rank-100000.jsonl", "rank-9.jsonl")
        )
        files[f"raw/{moved}"] = files.pop(name)
    else:
        files[name] = b""


def _change_document(source: random.Random, files: Files, _: Files) -> None:
    """A value of config.json, manifest.json or status.json becomes a strange one, or another's."""
    name = source.choice(("config.json", "config.json", "manifest.json", "status.json"))
    try:
        document = json.loads(files[name])
    except (KeyError, ValueError, RecursionError):
        return
    files[name] = _text_of(_strange(source, document)).encode("utf-8", "surrogatepass")


def _forge_line(source: random.Random, files: Files, _: Files) -> None:
    """A value of a record becomes a strange one, and the line's checksum is right."""
    name = source.choice(_raw(files) or [_some_raw(files)])
    lines = files[name].splitlines(keepends=True)
    if not lines:
        return
    place = source.choice((0, 1, len(lines) - 1, source.randrange(len(lines)))) % len(lines)
    try:
        record = json.loads(lines[place])
    except (ValueError, RecursionError):
        return
    if isinstance(record, dict):
        record.pop("crc32", None)
    body = _text_of(_strange(source, record)).encode("utf-8", "surrogatepass")
    lines[place] = b'%b,"crc32":"%08x"}\n' % (body[:-1], zlib.crc32(body))
    files[name] = b"".join(lines)


def _text_of(value: Any) -> str:
    return json.dumps(value).replace(json.dumps("NaN"), "NaN")


def _strange(source: random.Random, document: Any) -> Any:
    """The document with one value replaced, taken away, or put where another one was."""
    document = copy.deepcopy(document)
    places = list(_places(document))
    if not places:
        return source.choice(STRANGE)
    holder, key = source.choice(places)
    how = source.random()
    if how < 0.15:
        del holder[key]
    elif how < 0.3:
        other, its_key = source.choice(places)
        holder[key] = copy.deepcopy(other[its_key])
    elif how < 0.5 and type(holder[key]) in (int, float):
        holder[key] += source.choice((-1, 1, 0.5, 1000))
    else:
        holder[key] = source.choice(STRANGE)
    return document


def _places(value: Any) -> Any:
    """Every (table or list, key) in a document."""
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


DAMAGES = {
    "truncated": Damage(_truncate),
    "bits flipped": Damage(_flip_bits),
    "overwritten": Damage(_overwrite),
    "inserted": Damage(_insert),
    "line ends": Damage(_line_ends),
    "lines moved": Damage(_move_lines),
    "files changed": Damage(_change_file),
    "documents changed": Damage(_change_document),
    "lines forged": Damage(_forge_line, forges=True),
}

if __name__ == "__main__":
    main()
