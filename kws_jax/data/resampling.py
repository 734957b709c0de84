"""Sound in blocks, of any rate and number of channels, to one channel at 16 kHz with flat memory."""

import logging
import math
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float32, Float64

from kws_jax.config import SAMPLE_RATE
from kws_jax.data.decoding import Oddity, check_rate

__all__ = ["Resampler", "at_16_khz"]

FILTER = 10  # samples of the lower rate on each side that scipy's filter reaches
SURE = 10.0  # seconds of sound after which what is odd is said

logger = logging.getLogger(__name__)


class Resampler:
    """`scipy.signal.resample_poly` of a whole recording to 16 kHz, of which any pieces are given one after another.

    push(a) ++ push(b) ++ ... ++ flush() == resample_poly(a ++ b ++ ...), to rounding: outputs come in rounds of `up`
    for `down` samples, each round as soon as all that its filter reaches is there.

    Args:
        sample_rate: Of what is pushed, in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        divisor = math.gcd(sample_rate, SAMPLE_RATE)
        self._up, self._down = SAMPLE_RATE // divisor, sample_rate // divisor
        self._after = math.ceil(FILTER * max(self._up, self._down) / self._up)  # samples that the filter reaches
        self._rounds_before = math.ceil(self._after / self._down)
        self._held = np.zeros(self._rounds_before * self._down)  # before the first sample there is silence
        self._heard = self._given = 0

    def push(self, samples: Float64[np.ndarray, "_"]) -> Float64[np.ndarray, "_"]:
        """The rounds that these samples complete."""
        if self._up == self._down:
            return samples
        from scipy.signal import resample_poly  # half a second to import, which few sounds need

        self._heard += len(samples)
        self._held = np.concatenate([self._held, samples])
        rounds = (len(self._held) - self._after) // self._down - self._rounds_before
        if rounds <= 0:
            return samples[:0]
        resampled = resample_poly(self._held, self._up, self._down)
        self._held = self._held[rounds * self._down :].copy()
        self._given += rounds * self._up
        return resampled[self._rounds_before * self._up :][: rounds * self._up]

    def flush(self) -> Float64[np.ndarray, "_"]:
        """What is left at the end."""
        if self._up == self._down:
            return self._held[:0]
        left = -(-self._heard * self._up // self._down) - self._given
        return self.push(np.zeros(self._after + self._down))[:left]


def at_16_khz(
    blocks: Iterable[Float64[np.ndarray, "_ channels"]], sample_rate: int
) -> Iterator[Float32[np.ndarray, "_"]]:
    """The samples of `kws_jax.data.audio.read_audio`, as they come; what is odd about them is warned of once.

    Raises:
        ValueError: There are no samples, NaN or infinity among them, or no sound has such a rate.
    """
    check_rate(sample_rate)
    resampler, oddity, heard, is_said = Resampler(sample_rate), Oddity(), 0, False
    for block in blocks:
        oddity.add(block)
        with np.errstate(all="ignore"):  # what is not finite is said here
            samples = block.mean(axis=1)
            if not (is_finite := np.abs(samples) <= np.finfo(np.float32).max).all():
                second = (heard + int(np.argmin(is_finite))) / sample_rate
                raise ValueError(f"NaN or infinite sample at {second:g} s")
        heard += len(samples)
        if not is_said and heard >= SURE * sample_rate:
            is_said = _warn(oddity)
        yield resampler.push(samples).astype(np.float32)
    if not heard:
        raise ValueError("no samples")
    if not is_said:
        _warn(oddity)
    yield resampler.flush().astype(np.float32)


def _warn(oddity: Oddity) -> bool:
    if odd := oddity.found():
        logger.warning("%s", odd)
    return odd is not None
