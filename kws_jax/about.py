"""What is known of a model beside its weights and sizes: its word, its number format, and the detector's thresholds."""

import math
from dataclasses import dataclass
from typing import Any

from kws_jax.config import LARGEST_SIZE, CrnnConfig
from kws_jax.detector import DetectorConfig
from kws_jax.errors import UserError

__all__ = ["About"]

LONGEST_WORD = 200  # letters


@dataclass(frozen=True)
class About:
    """What is known of a model beside its weights and sizes; None where it is not.

    Attributes:
        keyword: The word that it spots.
        number_format: That its weights are stored in.
        threshold: Probability from which on the keyword is heard, chosen on validation speakers.
        smoothing: Steps that the probability is averaged over, chosen with it.
        false_alarms_per_hour: What the threshold stands for, at most so many on validation speakers.
        operating_points: Other thresholds for the same smoothing, by what they stand for: {"0.5": 0.98, "2": 0.91}.
        validation_hours: Of audio, words, speech and noise, that the thresholds were chosen on.
        setting: Of the study, that made it.
        seed: Of its training.
    """

    keyword: str | None = None
    number_format: str = "fp32"
    threshold: float | None = None
    smoothing: int | None = None
    false_alarms_per_hour: float | None = None
    operating_points: dict[str, float] | None = None
    validation_hours: float | None = None
    setting: str | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuses what no header should say.

        Raises:
            UserError: If a value is of another kind, not finite, beyond reason, or a text that cannot be printed.
        """
        points = {} if self.operating_points is None else dict(self.operating_points)
        texts = (self.number_format, *points, *_known(self.keyword, self.setting))
        numbers = _known(self.threshold, self.false_alarms_per_hour, self.validation_hours, self.smoothing, self.seed)
        wholes = ((self.smoothing, LARGEST_SIZE), (self.seed, 2**63))
        if not (
            all(isinstance(text, str) and text.isprintable() and len(text) <= LONGEST_WORD for text in texts)
            and all(map(_is_number, (*numbers, *points.values(), *map(float, points))))
            and all(n is None or (isinstance(n, int) and abs(n) <= most) for n, most in wholes)
        ):
            raise UserError(f"a checkpoint says of itself what is no text or number: {self}")

    def detector(
        self,
        config: CrnnConfig,
        threshold: float | None = None,
        smoothing: int | None = None,
        false_alarms_per_hour: float | None = None,
    ) -> DetectorConfig:
        """The detector that the model asks for, but for what is given here; what is not known is the default.

        Args:
            config: The model.
            threshold: In place of the model's own.
            smoothing: The same.
            false_alarms_per_hour: Takes the threshold from the operating points.

        Raises:
            UserError: If the threshold or the smoothing is none, or there is no such point, or a threshold as well.
        """
        if false_alarms_per_hour is not None:
            if threshold is not None:
                raise UserError("a threshold and false alarms per hour exclude each other: give one of them")
            threshold = self._threshold_for(false_alarms_per_hour)
        chosen: dict[str, Any] = {
            "threshold": self.threshold if threshold is None else threshold,
            "smoothing": self.smoothing if smoothing is None else smoothing,
        }
        known = {name: value for name, value in chosen.items() if value is not None}
        return DetectorConfig(step_duration=config.step_duration, **known)

    def _threshold_for(self, false_alarms_per_hour: float) -> float:
        points = self.operating_points or {}
        if (name := f"{false_alarms_per_hour:g}") not in points:
            offered = f"it has them for {', '.join(points)}" if points else "it has none for any number"
            raise UserError(f"the checkpoint has no threshold for {name} false alarms per hour: {offered}")
        return points[name]


def _known(*values: object) -> list[object]:
    return [value for value in values if value is not None]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
