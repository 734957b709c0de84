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
from experiments.stream_runs import slide, stream
from kws_jax import checkpoint
from kws_jax.data import load_corpus
from kws_jax.errors import UserError, one_line_errors
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
        path = out / "streams" / f"{_name(folder)}.json"
        if path.exists():
            print(f"{path}: is there")
            continue
        config, variables = checkpoint.restore(folder)
        word = keyword or checkpoint.read_about(folder).get("keyword")
        if word is None:
            raise UserError(f"{folder} does not say which word it spots: give --keyword")
        for part in ("validation", "testing"):
            if (word, part) not in scenes:
                scenes[word, part] = build_scenes(
                    gather(corpus, word, split, part, speech), hours, minutes_per_stream, seed
                )
        record = evaluate(config, variables, scenes[word, "validation"], scenes[word, "testing"])
        described = {"checkpoint": _name(folder), "keyword": word, "seed": seed, "corpus": corpus.fingerprint}
        path.parent.mkdir(parents=True, exist_ok=True)
        part_path = path.with_suffix(".part")
        part_path.write_text(json.dumps(described | record | environment(), indent=1) + "\n")
        part_path.replace(path)
        print(f"{path}: " + ", ".join(f"{mode} {record['modes'][mode]['test_miss_rate_at_1']:.3f}" for mode in MODES))


def _name(folder: Path) -> str:
    """results/checkpoints/NAME/flax is NAME."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == "flax" else folder.name


def evaluate(config: Any, variables: dict[str, Any], validation: Scenes, testing: Scenes) -> dict[str, Any]:
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
        "scenes": {"validation": _describe(validation), "testing": _describe(testing)},
        "reset_seconds": RESET_SECONDS,
        "modes": {mode: asdict(result.summary) for mode, result in judged.items()},
        "carried_minus_sliding": compare_modes(judged["carried"], judged["sliding"]),
        "reset_minus_sliding": compare_modes(judged["reset"], judged["sliding"]),
    }


def _describe(scenes: Scenes) -> dict[str, Any]:
    speakers = np.concatenate(scenes.keyword_speakers)
    return {
        "hours": scenes.hours,
        "streams": len(scenes.snrs),
        "keywords": int(speakers.size),
        "keyword_speakers": int(np.unique(speakers).size),
        "snrs": scenes.snrs,
    }


if __name__ == "__main__":
    with one_line_errors():
        tyro.cli(main, description=__doc__)
