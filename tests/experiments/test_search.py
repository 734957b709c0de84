"""Candidates: changes to a setting, and errors on validation speakers alone; of several trainings the best is kept."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.files import read_module
from experiments import search
from experiments.study import training
from experiments.study.candidates import changed
from experiments.study.judging import margins_of
from experiments.study.records import MODEL
from experiments.study.settings import BY_NAME, STUDENT_314X, Setting
from experiments.study.training import in_format, make_model, validation_margins
from kws_jax.config import CrnnConfig
from kws_jax.errors import UserError
from kws_jax.evaluation.metrics import auroc_error
from kws_jax.model import fold_batch_norm
from kws_jax.training.recipe import Recipe
from tests.helpers.models import random_model
from tests.helpers.tiny_corpus import task_of
from tests.tolerances import SCORES


def untrained(config: CrnnConfig, seed: int) -> tuple[CrnnConfig, dict[str, Any]]:
    return fold_batch_norm(config, random_model(config, seed))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The trainings that were asked for, of so many hidden units and a seed; nothing is trained."""
    found = []

    def train(config, recipe, training_set, draw, seed, teacher, log_path, initial, resume, mesh):
        found.append((config.gru_hidden, seed))
        log_path.parent.mkdir(parents=True, exist_ok=True)
        line = {"step": 1, "epoch": 0, "loss": float(seed), "seconds": 2.0 * seed, "clips_per_second": 1.0}
        log_path.write_text(json.dumps(line) + "\n")
        return config, random_model(config, seed)

    monkeypatch.setattr(training, "train", train)
    return found


def test_changes_reach_every_level():
    arguments = "--model.gru-hidden 6 --model.frontend.num-mels 10 --recipe.augmentation.gain -3 3 --restarts 2"
    after = changed(BY_NAME["student_314x"], arguments.split())
    assert (after.model.gru_hidden, after.model.frontend.num_mels, after.restarts) == (6, 10, 2)
    assert after.recipe.augmentation.gain == (-3.0, 3.0)
    assert changed(BY_NAME["student_21x"], ("--number-format", "int8")).number_format == "int8"
    same, told = (changed(BY_NAME["student_314x"], words) for words in ((), ("--question", "Why?")))
    assert same.model == BY_NAME["student_314x"].model
    assert same.name == told.name != after.name, "the weights of what was tried are found again"


@pytest.mark.parametrize(
    ("setting", "change", "message"),
    [
        ("base_fp16", (), "base_fp16 is not trained: it stores the weights of base"),
        ("student_314x_int5", ("--model.gru-hidden", "9"), "student_314x_int5 has the model of student_314x"),
        ("student_314x_int5", ("--model.frontend.num-mels", "9"), "has the model of student_314x"),
        ("nothing", (), "no setting 'nothing'"),
    ],
)
def test_what_makes_no_candidate_is_one_line(setting: str, change: tuple[str, ...], message: str, tmp_path: Path):
    with pytest.raises(UserError, match=message):
        search.main((setting, *change, "--out", str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("change", [("--weights-from", "base_tuned"), ("--model.gru", "9"), ("--keyword", "up")])
def test_a_change_that_is_none_is_named(change: tuple[str, ...], capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        changed(BY_NAME["student_21x"], change)
    assert "student_21x has either a model" in (text := capsys.readouterr().err) or change[0] in text


def test_a_line_tells_of_validation_speakers(
    tone_corpus: Path, tmp_path: Path, asked: list[tuple[int, int]], capsys: pytest.CaptureFixture
):
    changes = ["--model.gru-hidden", "3", "--restarts", "1"]
    where = ["--data", str(tone_corpus), "--keywords", "up", "--seeds", "0", "1", "--out", str(tmp_path)]
    for _ in range(2):
        search.main(["student_314x", *changes, *where])
    assert asked == [(3, 0), (3, 1)], "what was tried is not trained again"
    first, second = (json.loads(line) for line in (tmp_path / "search.jsonl").read_text().splitlines())
    assert first == second == json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (first["setting"], first["changes"], first["keywords"]) == ("student_314x", changes, ["up"])
    setting = changed(BY_NAME["student_314x"], changes)
    for seed in (0, 1):
        task = task_of(tone_corpus, tmp_path, seed)
        margins, part = validation_margins(task, in_format(*untrained(setting.model, seed), "fp32"))
        np.testing.assert_array_equal(part, task.split.validation)
        keyword = margins[task.labels[part] == 1]
        by_word = [
            np.mean([(one < other) + 0.5 * (one == other) for one in keyword for other in margins[words]])
            for words in (task.corpus.words[part] == word for word in ("down", "left"))
        ]
        assert first["errors_by_word"][seed] == pytest.approx(np.mean(by_word), abs=SCORES)
        assert first["errors"][seed] == pytest.approx(np.mean(by_word), abs=SCORES), "these words have as many clips"
    assert first["mean"] == pytest.approx(np.mean(first["errors"]), abs=SCORES)


def test_of_several_initialisations_the_best_on_validation_speakers_is_kept(
    tone_corpus: Path, tmp_path: Path, asked: list[tuple[int, int]]
):
    seeds = (7, 1_007, 2_007)
    task = task_of(tone_corpus, tmp_path, seed=seeds[0])
    validation = task.split.validation
    errors = []
    for seed in seeds:
        margins = margins_of(in_format(*untrained(STUDENT_314X, seed), "int4"), task, validation)
        errors.append(auroc_error(margins, task.labels[validation]))
    best = seeds[int(np.argmin(errors))]
    assert len(set(errors)) == len(seeds)
    assert best != seeds[0], "else a choice of the first would pass"

    setting = Setting("chosen", "", "", model=STUDENT_314X, recipe=Recipe(), restarts=3, number_format="int4")
    made = make_model(setting, task)
    _, kept = read_module(task.folder("chosen") / MODEL)
    expected = in_format(*untrained(STUDENT_314X, best), "int4").state_dict()
    assert all((tensor == expected[key]).all() for key, tensor in kept.state_dict().items())
    assert made.restarts == tuple(errors)
    assert made.final_loss == best
    assert made.seconds == 2.0 * sum(seeds)
    assert make_model(setting, task) == made, "a second call reads what is there"
    assert len(asked) == 3
