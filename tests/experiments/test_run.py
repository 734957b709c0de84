"""The command that runs settings: what it refuses, whom it runs, how long it trains on how many clips."""

import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import run
from experiments.streams.thresholds import give_thresholds
from experiments.study import scaling
from experiments.study import task as study_task
from experiments.study.lock import locked
from experiments.study.pipeline import run_setting
from experiments.study.scaling import FEW_RESTARTS, names_of_all, resolved
from experiments.study.settings import BY_NAME, SETTINGS, Setting, with_needs
from experiments.study.sweep import Job, plan
from experiments.study.task import find_source, make_task
from kws_jax.data.sources import NO_SOURCES, SceneSources
from kws_jax.errors import UserError
from tests.helpers.tiny_corpus import task_of, write_tone_corpus


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "name settings, or say --all"),
        ({"settings": ("nonsense",)}, "no setting 'nonsense'"),
        ({"settings": ("base",), "data": Path("somewhere")}, "say which word to spot"),
        ({"settings": ("base",), "data": Path("nowhere"), "keywords": ("up",)}, "no folder nowhere"),
        ({"settings": ("base",), "keywords": ("up", "down")}, "spoken for one keyword"),
        (
            {"settings": ("base",), "data": Path(), "keywords": ("up",), "sources": SceneSources((Path("nowhere"),))},
            "no folder nowhere: give --speech",
        ),
        ({"settings": ("base",), "jobs": 0}, "at least one job"),
        ({"settings": ("base",), "seeds": ()}, "at least one seed"),
        ({"settings": ("base",), "voices": "words"}, "give --data DIR and --keywords WORD"),
        (
            {"settings": ("base",), "voices": "words", "data": Path(), "keywords": ("up", "down")},
            "give --data DIR and --keywords WORD",
        ),
    ],
)
def test_bad_commands_are_one_line(arguments: dict, message: str, tmp_path: Path):
    with pytest.raises(UserError, match=message) as error:
        run.main(**arguments, out=tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_second_run_on_one_folder_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Before anything is read or spoken, and until the first one is gone, be it by a kill."""
    monkeypatch.setattr(study_task, "find_source", lambda *_: pytest.fail("the second run went on"))
    hold = f"with locked(Path({str(tmp_path / 'out')!r})): print(flush=True); input()"
    script = f"from pathlib import Path; from experiments.study.lock import locked\n{hold}"
    first = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        first.stdout.readline()
        with pytest.raises(UserError, match=r"another run is writing into .*out: wait for it, or name another"):
            run.main(("base",), out=tmp_path / "out")
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.communicate()
    with locked(tmp_path / "out"):
        pass
    assert list((tmp_path / "out").iterdir()) == [], "nothing is left of a lock"
    with locked(tmp_path / "new" / "out"):
        pass
    assert not (tmp_path / "new").exists(), "nothing came to lie there"


def test_the_command_repeats_a_run_with_all_that_it_heard(scene_corpus: Path, tmp_path: Path):
    speech, noise = scene_corpus.parent / "speech", scene_corpus.parent / "noise"
    sources = SceneSources((speech, noise), (noise,), speech / "said.tsv")
    source = find_source(scene_corpus, ("bed",), sources, tmp_path)
    command = shlex.split(make_task(source, source.load(), "bed", "official", 1, tmp_path).command("base"))
    heard = f"--data {scene_corpus} --speech {speech} {noise} --noise {noise} --transcripts {speech / 'said.tsv'}"
    assert command[4:] == [*heard.split(), "--keywords", "bed", "--split", "official", "--seeds", "1"]
    with pytest.raises(UserError, match="cannot read the transcripts"):
        find_source(scene_corpus, ("bed",), replace(sources, transcripts=tmp_path / "none.tsv"), tmp_path)


def test_a_run_of_which_only_the_record_is_left_gets_no_threshold(tone_corpus: Path, tmp_path: Path):
    source = find_source(tone_corpus, ("up",), NO_SOURCES, tmp_path)
    give_thresholds(source, source.load(), {tmp_path / "gone": Job(BY_NAME["student_21x_stream"], "up", 0)})
    assert not list(tmp_path.rglob("gone*"))


def test_nobody_runs_the_base_only_to_be_compared_with_it():
    (job,) = plan({"up": with_needs(["student_21x"])}, (0,))
    assert job.setting.name == "student_21x"


def test_the_first_keyword_gets_all_settings_and_the_others_the_headline_ones(monkeypatch: pytest.MonkeyPatch):
    settings = [replace(setting, headline=setting.name == "student_12x_dark") for setting in SETTINGS]
    monkeypatch.setattr(scaling, "SETTINGS", settings)
    assert names_of_all(has_speech=True, only_headline=False) == tuple(setting.name for setting in SETTINGS)
    assert names_of_all(has_speech=True, only_headline=True) == ("student_12x_dark",)
    assert not any(BY_NAME[name].scene_hours for name in names_of_all(has_speech=False, only_headline=False))
    jobs = plan({"up": SETTINGS, "down": with_needs(["student_12x_dark"])}, (0, 1))
    assert len(jobs) == 2 * (len(SETTINGS) + 2)
    order = list(jobs)
    assert [str(job) for job in order[:4]] == [f"base {word} seed {seed}" for word in ("up", "down") for seed in (0, 1)]
    for job, needs in jobs.items():
        assert {need.setting.name for need in needs} == set(job.setting.learns_from)
        assert all((need.keyword, need.seed) == (job.keyword, job.seed) for need in needs)
        assert all(order.index(need) < order.index(job) for need in needs)


@pytest.mark.parametrize("clips", [50, 300, 1_700, 3_000])
@pytest.mark.parametrize("setting", [each for each in SETTINGS if each.recipe], ids=lambda each: each.name)
def test_few_clips_train_in_steps_and_not_in_epochs(setting: Setting, clips: int):
    """An epoch has several batches, and all of them together at least the steps that are wanted; on very few, just."""
    small = resolved(setting, clips, quick=False)
    usual_clips = scaling.USUAL_CLIPS
    if setting.scene_hours:  # windows take the place of clips
        clips, usual_clips = (int(hours * 3600 / 6.4) for hours in (small.scene_hours, setting.scene_hours))
    assert clips // small.recipe.batch_size >= scaling.LEAST_BATCHES
    assert 1 <= small.recipe.batch_size <= setting.recipe.batch_size
    usual = setting.recipe.epochs * usual_clips // setting.recipe.batch_size
    wanted = scaling.SEMINAR_STEPS if setting.name == "base" else min(scaling.SMALL_STEPS, usual)
    steps = small.recipe.epochs * (clips // small.recipe.batch_size)
    if clips < scaling.TINY_CORPUS:
        assert steps == pytest.approx(wanted, rel=0.05)
    else:
        assert steps >= 0.95 * wanted
        assert small.recipe.epochs >= setting.recipe.epochs
    assert small.restarts == min(setting.restarts, FEW_RESTARTS)


def test_many_clips_train_as_the_table_says():
    assert [resolved(setting, 9_000, quick=False) for setting in SETTINGS] == list(SETTINGS)
    assert resolved(BY_NAME["student_21x"], 9_000, quick=True).recipe.epochs == scaling.QUICK_EPOCHS


@pytest.mark.slow
def test_sixty_clips_are_enough_to_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Enough to rank every clip of the keyword first: they are tones of three pitches."""
    task = task_of(write_tone_corpus(tmp_path / "corpus"), tmp_path / "out")
    training = task.split.training[:: task.split.training.size // 60][:60]
    task = replace(task, split=replace(task.split, training=training))
    monkeypatch.setattr(scaling, "SEMINAR_STEPS", 120)
    record = run_setting(resolved(BY_NAME["base"], training.size, quick=False), task)
    assert record.testing.auroc_error < 0.01
