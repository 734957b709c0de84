"""Folders of results that are damaged, or hold what somebody else has put there."""

import io
import os
import socket
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.report.benchmark import read_benchmark
from experiments.report.comparison import compare
from experiments.report.pages import read_study, render_pages
from experiments.report.streams import compare_streams
from experiments.study.records import LOG, RECORD, RUNS, read_records
from experiments.study.scores import SCORES, read_log, read_scores
from experiments.study.stream_records import PEERS, STREAMS
from tests.helpers import fake_records as fake
from tests.malformed.harness import Case

RUN = fake.record()
TEXTS = {
    "a terminal's code": "\x1b[31mred\x1b[0m",
    "a line break": "two\nlines",
    "HTML": "<img src=x onerror=alert(1)>",
    "a table's bar": "a | b",
    "a link": "[x](javascript:alert(1))",
    "code": "```sh",
    "half a letter": "\ud800",
    "a formula": r"$\frac{$",
    "a bell and nothing": "\x07\x00",
    "right to left": "\u202eabc",
    "nothing": "",
    "long": "a" * 5_000,
}


def scores(arrays: Mapping[str, Any]) -> bytes:
    """An archive of arrays."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def score_cases() -> Iterator[Case]:
    own = fake.scores(RUN)
    good: dict[str, Any] = {"ranks": np.unique(own["margins"], return_inverse=True)[1].astype(np.uint16)}
    good |= {"labels": own["labels"].astype(np.int8), "speakers": own["speakers"].astype(np.uint16)}
    good |= {"testing": own["testing"]}
    whole = scores(good)
    bent = {
        **{f"cut to {size} bytes": whole[:size] for size in (0, 1, 10, 100, 1_000, len(whole) - 1)},
        **{f"without {name}": scores({k: v for k, v in good.items() if k != name}) for name in good},
        **{f"{name} are one short": scores(good | {name: good[name][1:]}) for name in good},
        **{f"{name} have two axes": scores(good | {name: good[name][:, None]}) for name in good},
        **{f"{name} are objects": scores(good | {name: good[name].astype(object)}) for name in good},
        **{f"{name} are text": scores(good | {name: good[name].astype(str)}) for name in good},
        **{f"{name} are NaN": scores(good | {name: np.full(len(good[name]), np.nan)}) for name in good},
        "labels are of one class": scores(good | {"labels": 0 * good["labels"]}),
        "labels are 2": scores(good | {"labels": 2 * good["labels"]}),
        "nobody is tested": scores(good | {"testing": np.zeros_like(good["testing"])}),
        "everybody is tested": scores(good | {"testing": np.ones_like(good["testing"])}),
        "all empty": scores({name: array[:0] for name, array in good.items()}),
        "of other clips": scores({name: array[:450] for name, array in good.items()}),
        "no archive": b"scores",
        "a bit is flipped": whole[:200] + bytes([whole[200] ^ 255]) + whole[201:],
        "one array": _array(good["ranks"]),
        "an empty archive": scores({}),
        "text in place of an array": _archive({"ranks.npy": b"text"}),
        "a header that lies": _archive({"ranks.npy": _array(good["ranks"]).replace(b"(900,)", b"(9e9,)")}),
        "of 10^12 clips": _archive({"ranks.npy": _array(good["ranks"]).replace(b"(900,), ", b"(10**9,)")}),
    }
    for name, content in bent.items():
        yield Case("scores", name, partial(read_bent_scores, content))


def _array(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def _archive(files: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def read_bent_scores(content: bytes, folder: Path) -> object:
    """Reads a run whose scores are these."""
    own = folder / RUNS / RUN.name
    own.mkdir(parents=True)
    (own / SCORES).write_bytes(content)
    return read_scores(folder, RUN)


def log_cases() -> Iterator[Case]:
    lines = {
        "no number": '{"step": "x", "loss": 1}',
        "no loss": '{"step": 1}',
        "a loss that is none": '{"step": 1, "loss": NaN}',
        "ends at step 0": '{"step": 0, "loss": 1}',
        "half a line": '{"step": 1, "lo',
        "a list": "[1, 2]",
        "an empty line": "\n\n",
        "100,000 brackets": "[" * 100_000,
        "nothing": "",
        "good": '{"step": 1, "loss": 1.0}',
    }
    for name, text in lines.items():
        yield Case("training logs", name, partial(_log, text))


def _log(text: str, folder: Path) -> object:
    fake.write_results(folder, [RUN])
    (folder / RUNS / RUN.name / LOG).write_text(text)
    return read_log(folder, RUN.name)


def text_cases() -> Iterator[Case]:
    for name, text in TEXTS.items():
        yield Case("text in a report", name, partial(_told, text))


def _told(text: str, folder: Path) -> None:
    """Renders runs that say nothing but this, and sees that it stays text."""
    is_a_name = 0 < len(text) < 100 and text.isprintable()
    said = {"corpus": text, "command": text, "device": text, "keyword": text if is_a_name else "happy"}
    run = replace(fake.record(), **said, setting=RUN.setting | {"question": text, "expectation": f"x{text}"})
    study = read_study(fake.write_results(folder, [run]))
    for page in render_pages(study, folder, []).values():
        prose = "".join(page.split("```")[::2])
        assert "<img" not in prose
        assert "(javascript" not in prose.replace(r"\[x](javascript", "")
        assert page.replace("\n", "").isprintable()
        tables = [block for block in page.split("\n\n") if block.startswith("|")]
        for table in tables:
            widths = {line.replace(r"\|", "").count("|") for line in table.strip().splitlines()}
            assert len(widths) == 1, table


def folder_cases() -> Iterator[Case]:
    def strange(place: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
        def run(folder: Path) -> object:
            path = fake.write_results(folder, [RUN]) / place
            path.parent.mkdir(parents=True, exist_ok=True)
            make(path)
            return compare(read_records(folder), folder), compare_streams(folder), read_benchmark(folder)

        return run

    made: dict[str, Callable[[Path], object]] = {
        "a folder": lambda path: path.mkdir(exist_ok=True),
        "a file": lambda path: path.write_bytes(b"x"),
        "a pipe": os.mkfifo,
        "a socket": _socket,
        "a link to nothing": lambda path: path.symlink_to("nothing"),
        "a link to itself": lambda path: path.symlink_to(path.name),
        "a device": lambda path: path.symlink_to("/dev/zero"),
    }
    spots = [f"{RUNS}/x.json", f"{RUNS}/other/{RECORD}", f"{RUNS}/._{RUN.name}", f"{STREAMS}/x.json"]
    spots += [f"{STREAMS}/._x.json", f"{STREAMS}/notes.txt", f"{PEERS}/x.json", "benchmark.json", STREAMS]
    for spot in spots:
        for name, make in made.items():
            yield Case("folders of results", f"{spot} is {name}", strange(spot, make))


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # an address has at most 108 letters
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


CASES = [*score_cases(), *log_cases(), *text_cases(), *folder_cases()]
