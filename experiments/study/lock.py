"""One writer at a time for an output folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kws_jax.errors import UserError
from kws_jax.files import check_writable, made, remove

LOCK = ".lock"


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keeps other writers off a folder that files are to be made in; a kill gives it free.

    In the end nothing is left of the lock, nor of the folder if it was made here and nothing came to lie in it.

    Raises:
        UserError: If another process is writing there, or nobody can.
    """
    check_writable(out, folder=True)
    with made(out):
        try:
            lock = FileLock(out / LOCK).acquire(timeout=0)
        except Timeout:
            raise UserError(f"another run is writing into {out}: wait for it, or name another folder") from None
        with lock:
            try:
                yield
            finally:
                remove(out / LOCK)
