"""The one kind of error a person can mend, and how a command reports it."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Bad input, named in one line together with the remedy."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns a `UserError` into one line on stderr and exit status 1; every other error keeps its traceback."""
    try:
        yield
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
