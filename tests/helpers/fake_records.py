"""Records of runs that never were, and their scores, for tests of what is rendered from them."""

import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from experiments.report.studies import make_studies
from experiments.report.summary import Study

from experiments.study.records import Cost, Quality, Record, Training, write_record

NUM_CLIPS, NUM_SPEAKERS = 900, 45  # of which a ninth are the keyword's, and a fifth the validation speakers'


def quality(error: float, ratio: float, clips: int = 3000, keyword_clips: int = 180) -> Quality:
    share = keyword_clips / clips
    return Quality(
        clips=clips,
        keyword_clips=keyword_clips,
        auroc_error=error,
        au_fa_fr=share * (1 - share) * error,
        balanced_au_fa_fr=error / 4,
        equal_error_rate=10 * error,
        auroc_error_interval=(error, 0.7 * error, 1.4 * error),
        ratio_to_base=(ratio, 0.8 * ratio, 1.3 * ratio),
    )


def record(
    name: str = "base",
    error: float = 2e-3,
    base_error: float = 2e-3,
    macs: int = 932_224,
    weight_bytes: int = 281_772,
    number_format: str = "fp32",
    source: str | None = None,
    **changes: Any,
) -> Record:
    parameters = round(
        weight_bytes / {"fp32": 4, "fp16": 2, "qint8": 1, "int8": 1, "int5": 0.625, "int4": 0.5}[number_format]
    )
    result = Record(
        setting={
            "name": name,
            "question": f"What of {name}?",
            "expectation": "much",
            "source": source,
            "teacher": None,
            "recipe": None if source else {},
            "model": {"parameters": parameters},
            "number_format": number_format,
        },
        keyword="happy",
        corpus="speech_commands",
        split="official",
        seed=0,
        command=f"python -m experiments.run {name} --keywords happy --split official --seeds 0",
        commit="0123456789ab",
        started="2024-01-01T00:00:00+00:00",
        wall_seconds=200.0,
        versions={"python": "3.11.7", "jax": "0.10.2"},
        device="a processor, 2 cores",
        data={
            "fingerprint": "f" * 64,
            "unreadable": 0,
            "training": {"clips": 11_000, "keyword_clips": 1_400, "speakers": 900},
            "testing": {"clips": 3_000, "keyword_clips": 180, "speakers": 120},
        },
        training=None
        if source
        else Training("JAX", epochs=60, seconds=120.0, clips_per_second=8_000.0, final_loss=0.01),
        validation=quality(1.1 * error, error / base_error),
        testing=quality(error, error / base_error),
        held_out=quality(0.9 * error, error / base_error, clips=6_000, keyword_clips=370),
        cost=Cost(
            thop_macs=macs,
            flop_counter_macs=macs,
            analytic_macs=macs + 100,
            macs_per_streamed_second=1.2 * macs,
            frontend_macs_per_second=500_000.0,
            parameters=parameters,
            weight_bytes=weight_bytes,
            file_bytes=weight_bytes + 3_000,
            shipped_bytes=weight_bytes + 500,
            homework_megabytes=weight_bytes / 2**20,
            state_bytes=9_000,
            seconds_per_clip=1e-3 * (0.2 + 0.8 * macs / 932_224),
            base_seconds_per_clip=1e-3,
            stream_seconds_per_second=5e-3 * (0.2 + 0.8 * macs / 932_224),
            base_stream_seconds_per_second=5e-3,
        ),
        paths={},
    )
    result = replace(result, **changes)
    paths = {"checkpoint": f"checkpoints/{result.name}", "scores": f"scores/{result.name}.npz"}
    return replace(result, paths=paths | ({} if source else {"log": f"logs/{result.name}.jsonl"}))


def scores(run: Record) -> dict[str, np.ndarray]:
    """Scores in which as large a share of pairs is misordered as the record says, on validation and test speakers."""
    rng = np.random.default_rng(zlib.crc32(run.name.encode()))
    labels = (np.arange(NUM_CLIPS) % 9 == 0).astype(np.int8)
    speakers = (np.arange(NUM_CLIPS) // 9 % NUM_SPEAKERS).astype(np.int32)
    testing = speakers % 5 < 4
    margins = np.zeros(NUM_CLIPS, np.float32)
    for part in (testing, ~testing):
        keyword, other = np.flatnonzero(part & (labels == 1)), np.flatnonzero(part & (labels == 0))
        margins[other] = rng.permutation(len(other))
        pairs = round(run.testing.auroc_error * len(keyword) * len(other))
        misordered = np.bincount(rng.integers(0, len(keyword), pairs), minlength=len(keyword))
        margins[keyword] = len(other) - misordered - 0.5
    return {"margins": margins, "labels": labels, "corpus_speakers": speakers, "testing": testing}


def write_results(folder: Path, records: list[Record]) -> Path:
    """Writes records, logs and scores as runs would."""
    for run in records:
        write_record(folder / "records", run)
        path = folder / run.paths["scores"]
        path.parent.mkdir(exist_ok=True)
        np.savez(path, **scores(run))
        if "log" in run.paths:
            lines = [{"step": 9 * n, "epoch": n, "loss": 1 / n, "clips_per_second": 8e3} for n in range(1, 5)]
            log = folder / run.paths["log"]
            log.parent.mkdir(exist_ok=True)
            log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def studies(folder: Path, records: list[Record]) -> list[Study]:
    """The studies of records, after they are written."""
    return make_studies(records, write_results(folder, records))


def few() -> list[Record]:
    """The settings of a first study, nearly equal in cost or error by pairs."""
    return [
        record(),
        record("base_fp16", 2.001e-3, weight_bytes=140_886, number_format="fp16", source="base"),
        record("base_qint8", 2.1e-3, weight_bytes=72_000, number_format="qint8", source="base"),
        record("pooled_dark", 5e-4, macs=70_456, weight_bytes=21_300),
        record("pooled_dark_fp16", 5e-4, macs=70_456, weight_bytes=10_650, number_format="fp16", source="pooled_dark"),
        record("pooled_dark_qint8", 6e-4, macs=70_456, weight_bytes=6_400, number_format="qint8", source="pooled_dark"),
    ]


def crowd() -> list[Record]:
    """Sixteen settings, many in the same place."""
    students = [
        record("attention_dark", 3e-3, macs=81_000, weight_bytes=17_500),
        record("attention_dark_qint8", 3.1e-3, 2e-3, 81_000, 5_000, "qint8", "attention_dark"),
        record("pruned_dark", 2.4e-3, macs=90_000, weight_bytes=25_000),
        record("pruned_qat_fp16", 2.5e-3, macs=90_000, weight_bytes=12_500, number_format="fp16"),
        record("pooled_hard", 6e-4, macs=70_456, weight_bytes=21_300),
        record("pooled_qat_int8", 7e-4, macs=70_456, weight_bytes=6_400, number_format="qint8"),
        record("two_stage", 8e-4, macs=32_000, weight_bytes=10_800),
        record("light_frontend", 1.1e-3, macs=21_000, weight_bytes=8_000),
        record("frontier", 2.1e-3, macs=4_500, weight_bytes=701, number_format="qint8"),
        record("fair_base", 9e-5),
    ]
    return few() + students
