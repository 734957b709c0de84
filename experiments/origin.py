"""What decides a run's weights, kept beside them, so that weights which exist are not trained again.

A record may be deleted, say because its schema has changed, and the run judged again from its checkpoint. To train
again, delete the checkpoint too.
"""

import hashlib
import json
from dataclasses import MISSING, Field, asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.setting import Setting
from experiments.task import Task
from kws_jax.config import CrnnConfig
from kws_jax.recipe import Recipe
from torch_ref.train import SeminarRecipe

FILE = "origin.json"


@dataclass(frozen=True)
class Origin:
    """All that decides the weights of a run, beside the code.

    Attributes:
        framework: Of the training.
        model: As it is trained.
        recipe: How.
        keyword: The word to spot.
        split: Name of the split.
        seed: Of the training and of a random split.
        clips: The corpus's fingerprint.
        speech_share: See `Setting`.
        speech: Of the names and sizes of the files of running speech: SHA-256, where some is trained on.
        augments_waveforms: See `Setting`.
        word_exponent: See `Setting`.
        phases: See `Setting`.
        restarts: See `Setting`.
        learns_from: By setting: SHA-256 of the weights that this one starts from or is taught by.
    """

    framework: str
    model: CrnnConfig
    recipe: SeminarRecipe | Recipe
    keyword: str
    split: str
    seed: int
    clips: str
    speech_share: float
    speech: str | None
    learns_from: dict[str, str]
    augments_waveforms: bool = False
    word_exponent: float = 1.0
    phases: int = 1
    restarts: int = 1

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


def origin(setting: Setting, recipe: SeminarRecipe | Recipe, task: Task) -> Origin:
    """What decides the weights of a setting that is trained."""
    return Origin(
        framework="PyTorch" if isinstance(recipe, SeminarRecipe) else "JAX",
        model=setting.model,
        recipe=recipe,
        keyword=task.keyword,
        split=task.split.name,
        seed=task.seed,
        clips=task.corpus.fingerprint,
        speech_share=setting.speech_share,
        speech=_fingerprint(task.source.speech) if task.source.speech and setting.speech_share else None,
        augments_waveforms=setting.augments_waveforms,
        word_exponent=setting.word_exponent,
        phases=setting.phases,
        restarts=setting.restarts,
        learns_from={name: _digest(task.load_variables(name)[1]) for name in setting.learns_from},
    )


def has_origin(folder: Path, expected: Origin) -> bool:
    """Whether a checkpoint says that it was made so. What is written last makes it whole.

    A field that a configuration or a recipe did not have then is at its default now: a new field's default has to
    mean what was done without it.
    """
    try:
        return _is_same(json.loads((folder / FILE).read_text()), expected)
    except (OSError, ValueError):
        return False


def is_of(recorded: dict[str, Any], setting: Setting) -> bool:
    """Whether a record's setting is still the table's, but for the words about it and for what deploying changes."""
    expected = replace(setting, model=replace(setting.model, batch_norm=False))
    now = json.loads(json.dumps(asdict(expected)))
    # Batch normalisation is folded away; and the model of a source is the source's, or what pruning left of it.
    model = now["model"] if setting.source else recorded["model"] | {"batch_norm": False}
    words = {name: now[name] for name in ("question", "expectation", "headline")}
    return _is_same(recorded | words | {"model": model}, expected)


def _is_same(stored: Any, value: Any) -> bool:
    if not is_dataclass(value) or not isinstance(stored, dict):
        return bool(stored == json.loads(json.dumps(value)))
    known = {field.name: field for field in fields(value)}
    return stored.keys() <= known.keys() and all(
        _is_same(stored[name], getattr(value, name)) if name in stored else getattr(value, name) == _default(field)
        for name, field in known.items()
    )


def _default(field: "Field[Any]") -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _digest(variables: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return digest.hexdigest()


def _fingerprint(folder: Path) -> str:
    files = sorted((path.name, path.stat().st_size) for path in folder.iterdir() if path.is_file())
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()
