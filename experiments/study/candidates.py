"""Candidates for a setting, and their errors on validation speakers."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import tyro

from conversion.files import read_module
from experiments.study.provenance import WORDS
from experiments.study.settings import Setting
from experiments.study.task import Task
from experiments.study.training import make_model, validation_margins
from kws_jax.cost import macs_per_clip, num_parameters
from kws_jax.errors import UserError
from kws_jax.evaluation.metrics import auroc_error


def changed(setting: Setting, changes: Sequence[str]) -> Setting:
    """The setting with changes as the command line takes them, under a name of its own.

    Raises:
        UserError: If the setting is not trained, or a change makes no setting.
    """
    if setting.recipe is None:
        raise UserError(f"{setting.name} is not trained: it stores the weights of {setting.weights_from} otherwise")
    if setting.weights_from and any(change.startswith("--model.") for change in changes):
        raise UserError(f"{setting.name} has the model of {setting.weights_from}: change that one")
    found = tyro.cli(tyro.conf.AvoidSubcommands[Setting], default=setting, args=changes, prog="a candidate")
    decisive = {name: value for name, value in asdict(found).items() if name not in WORDS}
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    return replace(found, name=f"candidate_{digest[:12]}")


def measured_errors(candidate: Setting, tasks: list[Task]) -> dict[str, Any]:
    """Size and validation errors of a candidate, the latter in the order of the tasks.

    `errors` are 1 - AUROC; `errors_by_word` are means over the other words, each as much worth as any, of how often one
    of its clips outranks one of the keyword: what 1 - AUROC would be if all words were said equally often.
    """
    errors, by_word = [], []
    for task in tasks:
        make_model(candidate, task)
        config, model = read_module(task.model_path(candidate.name))
        margins, part = validation_margins(task, model)
        labels, words = task.labels[part], task.corpus.words[part]
        errors.append(auroc_error(margins, labels))
        others = [(labels == 1) | (words == word) for word in np.unique(words[labels == 0])]
        by_word.append(float(np.mean([auroc_error(margins[chosen], labels[chosen]) for chosen in others])))
    return {
        "parameters": num_parameters(config),
        "macs": macs_per_clip(config).total,
        "errors": errors,
        "mean": float(np.mean(errors)),
        "errors_by_word": by_word,
        "mean_by_word": float(np.mean(by_word)),
    }
