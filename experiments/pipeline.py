"""One setting from start to record: train or take weights, port to PyTorch, quantize, judge, count, write down."""

import shutil
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from conversion.files import to_module, write_module
from experiments.judging import base_model, count_cost, in_format, judge, load_margins, margins_of, save_scores
from experiments.records import Record, environment, write_record
from experiments.setting import BASE_NAME, Setting
from experiments.task import Task
from experiments.training import trained_weights
from kws_jax.config import CrnnConfig
from torch_ref.model import CRNN


def run_setting(setting: Setting, task: Task) -> Record:
    """Runs one setting whose needs have run; its record is written last, so a record means a whole run.

    Of a run that goes on after a kill, or that judges weights which were there, the record's start and wall time are
    those of the last piece; the training's seconds are those of all pieces, by its log.
    """
    start, started = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    config, variables, training = trained_weights(setting, task)
    model = in_format(to_module(config, variables), setting.number_format)
    shipped = _ship(setting, task, config, model)
    margins = margins_of(model, task, task.split.held_out)
    scores_path = save_scores(setting.name, task, margins)
    base_margins = margins if setting.name == BASE_NAME else load_margins(task, BASE_NAME)
    paths = {"scores": scores_path, "checkpoint": shipped.parent}
    if training:
        paths["log"] = task.log_path(setting.name)
    record = Record(
        setting=asdict(replace(setting, model=config)),
        keyword=task.keyword,
        corpus=task.source.name,
        split=task.split.name,
        seed=task.seed,
        command=task.command(setting.name),
        started=started,
        data=task.describe(),
        training=training,
        validation=judge(task, task.split.validation, margins, base_margins) if task.split.validation.size else None,
        testing=judge(task, task.split.testing, margins, base_margins),
        held_out=judge(task, task.split.held_out, margins, base_margins),
        cost=count_cost(config, model, shipped, base_model(task)),
        paths={name: task.relative(path) for name, path in paths.items()},
        **environment(),
        # Last, so that judging and counting are in it.
        wall_seconds=time.perf_counter() - start,
    )
    write_record(task.out / "records", record)
    shutil.rmtree(task.unfinished_folder(setting.name), ignore_errors=True)
    return record


def _ship(setting: Setting, task: Task, config: CrnnConfig, model: CRNN) -> Path:
    """Writes the PyTorch file of plain tensors."""
    path = task.checkpoint_folder(setting.name) / "model.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_module(path, model, config)
    return path
