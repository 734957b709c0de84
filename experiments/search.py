"""Tries a candidate on validation speakers: a setting with changes, and a line of errors. Test speakers are not asked.

The line goes to OUT/search.jsonl. What the candidate learns from must have run into the same OUT; its own weights stay
there too, so that a candidate that has been tried is not trained again. Changes come after the setting's name, as in

    python -m experiments.search student_314x --model.gru-hidden 6 --recipe.epochs 600 --restarts 4 --data DIR ...
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tyro.conf import Positional

from conversion.files import read_module
from experiments.study.provenance import WORDS
from experiments.study.settings import Setting, with_needs
from experiments.study.task import Task, find_source, make_task
from experiments.study.training import make_model, validation_margins
from kws_jax.cost import macs_per_clip, num_parameters
from kws_jax.data.sources import NO_SOURCES, SceneSources
from kws_jax.errors import UserError, one_line_errors
from kws_jax.evaluation.metrics import auroc_error


@dataclass(frozen=True)
class Search:
    """What is tried, and on what.

    Attributes:
        setting: Name of the setting to start from.
        data: Folder laid out as Speech Commands; without it, a corpus spoken by synthetic voices.
        keywords: The words to spot; "sheila" on the synthetic corpus.
        seeds: Of the training.
        sources: Of running speech and noise, where the setting trains on them.
        out: Output folder of `experiments.run`.
    """

    setting: Positional[str]
    data: Path | None = None
    keywords: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    sources: tyro.conf.OmitArgPrefixes[SceneSources] = NO_SOURCES
    out: Path = Path("out")


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains a candidate for every keyword and seed and adds a line to OUT/search.jsonl."""
    search, changes = tyro.cli(Search, description=__doc__, args=arguments, return_unknown_args=True)
    candidate = changed(with_needs([search.setting])[-1], changes)
    source = find_source(search.data, search.keywords, search.sources, search.out)
    corpus = source.load()
    tasks = [
        make_task(source, corpus, word, "official", seed, search.out)
        for word in source.keywords
        for seed in search.seeds
    ]
    line = {"setting": search.setting, "changes": changes, "keywords": source.keywords, "seeds": search.seeds}
    line |= measured_errors(candidate, tasks)
    with (search.out / "search.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))


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


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])
