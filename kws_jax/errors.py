"""The one kind of error a person can mend, what can be wrong with weights, and text from outside as it can be shown."""

LONGEST = 1_900  # letters of a message


def printable(text: str, limit: int = 200) -> str:
    """Text from outside on one line: what cannot be printed, such as a terminal's codes, is escaped, and the rest cut.

    Args:
        text: Anything.
        limit: Most letters that are left.
    """
    shown = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text[:limit]
    )
    return shown if len(text) <= limit and len(shown) <= limit else f"{shown[: limit - 3]}..."


class UserError(ValueError):
    """Bad input, named in one line together with the remedy; a line that can be shown, whatever the words hold."""

    def __str__(self) -> str:
        return printable(super().__str__(), LONGEST)


def check_ranges(values: object, **ranges: tuple[int | float, int | float]) -> None:
    """Refuses fields that are no numbers within their ranges, both ends of which are allowed.

    Raises:
        UserError: If there is one.
    """
    for name, (least, most) in ranges.items():
        value = getattr(values, name)
        if not (isinstance(value, int | float) and least <= value <= most):
            raise UserError(f"{name} is {value!r}: it goes from {least:g} to {most:g}")


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
