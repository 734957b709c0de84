"""Bad and borderline samples: the same in all classes, and the stream goes on as if nothing had been pushed."""

import numpy as np
import pytest

from kws_jax.data.audio import LOUDEST
from tests.helpers.models import TOY, noise, random_variables
from tests.helpers.streams import FRAMEWORKS, SIDES, Stream, heard, make_stream, stream_of
from tests.tolerances import CROSS_FRAMEWORK, EXACT, SAME_FRAMEWORK

GOOD = noise(0, 1, 12 * TOY.block_size + 50)[0]
SPOILT = np.stack([GOOD, GOOD, GOOD])
SPOILT[0, 7], SPOILT[1, 300], SPOILT[2, 0] = np.nan, np.inf, -np.inf
BAD = {
    "nan": (SPOILT[0], 16_000, ValueError, "sample 7 is nan: samples must be finite"),
    "inf": (SPOILT[1], 16_000, ValueError, "sample 300 is inf: samples must be finite"),
    "-inf": (SPOILT[2], 16_000, ValueError, "sample 0 is -inf: samples must be finite"),
    "int16": (np.zeros(400, np.int16), 16_000, TypeError, "samples are int16: divide 16-bit PCM by 32768"),
    "uint8": (np.zeros(400, np.uint8), 16_000, TypeError, "samples are uint8: divide"),
    "int32": (np.zeros(400, np.int32), 16_000, TypeError, "samples are int32: divide"),
    "bool": (np.zeros(400, bool), 16_000, TypeError, "samples are bool: give floats"),
    "complex": (np.zeros(400, complex), 16_000, TypeError, "samples are complex128: give floats"),
    "rank 2": (GOOD[None], 16_000, ValueError, r"samples have shape \(1, 3122\): give one channel"),
    "rank 0": (np.zeros((), np.float32), 16_000, ValueError, r"samples have shape \(\): give one channel"),
    "rate": (GOOD, 44_100, ValueError, "samples at 44100 Hz, but the model hears 16000 Hz: resample them first"),
}


@pytest.fixture(params=SIDES)
def stream(request: pytest.FixtureRequest) -> Stream:
    return stream_of(request.param, "toy")


@pytest.mark.parametrize("case", BAD)
def test_bad_samples_are_named_and_leave_the_stream_as_it_was(stream: Stream, case: str):
    samples, sample_rate, error, message = BAD[case]
    undisturbed = heard(stream, [GOOD[:1000], GOOD[1000:]])
    first = stream.push(GOOD[:1000])
    with pytest.raises(error, match=message):
        stream.push(samples, sample_rate)
    rest = heard(stream, [GOOD[1000:]])
    for part, expected in zip(zip(first, rest, strict=True), undisturbed, strict=True):
        np.testing.assert_allclose(np.concatenate(part), expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_bad_block_among_blocks_is_as_if_it_had_not_been(stream: Stream, wrong: float):
    """In the warm-up and after it; blocks are what a microphone gives, and may have a way of their own."""
    blocks = np.split(GOOD[: 12 * TOY.block_size], 12)
    expected, bad, found = heard(stream, blocks), blocks[0].copy(), []
    bad[-1] = wrong
    for block in blocks:
        with pytest.raises(ValueError, match=f"sample {TOY.block_size - 1} is {wrong}: samples must be finite"):
            stream.push(bad)
        found.append(stream.push(block))
    found.append(stream.flush())
    for part, wanted in zip(zip(*found, strict=True), expected, strict=True):
        np.testing.assert_allclose(np.concatenate(part), wanted, rtol=0, atol=EXACT)


def test_blocks_of_any_loudness_and_layout_are_a_chunk_of_them(stream: Stream):
    samples = np.repeat(10 * LOUDEST * GOOD[: 12 * TOY.block_size], 2)[::2]
    blocks = np.split(samples, 12)
    assert not blocks[0].flags.c_contiguous
    for found, expected in zip(heard(stream, blocks), heard(stream, [samples]), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=SAME_FRAMEWORK)
        assert found.dtype == expected.dtype


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.longdouble, ">f4"])
def test_other_floats_are_converted(stream: Stream, dtype: str | type):
    samples = GOOD.astype(np.float16)
    converted = heard(stream, [samples.astype(dtype)])
    np.testing.assert_allclose(converted, heard(stream, [samples.astype(np.float32)]), rtol=0, atol=EXACT)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(3000),
        np.full(3000, 1e-42),
        np.tile([40.0, -40.0], 1500),
        np.tile([1e300, -1e300, 1e300], 1000),
        np.full(3000, np.finfo(np.float32).max),
        np.sign(GOOD),
    ],
    ids=["silence", "subnormal", "beyond 1", "beyond float32", "largest float32", "clipped"],
)
def test_extreme_samples_have_a_finite_result(stream: Stream, samples: np.ndarray):
    times, probabilities = heard(stream, [samples])
    assert len(times) == TOY.num_steps(TOY.frontend.num_frames(len(samples)))
    assert np.isfinite(probabilities).all()
    assert (probabilities >= 0).all()
    assert (probabilities <= 1).all()


def test_amplitudes_are_clipped_only_where_power_would_overflow(stream: Stream):
    samples = GOOD / np.abs(GOOD).max() * LOUDEST * 2
    clipped = np.clip(samples, -LOUDEST, LOUDEST)
    np.testing.assert_array_equal(heard(stream, [samples]), heard(stream, [clipped]))


def test_nothing_heard_is_nothing_said(stream: Stream):
    for pieces in ([], [GOOD[:0]], [GOOD[:0], np.zeros(0, np.float64), GOOD[: TOY.frontend.padding]]):
        times, probabilities = heard(stream, pieces)
        assert times.shape == probabilities.shape == (0,)
        assert times.dtype == np.float64
        assert probabilities.dtype == np.float32


def test_a_push_does_not_hold_on_to_the_callers_array(stream: Stream):
    samples = GOOD.copy()
    first = stream.push(samples[:1000])
    samples[:] = 7.0
    rest = heard(stream, [GOOD[1000:]])
    whole = heard(stream, [GOOD])
    np.testing.assert_allclose(np.concatenate([first[1], rest[1]]), whole[1], rtol=0, atol=EXACT)


@pytest.mark.parametrize(("bias", "probability"), [((-1e30, 1e30), 1.0), ((np.nan, 0.0), np.nan)])
@pytest.mark.parametrize("side", FRAMEWORKS)
def test_probabilities_do_not_overflow_and_weights_that_are_not_finite_show(side: str, bias: tuple, probability: float):
    variables = random_variables(TOY)
    variables["params"]["classifier"]["bias"] = np.array(bias, np.float32)
    times, probabilities = heard(make_stream(side, TOY, variables), [GOOD])
    assert len(times), "warm-up is NaN too, but it is told by counting"
    np.testing.assert_allclose(probabilities, np.full(len(times), probability), atol=CROSS_FRAMEWORK)
