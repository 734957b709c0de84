"""Several settings and seeds in one command: what fails, what is run again, what goes on."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import run
from experiments.study import material, pipeline, sweep, training
from experiments.study.provenance import FILE, is_made_so, provenance, to_json
from experiments.study.records import LOG, MODEL, RECORD, RUNS, UNFINISHED, read_record, write_record
from experiments.study.scaling import resolved
from experiments.study.settings import BY_NAME, Setting
from experiments.study.task import Task
from kws_jax.checkpoint import load, rewrite
from kws_jax.errors import UserError
from tests.helpers.tiny_corpus import task_of

CLIPS = 186  # of training speakers
pytestmark = pytest.mark.slow


@pytest.fixture
def corpus(swept: Path) -> Path:
    return swept.parent / "corpus"


def command(corpus: Path, out: Path, *settings: str, seeds: tuple[int, ...] = (0,), quick: bool = True) -> None:
    run.main(settings, data=corpus, keywords=("up",), seeds=seeds, out=out, quick=quick, jobs=1)


def quick(name: str) -> Setting:
    return resolved(BY_NAME[name], CLIPS, quick=True)


def folder(out: Path, name: str, seed: int = 0) -> Path:
    return out / RUNS / f"{name}-up-official-{seed}"


def test_a_failure_is_one_line_and_stops_only_what_needs_it(corpus: Path, out: Path, capsys: pytest.CaptureFixture):
    (folder(out, "base_qint8") / RECORD).unlink()
    damaged = folder(out, "base", 1) / UNFINISHED / "training" / "training.safetensors"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"half of it")
    with pytest.raises(UserError, match="2 of 3 runs have no record"):
        command(corpus, out, "base_qint8", seeds=(0, 1))
    lines = capsys.readouterr().out.splitlines()
    traceback = folder(out, "base", 1) / UNFINISHED / "traceback.txt"
    assert lines[0] == "1 of 4 runs have their record"
    assert any(line.startswith("base up seed 1: FAILED, ValueError: ") and str(traceback) in line for line in lines)
    assert "base_qint8 up seed 1: skipped, it needs base up seed 1" in lines
    assert any(line.startswith("[2/4] base_qint8 up seed 0: 1 - AUROC ") for line in lines)
    assert "in load" in traceback.read_text()
    assert read_record(folder(out, "base_qint8") / RECORD).quick
    assert not (folder(out, "base", 1) / RECORD).exists()


@pytest.mark.parametrize("name", ["base", "base_qint8", "student_314x"])
def test_weights_that_are_there_are_judged_again_and_not_trained(name: str, corpus: Path, out: Path):
    before = read_record(folder(out, name) / RECORD)
    made = {path: path.stat().st_mtime_ns for path in folder(out, name).iterdir() if path.name in (LOG, MODEL, FILE)}
    (folder(out, name) / RECORD).unlink()
    pipeline.run_setting(quick(name), replace(task_of(corpus, out), quick=True))
    after = read_record(folder(out, name) / RECORD)
    changing = {"started": before.started, "wall_seconds": before.wall_seconds, "command": before.command}
    assert replace(after, **changing) == before
    assert {path: path.stat().st_mtime_ns for path in made} == made


@pytest.mark.parametrize("spoilt", [MODEL, LOG])
def test_what_is_spoilt_is_made_again(spoilt: str, corpus: Path, swept: Path, out: Path):
    """To the same weights; before, every later run ended there."""
    (folder(out, "base") / RECORD).unlink()
    path = folder(out, "base") / spoilt
    path.write_bytes(path.read_bytes()[:-9])
    pipeline.run_setting(quick("base"), replace(task_of(corpus, out), quick=True))
    assert read_record(folder(out, "base") / RECORD).quick
    again, other = (load(folder(results, "base") / MODEL).variables for results in (out, swept))
    jax.tree.map(np.testing.assert_array_equal, again, other)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs that a sweep starts, of which none runs."""
    found: list[str] = []

    def run_jobs(function, needs, *options):
        found.extend(f"{job} after {', '.join(map(str, needs[job]))}" if needs[job] else str(job) for job in needs)
        yield from ()

    monkeypatch.setattr(sweep, "run_jobs", run_jobs)
    return found


def test_a_run_with_a_record_is_not_run_again(
    corpus: Path, out: Path, asked: list[str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    command(corpus, out, "base_fp16", "student_314x_int5")
    assert capsys.readouterr().out == f"4 of 4 runs have their record\nrecords: {out / RUNS}\n"
    monkeypatch.setitem(BY_NAME, "base", replace(BY_NAME["base"], word_balance=0.5, question="Else?"))
    command(corpus, out, "base_fp16")
    what = "2 of these are of settings that have changed since, or learn from one; delete their folders to run again: "
    assert what + "base up seed 0, base_fp16 up seed 0\n" in capsys.readouterr().out
    assert asked == []


def test_a_quick_record_counts_for_quick_sweeps_alone(
    corpus: Path, out: Path, asked: list[str], capsys: pytest.CaptureFixture
):
    with pytest.raises(UserError, match="2 of 2 runs have no record"):
        command(corpus, out, "base_fp16", quick=False)
    assert asked == ["base up seed 0", "base_fp16 up seed 0 after base up seed 0"]
    for name in ("base", "base_fp16"):
        record = read_record(folder(out, name) / RECORD)
        real = json.loads(json.dumps(resolved(BY_NAME[name], CLIPS, quick=False).recipe, default=vars))
        write_record(folder(out, name), replace(record, quick=False, setting=record.setting | {"recipe": real}))
    capsys.readouterr()
    for is_quick in (True, False):
        command(corpus, out, "base_fp16", quick=is_quick)
        assert capsys.readouterr().out.startswith("2 of 2 runs have their record\nrecords: ")


class Stop(Exception):
    pass


@pytest.mark.parametrize("name", ["base", pytest.param("student_314x", marks=pytest.mark.slow)])
def test_a_stopped_run_goes_on(name: str, corpus: Path, swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """To the very weights of the run that was not stopped; a student, in the second of two initialisations."""
    setting, task = quick(name), replace(task_of(corpus, tmp_path), quick=True)
    drawn, draw, on = [], training.draw_clips, {"power": False}
    for module in (training.jax_resume, training.torch_resume):
        monkeypatch.setattr(module, "Resume", partial(module.Resume, interval=0.0))

    def failing(setting: Setting, task: Task, epoch: int) -> np.ndarray:
        drawn.append(epoch)
        if drawn.count(1) == setting.restarts and not on["power"]:
            raise Stop
        return draw(setting, task, epoch)

    for module in (training, material):
        monkeypatch.setattr(module, "draw_clips", failing)
    with pytest.raises(Stop):
        pipeline.run_setting(setting, task)
    assert list((task.folder(name) / UNFINISHED).rglob("*"))
    assert not (task.folder(name) / RECORD).exists()
    on["power"] = True
    drawn.clear()
    pipeline.run_setting(setting, task)
    # JAX asks the first epoch for its length, and the first initialisation was through.
    assert drawn == ([1] if name == "base" else [0, 0, 1])
    assert not (task.folder(name) / UNFINISHED).exists()
    resumed, other = (load(folder(out, name) / MODEL).variables for out in (tmp_path, swept))
    jax.tree.map(np.testing.assert_array_equal, resumed, other)


def test_what_decides_the_weights_is_compared(corpus: Path, swept: Path, tmp_path: Path):
    task, student = task_of(corpus, swept), quick("student_314x")
    assert is_made_so(folder(swept, "student_314x"), provenance(student, task))
    assert not is_made_so(tmp_path / "nowhere", provenance(student, task))
    changed = [
        replace(student, model=replace(student.model, gru_hidden=6)),
        replace(student, recipe=replace(student.recipe, augmentation=None)),
        replace(student, recipe=replace(student.recipe, weight_decay=0.0)),
        replace(student, word_balance=1.0),
        replace(student, framings=2),
        replace(student, restarts=1),
        replace(student, number_format="int8"),
    ]
    made = [provenance(setting, task) for setting in changed]
    made += [provenance(student, replace(task, **{name: value})) for name, value in (("seed", 1), ("keyword", "down"))]
    made += [provenance(student, task) | {"clips": "others"}]
    assert not any(is_made_so(folder(swept, "student_314x"), other) for other in made)
    told = replace(student, question="Why?", headline=True)
    assert is_made_so(folder(swept, "student_314x"), provenance(told, task))


@pytest.mark.parametrize("name", ["base_fp16", "student_314x_int5", "student_12x_dark"])
def test_weights_count_that_a_setting_starts_from_or_learns_from(name: str, corpus: Path, out: Path):
    """The weights themselves: neither the name nor the file, which may say other things of them."""
    task, setting = task_of(corpus, out), quick(name)
    (source,) = setting.learns_from
    path, made = folder(out, source) / MODEL, provenance(setting, task)
    rewrite(path, path, replace(load(path).about, threshold=0.9))
    assert provenance(setting, task) == made
    shutil.copyfile(folder(out, "student_314x" if source == "base" else "base") / MODEL, path)
    assert provenance(setting, task) != made


def test_a_field_that_was_added_since_stands_at_its_default(corpus: Path, swept: Path, tmp_path: Path):
    task, student = task_of(corpus, swept), quick("student_314x")
    stored = json.loads(to_json(provenance(student, task)))
    del stored["setting"]["recipe"]["teacher_weight"], stored["setting"]["framings"]
    (tmp_path / FILE).write_text(json.dumps(stored))
    assert not is_made_so(tmp_path, provenance(student, task)), "framings are four, and one by default"
    assert is_made_so(tmp_path, provenance(replace(student, framings=1), task))
    taught = replace(student, framings=1, recipe=replace(student.recipe, teacher_weight=0.5))
    assert not is_made_so(tmp_path, provenance(taught, task))
    stored["setting"]["recipe"]["gone"] = 1
    (tmp_path / FILE).write_text(json.dumps(stored))
    assert not is_made_so(tmp_path, provenance(replace(student, framings=1), task)), (
        "a field that is gone meant something"
    )
