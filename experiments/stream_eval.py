"""Judges checkpoints as detectors on hours of continuous audio: misses against false alarms per hour.

The audio is glued from held-out speakers (see `kws_jax.data.scenes`), the same for every checkpoint and every way of
running it. Thresholds and smoothing are chosen on validation speakers and applied unchanged to test speakers.
"""

from contextlib import closing
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tyro.conf import Positional

from experiments.streams.judging import Run, compare_modes, judge_mode
from experiments.streams.modes import WINDOW, slide, stream
from experiments.streams.probes import compare_levels, count_triggers, in_use
from experiments.study.environment import environment
from experiments.study.stream_records import STREAMS, Heard, StreamRecord, write_stream
from experiments.study.workers import run_jobs
from kws_jax import checkpoint
from kws_jax.config import SAMPLE_RATE, CrnnConfig
from kws_jax.cost import frontend_macs_per_second, macs_per_clip, macs_per_streamed_second, state_bytes
from kws_jax.data.corpus import Corpus, load_corpus
from kws_jax.data.scenes import Scenes, build_scenes, gather
from kws_jax.data.sources import SceneSources
from kws_jax.data.splits import split_official
from kws_jax.errors import UserError, one_line_errors


@dataclass(frozen=True)
class SceneRecipe:
    """What scenes are glued from, and how.

    Attributes:
        data: Folder laid out as Speech Commands.
        sources: Of running speech and noise.
        hours: Of audio, for validation and for test speakers each.
        minutes_per_stream: The state is carried for so long.
        seed: Of the glueing.
    """

    data: Path
    sources: tyro.conf.OmitArgPrefixes[SceneSources]
    hours: float = 3.0
    minutes_per_stream: float = 10.0
    seed: int = 0

    def build(self, corpus: Corpus, keyword: str, part: str) -> Scenes:
        """Scenes of validation or testing speakers."""
        material = gather(corpus, keyword, split_official(corpus), part, self.sources)
        return build_scenes(material, self.hours, self.minutes_per_stream, self.seed)

    def heard(self, corpus: Corpus, keyword: str, validation: Scenes, testing: Scenes) -> Heard:
        """What was heard, for a record."""
        return Heard(
            keyword=keyword,
            corpus=self.data.resolve().name,
            fingerprint=corpus.fingerprint,
            speech=tuple(folder.resolve().name for folder in self.sources.speech),
            noise=tuple(folder.resolve().name for folder in self.sources.noise),
            transcripts=self.sources.transcripts.name if self.sources.transcripts else None,
            seed=self.seed,
            validation=describe(validation),
            testing=describe(testing),
        )


@dataclass(frozen=True)
class Judgement:
    """How checkpoints are judged.

    Attributes:
        scenes: What is heard.
        sliding: Judge a sliding window too, and compare with it; a dozen times the work.
    """

    scenes: tyro.conf.OmitArgPrefixes[SceneRecipe]
    sliding: bool = False

    def run(self, job: "Job") -> float:
        """Writes a checkpoint's record and says its misses at one false alarm an hour; in a worker process."""
        corpus, validation, testing = _heard(self.scenes, job.keyword)
        config, variables, about = checkpoint.load_deployed(job.path)
        judged = evaluate(config, variables, validation, testing, self.scenes.seed, self.sliding)
        heard = self.scenes.heard(corpus, job.keyword, validation, testing)
        record = StreamRecord(
            setting=about.setting or job.path.stem, seed=about.seed, heard=heard, **judged, **environment()
        )
        write_stream(job.target, record)
        return record.modes["carried"].test_miss_rate_at_1


@dataclass(frozen=True)
class Job:
    """A checkpoint, the word that it spots, and where its record goes."""

    keyword: str
    path: Path
    target: Path


def main(
    checkpoints: Positional[tuple[Path, ...]],
    judgement: tyro.conf.OmitArgPrefixes[Judgement],
    out: Path = Path("out"),
    keyword: str | None = None,
    jobs: int = 1,
) -> None:
    """Judges checkpoints; each gets a record in OUT/streams, and one that is there is not judged again.

    Args:
        checkpoints: Shipped files, or folders of models of one's own.
        judgement: How they are judged.
        out: Folder of results.
        keyword: The word to spot, where the checkpoint does not say.
        jobs: Processes, of one core and some 2 GB each.
    """
    if not checkpoints:
        raise UserError("name a checkpoint, such as checkpoints/happy/base.safetensors")
    found = {job.target: job for job in (_job(path, out, keyword) for path in checkpoints)}
    todo = [job for job in found.values() if not job.target.exists()]
    print(f"{len(found) - len(todo)} of {len(found)} have their record")
    todo.sort(key=lambda job: job.keyword)  # a process keeps the scenes of one keyword
    failed = 0
    with closing(run_jobs(judgement.run, dict.fromkeys(todo, ()), jobs, quiet=jobs > 1)) as outcomes:
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
    return Job(word, path, out / STREAMS / f"{about.setting or path.stem}-{word}{seed}.json")


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


def describe(scenes: Scenes) -> dict[str, Any]:
    """What was heard."""
    speakers = np.concatenate(scenes.keyword_speakers)
    return {
        "hours": scenes.hours,
        "streams": len(scenes.snrs),
        "keywords": int(speakers.size),
        "keyword_speakers": int(np.unique(speakers).size),
        "snrs": scenes.snrs,
        "events": scenes.events,
    }


if __name__ == "__main__":
    with one_line_errors():
        tyro.cli(main, description=__doc__)
