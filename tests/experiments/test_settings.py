"""The table, and every kind of setting from start to record on a toy corpus: what is deployed is what was asked for."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from conversion.configs import to_task_config
from conversion.files import read_module, to_module
from experiments import run
from experiments.study.records import MODEL, RUNS, Record, read_records
from experiments.study.settings import BY_NAME, SETTINGS, STUDENT_12X, Setting, deployed_model, with_needs
from kws_jax import checkpoint
from kws_jax.config import BASE
from kws_jax.errors import UserError
from kws_jax.training.recipe import Recipe
from tests.helpers.tiny_corpus import write_tone_corpus
from torch_ref.accounting import thop_macs
from torch_ref.formats import FORMATS
from torch_ref.model import CRNN

KINDS = ("pruned_10x_int8", "student_12x_attention_int4", "student_12x_similarity", "student_27x_assisted")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("settings")
    corpus = write_tone_corpus(folder / "corpus")
    run.main(KINDS, data=corpus, keywords=("up",), out=folder / "out", quick=True, jobs=2)
    return folder / "out"


@pytest.fixture(scope="module")
def records(out: Path) -> dict[str, Record]:
    return {record.setting["name"]: record for record in read_records(out)}


@pytest.mark.slow
def test_pruning_leaves_the_planned_sizes(records: dict[str, Record]):
    base, pruned = (records[name] for name in ("base_tuned", "pruned_10x"))
    sizes = [pruned.setting["model"][name] for name in ("conv_channels", "gru_hidden", "gru_layers", "attention_width")]
    assert sizes == [2, 16, 2, 8]
    assert pruned.cost.thop_macs * 8 < base.cost.thop_macs
    assert records["pruned_10x_int8"].cost.thop_macs == pruned.cost.thop_macs
    assert records["pruned_10x_int8"].cost.weight_bytes * 3 < pruned.cost.weight_bytes


def trained_for_its_grid(results: Path, run: str, source: str, number_format: str) -> bool:
    """Whether a run's packed weights are others than its source's, rounded."""
    variables = checkpoint.load(results / RUNS / source / MODEL)
    rounded = FORMATS[number_format].convert(to_module(variables.config, variables.variables))
    config, model = read_module(results / RUNS / run / MODEL)
    assert config == variables.config
    shipped, before = (FORMATS[number_format].tensors(each)[number_format] for each in (model, rounded))
    assert shipped.shape == before.shape
    return bool((shipped != before).any())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "source", "number_format"),
    [
        ("pruned_10x_int8", "pruned_10x", "int8"),
        ("student_12x_attention_int4", "student_12x_attention", "int4"),
    ],
)
def test_integers_are_trained_and_not_only_rounded(name: str, source: str, number_format: str, out: Path):
    assert trained_for_its_grid(out, f"{name}-up-official-0", f"{source}-up-official-0", number_format)


@pytest.mark.slow
def test_the_tiniest_integers_are_trained_and_not_only_rounded(swept: Path):
    names = ("student_314x_int5-up-official-0", "student_314x-up-official-0")
    assert trained_for_its_grid(swept, *names, "int5")


def test_settings_differ_in_what_they_do():
    """Another name alone is no setting; each comes after what it needs."""
    told = [replace(setting, name="", question="", expectation="", headline=False) for setting in SETTINGS]
    assert len({repr(each) for each in told}) == len(SETTINGS) == len(BY_NAME)
    assert with_needs([setting.name for setting in SETTINGS]) == list(SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda each: each.name)
def test_a_name_says_what_a_setting_deploys(setting: Setting):
    """The ratio is of thop's MACs to the base's; the format is the one that is stored."""
    model = deployed_model(setting)
    ratio = re.search(r"_(\d+)x", setting.name)
    base, own = (thop_macs(CRNN(to_task_config(config))) for config in (BASE, model))
    assert round(base / own) == (int(ratio[1]) if ratio else 1)
    assert setting.name.endswith(f"_{setting.number_format}") or setting.number_format == "fp32"
    assert model.frontend.hop_length == 320 or "_hop20" not in setting.name
    assert not model.batch_norm


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": STUDENT_12X, "recipe": Recipe(), "weights_from": "base"}, "either a model of its own, or"),
        ({"recipe": Recipe()}, "either a model of its own, or"),
        ({"model": STUDENT_12X}, "neither a recipe nor weights"),
    ],
)
def test_what_is_no_setting_is_refused(fields: dict, message: str):
    with pytest.raises(UserError, match=message):
        Setting("odd", "", "", **fields)
