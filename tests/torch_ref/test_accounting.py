"""Costs of the torch models, each against a count by hand."""

import contextlib
import itertools
import subprocess
import sys
import textwrap
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.test_torch_model import POOLED, build
from torch_ref import accounting
from torch_ref.config import TaskConfig
from torch_ref.model import CRNN
from torch_ref.qint8 import to_fp16, to_qint8

FORMS = {"fp32": lambda model: model, "fp16": to_fp16, "qint8": to_qint8}
each_form = pytest.mark.parametrize("form", FORMS)
BASE = TaskConfig()


def macs_by_hand(config: TaskConfig, num_frames: int = 101) -> int:
    """Multiplications of the convolution and the matrices in one clip."""
    hidden, attention = config.hidden_size, config.attention_hidden_size
    conv = config.gru_input_size * config.kernel_size[0] * config.kernel_size[1]
    gru = 3 * hidden * (config.gru_input_size + hidden + (config.gru_num_layers - 1) * 2 * hidden)
    return config.num_steps(num_frames) * (conv + gru + attention * (hidden + 1)) + hidden * config.num_classes


def thop_extras(config: TaskConfig) -> int:
    """What thop counts beside the multiplications, at 101 frames."""
    hidden, steps = config.hidden_size, config.num_steps(101)
    gru = config.gru_num_layers * (3 * 3 * hidden + 4 * hidden) * steps
    norm = 4 * config.gru_input_size * steps * config.batch_norm
    pool = 0 if config.pool == (1, 1) else (config.n_mels // config.pool[0]) * (101 // config.pool[1])
    return gru + norm + pool


@each_form
def test_macs_and_parameters_of_the_base_in_every_form(form: str) -> None:
    model = FORMS[form](build(BASE))
    assert accounting.thop_macs(model) == 932_224
    assert accounting.flop_counter_macs(model) == 913_920 == macs_by_hand(BASE)
    assert accounting.num_parameters(model) == 70_443


@each_form
def test_macs_of_a_pooled_student(form: str) -> None:
    model = FORMS[form](build(POOLED))
    assert accounting.flop_counter_macs(model) == macs_by_hand(POOLED) == 70_536
    assert accounting.thop_macs(model) == 70_536 + thop_extras(POOLED)
    assert 932_224 / accounting.thop_macs(model) > 12
    assert accounting.num_parameters(model) == 5_355


def test_macs_grow_with_the_clip() -> None:
    assert accounting.flop_counter_macs(CRNN(BASE), 2 * 16_320) == macs_by_hand(BASE, 205)
    assert accounting.thop_macs(CRNN(BASE), 2 * 16_320) > 2 * 932_224


def test_a_clip_has_as_many_frames_as_the_models_own_front_end_makes_of_it():
    light = replace(BASE, n_fft=256, hop_length=640, n_mels=12, kernel_size=(12, 5), stride=(1, 4), hidden_size=5)
    assert accounting.flop_counter_macs(CRNN(light)) == macs_by_hand(light, 26)


def test_a_naive_count_of_a_quantized_model_misses_nearly_all_and_is_not_ours() -> None:
    import thop

    model = to_qint8(build(BASE))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "distutils Version classes", DeprecationWarning)
        naive, _ = thop.profile(to_qint8(build(BASE)), (torch.zeros(1, 40, 101),), verbose=False)
    assert naive == 158_400, "the convolution alone"
    assert accounting.thop_macs(model) == 932_224


def test_counting_leaves_the_model_alone() -> None:
    model = build(BASE).train()
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
        (POOLED, "fp32", 4 * (5_355 + 16), 4 * 5_355),
        (POOLED, "fp16", 2 * (5_355 + 16), 2 * 5_355),
        (POOLED, "qint8", POOLED_QINT8 + 4 * 16 + 5 * 5, POOLED_QINT8),
    ],
)
def test_bytes(config: TaskConfig, form: str, weight_bytes: int, homework_bytes: int) -> None:
    model = FORMS[form](build(config))
    assert accounting.weight_bytes(model) == weight_bytes
    assert accounting.homework_megabytes(model) == homework_bytes / 2**20
    container = accounting.serialized_bytes(model) - weight_bytes
    assert 2_000 < container < 10_000


def test_serialized_bytes_is_the_file(tmp_path: Path) -> None:
    model = build(BASE)
    torch.save(model.state_dict(), tmp_path / "archive")
    assert accounting.serialized_bytes(model) == (tmp_path / "archive").stat().st_size
    assert accounting.serialized_bytes(model) == pytest.approx(280.2 * 1024, rel=0.002), "the published size"


def test_measure_is_the_median_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, durations, threads = [0.0], itertools.chain([100.0, 100.0], [3.0, 1.0, 2.5]), torch.get_num_threads()
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def work() -> None:
        assert torch.get_num_threads() == 1
        clock[0] += next(durations)

    assert accounting.measure(work, warmup=2, repeats=3) == [2.5]
    assert next(durations, None) is None
    assert torch.get_num_threads() == threads


def test_measure_calls_functions_in_turn() -> None:
    calls: list[str] = []
    medians = accounting.measure(lambda: calls.append("a"), lambda: calls.append("b"), warmup=1, repeats=2)
    assert calls == ["a", "b"] * 3
    assert len(medians) == 2


def test_timer_measures_also_what_fails() -> None:
    with contextlib.suppress(KeyError), accounting.Timer() as timer:
        time.sleep(0.01)
        raise KeyError
    assert 0.01 <= timer.seconds < 1


@pytest.mark.parametrize(
    ("error", "outcome"), [("OSError", "stub"), ("ImportError", "ImportError: broken"), (None, "compiled")]
)
def test_torchaudio_is_stubbed_only_where_its_library_does_not_load(
    tmp_path: Path, error: str | None, outcome: str
) -> None:
    package = tmp_path / "torchaudio"
    package.mkdir()
    (package / "__init__.py").write_text("from . import _extension")
    (package / "_extension.py").write_text(f"raise {error}('broken')" if error else "_IS_ALIGN_AVAILABLE = True")
    program = """
        from torch_ref.torchaudio_import import torchaudio
        print("compiled" if torchaudio._extension._IS_ALIGN_AVAILABLE else "stub")
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[1]}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in result.stdout + result.stderr
