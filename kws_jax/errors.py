"""The one kind of error a person can mend, what can be wrong with weights, and how a command reports it."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Bad input, named in one line together with the remedy."""


class WeightsError(UserError):
    """Weights that are not those of a model; every error names the tensor."""


class MissingTensor(WeightsError):
    """A tensor that the model needs is not there."""


class UnexpectedTensor(WeightsError):
    """A tensor is there that the model has no place for."""


class DuplicateTensor(WeightsError):
    """Two entries of a file stand for the same tensor."""


class MisshapenTensor(WeightsError):
    """A tensor has another shape than the model's."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns a `UserError` into one line on stderr and exit status 1; every other error keeps its traceback."""
    try:
        yield
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
