"""Checkpoints judged as detectors on scenes: each by what validation speakers choose, and into a record."""

from contextlib import closing
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.streams.judging import Run, compare_modes, judge_mode
from experiments.streams.modes import WINDOW, slide, stream
from experiments.streams.probes import compare_levels, count_triggers, in_use
from experiments.streams.recipe import Judgement, SceneRecipe
from experiments.study.environment import environment
from experiments.study.executors import check_jobs
from experiments.study.json_files import read_json
from experiments.study.lock import locked
from experiments.study.stream_records import STREAMS, StreamRecord, write_stream
from experiments.study.workers import run_jobs
from kws_jax import checkpoint
from kws_jax.config import SAMPLE_RATE, CrnnConfig
from kws_jax.cost import frontend_macs_per_second, macs_per_clip, macs_per_streamed_second, state_bytes
from kws_jax.data.corpus import Corpus, load_corpus
from kws_jax.data.scenes import Scenes
from kws_jax.data.sources import check_word
from kws_jax.errors import UserError


@dataclass(frozen=True)
class Job:
    """A checkpoint, the word that it spots, and where its record goes."""

    keyword: str
    path: Path
    target: Path


def judge_checkpoints(
    checkpoints: tuple[Path, ...], judgement: Judgement, out: Path, keyword: str | None, jobs: int
) -> None:
    """Judges those that have no record; see `experiments.stream_eval`."""
    if not checkpoints:
        raise UserError("name a checkpoint, such as checkpoints/happy/base.safetensors")
    check_jobs(jobs)
    found = {job.target: job for job in (_job(path, out, keyword) for path in checkpoints)}
    with locked(out):
        _judge_all([*found.values()], judgement, jobs)


def _judge_all(found: list[Job], judgement: Judgement, jobs: int) -> None:
    todo = [job for job in found if not _has_record(job, judgement)]
    print(f"{len(found) - len(todo)} of {len(found)} have their record")
    todo.sort(key=lambda job: job.keyword)  # a process keeps the scenes of one keyword
    failed = 0
    judge = partial(judge_checkpoint, judgement)
    with closing(run_jobs(judge, dict.fromkeys(todo, ()), jobs, quiet=jobs > 1)) as outcomes:
        for outcome in outcomes:
            failed += outcome.result is None
            said = f"FAILED, {outcome.error}" if outcome.result is None else f"{outcome.result:.3f} missed at 1 an hour"
            print(f"{outcome.job.target}: {said}", flush=True)
    if failed:
        raise UserError(f"{failed} of {len(todo)} have no record: see above; the same command tries again")


def _job(path: Path, out: Path, keyword: str | None) -> Job:
    about = checkpoint.describe(path)[1]
    word, seed = keyword or about.keyword, "" if about.seed is None else f"-{about.seed}"
    if word is None:
        raise UserError(f"{path} does not say which word it spots: give --keyword")
    name = about.setting or path.stem
    check_word(word)
    check_word(name, "name of a record")
    return Job(word, path, out / STREAMS / f"{name}-{word}{seed}.json")


def _has_record(job: Job, judgement: Judgement) -> bool:
    """Whether a record is there, of what is asked for.

    Raises:
        UserError: If it is of something else, or none.
    """
    if not job.target.exists():
        return False
    record: StreamRecord = read_json(job.target, StreamRecord)
    other = judgement.scenes.differs(record.heard, job.keyword)
    if judgement.sliding and "sliding" not in record.modes:
        other = other or "no sliding window"
    if other:
        raise UserError(f"{job.target} is of other scenes ({other}): delete it, or name another folder with --out")
    return True


def judge_checkpoint(judgement: Judgement, job: Job) -> float:
    """Writes a checkpoint's record and says its misses at one false alarm an hour; in a worker process."""
    corpus, validation, testing = _heard(judgement.scenes, job.keyword)
    config, variables, about = checkpoint.load_deployed(job.path)
    judged = evaluate(config, variables, validation, testing, judgement.scenes.seed, judgement.sliding)
    heard = judgement.scenes.heard(corpus, job.keyword, validation, testing)
    record = StreamRecord(
        setting=about.setting or job.path.stem, seed=about.seed, heard=heard, **judged, **environment()
    )
    write_stream(job.target, record)
    return record.modes["carried"].test_miss_rate_at_1


_corpus = cache(load_corpus)


@lru_cache(1)
def _heard(recipe: SceneRecipe, keyword: str) -> tuple[Corpus, Scenes, Scenes]:
    corpus = _corpus(recipe.data)
    return corpus, recipe.build(corpus, keyword, "validation"), recipe.build(corpus, keyword, "testing")


def evaluate(
    config: CrnnConfig, variables: dict[str, Any], validation: Scenes, testing: Scenes, seed: int, sliding: bool = False
) -> dict[str, Any]:
    """Runs a model over both parts and judges it: the fields of a record that say how it did.

    Args:
        config: Model, without batch normalisation.
        variables: Of the model.
        validation: Scenes of validation speakers.
        testing: Of test speakers.
        seed: Of the sounds that nobody speaks.
        sliding: Whether a sliding window is judged too.
    """

    def carried(waveforms: np.ndarray) -> Run:
        return Run(*stream(variables["params"], config, waveforms))

    runs = {"carried": carried}
    if sliding:
        runs["sliding"] = lambda waveforms: Run(*slide(variables, config, waveforms))
    judged = {
        mode: judge_mode(run(validation.waveforms), validation, run(testing.waveforms), testing, config.step_duration)
        for mode, run in runs.items()
    }
    detect = in_use(carried, judged["carried"].quality, config.step_duration)
    return {
        "modes": {mode: result.quality for mode, result in judged.items()},
        "carried_minus_sliding": compare_modes(judged["carried"], judged["sliding"]) if sliding else None,
        "sounds": count_triggers(detect, seed),
        "levels": compare_levels(detect, testing),
        "macs_per_second": macs_by_mode(config),
        "state_bytes": state_bytes(config),
        "algorithmic_latency": config.algorithmic_latency / SAMPLE_RATE,
    }


def macs_by_mode(config: CrnnConfig) -> dict[str, dict[str, float]]:
    """Work by mode, in multiply-accumulates per second of audio.

    A sliding window computes a whole window's log-mel and model at every step.
    """
    frontend, windows = frontend_macs_per_second(config), 1 / config.step_duration
    streamed = {"model": macs_per_streamed_second(config), "frontend": frontend}
    work = macs_per_clip(config, WINDOW).total
    sliding = {"model": windows * work, "frontend": windows * frontend * WINDOW / SAMPLE_RATE}
    return {"carried": streamed, "sliding": sliding}
