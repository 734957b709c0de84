"""The detector: its rule against a literal loop, the step against the batch function, and one word as one trigger."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kws_jax.detector import Detection, Detector, DetectorConfig, detections, init_state, scan, spaced, step
from kws_jax.errors import UserError

PLAIN = DetectorConfig(refractory=0.0)
# Few configurations, since each compiles anew; the thresholds are met exactly by means of the values below.
CONFIGS = [
    PLAIN,
    DetectorConfig(),
    DetectorConfig(threshold=0.3, smoothing=3, refractory=0.4),
    DetectorConfig(threshold=0.0, smoothing=2, refractory=0.15),
    DetectorConfig(threshold=1.0, smoothing=7, refractory=0.0, step_duration=0.04),
]
VALUES = st.one_of(st.sampled_from([0.0, 0.25, 0.3, 0.5, 0.75, 1.0, np.nan]), st.floats(0, 1, width=32))
STEPS = 40
SEQUENCES = st.lists(VALUES, min_size=STEPS, max_size=STEPS).map(np.float32)
compiled_scan = jax.jit(scan, static_argnames="config")
compiled_step = jax.jit(step, static_argnames="config")


def times_of(probabilities: np.ndarray, config: DetectorConfig) -> np.ndarray:
    return (np.arange(len(probabilities)) + 21) * config.step_duration


def triggers(probabilities: list[float], config: DetectorConfig) -> list[int]:
    """Steps that trigger."""
    array = np.float32(probabilities)
    found, _ = detections(times_of(array, config), array, config)
    return np.searchsorted(times_of(array, config), found).tolist()


def triggers_by_rule(probabilities: np.ndarray, config: DetectorConfig) -> list[int]:
    """The rule of the module's docstring, step after step."""
    found: list[int] = []
    before = np.float32(0)
    for index in range(len(probabilities)):
        score = np.float32(0)
        for age in reversed(range(config.smoothing)):
            if index >= age and not np.isnan(probabilities[index - age]):
                score += probabilities[index - age]
        score *= np.float32(1 / config.smoothing)
        threshold = max(np.float32(config.threshold), np.finfo(np.float32).tiny)
        rested = not found or (index - found[-1]) * config.step_duration >= config.refractory - 1e-6
        if before < threshold <= score and rested:
            found.append(index)
        before = score
    return found


@pytest.mark.parametrize("config", CONFIGS)
@settings(max_examples=60, deadline=None)
@given(probabilities=SEQUENCES)
def test_all_ways_agree_on_every_step(config: DetectorConfig, probabilities: np.ndarray):
    expected = triggers_by_rule(probabilities, config)
    assert triggers(probabilities.tolist(), config) == expected
    _, is_detection = compiled_scan(config, init_state(config, 1), jnp.asarray(probabilities[None]))
    assert np.flatnonzero(is_detection[0]).tolist() == expected


@pytest.mark.parametrize("config", CONFIGS)
def test_the_class_is_the_batch_function_in_any_pieces(config: DetectorConfig):
    rng = np.random.default_rng(0)
    probabilities = rng.random(300).astype(np.float32) ** 0.5
    times = times_of(probabilities, config)
    detector = Detector(config)
    for _ in range(2):
        found: list[Detection] = []
        for piece in np.split(np.arange(300), np.sort(rng.integers(0, 300, 9))):
            found += detector.push(times[piece], probabilities[piece])
        expected_times, expected_scores = detections(times, probabilities, config)
        assert [(detection.time, np.float32(detection.probability)) for detection in found] == [
            *zip(expected_times, expected_scores, strict=True)
        ]
        detector.reset()


@pytest.mark.parametrize("config", CONFIGS[1:3])
def test_scan_is_a_loop_of_steps_and_rows_are_independent(config: DetectorConfig):
    rng = np.random.default_rng(1)
    probabilities = jnp.asarray(rng.random((3, STEPS)), jnp.float32)
    state = fresh = init_state(config, 3)
    columns = []
    for index in range(STEPS):
        state, is_detection = compiled_step(config, state, probabilities[:, index])
        columns.append(is_detection)
    last, scanned = compiled_scan(config, fresh, probabilities)
    np.testing.assert_array_equal(np.stack(columns, axis=1), scanned)
    jax.tree.map(np.testing.assert_array_equal, state, last)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), fresh) == jax.tree.map(lambda x: (x.shape, x.dtype), last)
    alone = jax.vmap(lambda row: scan(config, init_state(config, 1), row[None])[1][0])(probabilities)
    np.testing.assert_array_equal(alone, scanned)


def test_a_score_that_stays_up_triggers_once_and_again_after_it_was_down():
    held = [0.0] * 3 + [0.9] * 40
    assert triggers(held, DetectorConfig()) == [3]
    assert triggers([*held, 0.1, 0.9], DetectorConfig()) == [3, 44]


def test_an_edge_in_the_refractory_time_is_lost():
    config = DetectorConfig(refractory=0.8)
    wavering = [0.9, 0.1] + [0.9] * 20
    assert triggers(wavering, config) == [0]
    assert triggers(wavering, PLAIN) == [0, 2]
    for gap, expected in ((9, [0]), (10, [0, 10])):
        assert triggers([0.9, *[0.1] * (gap - 1), 0.9], config) == expected, "0.8 s are 10 steps"


def test_spaced_keeps_the_first_of_a_burst():
    times = np.array([0.0, 0.5, 1.0, 1.2, 2.5, 2.5])
    assert spaced(times, 1.0).tolist() == [0, 2, 4]
    assert spaced(times, 0.0).tolist() == [0, 1, 2, 3, 4, 5]
    assert spaced(times[:0], 1.0).tolist() == []


def test_an_empty_stream_has_no_detections():
    nothing = np.zeros(0, np.float32)
    assert [len(part) for part in detections(nothing, nothing, CONFIGS[2])] == [0, 0]
    assert Detector(PLAIN).push(nothing, nothing) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threshold": 1.1}, "1.1"),
        ({"threshold": float("nan")}, "nan"),
        ({"smoothing": 0}, "1 to 10000 whole steps, not 0"),
        ({"smoothing": 10**12}, "1 to 10000 whole steps, not 1000000000000"),
        ({"refractory": -1.0}, "-1.0 s"),
        ({"refractory": float("inf")}, "inf s"),
        ({"refractory": 1e9}, "1000000000.0 s"),
        ({"step_duration": 0.0}, "0.0 s"),
    ],
)
def test_values_out_of_range_are_named(fields: dict, message: str):
    with pytest.raises(UserError, match=message):
        replace(DetectorConfig(), **fields)


def test_misuse_is_named():
    probabilities = np.float32([0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="2 times for 3"):
        detections(np.array([0.0, 0.08]), probabilities, PLAIN)
    with pytest.raises(ValueError, match=r"0\.16 s after 0\.08 s"):
        detections(np.array([0.0, 0.08, 0.24]), probabilities, PLAIN)
    with pytest.raises(ValueError, match=r"0\.2 to 10"):
        detections(np.array([0.0, 0.08]), np.float32([0.2, 10]), PLAIN)
    with pytest.raises(ValueError, match=r"1\.5 to 1\.5"):
        Detector(PLAIN).push(np.zeros(1), np.full(1, 1.5))
    with pytest.raises(ValueError, match="zip"):
        Detector(PLAIN).push(np.zeros(1), np.zeros(0))
