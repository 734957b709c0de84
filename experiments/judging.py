"""How well a model does on held-out clips, and what it costs: all measured in PyTorch, after quantization."""

from pathlib import Path

import numpy as np
from scipy.special import expit

from conversion.files import to_module
from experiments import timing
from experiments.records import Cost, Quality
from experiments.setting import BASE_NAME, NumberFormat
from experiments.task import Task
from kws_jax import cost
from kws_jax.bootstrap import PairedScores, speaker_bootstrap
from kws_jax.config import CrnnConfig
from kws_jax.data import to_float
from kws_jax.metrics import au_fa_fr, auroc_error, balanced_au_fa_fr, equal_error_rate
from torch_ref import accounting, quantize
from torch_ref.formats import FORMATS
from torch_ref.frontend import MelPower
from torch_ref.model import CRNN
from torch_ref.threads import single_thread
from torch_ref.train import predict


def in_format(model: CRNN, number_format: NumberFormat) -> CRNN:
    """The model with its weights stored as `number_format`."""
    return FORMATS[number_format].convert(model)


def margins_of(model: CRNN, task: Task, part: np.ndarray) -> np.ndarray:
    """Logit of the keyword minus that of the rest for every clip of a part of the split."""
    # Dynamic quantization takes its ranges over a batch; alone, a clip is judged as a device would judge it.
    batch_size = 1 if quantize.is_quantized(model) else 256
    with single_thread():
        waveforms = to_float(task.corpus.waveforms[part])
        logits = predict(model, MelPower(model.config), waveforms, batch_size).astype(np.float64)
    return logits[:, 1] - logits[:, 0]


def save_scores(setting: str, task: Task, margins: np.ndarray) -> Path:
    """Keeps what metrics are made of, so that a report can pool runs."""
    path, held_out = task.scores_path(setting), task.split.held_out
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        margins=margins.astype(np.float32),
        labels=task.labels[held_out].astype(np.int8),
        corpus_speakers=np.unique(task.corpus.speakers, return_inverse=True)[1][held_out].astype(np.int32),
        testing=np.isin(held_out, task.split.testing),
    )
    return path


def load_margins(task: Task, setting: str) -> np.ndarray:
    """The margins that `save_scores` kept."""
    with np.load(task.scores_path(setting)) as scores:
        return scores["margins"].astype(np.float64)


def judge(task: Task, part: np.ndarray, margins: np.ndarray, base_margins: np.ndarray) -> Quality:
    """Metrics over a part of the held-out clips."""
    chosen = np.isin(task.split.held_out, part)
    labels, scores, base_scores = task.labels[part], margins[chosen], base_margins[chosen]
    pair = PairedScores(scores, base_scores, labels, task.corpus.speakers[part])
    interval = speaker_bootstrap([pair])
    return Quality(
        clips=int(part.size),
        keyword_clips=int(labels.sum()),
        auroc_error=auroc_error(scores, labels),
        au_fa_fr=au_fa_fr(expit(scores), labels),
        balanced_au_fa_fr=balanced_au_fa_fr(scores, labels),
        equal_error_rate=equal_error_rate(scores, labels),
        auroc_error_interval=tuple(interval.student),
        ratio_to_base=tuple(interval.ratio),
    )


def base_model(task: Task) -> CRNN:
    """The task's trained base in PyTorch."""
    return to_module(*task.load_variables(BASE_NAME))


def count_cost(config: CrnnConfig, model: CRNN, shipped: Path, base: CRNN) -> Cost:
    """Counts a model's work and bytes, and times it against the base in turn: the model alone, and the stream."""
    seconds, base_seconds = timing.seconds_per_second(timing.torch_model(model), timing.torch_model(base))
    stream_seconds, base_stream_seconds = timing.seconds_per_second(
        timing.torch_stream(model, config.max_window_length), timing.torch_stream(base)
    )
    return Cost(
        thop_macs=accounting.thop_macs(model),
        flop_counter_macs=accounting.flop_counter_macs(model),
        analytic_macs=cost.macs_per_clip(config).total,
        macs_per_streamed_second=cost.macs_per_streamed_second(config),
        frontend_macs_per_second=cost.frontend_macs_per_second(config),
        parameters=accounting.num_parameters(model),
        weight_bytes=accounting.weight_bytes(model),
        file_bytes=accounting.serialized_bytes(model),
        shipped_bytes=shipped.stat().st_size,
        homework_megabytes=accounting.homework_megabytes(model),
        state_bytes=cost.state_bytes(config),
        seconds_per_clip=seconds,
        base_seconds_per_clip=base_seconds,
        stream_seconds_per_second=stream_seconds,
        base_stream_seconds_per_second=base_stream_seconds,
    )
