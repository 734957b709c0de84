"""Files and folders that appear whole or not at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["recover", "remove", "written"]


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file or a folder to, which then takes its place; after an error nothing is left.

    A file is replaced by one rename, a folder by two: after a kill between them, `recover` puts the old one back, which
    the next writing does first.

    Raises:
        IsADirectoryError: If a file was written and a folder lies at `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    recover(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    remove(part)
    try:
        yield part
        if path.is_dir() and not part.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder of this name is there", str(path))
        if path.is_dir():
            path.rename(_replaced(path))
            part.rename(path)
            remove(_replaced(path))
        else:
            part.replace(path)
    finally:
        remove(part)


def recover(path: Path) -> None:
    """Puts a folder back that a kill has left aside while it was being replaced, and clears what is left of one."""
    old = _replaced(path)
    if old.is_dir() and not path.exists():
        old.rename(path)
    remove(old)


def _replaced(path: Path) -> Path:
    """Where `written` lays a folder aside; nobody else has a reason for such a name."""
    return path.with_name(f".{path.name}.replaced")


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
