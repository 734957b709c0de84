"""Candidates: changes to a setting, and errors on validation speakers alone."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from experiments.settings import BY_NAME
from test_pipeline import write_corpus
from test_sweep import task_of

from experiments import search
from experiments.search import changed
from experiments.study import training
from experiments.study.training import validation_margins
from kws_jax.errors import UserError
from kws_jax.model import fold_batch_norm, init_variables
from tests.tolerances import SCORES


def test_changes_reach_every_level():
    after = changed(
        BY_NAME["frontier"],
        ("model.gru_hidden=6", "model.frontend.num_mels=10", "recipe.augmentation.gain=(-3.0, 3.0)", "restarts=2"),
    )
    assert (after.model.gru_hidden, after.model.frontend.num_mels, after.restarts) == (6, 10, 2)
    assert after.recipe.augmentation.gain == (-3.0, 3.0)
    assert changed(BY_NAME["twenty"], ("number_format=int8",)).number_format == "int8"
    assert changed(BY_NAME["frontier"], ()) == BY_NAME["frontier"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("restarts", "no change: say FIELD=VALUE"),
        ("model.gru=6", "CrnnConfig has no 'gru': choose from frontend"),
        ("restarts.more=6", "there is no 'more' to change"),
        ("recipe.pruning.begin=0.2", "there is no 'begin' to change: what should have it is None"),
    ],
)
def test_what_cannot_be_changed_is_named(change: str, message: str):
    with pytest.raises(UserError, match=message):
        changed(BY_NAME["frontier"], (change,))


def test_a_line_tells_of_validation_speakers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    asked = []

    def train(config, recipe, corpus, draw, seed, teacher, log_path, initial, resume):
        asked.append((config.gru_hidden, seed))
        log_path.parent.mkdir(parents=True, exist_ok=True)
        line = {"step": 1, "epoch": 0, "loss": 1.0, "seconds": 1.0, "clips_per_second": 1.0}
        log_path.write_text(json.dumps(line) + "\n")
        return config, init_variables(jax.random.key(seed), config)

    monkeypatch.setattr(training, "train", train)
    write_corpus(tmp_path / "corpus")
    arguments = {"data": tmp_path / "corpus", "keywords": ("up",), "seeds": (0, 1), "out": tmp_path / "out"}
    changes = ("model.gru_hidden=3", "restarts=1")
    for _ in range(2):
        search.main("frontier", changes, **arguments)
    assert asked == [(3, 0), (3, 1)], "what was tried is not trained again"
    first, second = (json.loads(line) for line in (tmp_path / "out" / "search.jsonl").read_text().splitlines())
    assert first == second == json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (first["setting"], first["changes"], first["keywords"]) == ("frontier", list(changes), ["up"])
    setting = changed(BY_NAME["frontier"], changes)
    for seed in (0, 1):
        task = task_of(tmp_path / "corpus", tmp_path / "out", seed)
        model = fold_batch_norm(setting.model, init_variables(jax.random.key(seed), setting.model))
        margins, part = validation_margins(setting, task, *model)
        np.testing.assert_array_equal(part, task.split.validation)
        keyword = margins[task.labels[part] == 1]
        by_word = [
            np.mean([(one < other) + 0.5 * (one == other) for one in keyword for other in margins[words]])
            for words in (task.corpus.words[part] == word for word in ("down", "left"))
        ]
        assert first["errors_by_word"][seed] == pytest.approx(np.mean(by_word), abs=SCORES)
        assert first["errors"][seed] == pytest.approx(np.mean(by_word), abs=SCORES), "these words have as many clips"
    assert first["mean"] == pytest.approx(np.mean(first["errors"]), abs=SCORES)


def test_a_setting_that_is_not_trained_is_named(tmp_path: Path):
    with pytest.raises(UserError, match="base_fp16 is not trained: it stores the weights of base"):
        search.main("base_fp16", out=tmp_path)
