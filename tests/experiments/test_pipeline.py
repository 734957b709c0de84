"""The pipeline from a folder of clips to records, on a toy corpus: a record is of the very file that is shipped."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conversion.files import read_module
from experiments.study.judging import margins_of
from experiments.study.records import MODEL, Record, read_records
from experiments.study.scores import SCORES, read_scores
from experiments.study.settings import BY_NAME
from experiments.study.task import Task
from experiments.study.training import make_model
from kws_jax import checkpoint
from kws_jax.data.audio import to_float
from kws_jax.errors import UserError
from kws_jax.evaluation.metrics import auroc_error
from kws_jax.model import predict
from tests.experiments.conftest import LEARNT_FROM, SETTINGS
from tests.helpers.tiny_corpus import task_of
from tests.tolerances import CLOSED_FORM, CROSS_FRAMEWORK

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def records(swept: Path) -> dict[str, Record]:
    return {record.setting["name"]: record for record in read_records(swept)}


@pytest.fixture(scope="module")
def task(swept: Path) -> Task:
    return task_of(swept.parent / "corpus", swept)


def test_every_run_leaves_a_whole_record(swept: Path, records: dict[str, Record]):
    assert set(records) == {*SETTINGS, *LEARNT_FROM}
    base, half, student = records["base"], records["base_fp16"], records["student_314x"]
    assert (base.cost.parameters, base.cost.thop_macs, half.cost.thop_macs) == (70_443, 932_224, 932_224)
    assert half.cost.weight_bytes * 2 == base.cost.weight_bytes == 281_772
    assert (base.training.framework, student.training.framework, half.training) == ("PyTorch", "JAX", None)
    assert len(student.training.restarts) == 2
    data = (swept.parent / "corpus").as_posix()
    command = f"python -m experiments.run base --data {data} --keywords up --split official --seeds 0 --quick"
    assert base.command == command
    for record in records.values():
        assert record.data["training"]["clips"] + record.held_out.clips == 270
        files = {path.name for path in (swept / "runs" / record.name).iterdir()}
        log = {"log.jsonl"} if record.training else set()
        assert files == {"record.json", "provenance.json", SCORES, MODEL} | log


def test_the_tiniest_model_is_as_small_as_it_is_said_to_be(records: dict[str, Record]):
    base, tiny = records["base"].cost, records["student_314x_int5"].cost
    assert tiny.thop_macs * 300 <= base.thop_macs
    assert tiny.weight_bytes * 800 <= base.weight_bytes
    assert tiny.shipped_bytes * 100 <= base.shipped_bytes


@pytest.mark.parametrize("name", [*SETTINGS, *LEARNT_FROM])
def test_what_was_judged_is_the_file(name: str, swept: Path, records: dict[str, Record], task: Task):
    """Scores are the file's own, metrics are those of the scores, and its header says what it is."""
    record, path = records[name], swept / "runs" / records[name].name / MODEL
    margins = margins_of(read_module(path)[1], task, task.split.held_out)
    ranks, labels, _, testing = read_scores(swept, record)
    np.testing.assert_array_equal(ranks, np.unique(margins, return_inverse=True)[1])
    assert record.testing.auroc_error == pytest.approx(auroc_error(ranks[testing], labels[testing]), abs=CLOSED_FORM)
    assert (record.testing.clips, record.held_out.clips) == (testing.sum(), testing.size)
    about = checkpoint.describe(path)[1]
    assert (about.keyword, about.setting, about.seed) == ("up", name, 0)
    assert about.number_format == record.setting["number_format"]


@pytest.mark.parametrize("name", ["base", "student_314x_int5"])
def test_jax_reads_the_model_that_was_judged(name: str, swept: Path, records: dict[str, Record], task: Task):
    path, held_out = swept / "runs" / records[name].name / MODEL, task.split.held_out
    config, variables, _ = checkpoint.load(path)
    clips = jnp.asarray(to_float(task.corpus.waveforms[held_out]))
    margins = np.diff(jax.jit(predict, static_argnums=1)(variables, config, clips))[:, 0]
    expected = margins_of(read_module(path)[1], task, held_out)
    np.testing.assert_allclose(margins, expected, rtol=0, atol=CROSS_FRAMEWORK)


def test_a_model_that_starts_from_another_claims_none_of_its_own(out: Path):
    """Its provenance names the other's weights by their digest, and the record the model that it deploys."""
    folder = out / "runs" / "student_314x_int5-up-official-0"
    made = json.loads((folder / "provenance.json").read_text())
    assert made["setting"]["model"] is None
    assert made["setting"]["weights_from"] == "student_314x"
    assert made["learns_from"].keys() == {"student_314x"}
    assert json.loads((folder / "record.json").read_text())["setting"]["model"]["gru_hidden"] == 5


def test_training_on_scenes_without_speech_is_named(swept: Path, tmp_path: Path):
    task = task_of(swept.parent / "corpus", tmp_path)
    with pytest.raises(UserError, match="give --speech"):
        make_model(BY_NAME["student_21x_stream"], task)
    assert not list(tmp_path.rglob(MODEL))
