"""Thresholds of a model, chosen on scenes of validation speakers, for its file's header."""

from dataclasses import replace
from pathlib import Path

from experiments.streams.judging import Run, choose
from experiments.streams.modes import stream
from experiments.study.stream_records import IN_USE, LIMITS
from kws_jax.checkpoint import About, load_deployed
from kws_jax.data.scenes import Scenes
from kws_jax.evaluation.stream_metrics import threshold_at


def with_thresholds(path: Path, about: About, scenes: Scenes) -> About:
    """What is known of a model, with the thresholds that validation speakers choose, as far as there are."""
    config, variables, _ = load_deployed(path)
    chosen = choose(Run(*stream(variables["params"], config, scenes.waveforms)), scenes, config.step_duration)
    found = {limit: threshold_at(chosen.counts.det(), limit) for limit in LIMITS}
    points = {limit: round(threshold, 6) for limit, threshold in found.items() if threshold is not None}
    used = next((limit for limit in IN_USE if limit in points), None)
    return replace(
        about,
        threshold=None if used is None else points[used],
        smoothing=chosen.smoothing,
        false_alarms_per_hour=used,
        operating_points={f"{limit:g}": threshold for limit, threshold in points.items()},
        validation_hours=round(scenes.hours, 2),
    )
