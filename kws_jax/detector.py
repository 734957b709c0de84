"""From probabilities to detections: smoothing, threshold and refractory time, apart from any model.

    score[i] = mean of probability[i - smoothing + 1 .. i]

Step i triggers if and only if

    score[i - 1] < threshold <= score[i]    and    i - j >= refractory_steps,    j the step that triggered last.

One word is one trigger. The edge must rise, because a word keeps the score up for as long as the model remembers it,
which may be longer than the refractory time: a score that stays up triggers once, and again only after it has been
below the threshold. The refractory time is there because a score may waver about the threshold within one word; an
edge that rises in that time is lost, not put off.

NaN (a stream's warm-up) is no evidence: it counts as probability 0 in the mean, and so do the steps before the first;
a score of 0 never triggers. `scan` and `detections` agree on every step: both sum in float32 from the oldest step on.

References:
    Chen, Parada, Heigold: Small-footprint Keyword Spotting using Deep Neural Networks, 2014 (posterior smoothing).
    Banbury et al.: MLPerf Tiny Benchmark, 2021; its streaming test has one second of refractory time.
"""

import functools
import math
import operator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Float64, Int, Real

from kws_jax.config import REFRACTORY
from kws_jax.errors import UserError

MOST_SMOOTHING = 10_000  # steps, a quarter of an hour
MOST_STEPS = 2**31 - 1  # that a detector rests: a state counts them in 32 bits
GRID_TOLERANCE = 0.01  # of a step: times are rounded where they are stored


@dataclass(frozen=True)
class DetectorConfig:
    """What turns probabilities into detections.

    Attributes:
        threshold: A score at or above it is the keyword; in [0, 1].
        smoothing: Steps that the score is the mean of; 1 takes the probabilities as they are.
        refractory: Least time between triggers in seconds, rounded up to whole steps.
        step_duration: Time between steps in seconds: block_size / sample_rate of the model (80 ms for the base).

    Raises:
        UserError: If a value is out of range.
    """

    threshold: float = 0.5
    smoothing: int = 1
    refractory: float = REFRACTORY
    step_duration: float = 0.08

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise UserError(f"the threshold is a probability in [0, 1], not {self.threshold}")
        if not 1 <= self.smoothing <= MOST_SMOOTHING or self.smoothing % 1:
            raise UserError(f"smoothing takes 1 to {MOST_SMOOTHING} whole steps, not {self.smoothing}")
        if not 0 <= self.refractory <= MOST_STEPS * self.step_duration < math.inf or not self.step_duration:
            raise UserError(f"no rest of {self.refractory} s in steps of {self.step_duration} s: name other times")

    @property
    def refractory_steps(self) -> int:
        """Least number of steps between triggers (13 by default)."""
        return math.ceil(self.refractory / self.step_duration - GRID_TOLERANCE)

    @property
    def level(self) -> np.float32:
        """The threshold that float32 scores are held against; above 0, since a score of 0 is no evidence."""
        return np.maximum(np.float32(self.threshold), np.finfo(np.float32).tiny)


class Detection(NamedTuple):
    """A trigger.

    Attributes:
        time: Of its step, in seconds from the start of the stream.
        probability: The smoothed one, in [threshold, 1].
    """

    time: float
    probability: float


class DetectorState(NamedTuple):
    """Everything a detector remembers.

    Attributes:
        recent: The last `smoothing` probabilities, oldest first.
        was_above: Whether the last score was at or above the threshold.
        wait: Steps until a trigger is allowed: the coming step may trigger where it is 1 or less.
    """

    recent: Float[Array, "batch smoothing"]
    was_above: Bool[Array, " batch"]
    wait: Int[Array, " batch"]


def init_state(config: DetectorConfig, batch_size: int) -> DetectorState:
    """State of detectors that have heard nothing."""
    return DetectorState(
        recent=jnp.zeros((batch_size, config.smoothing), jnp.float32),
        was_above=jnp.zeros(batch_size, bool),
        wait=jnp.zeros(batch_size, jnp.int32),
    )


def step(
    config: DetectorConfig, state: DetectorState, probability: Float[Array, " batch"]
) -> tuple[DetectorState, Bool[Array, " batch"]]:
    """Takes in one step's probabilities, NaN where there is none, and says which streams trigger."""
    evidence = jnp.where(jnp.isnan(probability), 0, probability)
    recent = jnp.concatenate([state.recent[:, 1:], evidence[:, None]], axis=1)
    is_above = _mean(recent.T) >= config.level
    wait = jnp.maximum(state.wait - 1, 0)
    is_detection = is_above & ~state.was_above & (wait == 0)
    wait = jnp.where(is_detection, config.refractory_steps, wait)
    return DetectorState(recent, is_above, wait), is_detection


def scan(
    config: DetectorConfig, state: DetectorState, probabilities: Float[Array, "batch steps"]
) -> tuple[DetectorState, Bool[Array, "batch steps"]]:
    """`step` over many steps."""
    state, is_detection = jax.lax.scan(lambda carry, column: step(config, carry, column), state, probabilities.T)
    return state, is_detection.T


def detections(
    times: Real[np.ndarray, "_"], probabilities: Float[np.ndarray, "_"], config: DetectorConfig
) -> tuple[Float64[np.ndarray, " detections"], Float32[np.ndarray, " detections"]]:
    """All detections of a whole stream: those of `scan` from the initial state, computed at once.

    Args:
        times: Of each step in seconds, config.step_duration apart; a step without a probability is there as NaN.
        probabilities: In [0, 1] or NaN.
        config: The detector.

    Returns:
        Times of the detections in seconds, and their smoothed probabilities.

    Raises:
        ValueError: If the lengths differ, steps are missing, or a probability is out of range.
    """
    times = checked_times(times, probabilities, config)
    scores = smooth(probabilities, config.smoothing)
    indices = trigger_indices(scores, config)
    return times[indices], scores[indices]


def checked_times(
    times: Real[np.ndarray, "_"], probabilities: Float[np.ndarray, "_"], config: DetectorConfig
) -> Float64[np.ndarray, " steps"]:
    """The times in float64, or a ValueError where `detections` cannot work with them."""
    times = np.asarray(times, np.float64)
    if times.shape != probabilities.shape:
        raise ValueError(f"{times.shape[0]} times for {probabilities.shape[0]} probabilities")
    gaps = np.diff(times)
    is_off = ~(np.abs(gaps - config.step_duration) <= GRID_TOLERANCE * config.step_duration)
    if is_off.any():
        first = int(np.argmax(is_off))
        found = f"steps are {config.step_duration:g} s apart, but {gaps[first]:g} s after {times[first]:g} s"
        raise ValueError(f"{found}: a step without a probability is NaN")
    return times


def smooth(probabilities: Float[np.ndarray, " steps"], smoothing: int) -> Float32[np.ndarray, " steps"]:
    """Score of every step: the mean of the last `smoothing` probabilities, where NaN and steps before the first are 0.

    Raises:
        ValueError: If a probability is neither NaN nor in [0, 1].
    """
    padded = np.pad(_evidence(probabilities), (smoothing - 1, 0))
    return _mean([padded[age : age + len(probabilities)] for age in range(smoothing)])


def _evidence(probabilities: Float[np.ndarray, " steps"]) -> Float32[np.ndarray, " steps"]:
    evidence = np.where(np.isnan(probabilities), 0, probabilities).astype(np.float32)
    if not ((evidence >= 0) & (evidence <= 1)).all():
        raise ValueError(f"probabilities must lie in [0, 1], found {evidence.min():g} to {evidence.max():g}")
    return evidence


def trigger_indices(scores: Float32[np.ndarray, " steps"], config: DetectorConfig) -> Int[np.ndarray, " detections"]:
    """Steps that trigger, given the scores of a whole stream."""
    is_above = scores >= config.level
    rising = np.flatnonzero(is_above & ~np.pad(is_above, (1, 0))[:-1])
    return rising[spaced(rising, config.refractory_steps)]


def spaced(positions: Real[np.ndarray, " positions"], distance: int | float) -> Int[np.ndarray, " kept"]:
    """Indices of the positions that are kept when each must lie `distance` or more after the one kept before.

    Args:
        positions: Ascending, such as the times of another engine's detections in seconds.
        distance: At least 0, in the same unit.
    """
    following = np.maximum(np.searchsorted(positions, positions + distance), np.arange(1, len(positions) + 1)).tolist()
    kept, index = [], 0
    while index < len(positions):
        kept.append(index)
        index = following[index]
    return np.array(kept, np.int64)


def _mean(columns: Any) -> Any:
    """Mean over the first axis, rounded alike in NumPy and JAX: XLA divides by a constant by its inverse."""
    return functools.reduce(operator.add, columns) * np.float32(1 / len(columns))


class Detector:
    """One stream's detector on the host: `step`, in NumPy's float32.

    Args:
        config: The detector; its `step_duration` is the stream's.
    """

    def __init__(self, config: DetectorConfig) -> None:
        self.config = config
        self.reset()

    def reset(self) -> None:
        """Forgets everything heard so far."""
        self._recent = np.zeros(self.config.smoothing, np.float32)
        self._was_above, self._wait = False, 0

    def push(self, times: Real[np.ndarray, "_"], probabilities: Float[np.ndarray, "_"]) -> list[Detection]:
        """Takes in the next steps, any number of them, and yields the detections among them.

        Raises:
            ValueError: If the numbers of times and probabilities differ, or a probability is neither NaN nor in [0, 1].
        """
        return [
            Detection(float(time), float(_mean(self._recent)))
            for time, probability in zip(times, _evidence(probabilities), strict=True)
            if self._triggers(probability)
        ]

    def _triggers(self, probability: np.float32) -> bool:
        self._recent = np.append(self._recent[1:], probability)
        was_above, self._was_above = self._was_above, bool(_mean(self._recent) >= self.config.level)
        is_detection = self._was_above and not was_above and self._wait <= 1
        self._wait = self.config.refractory_steps if is_detection else max(self._wait - 1, 0)
        return is_detection
