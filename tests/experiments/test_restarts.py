"""Of several initialisations, the one that does best on validation speakers is kept, and the others are told of."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from experiments.architectures import FRONTIER
from experiments.setting import Setting
from test_pipeline import write_corpus
from test_sweep import task_of

from conversion.files import to_module
from experiments.study import training
from experiments.study.judging import in_format, margins_of
from experiments.study.training import trained_weights
from kws_jax.config import CrnnConfig
from kws_jax.evaluation.metrics import auroc_error
from kws_jax.model import fold_batch_norm, init_variables
from kws_jax.training.recipe import Recipe

SEEDS = (5, 1_005, 2_005)


def untrained(config: CrnnConfig, seed: int) -> tuple[CrnnConfig, dict[str, Any]]:
    return fold_batch_norm(config, init_variables(jax.random.key(seed), config))


def test_the_best_on_validation_speakers_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def train(config, recipe, corpus, draw, seed, teacher, log_path, initial, resume):
        log_path.parent.mkdir(parents=True, exist_ok=True)
        line = {"step": 1, "epoch": 0, "loss": float(seed), "seconds": 2.0 * seed, "clips_per_second": 1.0}
        log_path.write_text(json.dumps(line) + "\n")
        return config, init_variables(jax.random.key(seed), config)

    monkeypatch.setattr(training, "train", train)
    write_corpus(tmp_path / "corpus")
    task = task_of(tmp_path / "corpus", tmp_path / "out", seed=SEEDS[0])
    validation = task.split.validation
    errors = []
    for seed in SEEDS:
        margins = margins_of(in_format(to_module(*untrained(FRONTIER, seed)), "int4"), task, validation)
        errors.append(auroc_error(margins, task.labels[validation]))
    best = SEEDS[int(np.argmin(errors))]
    assert len(set(errors)) == len(SEEDS)
    assert best != SEEDS[0], "else a choice of the first would pass"

    setting = Setting("chosen", "", "", model=FRONTIER, recipe=Recipe(), restarts=len(SEEDS), number_format="int4")
    _, kept, made = trained_weights(setting, task)
    jax.tree.map(np.testing.assert_array_equal, kept, untrained(FRONTIER, best)[1])
    assert made is not None
    assert made.restarts == tuple(errors)
    assert made.final_loss == best
    assert made.seconds == 2.0 * sum(SEEDS)
    assert trained_weights(setting, task)[2] == made, "a second call reads what is there"
