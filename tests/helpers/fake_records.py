"""Results of runs that never were, in the form that runs leave them, for tests of what is rendered from them."""

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.report.pages import DETECTORS, NAME, TEMPLATES
from experiments.study.records import LOG, RUNS, Cost, Quality, Record, Training, write_json, write_record
from experiments.study.scores import write_scores
from experiments.study.stream_records import (
    LIMITS,
    Heard,
    OperatingPoint,
    PeerRecord,
    StreamQuality,
    StreamRecord,
    write_stream,
)
from kws_jax.config import BASE, CrnnConfig
from kws_jax.evaluation.metrics import auroc_error

NUM_CLIPS, NUM_SPEAKERS = 900, 45  # of which a ninth are the keyword's, and a fifth the validation speakers'
RECIPE = {"epochs": 4, "batch_size": 128, "peak_learning_rate": 2e-3, "window": 6.4}
WHERE = {"commit": "0123456789ab", "versions": {"python": "3.11.7", "jax": "0.10.2"}, "device": "a processor, 2 cores"}
ROBUSTNESS = {
    "newcomer": {"environment": WHERE, "steps": [{"command": "make demo", "seconds": 61.5}]},
    "malformed": {"environment": WHERE, "kinds": {"names": {"taken": 3, "refused": 1_200}}},
    "kills": {"kills": {"training": {"kills": 20, "whole": 20}}},
    "checkpoints_of_others": {"sources": {"GitHub": {"files": 39, "converted": 37, "refused": 2}}},
    "coverage": {
        "environment": WHERE,
        "packages": {"kws_jax": {"lines": 200, "lines_run": 190, "branches": 40, "branches_run": 36}},
    },
    "mutants": {
        "environment": WHERE,
        "modules": {"m.py": {"places": 9, "dead": ["a"], "alive": {"b": {"line": 3, "becomes": "x < 1", "why": ""}}}},
    },
}
RUNTIMES = ("C scan", "C stream", "JAX stream", "JAX scan", "PyTorch stream")


def record(
    name: str = "base",
    error: float = 2e-3,
    macs: int = 932_224,
    weight_bytes: int = 281_772,
    number_format: str = "fp32",
    weights_from: str | None = None,
    model: CrnnConfig = BASE,
    **changes: Any,
) -> Record:
    """A run; one that takes another's weights only stores them differently."""
    setting = {
        **{"name": name, "question": f"What of {name}?", "expectation": "much", "model": asdict(model)},
        **{"recipe": None if weights_from else RECIPE, "weights_from": weights_from, "teacher": None},
        **{"number_format": number_format, "scene_hours": 0.0, "word_balance": 1.0, "framings": 1, "restarts": 1},
    }
    where = {"keyword": "happy", "corpus": "speech_commands", "voices": None, "split": "official", "seed": 0}
    ran = {
        "quick": False,
        "command": "python -m experiments.run {} --data DIR --keywords {} --split official --seeds {}",
    }
    ran |= {"started": "2024-01-01T00:00:00+00:00", "wall_seconds": 1800.0, **where, **WHERE, **changes}
    ran["command"] = ran["command"].format(name, ran["keyword"], ran["seed"])
    part = {"clips": 600, "keyword_clips": 70, "speakers": 36}
    sizes = (weight_bytes // 4, weight_bytes, weight_bytes + 3_000, weight_bytes + 500, weight_bytes / 2**20, 9_000)
    known = {
        "data": {"fingerprint": "f" * 64, "training": part, "validation": part, "testing": part},
        "training": None if weights_from else Training("JAX", 4, 120.0, clips_per_second=8_000.0, final_loss=0.01),
        "validation": quality(1.1 * error, NUM_CLIPS // 5),
        "testing": quality(error, NUM_CLIPS // 5 * 4),
        "held_out": quality(0.9 * error, NUM_CLIPS),
        "cost": Cost(macs, macs, macs + 100, 1.2 * macs, 500_000.0, *sizes),
    }
    return Record(setting, **(known | ran))


def quality(error: float, clips: int = NUM_CLIPS // 5 * 4) -> Quality:
    """Of a part, a ninth of it of the keyword."""
    return Quality(clips, clips // 9, error, au_fa_fr=0.09 * error, balanced_au_fa_fr=error / 4, equal_error_rate=error)


def scores(run: Record) -> dict[str, np.ndarray]:
    """Scores in which as large a share of pairs is misordered as the record says, in each part."""
    rng = np.random.default_rng(zlib.crc32(run.name.encode()))
    labels = np.arange(NUM_CLIPS) % 9 == 0
    speakers = np.arange(NUM_CLIPS) // 9 % NUM_SPEAKERS
    testing = speakers % 5 < 4
    margins = np.zeros(NUM_CLIPS)
    for part, judged in ((testing, run.testing), (~testing, run.validation or run.testing)):
        keyword, other = np.flatnonzero(part & labels), np.flatnonzero(part & ~labels)
        margins[other] = rng.permutation(len(other))
        pairs = round(judged.auroc_error * len(keyword) * len(other))
        misordered = np.bincount(rng.integers(0, len(keyword), pairs), minlength=len(keyword))
        margins[keyword] = len(other) - misordered - 0.5
    return {"margins": margins, "labels": labels, "speakers": speakers, "testing": testing}


def true_error(run: Record, testing: bool = True) -> float:
    """What the scores really come to: the record's error, rounded to whole pairs."""
    found = scores(run)
    part = found["testing"] == testing
    return auroc_error(found["margins"][part], found["labels"][part])


def write_results(folder: Path, records: list[Record]) -> Path:
    """Writes records, logs and scores as runs would."""
    for run in records:
        own = folder / RUNS / run.name
        write_record(own, run)
        write_scores(own, **scores(run))
        if run.training:
            lines = [{"step": 9 * n, "epoch": n - 1, "loss": 1 / n} for n in range(1, 5)]
            (own / LOG).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def few() -> list[Record]:
    """Three settings of one keyword, without streams or a benchmark: what `make run` leaves, but smaller."""
    stored = record("base_qint8", 2.1e-3, weight_bytes=72_000, number_format="qint8", weights_from="base")
    return [record(), stored, record("student_12x", 5e-4, 70_456, 21_300)]


def heard(**changes: Any) -> Heard:
    """Scenes."""
    events = {"word": 900, "speech": 100, "keyword": 90}
    part = {"hours": 3.0, "streams": 18, "keywords": 90, "keyword_speakers": 30, "snrs": [None, 5.0], "events": events}
    return replace(Heard("happy", "speech_commands", "f" * 64, ("librispeech",), (), None, 0, part, part), **changes)


def operating_point(limit: float, misses: float, width: float, **changes: Any) -> OperatingPoint:
    """Of any threshold."""
    ends = (misses - width, misses + width)
    return replace(OperatingPoint(limit, 0.9, misses, ends, limit, (0.2, 2.9), 0.1, 0.2), **changes)


def stream_quality(misses: float = 0.3, width: float = 0.1, **changes: Any) -> StreamQuality:
    """With intervals of so much on both sides."""
    ends = (misses - width, misses + width)
    result = StreamQuality(
        smoothing=3,
        points=tuple(operating_point(limit, misses, width) for limit in LIMITS),
        validation_miss_rate_at_1=misses,
        test_miss_rate_at_1=misses,
        test_miss_rate_at_half=misses,
        miss_rate_at_60=misses / 2,
        test_miss_rate_at_1_interval=ends,
        test_miss_rate_at_half_interval=ends,
        by_snr={"clean": (10, 50), "20": (10, 40), "10": (10, 40), "5": (20, 40)},
        curve={"false_alarms_per_hour": [90.0, 9.0, 1.0, 0.0], "miss_rate": [0.1, misses / 2, misses, 1.0]},
    )
    return replace(result, **changes)


def stream_record(setting: str = "student", seed: int = 0, misses: float = 0.3, **changes: Any) -> StreamRecord:
    """A setting's model on the scenes; a sliding window is 13 times the work."""
    result = StreamRecord(
        setting,
        seed,
        heard=heard(),
        modes={mode: stream_quality(misses) for mode in ("carried", "sliding")},
        carried_minus_sliding=(0.0, -0.03, 0.03),
        sounds={"white": 0, "music": 3},
        levels={"-40": 1.5, "20": -2.0},
        macs_per_second={
            "carried": {"model": 100.0, "frontend": 300.0},
            "sliding": {"model": 1_300.0, "frontend": 3_900.0},
        },
        state_bytes=5_000,
        algorithmic_latency=0.04,
        **WHERE,
    )
    return replace(result, **changes)


def peer_record(**changes: Any) -> PeerRecord:
    """Another engine on the scenes."""
    speed = {"seconds_per_second": 0.02, "median_chunk_seconds": 0.002}
    timed = {"engine": speed, "student_21x_stream_int8": speed}
    return replace(PeerRecord("engine", "1.0", heard(), stream_quality(0.7), timed, **WHERE), **changes)


def write_whole_study(folder: Path) -> Path:
    """All that the story speaks of: three keywords, one on the random split too, streams, benchmark and search."""
    story = (TEMPLATES / "story.md.j2").read_text()
    names = sorted({*re.findall(NAME, story), *DETECTORS})
    models = {name: replace(BASE, gru_hidden=4 + number) for number, name in enumerate(names)}
    records = []
    for number, name in enumerate(names):
        cost = {"macs": 932_224 // (number // 2 + 1), "weight_bytes": 281_772 // (number + 1), "model": models[name]}
        is_first_alone = re.match("pruned|assistant|student_[12][27]x", name)
        for keyword in ("happy",) if is_first_alone else ("bed", "happy", "right"):
            records.append(record(name, 4e-3 / (1 + number % 5), **cost, keyword=keyword))
    records += [record(name, split="random", validation=None) for name in ("base", "student_21x")]
    for name in names:
        write_stream(folder / "streams" / f"{name}-happy-0.json", stream_record(name))
    write_stream(folder / "streams_peer" / "engine-happy.json", peer_record())
    write_json(folder / "benchmark.json", benchmark(models))
    for name, values in ROBUSTNESS.items():
        write_json(folder / f"{name}.json", values)
    (folder / "search.jsonl").write_text(137 * (json.dumps({"name": "a try", "mean": 1e-3, "params": 500}) + "\n"))
    return write_results(folder, records)


def benchmark(models: Mapping[str, CrnnConfig]) -> dict[str, Any]:
    """What a benchmark of these models leaves, with rows of all kinds."""
    names, (base, least) = [*models], [*models][:2]
    row = {"microseconds_per_second": 900.0, "real_time_factor": 9e-4, "macs_per_second": 1e6}
    row |= {"frontend_macs_per_second": 5e5, "ratio_to_base": 2.0, "step_milliseconds": 80.0}
    inference = [row | {"model": name, "runtime": runtime} for name in names for runtime in RUNTIMES]
    peer = {"engine": "microWakeWord", "package": "peer 1.0", "microseconds_per_second": 2e3}
    peer |= {"times_cheaper": dict.fromkeys(names, 2.0), "times_cheaper_in_jax": {base: 3.0, least: 4.0}}
    small = {"model": names[0], "number_format": "int5", "flash_bytes": 6_000, "memory_bytes": 4_000}
    small |= {"of_it_samples": 1_000, "instructions_per_second": 5e5}
    of_audio = {"of": "seconds of audio", "what": "JAX", "heard": 3_600.0, "milliseconds": 600.0}
    of_streams = {"of": "streams", "what": "JAX"}
    rates = {1: 2.0, 256: 10.0, 16_384: 800.0}  # milliseconds of a step of 80 ms
    growth = [of_audio | {"model": name, "size": size} for name in (base, least) for size in (60, 3_600)]
    growth += [
        of_streams | {"model": name, "size": size, "milliseconds": time, "heard": 0.08 * size}
        for name in (base, least)
        for size, time in rates.items()
    ]
    parts = [
        {"model": name, "of": of, "part": part, "microseconds": 20.0}
        for name in (base, least)
        for of, part in (("push", "a compiled call"), ("push", "model"), ("training step", "forward"))
    ]
    start_up = {"experiments.run --help": 0.4, "import jax, flax.linen": 0.8, "import kws_jax.streaming": 1.0}
    return {
        "environment": WHERE,
        "models": {name: asdict(model) for name, model in models.items()},
        "inference": inference,
        "peers": [peer],
        "microcontroller": [small],
        "training": [],
        "training_floor": {"sgemm_gigaflops": 100.0, "clips_per_second": 2e4},
        "parts": parts,
        "growth": growth,
        "start_up": [{"command": name, "seconds": time} for name, time in (start_up | {"listen": 1.5}).items()],
        "state_bytes": dict.fromkeys(names, 700),
    }
