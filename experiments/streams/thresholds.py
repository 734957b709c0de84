"""Thresholds of a model, chosen on scenes of validation speakers, for its file's header."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.streams.judging import Run, choose
from experiments.streams.modes import stream
from experiments.streams.recipe import SceneRecipe
from experiments.study.stream_records import IN_USE, LIMITS
from experiments.study.task import DataSource
from kws_jax.checkpoint import About, describe, load_deployed, rewrite
from kws_jax.data.corpus import Corpus
from kws_jax.data.scenes import Scenes
from kws_jax.evaluation.stream_metrics import threshold_at

if TYPE_CHECKING:
    from experiments.study.sweep import Job  # with all of PyTorch


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


def give_thresholds(source: DataSource, corpus: Corpus, runs: Mapping[Path, "Job"], hours: float | None = None) -> None:
    """Writes thresholds into the files of models that learnt from scenes, as validation speakers choose them.

    Args:
        source: Where running speech and noise of their scenes lie.
        corpus: All clips.
        runs: By the model's file; where only a record is left of a run, there is nothing to write into.
        hours: Of scenes; three by default, but no more than a model has learnt from.
    """
    scenes: dict[str, Scenes] = {}
    for path, run in runs.items():
        if not (run.setting.scene_hours and path.is_file()):
            continue
        about = describe(path)[1]
        if about.operating_points is not None:
            continue
        if run.keyword not in scenes:
            heard = hours or min(SceneRecipe.hours, run.setting.scene_hours)
            recipe = SceneRecipe(source.folder, source.sources, heard)
            scenes = {run.keyword: recipe.build(corpus, run.keyword, "validation")}
        rewrite(path, path, with_thresholds(path, about, scenes[run.keyword]))
