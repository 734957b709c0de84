"""What must come of any input: it is taken, or refused in one line that can be printed, and nothing half is left."""

import atexit
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from kws_jax.errors import UserError

SECONDS = 20  # that one input may take
LEFT_OVERS = (".part", ".replaced", ".tmp")  # of a writing that did not clear up behind itself
USAGE = 2  # exit status of a parser of arguments, which has said on stderr what it does not take


class Case(NamedTuple):
    """One malformed or odd input.

    Attributes:
        kind: Row of the table that it is counted in.
        name: Within its kind.
        run: Makes the input in an empty folder, and gives it to the code as a person would.
        errors: What it may be refused with, beside `UserError` and a command's exit.
    """

    kind: str
    name: str
    run: Callable[[Path], object]
    errors: tuple[type[Exception], ...] = ()


def kept_folder() -> Path:
    """A folder for what is made once for many cases; it goes when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="kws-malformed-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def outcome(case: Case, folder: Path) -> str:
    """ "taken" or "refused".

    Raises:
        AssertionError: If it ends in any other way.
    """
    try:
        with _time_limit(case):
            case.run(folder)
    except SystemExit as stop:
        if stop.code in (None, 0, USAGE):
            return _clean(folder, "refused" if stop.code == USAGE else "taken")
        message = str(stop.code)
        assert message.startswith("error: "), f"{case.kind}, {case.name}: exit {message!r}"
    except (UserError, *case.errors) as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(f"{case.kind}, {case.name}: {type(error).__name__}: {error}") from error
    else:
        return _clean(folder, "taken")
    assert message.strip(), f"{case.kind}, {case.name}: refused without a word"
    assert message.isprintable(), f"{case.kind}, {case.name}: not one line that can be printed: {message!r}"
    assert len(message) < 2_000, f"{case.kind}, {case.name}: {len(message)} letters: {message[:200]}"
    return _clean(folder, "refused")


def _clean(folder: Path, found: str) -> str:
    left = [path for path in folder.rglob("*") if path.name.endswith(LEFT_OVERS)]
    assert not left, f"left behind: {left}"
    return found


@contextmanager
def _time_limit(case: Case) -> Iterator[None]:
    """Ends what hangs, where the system can."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"{case.kind}, {case.name}: hangs for {SECONDS} s")

    if sys.platform == "win32":
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
