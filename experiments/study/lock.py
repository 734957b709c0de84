"""One sweep at a time for an output folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kws_jax.errors import UserError
from kws_jax.files import remove

LOCK = ".lock"


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keeps every other sweep off the folder; a kill gives it free, and a folder in which nothing came to lie goes.

    Raises:
        UserError: If another sweep is writing there.
    """
    out.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(out / LOCK).acquire(timeout=0)
    except Timeout:
        raise UserError(f"another run is writing into {out}: wait for it, or name another folder with --out") from None
    with lock:
        try:
            yield
        finally:
            if [path.name for path in out.iterdir()] == [LOCK]:
                remove(out)
