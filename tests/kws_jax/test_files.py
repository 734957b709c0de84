"""Writing: whole or not at all, whoever is killed, whoever else writes; and what cannot be written is said before."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kws_jax import files
from kws_jax.errors import UserError
from kws_jax.files import check_room, check_writable, recover, written

# Writes a file and a folder, and kills itself where the third word says: "file", "folder", or between a folder's names.
KILLED = """
import os, sys
from pathlib import Path
from kws_jax.files import written
root, text, moment = Path(sys.argv[1]), *sys.argv[2:]
die, rename = lambda: os.kill(os.getpid(), 9), Path.rename
if moment == "between":
    Path.rename = lambda path, target: (rename(path, target), die())
for kind in ("file", "folder"):
    with written(root / kind) as part:
        if kind == "folder":
            part.mkdir()
        (part / "inside" if kind == "folder" else part).write_text(text)
        if moment == kind:
            die()
"""


def write(root: Path, text: str, moment: str = "") -> int:
    return subprocess.run([sys.executable, "-c", KILLED, root, text, moment], check=False).returncode


def content(root: Path) -> tuple[str, str]:
    return (root / "file").read_text(), (root / "folder" / "inside").read_text()


def fail(path: Path, error: Exception) -> None:
    """Half writes a file."""
    with written(path) as part:
        part.write_text("half")
        raise error


def left(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


@pytest.mark.parametrize(("moment", "found"), [("file", ("old", "old")), ("folder", ("killed", "old"))])
def test_a_kill_leaves_the_old_whole_and_the_next_writing_nothing_of_it(
    moment: str, found: tuple[str, str], tmp_path: Path
):
    assert write(tmp_path, "old") == 0
    assert write(tmp_path, "killed", moment) == -signal.SIGKILL
    assert content(tmp_path) == found
    assert len(left(tmp_path)) == 3, "what was not finished"
    assert write(tmp_path, "new") == 0
    assert content(tmp_path) == ("new", "new")
    assert left(tmp_path) == {"file", "folder"}


def test_a_folder_that_a_kill_left_aside_is_put_back(tmp_path: Path):
    """Killed between the two renames that replace a folder."""
    write(tmp_path, "old")
    assert write(tmp_path, "killed", "between") == -signal.SIGKILL
    assert "folder" not in left(tmp_path)
    recover(tmp_path / "folder")
    assert content(tmp_path) == ("killed", "old")
    assert left(tmp_path) == {"file", "folder"}


def test_an_interrupt_between_the_renames_puts_the_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, "old")
    replace, tried = Path.replace, []

    def interrupted(path: Path, target: Path) -> Path:
        tried.append(path)
        if len(tried) == 2:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), written(tmp_path / "folder") as part:
        part.mkdir()
    assert content(tmp_path) == ("old", "old")
    assert left(tmp_path) == {"file", "folder"}


def test_what_a_running_process_writes_is_left_to_it(tmp_path: Path):
    """And what one of another machine writes, of which nothing is known here."""
    mine = files._beside(tmp_path / "file", "part").name
    others = {mine.replace(str(os.getpid()), str(os.getppid())), ".file.elsewhere-1.part", ".file.x.part"}
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / mine.replace(str(os.getpid()), str(2**22 + 1))).touch()  # more than there can be
    with written(tmp_path / "file") as part:
        part.touch()
    assert left(tmp_path) == {"file", *others}


def test_writers_at_a_time_all_succeed(tmp_path: Path):
    """Each folder is whole: both its files are one writer's."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom kws_jax.files import written\n"
        "for number in range(60):\n    with written(Path(sys.argv[1])) as part:\n        part.mkdir()\n"
        "        for name in 'ab':\n            (part / name).write_text(f'{sys.argv[2]} {number}')\n"
    )
    words = [sys.executable, "-c", script, tmp_path / "folder"]
    running = [subprocess.Popen([*words, name], stderr=subprocess.PIPE, text=True) for name in "xyz"]
    assert [process.communicate()[1] for process in running] == ["", "", ""]
    assert (tmp_path / "folder" / "a").read_text() == (tmp_path / "folder" / "b").read_text()
    assert left(tmp_path) == {"folder"}


@pytest.mark.parametrize("folder", [False, True])
def test_a_link_is_followed(folder: bool, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(Path("elsewhere", "target"))
    for text in ("first", "second"):
        with written(tmp_path / "link") as part:
            if folder:
                part.mkdir()
            (part / "inside" if folder else part).write_text(text)
        found = tmp_path / "elsewhere" / "target"
        assert (found / "inside" if folder else found).read_text() == text
    assert (tmp_path / "link").is_symlink()
    assert left(tmp_path / "elsewhere") == {"target"}


def test_an_error_leaves_nothing_not_even_folders_on_the_way(tmp_path: Path):
    with pytest.raises(ZeroDivisionError):
        fail(tmp_path / "a" / "b" / "file", ZeroDivisionError())
    assert left(tmp_path) == set()


def full(*_: object, **options: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("unexpected pos 64")])
def test_a_disk_that_fills_up_is_one_line(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever a library makes of it; elsewhere its error is its own."""
    (tmp_path / "file").write_text("old")
    if isinstance(error, RuntimeError):
        with pytest.raises(RuntimeError):
            fail(tmp_path / "file", error)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 0}))
    with pytest.raises(UserError, match="file cannot be written: No space left"):
        fail(tmp_path / "file", error)
    assert (tmp_path / "file").read_text() == "old"
    assert left(tmp_path) == {"file"}


def test_what_there_is_no_room_for_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    check_room(tmp_path, 1)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1_000_000}))
    check_room(tmp_path, 500_000)
    with pytest.raises(UserError, match="has room for 1,000,000 bytes, and 900,000 and some more are to be written"):
        check_room(tmp_path, 900_000)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


CANNOT = {
    "a folder": (Path.mkdir, "", "x is a folder, and a file is to be there: name one in it"),
    "below a file": (Path.touch, "a/b", "x/a/b cannot be written: Not a directory"),
    "a pipe": (os.mkfifo, "", "x is a device or a pipe"),
    "a socket": (_socket, "", "x is a device or a pipe"),
    "links in a circle": (
        lambda path: path.symlink_to(path),
        "a",
        "cannot be written: Too many levels of symbolic links",
    ),
    "a long name": (Path.mkdir, "x" * 300, "cannot be written: File name too long"),
    "a name that grows too long": (Path.mkdir, "x" * 250, "cannot be written: File name too long"),
}


@pytest.mark.parametrize("name", CANNOT)
def test_what_cannot_be_written_is_said_before(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """And as well by the writing itself, for who does not ask."""
    make, below, message = CANNOT[name]
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    make(Path("x"))
    before = left(Path())
    with pytest.raises(UserError, match=message):
        check_writable(Path("x", below))
    with pytest.raises(UserError, match=r"cannot be written|is a"), written(Path("x", below)) as part:
        part.write_text("new")
    assert left(Path()) == before


def test_a_full_or_a_forbidden_place_is_said_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files.tempfile, "TemporaryFile", full)
    with pytest.raises(UserError, match="new/out cannot be written: No space left"):
        check_writable(tmp_path / "new" / "out")
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match="out is a file, and a folder is to be there"):
        check_writable(tmp_path / "out", folder=True)
    assert left(tmp_path) == {"out"}


@pytest.mark.parametrize(
    ("path", "folder"), [("a/b/c", False), ("a/b/c", True), ("old", False), (".", True), ("/", True), ("link/a", False)]
)
def test_what_can_be_written_is_left_as_it_is(path: str, folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("old").write_text("old")
    Path("link").symlink_to("nowhere")
    check_writable(Path(path), folder)
    assert left(Path()) == {"old", "link"}
    assert Path("old").read_text() == "old"


def test_threads_clear_up_once(tmp_path: Path):
    """Several find the same leavings of a kill."""
    write(tmp_path, "old")
    write(tmp_path, "killed", "between")
    failed: list[BaseException] = []

    def clear() -> None:
        try:
            recover(tmp_path / "folder")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=clear) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert content(tmp_path) == ("killed", "old")
