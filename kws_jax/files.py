"""Files and folders that appear whole or not at all, and outputs that are looked at before work is spent on them."""

import errno
import os
import platform
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from kws_jax.errors import UserError

__all__ = ["check_room", "check_writable", "made", "recover", "remove", "written"]

ROOM = 1 << 16  # bytes without which a disk is full
PART, REPLACED = "part", "replaced"
OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)


def check_writable(path: Path, folder: bool = False) -> None:
    """Refuses an output before work is spent on it; nothing is made or changed.

    Args:
        path: To be written.
        folder: Whether files are to be made in it, not it itself.

    Raises:
        UserError: If something of another kind is there or above it, or there is no permission, or no room.
    """
    with _named(path):
        path = _followed(path)
        _check_kind(path, folder)
        if not folder:
            with suppress(FileNotFoundError):
                os.lstat(_beside(path, REPLACED))  # whose name may be too long
        place = Path(os.path.realpath(path if folder else path.parent))
        while not os.path.lexists(place):
            place = place.parent
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(ROOM))


def check_room(folder: Path, size: int) -> None:
    """Refuses what a disk has no room for, where a library would say so in hundreds of lines.

    Args:
        folder: Which is there, to write into.
        size: In bytes, some more of which a library may need.

    Raises:
        UserError: If there is too little.
    """
    if (free := shutil.disk_usage(folder).free) < size + 4 * ROOM:
        raise UserError(
            f"{folder} has room for {free:,} bytes, and {size:,} and some more are to be written: make room"
        )


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file or a folder to, which then takes its place; after an error nothing is left.

    A link is followed. A file is replaced by one rename, a folder by two: after a kill between them, `recover` puts the
    old one back, which the next writing does first. Several writers at a time all succeed, and the last one's stays.

    Raises:
        UserError: If it cannot be written, such as on a full disk, or if what is there is of another kind.
    """
    with _named(path):
        target = _followed(path)
        with made(target.parent):
            recover(target)
            part = _beside(target, PART)
            remove(part)
            try:
                yield part
                _check_kind(target, part.is_dir())
                _take_place(part, target)
            except Exception as error:
                if isinstance(error, OSError | UserError) or shutil.disk_usage(target.parent).free >= ROOM:
                    raise
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error  # libraries say it in other words
            finally:
                remove(part)


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Makes a folder and those above it; in the end, of those that it made the empty ones go."""
    folder = _followed(folder)
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for place in new:
            with suppress(OSError):  # something lies there
                place.rmdir()


def recover(path: Path) -> None:
    """Clears what killed writers of a path have left beside it, after putting a folder back that was laid aside."""
    for old in _left(path, REPLACED):
        _put_back(old, path)
    for part in _left(path, PART):
        with suppress(FileNotFoundError):  # another process does the same
            remove(part)


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _take_place(part: Path, path: Path) -> None:
    """Renames; a folder of before is laid aside until the new one is there."""
    aside = _beside(path, REPLACED)
    try:
        while True:
            try:
                part.replace(path)
                break
            except OSError as error:
                if not part.is_dir() or not (path.is_dir() or error.errno in OCCUPIED):
                    raise
            remove(aside)  # another writer was faster, and what is there now is whole
            with suppress(FileNotFoundError):  # another writer has just laid it aside
                path.rename(aside)
    except BaseException:
        _put_back(aside, path)
        raise
    remove(aside)


def _put_back(aside: Path, path: Path) -> None:
    """Unless something is there by now, whoever put it there."""
    with suppress(OSError):
        if not path.exists():
            aside.rename(path)
    with suppress(FileNotFoundError):
        if path.exists():
            remove(aside)


def _beside(path: Path, role: str) -> Path:
    """A name that this process alone writes to; its number tells others whether it still may."""
    return path.with_name(f".{path.name}.{_machine()}-{os.getpid()}.{role}")


def _left(path: Path, role: str) -> list[Path]:
    """What processes of this machine that are gone have left beside a path."""
    mine = f".{path.name}.{_machine()}-"
    found = path.parent.glob(f"{escape(mine)}*.{role}")
    return [old for old in found if not _is_running(old.name.removeprefix(mine).removesuffix(f".{role}"))]


def _machine() -> str:
    return platform.node()[:20]


def _is_running(number: str) -> bool:
    """Whether a process is there; where nobody can tell, it is."""
    if sys.platform == "win32" or not number.isdecimal():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _followed(path: Path) -> Path:
    """What a link leads to, or a name such as .. stands for."""
    return Path(os.path.realpath(path)) if path.is_symlink() or path.name in ("", "..") else path


def _check_kind(path: Path, folder: bool) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if folder and not stat.S_ISDIR(mode):
        raise UserError(f"{path} is a file, and a folder is to be there: name another")
    if not folder and stat.S_ISDIR(mode):
        raise UserError(f"{path} is a folder, and a file is to be there: name one in it")
    if not folder and not stat.S_ISREG(mode):
        raise UserError(f"{path} is a device or a pipe, which no file may replace: name another")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Makes one line that names the output of what the system says."""
    try:
        yield
    except BrokenPipeError:  # of what is printed meanwhile
        raise
    except OSError as error:
        there = str(error.filename or path)
        elsewhere = "" if there.startswith(str(path.parent)) else f" ({there})"
        raise UserError(f"{path} cannot be written: {error.strerror or error}{elsewhere}") from error
