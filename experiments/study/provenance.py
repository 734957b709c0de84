"""What decides a run's weights, kept beside them, so that weights which exist are not trained again.

A record may be deleted, say because its schema has changed, and the run judged again from its model. To train again,
delete its folder. A field that a configuration or a recipe did not have when it was written counts as at its default
now: a new field's default has to mean what was done without it.
"""

import hashlib
import json
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.study.json_files import read_json
from experiments.study.settings import Setting, deployed_model
from experiments.study.task import Task
from kws_jax.data.sources import SceneSources
from kws_jax.errors import UserError
from kws_jax.files import written
from torch_ref.train import SeminarRecipe

FILE = "provenance.json"
WORDS = ("question", "expectation", "headline")  # of a setting, which decide nothing


def provenance(setting: Setting, task: Task) -> dict[str, Any]:
    """All that decides the weights of a setting's run, beside the code."""
    return {
        "framework": framework_of(setting),
        "setting": replace(setting, question="", expectation="", headline=False),
        "keyword": task.keyword,
        "split": task.split.name,
        "seed": task.seed,
        "clips": task.corpus.fingerprint,
        "sources": sources_fingerprint(task.source.sources) if setting.scene_hours else None,
        "learns_from": {name: _digest(task.load_model(name).variables) for name in setting.learns_from},
    }


def framework_of(setting: Setting) -> str:
    """That trains it."""
    return "PyTorch" if isinstance(setting.recipe, SeminarRecipe) else "JAX"


def to_json(made: dict[str, Any]) -> str:
    """One line."""
    return json.dumps(made, default=asdict)


def write(folder: Path, made: dict[str, Any]) -> None:
    """Says beside a run's weights how they were made."""
    with written(folder / FILE) as part:
        part.write_text(to_json(made) + "\n")


def is_made_so(folder: Path, expected: dict[str, Any]) -> bool:
    """Whether a run's folder says that its weights were made so."""
    try:
        stored = read_json(folder / FILE, dict[str, Any])
    except UserError:
        return False
    return _are_same(stored, expected)


def is_current(recorded: dict[str, Any], setting: Setting) -> bool:
    """Whether a record's setting, with the model that it deployed, is still this one, but for the words about it."""
    values = {field.name: getattr(setting, field.name) for field in fields(setting)}
    return _are_same(_defaults(Setting) | recorded, values | {"model": deployed_model(setting)}, WORDS)


def _are_same(stored: dict[str, Any], values: dict[str, Any], ignored: tuple[str, ...] = ()) -> bool:
    chosen = values.keys() - ignored
    return stored.keys() - ignored == chosen and all(_is_same(stored[name], values[name]) for name in chosen)


def _is_same(stored: Any, value: Any) -> bool:
    """Whether JSON is a value's; a dataclass's missing fields are at their defaults."""
    if not is_dataclass(value) or not isinstance(stored, dict):
        return bool(stored == _plain(value))
    return _are_same(_defaults(value) | stored, {field.name: getattr(value, field.name) for field in fields(value)})


def _defaults(kind: Any) -> dict[str, Any]:
    """What a dataclass's fields are without being told, as JSON."""
    found = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(kind)}
    return {name: _plain(value) for name, value in found.items() if value is not MISSING}


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=asdict))


def _digest(variables: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return digest.hexdigest()


def sources_fingerprint(sources: SceneSources) -> str:
    """SHA-256 (hex) of the names and sizes of all files."""
    folders = [sorted(folder.iterdir()) for folder in (*sources.speech, *sources.noise)]
    paths = [*chain.from_iterable(folders), *filter(None, [sources.transcripts])]
    files = [(path.name, path.stat().st_size) for path in paths if path.is_file()]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()
