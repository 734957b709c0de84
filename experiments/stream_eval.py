"""Judges a checkpoint as a detector on hours of continuous audio: misses against false alarms per hour.

The audio is glued from held-out speakers (see `kws_jax.data.scenes`), the same for every checkpoint and every way of
running it. Threshold and smoothing are chosen on validation speakers and applied unchanged to test speakers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tyro.conf import Positional

from experiments.streams.judging import MODES, Run, compare_modes, judge_mode
from experiments.streams.modes import WINDOW, slide, stream
from experiments.study.environment import environment
from experiments.study.stream_records import STREAMS, Heard, StreamRecord, write_stream
from kws_jax import checkpoint
from kws_jax.config import SAMPLE_RATE, CrnnConfig
from kws_jax.cost import frontend_macs_per_second, macs_per_clip, macs_per_streamed_second, state_bytes
from kws_jax.data.corpus import Corpus, load_corpus
from kws_jax.data.scenes import Scenes, build_scenes, gather
from kws_jax.data.splits import split_official
from kws_jax.errors import UserError, one_line_errors
from kws_jax.model import fold_batch_norm

RESET_SECONDS = 10.0


@dataclass(frozen=True)
class SceneRecipe:
    """What scenes are glued from, and how.

    Attributes:
        data: Folder laid out as Speech Commands.
        speech: Folder of running speech, files <speaker>-*.flac, .wav or .ogg.
        hours: Of audio, for validation and for test speakers each.
        minutes_per_stream: The state is carried for so long.
        seed: Of the glueing.
    """

    data: Path
    speech: Path
    hours: float = 3.0
    minutes_per_stream: float = 10.0
    seed: int = 0

    def build(self, corpus: Corpus, keyword: str, part: str) -> Scenes:
        """Scenes of validation or testing speakers."""
        material = gather(corpus, keyword, split_official(corpus), part, self.speech)
        return build_scenes(material, self.hours, self.minutes_per_stream, self.seed)

    def heard(self, corpus: Corpus, keyword: str, validation: Scenes, testing: Scenes) -> Heard:
        """What was heard, for a record."""
        return Heard(
            keyword=keyword,
            corpus=self.data.resolve().name,
            fingerprint=corpus.fingerprint,
            speech=self.speech.resolve().name,
            seed=self.seed,
            validation=describe(validation),
            testing=describe(testing),
        )


def main(
    checkpoints: Positional[tuple[Path, ...]],
    scenes: tyro.conf.OmitArgPrefixes[SceneRecipe],
    out: Path = Path("out"),
    keyword: str | None = None,
) -> None:
    """Judges checkpoints; each gets a record in OUT/streams, and one that is there is not judged again.

    Args:
        checkpoints: Shipped files, or folders of models of one's own.
        scenes: What is heard.
        out: Folder of results.
        keyword: The word to spot, where the checkpoint does not say.
    """
    if not checkpoints:
        raise UserError("name a checkpoint, such as checkpoints/happy/base.safetensors")
    corpus = load_corpus(scenes.data)
    built: dict[tuple[str, str], Scenes] = {}
    for path in checkpoints:
        config, variables, about = checkpoint.load(path)
        word, setting = keyword or about.keyword, about.setting or path.stem
        if word is None:
            raise UserError(f"{path} does not say which word it spots: give --keyword")
        target = out / STREAMS / f"{setting}-{word}{'' if about.seed is None else f'-{about.seed}'}.json"
        if target.exists():
            print(f"{target}: is there")
            continue
        for part in ("validation", "testing"):
            if (word, part) not in built:
                built[word, part] = scenes.build(corpus, word, part)
        parts = built[word, "validation"], built[word, "testing"]
        judged = evaluate(*fold_batch_norm(config, variables), *parts)
        record = StreamRecord(
            setting=setting, seed=about.seed, heard=scenes.heard(corpus, word, *parts), **judged, **environment()
        )
        write_stream(target, record)
        print(f"{target}: " + ", ".join(f"{mode} {record.modes[mode].test_miss_rate_at_1:.3f}" for mode in MODES))


def evaluate(config: CrnnConfig, variables: dict[str, Any], validation: Scenes, testing: Scenes) -> dict[str, Any]:
    """Runs a model over both parts in every mode and judges it: the fields of a record that say how it did."""
    params, blocks = variables["params"], round(RESET_SECONDS / config.step_duration)
    runs = {
        "carried": lambda waveforms: stream(params, config, waveforms),
        "reset": lambda waveforms: stream(params, config, waveforms, reset_every=blocks),
        "sliding": lambda waveforms: slide(variables, config, waveforms),
    }
    judged = {
        mode: judge_mode(
            Run(*run(validation.waveforms)), validation, Run(*run(testing.waveforms)), testing, config.step_duration
        )
        for mode, run in runs.items()
    }
    return {
        "modes": {mode: result.quality for mode, result in judged.items()},
        "reset_seconds": RESET_SECONDS,
        "carried_minus_sliding": compare_modes(judged["carried"], judged["sliding"]),
        "reset_minus_sliding": compare_modes(judged["reset"], judged["sliding"]),
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
    return {"carried": streamed, "reset": streamed, "sliding": sliding}


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
