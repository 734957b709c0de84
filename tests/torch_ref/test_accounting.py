"""Costs of the torch models in every number format; `tests/kws_jax/test_cost.py` counts other architectures."""

import contextlib
import itertools
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.helpers.torch_models import POOLED, random_module
from torch_ref import accounting
from torch_ref.config import TaskConfig
from torch_ref.qint8 import to_fp16, to_qint8
from torch_ref.torchaudio_import import _import_torchaudio

FORMS = {"fp32": lambda model: model, "fp16": to_fp16, "qint8": to_qint8}
BASE = TaskConfig()
BASE_PCEN = TaskConfig(compression="pcen")


@pytest.mark.parametrize("form", FORMS)
def test_macs_and_parameters_in_every_form(form: str) -> None:
    base, pooled, pcen = (FORMS[form](random_module(config)) for config in (BASE, POOLED, BASE_PCEN))
    assert (accounting.thop_macs(base), accounting.flop_counter_macs(base)) == (932_224, 913_920)
    assert (accounting.num_parameters(base), accounting.num_parameters(pooled)) == (70_443, 5_355)
    assert (accounting.thop_macs(pcen), accounting.num_parameters(pcen)) == (932_224, 70_443 + 3 * 40)
    # One row of 20 x 50 pooled cells, 4 for each of 8 x 11 x 5 normalised values, and 13 x 24 elementwise in 11 steps.
    steps, values, cells = 11, 8 * 5, 20 * 50
    assert accounting.flop_counter_macs(pooled) == 70_536
    assert accounting.thop_macs(pooled) == 70_536 + steps * (4 * values + 13 * 24) + cells


def test_counting_leaves_the_model_alone() -> None:
    model = random_module(BASE).train()
    keys, state = list(model.state_dict()), torch.get_rng_state()
    accounting.thop_macs(model)
    accounting.thop_macs(to_qint8(model))
    assert list(model.state_dict()) == keys
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


BASE_QINT8 = 68_800 + 4 * (808 + 768 + 64 + 1 + 2)
POOLED_QINT8 = 4_608 + 192 + 8 + 48 + 4 * (328 + 16 + 144 + 8 + 1 + 2)


@pytest.mark.parametrize(
    ("config", "form", "weight_bytes", "homework_bytes"),
    [
        (BASE, "fp32", 281_772, 281_772),
        (BASE, "fp16", 140_886, 140_886),
        (BASE, "qint8", BASE_QINT8 + 7 * 5, BASE_QINT8),
        (BASE_PCEN, "fp16", 140_886 + 2 * 120, 140_886 + 2 * 120),
        (BASE_PCEN, "qint8", BASE_QINT8 + 7 * 5 + 4 * 120, BASE_QINT8 + 4 * 120),
        (POOLED, "fp32", 4 * (5_355 + 16), 4 * 5_355),
        (POOLED, "fp16", 2 * (5_355 + 16), 2 * 5_355),
        (POOLED, "qint8", POOLED_QINT8 + 4 * 16 + 5 * 5, POOLED_QINT8),
    ],
)
def test_bytes(config: TaskConfig, form: str, weight_bytes: int, homework_bytes: int) -> None:
    model = FORMS[form](random_module(config))
    assert accounting.weight_bytes(model) == weight_bytes
    assert accounting.homework_megabytes(model) == homework_bytes / 2**20
    assert 2_000 < accounting.serialized_bytes(model) - weight_bytes < 10_000, "the container"


def test_serialized_bytes_is_the_file(tmp_path: Path) -> None:
    model = random_module(BASE)
    torch.save(model.state_dict(), tmp_path / "archive")
    assert accounting.serialized_bytes(model) == (tmp_path / "archive").stat().st_size
    assert accounting.serialized_bytes(model) == pytest.approx(280.2 * 1024, rel=0.002), "the published size"


def test_measure_is_the_median_of_calls_in_turn_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, durations, threads = [0.0], itertools.chain([100.0, 100.0], [3.0, 1.0, 2.5]), torch.get_num_threads()
    calls: list[str] = []
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def work() -> None:
        assert torch.get_num_threads() == 1
        calls.append("work")
        clock[0] += next(durations)

    assert accounting.measure(work, lambda: calls.append("rest"), warmup=2, repeats=3) == [2.5, 0]
    assert calls == ["work", "rest"] * 5
    assert torch.get_num_threads() == threads

    with contextlib.suppress(KeyError), accounting.Timer() as timer:
        clock[0] += 7.0
        raise KeyError
    assert timer.seconds == 7, "also what fails is measured"


@pytest.mark.parametrize(("error", "is_stub"), [("OSError", True), ("ImportError", None), (None, False)])
def test_torchaudio_is_stubbed_only_where_its_library_does_not_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str | None, is_stub: bool | None
) -> None:
    package = tmp_path / "torchaudio"
    package.mkdir()
    (package / "__init__.py").write_text("from . import _extension")
    (package / "_extension.py").write_text(f"raise {error}('broken')" if error else "_IS_ALIGN_AVAILABLE = True")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    if is_stub is None:
        with pytest.raises(ImportError, match="broken"):
            _import_torchaudio()
    else:
        assert is_stub != _import_torchaudio()._extension._IS_ALIGN_AVAILABLE
