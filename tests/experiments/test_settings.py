"""Every kind of setting, from start to record on a toy corpus: what is deployed is what was asked for."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from experiments.architectures import FRONTIER
from experiments.settings import SETTINGS, with_needs
from test_pipeline import write_corpus

from conversion.files import read_module, to_module
from experiments import run
from experiments.study.records import Record, read_records
from kws_jax import checkpoint
from torch_ref.formats import FORMATS

KINDS = ("pruned_int8", "pooled_attention_int4", "pooled_waveform", "pooled_similarity", "small_two_stage")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("settings")
    write_corpus(folder / "corpus")
    run.main((*KINDS, "frontier_int5"), data=folder / "corpus", keywords=("up",), out=folder / "out", quick=True)
    return folder / "out"


@pytest.fixture(scope="module")
def records(out: Path) -> dict[str, Record]:
    return {record.setting["name"]: record for record in read_records(out / "records")}


@pytest.mark.slow
def test_pruning_leaves_the_planned_sizes(records: dict[str, Record]):
    base, pruned = (records[name] for name in ("fair_base", "pruned"))
    sizes = [pruned.setting["model"][name] for name in ("conv_channels", "gru_hidden", "gru_layers", "attention_width")]
    assert sizes == [2, 16, 2, 8]
    assert pruned.cost.thop_macs * 8 < base.cost.thop_macs
    assert records["pruned_int8"].cost.thop_macs == pruned.cost.thop_macs
    assert records["pruned_int8"].cost.weight_bytes * 3 < pruned.cost.weight_bytes


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pruned_int8", "pooled_attention_int4", "frontier_int5"])
def test_what_is_shipped_are_the_trained_weights_on_their_grid(name: str, out: Path, records: dict[str, Record]):
    folder = out / records[name].paths["checkpoint"]
    config, variables = checkpoint.restore(folder / "flax")
    number_format = records[name].setting["number_format"]
    again = FORMATS[number_format].tensors(FORMATS[number_format].convert(to_module(config, variables)))
    _, shipped = read_module(folder / "model.safetensors")
    for key, tensor in FORMATS[number_format].tensors(shipped).items():
        np.testing.assert_array_equal(tensor, again[key])
    source = checkpoint.restore(out / records[records[name].setting["source"]].paths["checkpoint"] / "flax")[1]
    moved = jax.tree.map(lambda a, b: bool((np.asarray(a) != b).any()), variables, source)
    assert any(jax.tree.leaves(moved)), "it was trained for the grid"


@pytest.mark.slow
def test_the_frontier_is_as_small_as_it_is_said_to_be(records: dict[str, Record]):
    base, frontier = records["base"].cost, records["frontier_int5"].cost
    assert frontier.thop_macs * 300 <= base.thop_macs
    assert frontier.weight_bytes * 800 <= base.weight_bytes
    assert frontier.shipped_bytes * 100 <= base.shipped_bytes
    assert records["frontier_int5"].setting["model"]["conv_channels"] == FRONTIER.conv_channels


def test_settings_differ_in_what_they_do():
    """Another name alone is no setting; each comes after what it needs."""
    told = [replace(setting, name="", question="", expectation="", headline=False) for setting in SETTINGS]
    assert len(SETTINGS) >= 12
    assert len({repr(each) for each in told}) == len(SETTINGS)
    assert with_needs([setting.name for setting in SETTINGS]) == list(SETTINGS)
    assert all(setting.recipe or setting.source for setting in SETTINGS)
