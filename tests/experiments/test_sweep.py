"""Several settings, seeds and keywords in one command: who runs when, what fails, what is run again."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from experiments.setting import Setting
from experiments.settings import BY_NAME, SETTINGS, with_needs
from test_pipeline import write_corpus

from experiments import run
from experiments.study import pipeline, training
from experiments.study.provenance import FILE, has_origin, origin
from experiments.study.records import read_record
from experiments.study.sweep import Clock, Job, plan
from experiments.study.task import Task, find_source, make_task
from kws_jax.data.corpus import load_corpus
from kws_jax.errors import UserError

BASE, STUDENT = (run.resolved(BY_NAME[name], synthetic=False, quick=True) for name in ("base", "pooled_hard"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "corpus"
    write_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def swept(corpus: Path) -> Path:
    """Output of two settings and two seeds on two workers."""
    out = corpus.parent / "out"
    command(corpus, out, "base_fp16")
    return out


def command(corpus: Path, out: Path, *settings: str, seeds: tuple[int, ...] = (0, 1)) -> None:
    run.main(settings, data=corpus, keywords=("up",), seeds=seeds, out=out, quick=True, jobs=2)


def task_of(corpus: Path, out: Path, seed: int = 0) -> Task:
    source = find_source(corpus, ("up",), None, out)
    return make_task(source, load_corpus(corpus), "up", "official", seed, out)


def weights(task: Task, setting: str) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(task.load_variables(setting)[1])]


def test_every_setting_and_seed_has_its_record(swept: Path):
    records = [read_record(path) for path in sorted((swept / "records").iterdir())]
    assert [(record.setting["name"], record.seed) for record in records] == [
        ("base", 0),
        ("base", 1),
        ("base_fp16", 0),
        ("base_fp16", 1),
    ]
    assert records[0].training.final_loss != records[1].training.final_loss
    assert all(record.command.endswith(f"--keywords up --split official --seeds {record.seed}") for record in records)
    assert not list((swept / "unfinished").glob("*"))


def test_records_of_settings_that_have_changed_since_are_named(
    corpus: Path, swept: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    command(corpus, swept, "base_fp16")
    assert "changed" not in capsys.readouterr().out
    monkeypatch.setitem(BY_NAME, "base", replace(BY_NAME["base"], word_exponent=0.5))
    command(corpus, swept, "base_fp16", seeds=(1,))
    assert "1 of these are of settings that have changed since; delete them to run again: base up seed 1" in (
        capsys.readouterr().out
    )


@pytest.mark.slow
def test_weights_that_are_there_are_judged_again_and_not_trained(
    corpus: Path, swept: Path, capsys: pytest.CaptureFixture
):
    path = swept / "records" / "base-up-official-1.json"
    log = swept / "logs" / "base-up-official-1.jsonl"
    before, trained = read_record(path), log.stat().st_mtime_ns
    path.unlink()
    command(corpus, swept, "base_fp16")
    assert "3 of 4 runs have their record" in capsys.readouterr().out
    after = read_record(path)
    assert log.stat().st_mtime_ns == trained
    assert (after.testing, after.held_out, after.training) == (before.testing, before.held_out, before.training)
    assert after.started > before.started


@pytest.mark.slow
def test_a_failure_is_one_line_and_stops_only_what_needs_it(
    corpus: Path, swept: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    out = tmp_path / "out"
    shutil.copytree(swept, out)
    name = "base-up-official-1"
    (out / "records" / f"{name}.json").unlink()
    shutil.rmtree(out / "checkpoints" / name)
    kept = out / "unfinished" / name / "training" / "training.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"half of it")
    with pytest.raises(UserError, match="2 of 3 runs have no record"):
        command(corpus, out, "base_qint8")
    lines = capsys.readouterr().out.splitlines()
    traceback = kept.parents[1] / "traceback.txt"
    assert any(line.startswith("base up seed 1: FAILED, ValueError: ") and str(traceback) in line for line in lines)
    assert "base_qint8 up seed 1: skipped, it needs base up seed 1" in lines
    assert any(line.startswith("[2/4] base_qint8 up seed 0: 1 - AUROC ") for line in lines)
    assert "in load" in traceback.read_text()
    assert (out / "records" / "base_qint8-up-official-0.json").exists()
    assert not (out / "records" / f"{name}.json").exists()


class Stop(Exception):
    pass


@pytest.mark.parametrize("setting", [BASE, pytest.param(STUDENT, marks=pytest.mark.slow)], ids=lambda each: each.name)
def test_a_stopped_run_goes_on(setting, corpus: Path, swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tasks = []
    for name in ("whole", "stopped"):
        for kind in ("checkpoints", "scores"):  # of the base, to compare with
            shutil.copytree(swept / kind, tmp_path / name / kind)
        tasks.append(task_of(corpus, tmp_path / name))
        (tasks[-1].checkpoint_folder("base") / FILE).unlink()
    undisturbed, task = tasks
    pipeline.run_setting(setting, undisturbed)
    drawn, draw, on = [], training._draw, {"power": False}
    for module in (training.jax_resume, training.torch_resume):
        monkeypatch.setattr(module, "Resume", partial(module.Resume, interval=0.0))

    def failing(setting: Setting, task: Task, epoch: int) -> np.ndarray:
        drawn.append(epoch)
        if epoch == 1 and not on["power"]:
            raise Stop
        return draw(setting, task, epoch)

    monkeypatch.setattr(training, "_draw", failing)
    with pytest.raises(Stop):
        pipeline.run_setting(setting, task)
    assert list(task.unfinished_folder(setting.name).rglob("*"))
    on["power"] = True
    drawn.clear()
    pipeline.run_setting(setting, task)
    assert drawn in ([1], [0, 1])
    assert len(drawn) == (1 if setting is BASE else 2), "JAX asks the first epoch for its length"
    assert not task.unfinished_folder(setting.name).exists()
    for resumed, other in zip(weights(task, setting.name), weights(undisturbed, setting.name), strict=True):
        np.testing.assert_array_equal(resumed, other)


def test_what_decides_the_weights_is_compared(corpus: Path, swept: Path, tmp_path: Path):
    task = task_of(corpus, swept)
    assert has_origin(task.checkpoint_folder("base"), origin(BASE, BASE.recipe, task))
    made = origin(STUDENT, STUDENT.recipe, task)
    (tmp_path / FILE).write_text(made.to_json())
    assert has_origin(tmp_path, made)
    changed = [
        replace(made, seed=1),
        replace(made, clips="other"),
        replace(made, model=replace(made.model, gru_hidden=25)),
        replace(made, recipe=replace(made.recipe, augmentation=None)),
        replace(made, recipe=replace(made.recipe, weight_decay=0.0)),
        replace(made, learns_from={"base": "0"}),
        replace(made, word_exponent=0.5),
        replace(made, phases=2),
        replace(made, restarts=2),
    ]
    assert not any(has_origin(tmp_path, other) for other in changed)
    assert not has_origin(tmp_path / "nowhere", made)
    taught = BY_NAME["pooled_dark"]
    first, second = (origin(taught, taught.recipe, task_of(corpus, swept, seed)).learns_from for seed in (0, 1))
    assert first.keys() == second.keys() == {"base"}
    assert first != second, "the teacher's weights count, not its name"


def test_a_field_that_was_added_since_stands_at_its_default(corpus: Path, swept: Path, tmp_path: Path):
    task = task_of(corpus, swept)
    made = origin(STUDENT, STUDENT.recipe, task)
    stored = json.loads(made.to_json())
    del stored["recipe"]["teacher_weight"]
    (tmp_path / FILE).write_text(json.dumps(stored))
    assert has_origin(tmp_path, made)
    assert not has_origin(tmp_path, replace(made, recipe=replace(made.recipe, teacher_weight=0.5)))
    stored["recipe"]["gone"] = 1
    (tmp_path / FILE).write_text(json.dumps(stored))
    assert not has_origin(tmp_path, made), "a field that is gone meant something"


def test_the_first_keyword_gets_all_settings_and_the_others_the_headline_ones(monkeypatch: pytest.MonkeyPatch):
    settings = [replace(setting, headline=setting.name == "pooled_dark") for setting in SETTINGS]
    monkeypatch.setattr(run, "SETTINGS", settings)
    assert run._all_names(has_speech=True, only_headline=False) == [setting.name for setting in SETTINGS]
    assert run._all_names(has_speech=True, only_headline=True) == ["pooled_dark"]
    assert not any(BY_NAME[name].speech_share for name in run._all_names(has_speech=False, only_headline=False))
    jobs = plan({"up": SETTINGS, "down": with_needs(["pooled_dark"])}, (0, 1))
    assert len(jobs) == 2 * (len(SETTINGS) + 2)
    order = list(jobs)
    assert [str(job) for job in order[:4]] == [f"base {word} seed {seed}" for word in ("up", "down") for seed in (0, 1)]
    for job, needs in jobs.items():
        assert {need.setting.name for need in needs} == set(job.setting.needs)
        assert all((need.keyword, need.seed) == (job.keyword, job.seed) for need in needs)
        assert all(order.index(need) < order.index(job) for need in needs)


def test_the_time_left_is_estimated_from_what_has_finished():
    base, base_1, student, student_1 = (Job(setting, "up", seed) for setting in (BASE, STUDENT) for seed in (0, 1))
    clock = Clock(num_workers=2)
    assert clock.left([base], {}) is None
    clock.add(base, 100.0)
    assert clock.left([student, student_1], {}) == 100.0, "of an unknown setting, the mean of all; two workers share"
    clock.add(student, 20.0)
    assert clock.left([student_1], {base_1: 30.0}) == pytest.approx(70.0), "no less than the longest that runs"
    assert clock.left([student_1] * 9, {base_1: 30.0}) == pytest.approx((70 + 9 * 20) / 2)
    assert clock.left([], {base_1: 400.0}) == 0.0
