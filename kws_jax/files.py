"""Files and folders that appear whole or not at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["remove", "written"]


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file or a folder to, which then takes its place; after an error nothing is left.

    A file is replaced by one rename. Of a folder that is replaced, a kill between two renames leaves the old one beside
    it, under the same name with ".old".

    Raises:
        IsADirectoryError: If a file was written and a folder lies at `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    remove(part)
    try:
        yield part
        if path.is_dir() and not part.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder of this name is there", str(path))
        if path.is_dir():
            old = path.with_name(f"{path.name}.old")
            remove(old)
            path.rename(old)
            part.rename(path)
            remove(old)
        else:
            part.replace(path)
    finally:
        remove(part)


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
