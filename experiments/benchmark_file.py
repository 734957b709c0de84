"""The file that `experiments.benchmark` writes, for those who render it; reading it loads neither framework."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from kws_jax.errors import UserError

__all__ = ["read_benchmark"]

T = TypeVar("T")


def read_benchmark(path: Path, take: Callable[[dict[str, Any]], T], absent: T) -> T:
    """What `take` makes of the file's content; `absent` where there is no file.

    Raises:
        UserError: If the file is not that command's.
    """
    if not path.is_file():
        return absent
    try:
        return take(json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no file of experiments.benchmark ({error!r}): measure again") from error
