"""The pipeline from a folder of clips to records and a report, on a toy corpus."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from experiments.settings import BY_NAME, SETTINGS, with_needs

from conversion.files import load_for_flax
from experiments import publish, report, run
from experiments.study.records import read_record, read_records
from experiments.study.task import find_source, make_task
from experiments.study.training import trained_weights
from kws_jax import checkpoint
from kws_jax.data.corpus import load_corpus
from kws_jax.errors import UserError
from kws_jax.evaluation.metrics import auroc_error
from tests.tolerances import SCORES

ROOT = Path(__file__).parents[1]
WORDS = {"up": 1500.0, "down": 600.0, "left": 900.0}  # Hz: what tells these words apart


def write_corpus(folder: Path) -> None:
    """Three words, each a tone of its own pitch, by ninety speakers."""
    rng = np.random.default_rng(0)
    time = np.arange(16_000) / 16_000
    for word, pitch in WORDS.items():
        (folder / word).mkdir(parents=True)
        for speaker in range(90):
            tone = (
                0.3 * np.sin(2 * np.pi * pitch * rng.uniform(0.95, 1.05) * time) * np.exp(-((time - 0.5) ** 2) / 0.02)
            )
            clip = tone + rng.normal(0, 0.01, time.shape)
            soundfile.write(folder / word / f"{speaker:08x}_nohash_0.wav", clip, 16_000)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of a quick run of two trained settings and three that only store weights otherwise."""
    folder = tmp_path_factory.mktemp("pipeline")
    write_corpus(folder / "corpus")
    names = ("base_fp16", "base_qint8", "pooled_dark_qint8")
    run.main(names, data=folder / "corpus", keywords=("up",), out=folder / "out", quick=True)
    return folder / "out"


def test_every_run_leaves_a_whole_record(results: Path):
    records = {record.setting["name"]: record for record in read_records(results / "records")}
    assert set(records) == {"base", "base_fp16", "base_qint8", "pooled_dark", "pooled_dark_qint8"}
    base, half, student = records["base"], records["base_fp16"], records["pooled_dark_qint8"]
    assert base.testing.ratio_to_base == (1.0, 1.0, 1.0)
    assert (base.cost.parameters, base.cost.thop_macs, half.cost.thop_macs) == (70_443, 932_224, 932_224)
    assert half.cost.weight_bytes * 2 == base.cost.weight_bytes == 281_772
    assert student.cost.thop_macs * 10 < base.cost.thop_macs
    assert student.cost.shipped_bytes < base.cost.shipped_bytes / 20
    assert base.training.framework == "PyTorch"
    assert half.training is None
    assert records["pooled_dark"].training.framework == "JAX"
    data = (results.parent / "corpus").as_posix()
    assert base.command == f"python -m experiments.run base --data {data} --keywords up --split official --seeds 0"
    for record in records.values():
        assert 0 < record.cost.stream_seconds_per_second < 1, "faster than real time"
        assert 0 < record.cost.base_stream_seconds_per_second < 1
        assert all((results / path).exists() for path in record.paths.values())
        assert record.data["training"]["clips"] + record.held_out.clips == 270


def test_metrics_are_those_of_the_scores(results: Path):
    record = read_record(results / "records" / "pooled_dark-up-official-0.json")
    with np.load(results / record.paths["scores"]) as scores:
        testing = scores["testing"]
        error = auroc_error(scores["margins"][testing].astype(np.float64), scores["labels"][testing])
        assert abs(error - record.testing.auroc_error) < SCORES
        assert testing.sum() == record.testing.clips


def test_a_run_with_a_record_is_not_run_again(results: Path, capsys: pytest.CaptureFixture):
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*") if path.is_file()}
    run.main(("base_fp16",), data=results.parent / "corpus", keywords=("up",), out=results, quick=True)
    assert "2 of 2 runs have their record" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in results.rglob("*") if path.is_file()}


def test_shipped_files_hold_the_model(results: Path):
    folder = results / "checkpoints" / "pooled_dark-up-official-0"
    config, variables = checkpoint.restore(folder / "flax")
    shipped_config, shipped = load_for_flax(folder / "model.safetensors")
    assert shipped_config == config
    np.testing.assert_array_equal(shipped["params"]["conv"]["kernel"], variables["params"]["conv"]["kernel"])
    assert checkpoint.read_about(folder / "flax")["keyword"] == "up"


def test_the_report_of_the_run_is_rendered(results: Path):
    report.main(results, out=results)
    text = (results / "REPORT.md").read_text()
    assert all(name in text for name in ("base_qint8", "pooled_dark", "pooled_dark_qint8"))
    assert (results / "figures" / "metric_flops.png").stat().st_size > 10_000


def test_publishing_copies_and_describes(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(publish, "DEFAULT_TARGET", tmp_path)
    publish.main(results)
    entries = json.loads((tmp_path / "manifest.json").read_text())["checkpoints"]
    assert {entry["name"] for entry in entries} == {
        f"{r.setting['name']}-up" for r in read_records(results / "records")
    }
    assert all((tmp_path / entry["file"]).stat().st_size == entry["bytes"] for entry in entries)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "name settings, or say --all"),
        ({"settings": ("nonsense",)}, "no setting 'nonsense'"),
        ({"settings": ("base",), "data": Path("somewhere")}, "say which word to spot"),
        ({"settings": ("base",), "data": Path("nowhere"), "keywords": ("up",)}, "no folder nowhere"),
        ({"settings": ("base",), "keywords": ("up", "down")}, "spoken for one keyword"),
        ({"settings": ("base",), "jobs": 0}, "at least one job"),
    ],
)
def test_bad_commands_are_one_line(arguments: dict, message: str, tmp_path: Path):
    with pytest.raises(UserError, match=message) as error:
        run.main(**arguments, out=tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_training_on_speech_without_speech_is_named(results: Path, tmp_path: Path):
    source = find_source(results.parent / "corpus", ("up",), None, tmp_path)
    task = make_task(source, load_corpus(source.folder), "up", "official", 0, tmp_path)
    with pytest.raises(UserError, match="give --speech"):
        trained_weights(BY_NAME["pooled_stream"], task)


def test_needs_come_first():
    for setting in SETTINGS:
        order = [need.name for need in with_needs([setting.name])]
        assert order[-1] == setting.name
        assert all(order.index(need) < order.index(each) for each in order for need in BY_NAME[each].needs)
