"""What is there where something is to be written, for everything that writes; names of pictures."""

import contextlib
import functools
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from matplotlib.figure import Figure

from experiments.plots import check_picture, save
from experiments.study.json_files import write_json
from experiments.study.lock import locked
from experiments.study.stream_records import write_stream
from kws_jax.compiled.source import write_c
from kws_jax.files import check_writable, recover, written
from tests.helpers import fake_records
from tests.malformed.harness import Case

RECORD = fake_records.stream_record()
SHIPPED = Path(__file__).parents[2] / "checkpoints" / "happy" / "student_314x.safetensors"


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
        made.bind(path.name)


def _filled(path: Path) -> None:
    path.mkdir()
    (path / "mine").write_text("mine")


# What is where something is to be written, and where below that.
TARGETS: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda path: None, ""),
    "folders on the way": (lambda path: None, "a/b/c.png"),
    "a file": (Path.touch, ""),
    "an empty folder": (Path.mkdir, ""),
    "a folder with something in it": (_filled, ""),
    "below a file": (Path.touch, "a.png"),
    "far below a file": (Path.touch, "a/b/c.png"),
    "a pipe": (os.mkfifo, ""),
    "below a pipe": (os.mkfifo, "a.png"),
    "a socket": (_socket, ""),
    "a device": (lambda path: path.symlink_to("/dev/null"), ""),
    "below a device": (lambda path: path.symlink_to("/dev/null"), "a.png"),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), ""),
    "a link to a file": (lambda path: (path.with_name("f").touch(), path.symlink_to("f")), ""),
    "a link to a folder": (lambda path: (path.with_name("f").mkdir(), path.symlink_to("f")), ""),
    "a link to itself": (lambda path: path.symlink_to(path), ""),
    "below a link to itself": (lambda path: path.symlink_to(path), "a.png"),
    "the system's own": (lambda path: path.symlink_to("/proc/self"), "a.png"),
    "a long name": (Path.mkdir, f"{'x' * 251}.png"),
    "a longer name": (Path.mkdir, f"{'x' * 1_000}.png"),
    "a name in two bytes": (Path.mkdir, f"{'ü' * 125}.png"),
    "the folder itself": (Path.mkdir, "."),
    "the folder above": (Path.mkdir, ".."),
    "a line break": (Path.mkdir, "a\nb.png"),
    "terminal codes": (Path.mkdir, "\x1b[31ma.png"),
    "no encoding": (Path.mkdir, "\udcff.png"),
    "a blank": (Path.mkdir, " .png"),
    "a pattern": (Path.mkdir, "[a]*?.png"),
    "what a kill left": (lambda path: path.with_name(f".{path.name}.elsewhere-1.part").mkdir(), ""),
}


def _write_folder(path: Path) -> None:
    with written(path) as part:
        part.mkdir()
        (part / "inside").touch()


def _lock(path: Path) -> None:
    with locked(path):
        pass


WRITERS: dict[str, Callable[[Path], object]] = {
    "a file": lambda path: write_json(path, {}),
    "a folder": _write_folder,
    "a look": check_writable,
    "a look into": lambda path: check_writable(path, folder=True),
    "a lock": _lock,
    "a picture": lambda path: save(Figure((1, 1), 10), path),
    "a record": lambda path: write_stream(path, RECORD),
    "C": lambda path: write_c(SHIPPED, path, "to-c", False),
    "what is put back": recover,
}


def _to_target(make: Callable[[Path], object], below: str, write: Callable[[Path], object], folder: Path) -> None:
    before = (folder / "out.png", folder / "out.png" / "mine")
    make(before[0])
    held = before[1].is_file()
    try:
        with contextlib.chdir(folder):
            write(Path("out.png", below) if below else Path("out.png"))
    finally:
        left = [path for path in folder.rglob(".*") if "elsewhere" not in path.name and path.name != ".png"]
        assert not left, f"left behind: {left}"
        assert held == before[1].is_file() or write is not WRITERS["a picture"]
        for path in folder.glob(".*elsewhere*"):
            path.rmdir()  # another machine's, which is rightly left


def _targets() -> Iterator[Case]:
    for target, (make, below) in TARGETS.items():
        for writer, write in WRITERS.items():
            call = functools.partial(_to_target, make, below, write)
            yield Case("outputs", f"{writer} to {target}", call, (OSError,) if writer == "C" else ())
    for name in (
        "a",
        "a.",
        ".png",
        "a.odd",
        "a.PNG",
        "a.png.",
        "a.jpg2",
        "a.svg",
        "a.exe",
        "a.p ng",
        "a.\n",
        "a.json",
        "a.raw",
    ):
        yield Case("pictures", repr(name), functools.partial(lambda name, folder: check_picture(folder / name), name))


CASES = [*_targets()]
