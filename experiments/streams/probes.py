"""What a detector in use does beyond the scenes: at sounds that nobody speaks, and at words louder or softer."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from experiments.streams.judging import Run
from experiments.study.stream_records import StreamQuality
from kws_jax.data.audio import to_float, to_pcm
from kws_jax.data.scenes import Scenes
from kws_jax.data.sounds import SOUNDS, sound
from kws_jax.detector import DetectorConfig
from kws_jax.evaluation.stream_metrics import detector, match_detections

SECONDS = 600.0  # of each kind of sound
DECIBELS = (-40.0, -20.0, 6.0, 20.0)  # of amplitudes that are not rounded again; beyond full scale they are clipped
Ears = Callable[[np.ndarray], Sequence[np.ndarray]]  # from (streams, samples) to each stream's detections


def in_use(run: Callable[[np.ndarray], Run], quality: StreamQuality, step_duration: float) -> Ears:
    """The detector in use of what was judged, over any waveforms; without a threshold it is silent."""
    threshold = quality.in_use.threshold
    if threshold is None:
        return lambda waveforms: [np.zeros(0)] * len(waveforms)
    config = DetectorConfig(threshold, quality.smoothing, step_duration=step_duration)
    return lambda waveforms: detector(*run(waveforms), config)(threshold)


def count_triggers(detect: Ears, seed: int) -> dict[str, int]:
    """Triggers in SECONDS of each kind of sound; the same sounds for the same seed."""
    return {kind: len(times) for kind, times in zip(SOUNDS, detect(_sounds(seed)), strict=True)}


@cache
def _sounds(seed: int) -> np.ndarray:
    return np.stack(
        [to_pcm(sound(kind, SECONDS, np.random.default_rng([seed, number]))) for number, kind in enumerate(SOUNDS)]
    )


def compare_levels(detect: Ears, scenes: Scenes) -> dict[str, float]:
    """By DECIBELS that the scenes' clean streams are made louder: points that are missed more than without."""
    clean = [stream for stream, snr in enumerate(scenes.snrs) if snr is None]
    intervals = [scenes.keyword_intervals[stream] for stream in clean]

    def missed(decibels: float) -> int:
        waveforms = np.clip(np.float32(10 ** (decibels / 20)) * to_float(scenes.waveforms[clean]), -1.0, 1.0)
        matches = map(match_detections, detect(waveforms), intervals)
        return sum(int(np.count_nonzero(~match.hits)) for match in matches)

    before, share = missed(0.0), 100.0 / max(1, sum(map(len, intervals)))
    return {f"{decibels:g}": share * (missed(decibels) - before) for decibels in DECIBELS}
