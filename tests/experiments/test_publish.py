"""Publishing: the folder of checkpoints is whole before, after, and when it is killed in between."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from conversion.files import read_module
from experiments import publish
from experiments.streams import publishing
from experiments.streams.judging import Run, judge_mode
from experiments.streams.recipe import SceneRecipe
from experiments.study.lock import locked
from experiments.study.records import MODEL, RUNS, Record, read_records
from kws_jax.checkpoint import About, describe, rewrite
from kws_jax.data.audio import to_float
from kws_jax.data.corpus import load_corpus
from kws_jax.data.sources import SceneSources
from kws_jax.errors import UserError
from kws_jax.files import remove
from tests.helpers.tiny_corpus import write_tone_corpus
from torch_ref.streaming import StreamingKws

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def named(path: Path, about: About) -> About:
    """A threshold that tells that it was asked for."""
    return replace(about, threshold=0.75, smoothing=3, false_alarms_per_hour=0.5, operating_points={"0.5": 0.75})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def records(out: Path) -> list[Record]:
    return [record for record in read_records(out) if record.setting["name"] in ("base_qint8", "student_314x_int5")]


@pytest.fixture
def target(out: Path, records: list[Record], tmp_path: Path) -> Path:
    """A folder that was published before, with a README and a setting that is gone since."""
    target = tmp_path / "checkpoints"
    publishing.publish(records, out, target, named)
    (target / "README.md").write_text("Which to take.\n")
    (target / "up" / "gone.safetensors").write_bytes((target / "up" / "base_qint8.safetensors").read_bytes())
    manifest = json.loads((target / "manifest.json").read_text())
    manifest["checkpoints"].append({"file": "up/gone.safetensors"})
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


def test_what_is_published_is_described(out: Path, target: Path, records: list[Record]):
    publishing.publish(records, out, target, named, drop=True)
    names = {"README.md", "manifest.json", "up/base_qint8.safetensors", "up/student_314x_int5.safetensors"}
    assert contents(target).keys() == names, "settings that are gone vanish"
    manifest = json.loads((target / "manifest.json").read_text())["checkpoints"]
    assert [entry["file"] for entry in manifest] == sorted(names - {"README.md", "manifest.json"})
    for entry, record in zip(manifest, records, strict=True):
        path = target / entry["file"]
        assert (entry["bytes"], entry["sha256"]) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        assert (entry["setting"], entry["macs"]) == (record.setting["name"], record.cost.thop_macs)
        assert (entry["threshold"], entry["smoothing"], entry["false_alarms_per_hour"]) == (0.75, 3, 0.5)
        assert entry["operating_points"] == {"0.5": 0.75}
        about = describe(path)[1]
        assert (about.threshold, about.smoothing, about.setting, about.seed) == (0.75, 3, entry["setting"], 0)
        judged = load_file(out / RUNS / record.name / MODEL)
        shipped = load_file(path)
        assert shipped.keys() == judged.keys()
        assert all(np.array_equal(shipped[key], judged[key]) for key in judged)


def test_a_shipped_model_is_kept_where_the_runs_file_is_gone(out: Path, target: Path, records: list[Record]):
    """If it is of the same seed; else nothing is touched."""
    (out / RUNS / records[0].name / MODEL).unlink()
    path = target / "up" / "base_qint8.safetensors"
    before = contents(target)
    publishing.publish(records, out, target, lambda path, about: about, drop=True)
    assert path.read_bytes() == before["up/base_qint8.safetensors"]
    rewrite(path, path, replace(describe(path)[1], seed=7))
    before = contents(target)
    with pytest.raises(UserError, match=r"base_qint8-up-official-0 has no model in .*: run it again"):
        publishing.publish(records, out, target, named, drop=True)
    assert contents(target) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [({"setting": {"name": "../x"}}, "'../x' of 'up' is no name"), ({"keyword": "a/b"}, "of 'a/b' is no name")],
)
def test_a_name_that_leads_elsewhere_is_refused(
    change: dict, message: str, out: Path, target: Path, records: list[Record]
):
    before = contents(target.parent)
    with pytest.raises(UserError, match=message):
        publishing.publish([records[0], replace(records[1], **change)], out, target, named)
    assert contents(target.parent) == before


def test_nothing_that_is_not_ours_is_lost(out: Path, target: Path, records: list[Record]):
    (target / "up" / "notes.txt").write_text("mine")
    before = contents(target)
    for chosen, message in (
        (records, "notes.txt is of no checkpoint"),
        (records * 2, "two runs would be up/base_qint8"),
    ):
        with pytest.raises(UserError, match=message):
            publishing.publish(chosen, out, target, named)
        assert contents(target) == before


def test_what_was_shipped_goes_only_when_that_is_said(out: Path, target: Path, records: list[Record]):
    before = contents(target)
    with pytest.raises(
        UserError, match=r"2 checkpoints, as up/base_qint8.*, have no record in .*: --drop lets them go"
    ):
        publishing.publish([it for it in records if "314x" in it.name], out, target, named)
    (target / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"manifest.json is damaged .*: git checkout"):
        publishing.publish(records, out, target, named)
    (target / "manifest.json").write_bytes(before["manifest.json"])
    with (
        locked(target.parent),
        pytest.raises(UserError, match="another run is writing into"),
    ):
        publishing.publish(records, out, target, named, drop=True)
    assert contents(target) == before


def test_a_kill_in_the_middle_leaves_what_was_there(out: Path, target: Path):
    """The second threshold never comes."""
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom experiments.streams.publishing import publish\n"
        "from experiments.study.records import read_records\nasked = []\n"
        "def threshold(path, about):\n    asked.append(path)\n"
        "    if len(asked) == 2:\n        print(flush=True)\n        time.sleep(600)\n    return about\n"
        f"out, target = Path({str(out)!r}), Path({str(target)!r})\n"
        "publish(read_records(out), out, target, threshold, drop=True)\n"
    )
    before = contents(target)
    run = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.stdout.readline()
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    assert contents(target) == before


def test_thresholds_are_those_of_validation_speakers(
    out: Path, scene_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """PyTorch's stream over the integer model gives the same; what has a threshold keeps it unless told otherwise."""
    monkeypatch.setattr(publishing, "TARGET", tmp_path / "checkpoints")
    for record in read_records(out):
        if record.setting["name"] != "student_314x_int5":
            remove(out / RUNS / record.name)
    path = out / RUNS / "student_314x_int5-up-official-0" / MODEL
    corpus, sources = out.parent / "corpus", SceneSources((scene_corpus.parent / "speech",))
    with pytest.raises(UserError, match="only shows that everything works: run it without --quick"):
        publish.main(out, SceneRecipe(corpus, sources))
    monkeypatch.setattr(publishing, "read_records", lambda out: [replace(it, quick=False) for it in read_records(out)])
    write_tone_corpus(corpus)
    recipe = SceneRecipe(corpus, sources, hours=0.02, minutes_per_stream=0.3)
    scenes = recipe.build(load_corpus(corpus), "up", "validation")
    config, model = read_module(path)
    runs = [StreamingKws(model).push(to_float(waveform)) for waveform in scenes.waveforms]
    run = Run(runs[0][0], np.stack([probabilities for _, probabilities in runs]))
    quality = judge_mode(run, scenes, run, scenes, config.step_duration).quality
    point, points = quality.in_use, {f"{point.limit:g}": point.threshold for point in quality.points if point.threshold}
    assert point.threshold is not None
    publish.main(out, recipe)
    shipped = tmp_path / "checkpoints" / "up" / "student_314x_int5.safetensors"
    about = describe(shipped)[1]
    assert about.threshold == pytest.approx(point.threshold, abs=1e-6)
    assert (about.smoothing, about.false_alarms_per_hour, about.validation_hours) == (quality.smoothing, 0.5, 0.02)
    assert about.operating_points == pytest.approx(points, abs=1e-6)
    rewrite(path, path, replace(about, threshold=0.25))
    for again, expected in ((False, 0.25), (True, about.threshold)):
        publish.main(out, recipe, again=again)
        assert describe(shipped)[1].threshold == expected
    with pytest.raises(UserError, match="no records of the random split and seed 0"):
        publish.main(out, recipe, split="random")
