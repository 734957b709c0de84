"""Every streaming class against the offline model in PyTorch, which shares neither blocks nor masks with them."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from scipy.special import softmax

from conversion.configs import to_task_config
from conversion.files import read_module, to_module, write_module
from kws_jax import streaming
from kws_jax.checkpoint import About, restore
from kws_jax.config import CrnnConfig
from kws_jax.model import predict
from tests.helpers.models import TOY, noise
from tests.helpers.streams import EVERY_CONFIG, SIDES, both_sides, heard, offline, offline_by_steps, stream_of
from tests.tolerances import CROSS_FRAMEWORK, FLOAT16_STREAM, QINT8_STREAM, QINT8_STREAM_RANGES
from torch_ref.model import CRNN
from torch_ref.qint8 import to_fp16, to_qint8
from torch_ref.streaming import StreamingKws, StreamingModel

LIMIT = 20  # blocks
each_side = pytest.mark.parametrize("side", SIDES)


@lru_cache(maxsize=100_000)
def expected_probabilities(name: str, num_samples: int) -> np.ndarray:
    return offline(both_sides(name)[1], waveform(EVERY_CONFIG[name])[:num_samples])


@lru_cache
def waveform(config: CrnnConfig) -> np.ndarray:
    return noise(7, 1, LIMIT * config.block_size)[0]


def check_chunkings(side: str, name: str, examples: int, derandomize: bool) -> None:
    """One stream, reused from flush to flush, over drawn chunk lengths up to `LIMIT` blocks in all."""
    config, stream = EVERY_CONFIG[name], stream_of(side, name)
    hop, padding, block = config.frontend.hop_length, config.frontend.padding, config.block_size
    edges = sorted({0, 1, 2, *(size + d for size in (hop, padding, block, 2 * block) for d in (-1, 0, 1))})
    lengths = st.lists(st.sampled_from(edges) | st.integers(0, 4 * block), max_size=16)

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=derandomize,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(lengths)
    def chunking(lengths: list[int]) -> None:
        ends = np.minimum(np.cumsum([0, *lengths]), LIMIT * block)
        chunks = [waveform(config)[a:b] for a, b in pairwise(ends)]
        times, probabilities = heard(stream, chunks)
        expected = expected_probabilities(name, int(ends[-1]))
        assert len(probabilities) == len(times) == len(expected)
        np.testing.assert_allclose(probabilities, expected, rtol=0, atol=CROSS_FRAMEWORK)
        np.testing.assert_array_equal(times, config.step_end(np.arange(len(times))) / 16_000)

    chunking()


@pytest.mark.parametrize("name", ["toy", "pcen"])
@each_side
def test_any_chunking_is_offline(side: str, name: str):
    check_chunkings(side, name, 15, derandomize=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_CONFIG)
@pytest.mark.parametrize(("side", "examples"), [("jax", 1_200), ("torch", 300), ("c", 1_200)])
def test_ten_thousand_chunkings_are_offline(side: str, examples: int, name: str):
    check_chunkings(side, name, examples, derandomize=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["base", "student"])
def test_all_classes_agree_over_half_a_minute(name: str):
    length = 30 * 16_000 + 77
    samples = noise(8, 1, length)[0] * np.linspace(0, 2, length, dtype=np.float32)
    whole_track, ends = offline(both_sides(name)[1], samples), None
    for side in SIDES:
        times, probabilities = heard(stream_of(side, name), np.array_split(samples, 7))
        ends = times if ends is None else ends
        np.testing.assert_array_equal(times, ends)
        np.testing.assert_allclose(probabilities, whole_track, rtol=0, atol=CROSS_FRAMEWORK)
    assert np.std(whole_track) > 100 * CROSS_FRAMEWORK, "a constant would agree too"


@pytest.mark.parametrize("window", [6, 14])
def test_both_classes_look_back_as_far_as_the_model_does(window: int, tmp_path: Path):
    config, samples = replace(TOY, max_window_length=window), noise(3, 1, 30 * TOY.block_size)[0]
    variables, _ = both_sides("toy")
    write_module(tmp_path / "m.safetensors", to_module(config, variables), config, About())
    found, restored = restore(tmp_path / "m.safetensors")
    ours = heard(streaming.StreamingKws(restored["params"], found), [samples])[1]
    theirs = heard(StreamingKws(read_module(tmp_path / "m.safetensors")[1]), [samples])[1]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=CROSS_FRAMEWORK)
    others = heard(StreamingKws(to_module(replace(TOY, max_window_length=11), variables)), [samples])[1]
    assert np.abs(theirs - others).max() > 100 * CROSS_FRAMEWORK, "the window matters"


@each_side
def test_a_clip_that_fits_the_window_ends_on_the_plain_model(side: str):
    samples = noise(2, 1, 16_000)
    logits = jax.jit(predict, static_argnums=1)(both_sides("base")[0], EVERY_CONFIG["base"], samples)
    plain = softmax(logits, axis=1)[0, 1]
    assert abs(heard(stream_of(side, "base"), [samples[0]])[1][-1] - plain) < CROSS_FRAMEWORK


@pytest.mark.parametrize(
    ("convert", "reference", "tolerance"),
    [
        (to_fp16, offline, FLOAT16_STREAM),
        (to_qint8, offline_by_steps, QINT8_STREAM),
        (to_qint8, offline, QINT8_STREAM_RANGES),
    ],
    ids=["fp16", "qint8 by steps", "qint8 at once"],
)
def test_a_smaller_number_format_streams_to_its_own_offline_run(
    convert: Callable[[CRNN], CRNN], reference: Callable[..., np.ndarray], tolerance: float
):
    model, samples = convert(both_sides("base")[1]), noise(9, 1, 10 * 16_000 + 77)[0]
    _, probabilities = heard(StreamingKws(model), np.array_split(samples, 7))
    expected = reference(model, samples)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=tolerance)
    if reference is offline_by_steps:
        assert np.quantile(np.abs(probabilities - expected), 0.9) < CROSS_FRAMEWORK


@pytest.mark.parametrize("name", ["toy", "pcen"])
@pytest.mark.parametrize("convert", [lambda model: model, to_fp16, to_qint8], ids=["fp32", "fp16", "qint8"])
def test_the_torch_state_keeps_its_form(convert: Callable[[CRNN], CRNN], name: str):
    stepper = StreamingModel(convert(both_sides(name)[1]))
    state = first = stepper.init_state(2)
    for block in np.split(noise(10, 2, 10 * 256), 10, axis=1):
        state, _ = stepper.step(state, torch.from_numpy(block))
    assert [(x.shape, x.dtype) for x in state] == [(x.shape, x.dtype) for x in first]
    mixed = stepper.reset(state, torch.tensor([True, False]))
    for now, fresh, before in zip(mixed, first, state, strict=True):
        np.testing.assert_array_equal(now.detach(), torch.stack([fresh[0], before[1]]).detach())


@pytest.mark.parametrize("name", ["toy", "pcen"])
def test_torch_rows_are_independent(name: str):
    stepper, samples = StreamingModel(both_sides(name)[1]), noise(11, 2, 10 * 256)
    broken = np.stack([np.full_like(samples[0], np.nan), samples[1]])
    rows = []
    for waveforms in (samples, broken):
        state, logits = stepper.init_state(2), []
        for block in np.split(waveforms, 10, axis=1):
            state, row = stepper.step(state, torch.from_numpy(block))
            logits.append(row[1].detach().numpy())
        rows.append(np.stack([*logits, *stepper.flush(state, torch.zeros(2, 256), 0)[1].detach().numpy()]))
    np.testing.assert_array_equal(*rows)


def test_what_cannot_stream_in_torch_is_named():
    with pytest.raises(ValueError, match="evaluation mode"):
        StreamingKws(CRNN(to_task_config(TOY)))
    with pytest.raises(ValueError, match="max_window_length 0 must be 1 or more"):
        replace(to_task_config(TOY), max_window_length=0)
