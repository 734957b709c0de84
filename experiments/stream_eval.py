"""Judges a checkpoint as a detector on hours of continuous audio: misses against false alarms per hour.

The audio is glued from held-out speakers (see `experiments.continuous`), the same for every checkpoint and every way of
running it. Threshold and smoothing are chosen on validation speakers and applied unchanged to test speakers.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.continuous import Scenes, build_scenes, gather
from experiments.records import environment
from experiments.stream_judging import MODES, compare_modes, judge_mode
from experiments.stream_runs import WINDOW, slide, stream
from kws_jax import checkpoint
from kws_jax.config import CrnnConfig
from kws_jax.cost import frontend_macs_per_second, macs_per_clip, macs_per_streamed_second, state_bytes
from kws_jax.data import load_corpus
from kws_jax.errors import UserError, one_line_errors
from kws_jax.model import fold_batch_norm
from kws_jax.splits import split_official

RESET_SECONDS = 10.0


def main(
    checkpoints: tyro.conf.Positional[tuple[Path, ...]],
    data: Path,
    speech: Path,
    out: Path = Path("out"),
    keyword: str | None = None,
    hours: float = 3.0,
    minutes_per_stream: float = 10.0,
    seed: int = 0,
) -> None:
    """Judges checkpoints; each gets a record in OUT/streams, and one that is there is not judged again.

    Args:
        checkpoints: Folders of Flax checkpoints.
        data: Folder laid out as Speech Commands.
        speech: Folder of running speech, files <speaker>-*.flac or .wav.
        out: Folder of results.
        keyword: The word to spot, where the checkpoint does not say.
        hours: Of audio, for validation and for test speakers each.
        minutes_per_stream: The state is carried for so long.
        seed: Of the glueing.
    """
    if not checkpoints:
        raise UserError("name the folder of a checkpoint")
    corpus = load_corpus(data)
    split = split_official(corpus)
    scenes: dict[tuple[str, str], Scenes] = {}
    for folder in checkpoints:
        path = out / "streams" / f"{checkpoint_name(folder)}.json"
        if path.exists():
            print(f"{path}: is there")
            continue
        config, variables = fold_batch_norm(*checkpoint.restore(folder))
        word = keyword or checkpoint.read_about(folder).get("keyword")
        if word is None:
            raise UserError(f"{folder} does not say which word it spots: give --keyword")
        for part in ("validation", "testing"):
            if (word, part) not in scenes:
                scenes[word, part] = build_scenes(
                    gather(corpus, word, split, part, speech), hours, minutes_per_stream, seed
                )
        record = evaluate(config, variables, scenes[word, "validation"], scenes[word, "testing"])
        described = {"checkpoint": checkpoint_name(folder), "keyword": word, "seed": seed, "corpus": corpus.fingerprint}
        described |= {"corpus_name": data.resolve().name, "speech": speech.resolve().name}
        write_json(path, described | record | environment())
        print(f"{path}: " + ", ".join(f"{mode} {record['modes'][mode]['test_miss_rate_at_1']:.3f}" for mode in MODES))


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Writes a record in one piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1) + "\n")
    part.replace(path)


def checkpoint_name(folder: Path) -> str:
    """results/checkpoints/NAME/flax is NAME."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == "flax" else folder.name


def evaluate(config: CrnnConfig, variables: dict[str, Any], validation: Scenes, testing: Scenes) -> dict[str, Any]:
    """Runs a model over both parts in every mode and judges it; what is returned goes into the record as it is."""
    params = variables["params"]
    blocks = round(RESET_SECONDS * config.frontend.sample_rate / config.block_size)
    runs = {
        "carried": lambda waveforms: stream(params, config, waveforms),
        "reset": lambda waveforms: stream(params, config, waveforms, reset_every=blocks),
        "sliding": lambda waveforms: slide(variables, config, waveforms),
    }
    step_duration = config.block_size / config.frontend.sample_rate
    judged = {
        mode: judge_mode(run(validation.waveforms), validation, run(testing.waveforms), testing, step_duration)
        for mode, run in runs.items()
    }
    return {
        "scenes": {"validation": describe(validation), "testing": describe(testing)},
        "cost": count_cost(config),
        "reset_seconds": RESET_SECONDS,
        "modes": {mode: asdict(result.summary) for mode, result in judged.items()},
        "carried_minus_sliding": compare_modes(judged["carried"], judged["sliding"]),
        "reset_minus_sliding": compare_modes(judged["reset"], judged["sliding"]),
    }


def count_cost(config: CrnnConfig) -> dict[str, Any]:
    """Work by mode, in multiply-accumulates per second of audio; what a stream remembers; and how late a step comes.

    A sliding window computes a whole window's log-mel and model at every step.
    """
    frontend, rate = frontend_macs_per_second(config), config.frontend.sample_rate
    streamed = {"model": macs_per_streamed_second(config), "frontend": frontend}
    windows = rate / config.block_size
    sliding = {"model": windows * macs_per_clip(config, WINDOW).total, "frontend": windows * frontend * WINDOW / rate}
    return {
        "macs_per_second": {"carried": streamed, "reset": streamed, "sliding": sliding},
        "state_bytes": state_bytes(config),
        "algorithmic_latency": config.algorithmic_latency / rate,
    }


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
