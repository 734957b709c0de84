"""One setting from start to record: train or take weights, store them in their format, judge, count, write down."""

import time
from dataclasses import asdict
from datetime import UTC, datetime

from conversion.files import read_module
from experiments.study.environment import environment
from experiments.study.judging import count_cost, judge, margins_of
from experiments.study.records import UNFINISHED, Record, write_record
from experiments.study.scores import write_scores
from experiments.study.settings import Setting
from experiments.study.task import Task
from experiments.study.training import make_model
from kws_jax.files import remove


def run_setting(setting: Setting, task: Task) -> Record:
    """Runs one setting after all that it learns from; its record is written last, so a record means a whole run.

    The model is judged as it is read back from the file that is shipped. Of a run that goes on after a kill, or that
    judges weights which were there, the record's start and wall time are those of the last piece; the training's
    seconds are those of all pieces, by its log.
    """
    start, started = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    folder, shipped, held_out = task.folder(setting.name), task.model_path(setting.name), task.split.held_out
    training = make_model(setting, task)
    config, model = read_module(shipped)
    margins = margins_of(model, task, held_out)
    speakers = task.corpus.speaker_numbers[held_out]
    write_scores(folder, margins, task.labels[held_out], speakers, task.split.is_testing)
    record = Record(
        setting=asdict(setting) | {"model": asdict(config)},
        keyword=task.keyword,
        corpus=task.source.name,
        voices=task.source.voices,
        split=task.split.name,
        seed=task.seed,
        quick=task.quick,
        command=task.command(setting.name),
        started=started,
        data=task.describe(),
        training=training,
        validation=judge(task, task.split.validation, margins) if task.split.validation.size else None,
        testing=judge(task, task.split.testing, margins),
        held_out=judge(task, held_out, margins),
        cost=count_cost(config, model, shipped),
        **environment(),
        # Last, so that judging and counting are in it.
        wall_seconds=time.perf_counter() - start,
    )
    write_record(folder, record)
    remove(folder / UNFINISHED)
    return record
