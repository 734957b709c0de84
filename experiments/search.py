"""Tries a candidate on validation speakers: a setting with changes, and a line of errors. Test speakers are not asked.

The line goes to OUT/search.jsonl. What the candidate learns from must have run into the same OUT; its own weights stay
there too, so that a candidate that has been tried is not trained again.
"""

import ast
import hashlib
import json
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.setting import Setting
from experiments.settings import BY_NAME, with_needs
from experiments.task import Task, find_source, make_task
from experiments.training import trained_weights, validation_margins
from kws_jax.cost import macs_per_clip, num_parameters
from kws_jax.errors import UserError, one_line_errors
from kws_jax.metrics import auroc_error


def main(
    setting: tyro.conf.Positional[str],
    changes: tyro.conf.Positional[tuple[str, ...]] = (),
    data: Path | None = None,
    keywords: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (0,),
    speech: Path | None = None,
    out: Path = Path("out"),
) -> None:
    """Trains a candidate for every keyword and seed and adds a line to OUT/search.jsonl.

    Args:
        setting: Name of the setting to start from.
        changes: FIELD=VALUE, as in model.gru_hidden=6 recipe.epochs=600 recipe.augmentation.max_shift=1 restarts=4.
        data: Folder laid out as Speech Commands; without it, a corpus spoken by synthetic voices.
        keywords: The words to spot; "sheila" on the synthetic corpus.
        seeds: Of the training.
        speech: Folder of running speech, where the setting trains on it.
        out: Output folder of `experiments.run`.
    """
    with_needs([setting])  # names it if there is none
    found = changed(BY_NAME[setting], changes)
    if found.recipe is None:
        raise UserError(f"{setting} is not trained: it stores the weights of {found.source} otherwise")
    digest = hashlib.sha256(json.dumps(asdict(found), sort_keys=True).encode()).hexdigest()
    candidate = replace(found, name=f"candidate_{digest[:12]}")
    source = find_source(data, keywords, speech, out)
    corpus = source.load()
    tasks = [make_task(source, corpus, word, "official", seed, out) for word in source.keywords for seed in seeds]
    line = {"setting": setting, "changes": list(changes), "keywords": source.keywords, "seeds": seeds}
    line |= measure(candidate, tasks)
    with (out / "search.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))


def changed(setting: Setting, changes: tuple[str, ...]) -> Setting:
    """The setting with changes as `main` takes them.

    Raises:
        UserError: If a change is none, or changes what is not there.
    """
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals:
            raise UserError(f"{change!r} is no change: say FIELD=VALUE")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text  # a word, as in number_format=int8
        setting = _replaced(setting, path.split("."), value)
    return setting


def _replaced(whole: Any, path: list[str], value: Any) -> Any:
    if not is_dataclass(whole) or isinstance(whole, type):
        raise UserError(f"there is no {path[0]!r} to change: what should have it is {whole!r}")
    names = [field.name for field in fields(whole)]
    if path[0] not in names:
        raise UserError(f"{type(whole).__name__} has no {path[0]!r}: choose from {', '.join(names)}")
    if len(path) > 1:
        value = _replaced(getattr(whole, path[0]), path[1:], value)
    return replace(whole, **{path[0]: value})


def measure(candidate: Setting, tasks: list[Task]) -> dict[str, Any]:
    """Size and validation errors of a candidate, the latter in the order of the tasks.

    `errors` are 1 - AUROC; `errors_by_word` are means over the other words, each as much worth as any, of how often one
    of its clips outranks one of the keyword: what 1 - AUROC would be if all words were said equally often.
    """
    errors, by_word = [], []
    for task in tasks:
        config, variables, _ = trained_weights(candidate, task)
        margins, part = validation_margins(candidate, task, config, variables)
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
        tyro.cli(main, description=__doc__)
