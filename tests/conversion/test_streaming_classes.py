"""Both streaming classes against the offline model in PyTorch, which shares neither blocks nor masks with them."""

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from scipy.special import softmax

from conversion.files import to_module
from kws_jax import streaming
from kws_jax.config import CrnnConfig
from kws_jax.model import predict
from tests.helpers.models import CONFIGS, noise, random_variables
from tests.helpers.odd_configs import ODD_CONFIGS
from tests.tolerances import CROSS_FRAMEWORK, FLOAT16_STREAM, QINT8_STREAM, QINT8_STREAM_RANGES
from torch_ref.frontend import MelPower, log_mel
from torch_ref.model import CRNN
from torch_ref.qint8 import to_fp16, to_qint8
from torch_ref.streaming import StreamingKws, StreamingModel
from torch_ref.threads import single_thread

EVERY_CONFIG = CONFIGS | ODD_CONFIGS
LIMIT = 20  # blocks
Stream = streaming.StreamingKws | StreamingKws


@lru_cache
def build(name: str) -> tuple[dict, CRNN, MelPower]:
    """A model on both sides, its weights enlarged so that probabilities move and faults show."""
    variables = jax.tree.map(lambda x: 2 * x, random_variables(EVERY_CONFIG[name]))
    model = to_module(EVERY_CONFIG[name], variables)
    return variables, model, MelPower(model.config)


def stream_of(side: str, name: str) -> Stream:
    variables, model, _ = build(name)
    if side == "jax":
        return streaming.StreamingKws(variables["params"], EVERY_CONFIG[name])
    return StreamingKws(model, EVERY_CONFIG[name].max_window_length)


def trailing_probabilities(
    model: CRNN, window_length: int, outputs: torch.Tensor, energies: torch.Tensor
) -> np.ndarray:
    """The keyword's probability at every step, from slices of the GRU outputs (1, steps, hidden)."""
    rows = []
    for end in range(1, outputs.shape[1] + 1):
        part = slice(max(0, end - window_length), end)
        weights = torch.softmax(energies[:, part], dim=1)
        rows.append(model.classifier((outputs[:, part] * weights).sum(dim=1)))
    return softmax(torch.cat(rows).float().numpy(), axis=1)[:, 1]


@single_thread()
@torch.inference_mode()
def offline(model: CRNN, mel_power: MelPower, window_length: int, samples: np.ndarray) -> np.ndarray:
    """Probabilities of all steps from one pass over all samples."""
    config = model.config
    if not config.num_steps(config.num_frames(len(samples))):
        return np.zeros(0)
    frames = log_mel(mel_power(torch.from_numpy(samples)[None])).to(model.get_parameter("conv.0.weight").dtype)
    outputs = model.gru(model.features(frames))[0]
    return trailing_probabilities(model, window_length, outputs, model.attention.energy(outputs))


@torch.inference_mode()
def offline_by_steps(model: CRNN, mel_power: MelPower, window_length: int, samples: np.ndarray) -> np.ndarray:
    """The same over the whole log-mel, but each layer called once a step, so that int8 ranges are a step's own."""
    frames, config = log_mel(mel_power(torch.from_numpy(samples)[None])), model.config
    hidden, outputs, energies = torch.zeros(config.gru_num_layers, 1, config.hidden_size), [], []
    for first in range(0, frames.shape[2] - config.kernel_frames + 1, config.stride_frames):
        output, hidden = model.gru(model.features(frames[..., first : first + config.kernel_frames]), hidden)
        outputs.append(output)
        energies.append(model.attention.energy(output))
    return trailing_probabilities(model, window_length, torch.cat(outputs, dim=1), torch.cat(energies, dim=1))


@lru_cache(maxsize=100_000)
def expected_probabilities(name: str, num_samples: int) -> np.ndarray:
    _, model, mel_power = build(name)
    config = EVERY_CONFIG[name]
    return offline(model, mel_power, config.max_window_length, waveform(config)[:num_samples])


@lru_cache
def waveform(config: CrnnConfig) -> np.ndarray:
    return noise(7, 1, LIMIT * config.block_size)[0]


def heard(stream: Stream, chunks: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Times and probabilities of all chunks and the flush."""
    pieces = [*map(stream.push, chunks), stream.flush()]
    times, probabilities = (np.concatenate(part) for part in zip(*pieces, strict=True))
    return times, probabilities


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


@pytest.mark.parametrize("name", [*CONFIGS, "hop does not divide"])
@pytest.mark.parametrize("side", ["jax", "torch"])
def test_any_chunking_is_offline(side: str, name: str):
    check_chunkings(side, name, 15, derandomize=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_CONFIG)
@pytest.mark.parametrize(("side", "examples"), [("jax", 1_200), ("torch", 300)])
def test_ten_thousand_chunkings_are_offline(side: str, examples: int, name: str):
    check_chunkings(side, name, examples, derandomize=False)


@pytest.mark.parametrize("side", ["jax", "torch"])
def test_one_sample_at_a_time(side: str):
    config, samples = EVERY_CONFIG["toy"], waveform(EVERY_CONFIG["toy"])[: 4 * EVERY_CONFIG["toy"].block_size + 77]
    _, probabilities = heard(stream_of(side, "toy"), list(samples[:, None]))
    assert len(probabilities) == config.num_steps(config.frontend.num_frames(len(samples)))
    np.testing.assert_allclose(probabilities, expected_probabilities("toy", len(samples)), rtol=0, atol=CROSS_FRAMEWORK)


@pytest.mark.parametrize("name", ["base", "student"])
def test_both_classes_agree_over_a_minute(name: str):
    samples = noise(8, 1, 60 * 16_000 + 77)[0] * np.linspace(0, 2, 60 * 16_000 + 77, dtype=np.float32)
    _, model, mel_power = build(name)
    ours, theirs = (heard(stream_of(side, name), np.array_split(samples, 7)) for side in ("jax", "torch"))
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_allclose(ours[1], theirs[1], rtol=0, atol=CROSS_FRAMEWORK)
    whole_track = offline(model, mel_power, EVERY_CONFIG[name].max_window_length, samples)
    np.testing.assert_allclose(theirs[1], whole_track, rtol=0, atol=CROSS_FRAMEWORK)
    assert np.std(whole_track) > 100 * CROSS_FRAMEWORK, "a constant would agree too"


@pytest.mark.parametrize("side", ["jax", "torch"])
def test_a_clip_that_fits_the_window_ends_on_the_plain_model(side: str):
    samples = noise(2, 1, 16_000)
    variables, _, _ = build("base")
    plain = softmax(predict(variables, EVERY_CONFIG["base"], jnp.asarray(samples)), axis=1)[0, 1]
    assert abs(heard(stream_of(side, "base"), [samples[0]])[1][-1] - plain) < CROSS_FRAMEWORK


@pytest.mark.parametrize("name", ["base", "student"])
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
    name: str, convert: Callable[[CRNN], CRNN], reference: Callable[..., np.ndarray], tolerance: float
):
    _, model, mel_power = build(name)
    model, window_length = convert(model), EVERY_CONFIG[name].max_window_length
    samples = noise(9, 1, 10 * 16_000 + 77)[0]
    _, probabilities = heard(StreamingKws(model, window_length), np.array_split(samples, 7))
    expected = reference(model, mel_power, window_length, samples)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=tolerance)
    if reference is offline_by_steps:
        assert np.quantile(np.abs(probabilities - expected), 0.9) < CROSS_FRAMEWORK


@pytest.mark.parametrize("convert", [lambda model: model, to_fp16, to_qint8], ids=["fp32", "fp16", "qint8"])
def test_the_torch_state_keeps_its_form(convert: Callable[[CRNN], CRNN]):
    stepper = StreamingModel(convert(build("toy")[1]), 6)
    state = first = stepper.init_state(2)
    for block in np.split(noise(10, 2, 10 * 256), 10, axis=1):
        state, _ = stepper.step(state, torch.from_numpy(block))
    assert [(x.shape, x.dtype) for x in state] == [(x.shape, x.dtype) for x in first]
    mixed = stepper.reset(state, torch.tensor([True, False]))
    for now, fresh, before in zip(mixed, first, state, strict=True):
        np.testing.assert_array_equal(now.detach(), torch.stack([fresh[0], before[1]]).detach())


def test_torch_rows_are_independent():
    stepper, samples = StreamingModel(build("toy")[1], 6), noise(11, 2, 10 * 256)
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
        StreamingKws(CRNN(build("toy")[1].config))
    with pytest.raises(ValueError, match="max_window_length 0 must be 1 or more"):
        StreamingKws(build("toy")[1], 0)
