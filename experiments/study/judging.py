"""How well a model does on held-out clips, and what it costs: all measured in PyTorch, in its number format."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from experiments.study.records import Cost, Quality
from experiments.study.stream_records import LIMITS
from experiments.study.task import Task
from kws_jax import cost
from kws_jax.checkpoint import describe, rewrite
from kws_jax.config import CrnnConfig
from kws_jax.data.audio import to_float
from kws_jax.evaluation.metrics import au_fa_fr, auroc_error, balanced_au_fa_fr, equal_error_rate
from torch_ref import accounting
from torch_ref.frontend import MelPower
from torch_ref.model import CRNN
from torch_ref.qint8 import is_quantized
from torch_ref.threads import single_thread
from torch_ref.train import predict


def margins_of(model: CRNN, task: Task, part: np.ndarray) -> np.ndarray:
    """Logit of the keyword minus that of the rest for every clip of a part of the split."""
    # Dynamic quantization takes its ranges over a batch; alone, a clip is judged as a device would judge it.
    batch_size = 1 if is_quantized(model) else 256
    with single_thread():
        waveforms = to_float(task.corpus.waveforms[part])
        logits = predict(model, MelPower(model.config), waveforms, batch_size).astype(np.float64)
    return logits[:, 1] - logits[:, 0]


def judge(task: Task, part: np.ndarray, margins: np.ndarray) -> Quality:
    """Metrics over a part of the held-out clips, whose margins these are."""
    scores, labels = margins[np.isin(task.split.held_out, part)], task.labels[part]
    return Quality(
        clips=int(part.size),
        keyword_clips=int(labels.sum()),
        auroc_error=auroc_error(scores, labels),
        au_fa_fr=au_fa_fr(expit(scores), labels),
        balanced_au_fa_fr=balanced_au_fa_fr(scores, labels),
        equal_error_rate=equal_error_rate(scores, labels),
    )


def published_bytes(model: Path) -> int:
    """Bytes of a model's file as it is shipped: with a detector's thresholds in its header, of six digits each."""
    points = {f"{limit:g}": 0.999999 for limit in LIMITS}
    detector: dict[str, Any] = {"threshold": 0.999999, "smoothing": 1, "false_alarms_per_hour": 0.5}
    detector["validation_hours"] = 3.0
    about = replace(describe(model)[1], operating_points=points, **detector)
    with tempfile.TemporaryDirectory() as folder:
        rewrite(model, Path(folder, model.name), about)
        return Path(folder, model.name).stat().st_size


def count_cost(config: CrnnConfig, model: CRNN, shipped: Path) -> Cost:
    """Counts a model's work and bytes."""
    return Cost(
        thop_macs=accounting.thop_macs(model),
        flop_counter_macs=accounting.flop_counter_macs(model),
        analytic_macs=cost.macs_per_clip(config).total,
        macs_per_streamed_second=cost.macs_per_streamed_second(config),
        frontend_macs_per_second=cost.frontend_macs_per_second(config),
        parameters=accounting.num_parameters(model),
        weight_bytes=accounting.weight_bytes(model),
        file_bytes=accounting.serialized_bytes(model),
        shipped_bytes=published_bytes(shipped),
        homework_megabytes=accounting.homework_megabytes(model),
        state_bytes=cost.state_bytes(config),
    )
