"""Arguments that nothing can be made of: metrics, bootstrap, errors in streams, front end, model, losses, grids."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from kws_jax.config import BASE, FrontendConfig, config_from_json
from kws_jax.cost import macs_per_clip
from kws_jax.detector import DetectorConfig
from kws_jax.evaluation import metrics
from kws_jax.evaluation.bootstrap import PairedScores, speaker_bootstrap
from kws_jax.evaluation.stream_metrics import Counts, StreamDet, count_errors, detector, match_detections, miss_rate_at
from kws_jax.frontend import mel_power
from kws_jax.model import predict
from kws_jax.training import augment, losses, pruning, quantization
from tests.malformed.harness import Case

METRICS = [metrics.au_fa_fr, metrics.auroc_error, metrics.balanced_au_fa_fr, metrics.det_curve]
METRICS += [metrics.equal_error_rate]
NAN, INF = float("nan"), float("inf")
SCORES, LABELS = [0.9, 0.1, 0.8, 0.3], [1, 0, 1, 0]
DET = StreamDet(np.arange(4.0), np.arange(4) / 4, np.arange(4.0))
COUNTS = Counts(np.array([0.5]), np.ones((4, 1)), np.ones((4, 1)), np.ones(4, int), np.ones(4))
ARRAYS: dict[str, Any] = {
    "none": None,
    "a number": 0.5,
    "empty": [],
    "one": [0.5],
    "one too few": [0.5, 0.5, 0.5],
    "one too many": [0.5] * 5,
    "two axes": [SCORES],
    "a column": np.array(SCORES)[:, None],
    "ragged": [[1], [1, 2]],
    "text": ["a", "b", "c", "d"],
    "dates": np.array(["2024-01-01"] * 4, "M8[D]"),
    "complex": np.array([1j, 0, 0, 0]),
    "objects": np.array([1, None, 2, 3], object),
    "a dictionary": {"a": 1},
    "a set": {0.1, 0.2, 0.3, 0.4},
    "NaN": [NAN, 0.1, 0.2, 0.3],
    "infinity": [INF, 0.1, 0.2, 0.3],
    "minus infinity": [-INF, 0.1, 0.2, 0.3],
    "masked": np.ma.array(SCORES, mask=[1, 0, 0, 0]),
    "huge": [1e308, -1e308, 1e308, 0.0],
    "beyond 64 bits": [10**30, 0, 1, 2],
    "all the same": [0.5] * 4,
    "below 0": [-0.1, 0.1, 0.2, 0.3],
    "above 1": [1.1, 0.1, 0.2, 0.3],
    "truths": [True, False, True, False],
}
LABELLED: dict[str, Any] = {
    "of one class": [1, 1, 1, 1],
    "of no keyword": [0, 0, 0, 0],
    "2": [2, 0, 1, 0],
    "-1": [1, -1, 1, -1],
    "halves": [0.5, 0, 1, 0],
}
NUMBERS: dict[str, Any] = {
    "none": None,
    "text": "1",
    "a list": [1],
    "an array": np.ones(2),
    "NaN": NAN,
    "infinity": INF,
    "minus infinity": -INF,
    "0": 0,
    "-1": -1,
    "a half": 0.5,
    "1": 1,
    "2": 2,
    "complex": 1j,
    "10^30": 10**30,
}


def case(kind: str, name: str, call: Callable[[], object]) -> Case:
    """One whose refusal is a ValueError."""

    def run(folder: Path) -> object:
        return call()

    return Case(kind, name, run, (ValueError,))


def metric_cases() -> Iterator[Case]:
    for metric in METRICS:
        for name, values in ARRAYS.items():
            yield case("metrics", f"{metric.__name__}, scores: {name}", lambda m=metric, v=values: m(v, LABELS))
        for name, values in (ARRAYS | LABELLED).items():
            yield case("metrics", f"{metric.__name__}, labels: {name}", lambda m=metric, v=values: m(SCORES, v))
    weights = ARRAYS | {"of one class": [1, 0, 1, 0], "all 0": [0, 0, 0, 0]}
    for name, values in weights.items():
        yield case("metrics", f"weights: {name}", lambda v=values: metrics.auroc_error(np.array(SCORES), LABELS, v))


def bootstrap_cases() -> Iterator[Case]:
    good = PairedScores(np.array(SCORES), np.array(SCORES[::-1]), np.array(LABELS), np.arange(4))
    for field in PairedScores._fields:
        for name, values in (ARRAYS | LABELLED).items():
            group = good._replace(**{field: values})
            yield case("bootstrap", f"{field}: {name}", lambda g=group: speaker_bootstrap([g], num_resamples=20))
    for option in ("num_resamples", "seed", "confidence"):
        for name, value in NUMBERS.items():
            yield case("bootstrap", f"{option}: {name}", lambda o=option, v=value: speaker_bootstrap([good], **{o: v}))
    groups: dict[str, tuple[list[Any], Any]] = {
        "no groups": ([], None),
        "a group of three": ([good[:3]], None),
        "a list for a group": ([list(good)], None),
        "fewer kinds than groups": ([good, good], ["a"]),
        "more kinds than groups": ([good], ["a", "b"]),
        "no kinds": ([good], []),
        "names and numbers": ([good, good._replace(speakers=np.array(list("abcd")))], None),
        "one speaker": ([good._replace(speakers=np.zeros(4))], None),
    }
    for name, (many, kinds) in groups.items():
        yield case("bootstrap", name, lambda m=many, k=kinds: speaker_bootstrap(m, num_resamples=20, kinds=k))


def heard(threshold: float) -> list[np.ndarray]:
    """A detector that hears nothing in one stream."""
    return [np.zeros(0)]


def stream_cases() -> Iterator[Case]:
    nothing, words = np.zeros((0, 2)), np.array([[1.0, 2.0], [3.0, 4.0]])
    for name, values in ARRAYS.items():
        yield case("errors in streams", f"detections: {name}", lambda v=values: match_detections(v, words))
        yield case("errors in streams", f"keywords: {name}", lambda v=values: match_detections(np.zeros(0), v))
        yield case("errors in streams", f"thresholds: {name}", lambda v=values: count_errors(heard, [nothing], 1.0, v))
        yield case("errors in streams", f"weights: {name}", lambda v=values: COUNTS.det(v))
    for name, value in NUMBERS.items():
        yield case("errors in streams", f"tolerance: {name}", lambda v=value: match_detections(np.ones(1), words, v))
        yield case("errors in streams", f"hours: {name}", lambda v=value: count_errors(heard, [nothing], v, [0.5]))
        yield case("errors in streams", f"alarms: {name}", lambda v=value: miss_rate_at(DET, v))
    odd: dict[str, Callable[[], object]] = {
        "words that overlap": lambda: match_detections(np.zeros(0), np.array([[0.0, 2.0], [1.0, 3.0]])),
        "a word that ends before it starts": lambda: match_detections(np.zeros(0), np.array([[2.0, 1.0]])),
        "triples for words": lambda: match_detections(np.zeros(0), np.ones((1, 3))),
        "no streams": lambda: count_errors(lambda threshold: [], [], 1.0, [0.5]),
        "more streams than words": lambda: count_errors(lambda threshold: [np.zeros(0)] * 2, [nothing], 1.0, [0.5]),
        "no keywords": lambda: miss_rate_at(StreamDet(np.ones(1), np.array([NAN]), np.ones(1)), 1.0),
        "more rates than thresholds": lambda: miss_rate_at(StreamDet(np.ones(1), np.ones(2), np.ones(2)), 1.0),
        "one stream without an axis": lambda: detector(np.arange(2) * 0.08, np.zeros(2), DetectorConfig()),
        "no probabilities": lambda: detector(np.zeros(0), np.zeros((0, 0)), DetectorConfig()),
        "probabilities above 1": lambda: detector(np.zeros(1), np.array([[1.5]]), DetectorConfig()),
        "times that stand still": lambda: detector(np.zeros(2), np.zeros((1, 2)), DetectorConfig()),
        "more times than probabilities": lambda: detector(np.arange(3) * 0.08, np.zeros((1, 2)), DetectorConfig()),
    }
    for name, call in odd.items():
        yield case("errors in streams", name, call)


def config_cases() -> Iterator[Case]:
    """Configurations as a file's header has them, a number of each field in turn."""
    odd = {"none": None, "text": "1", "0": 0, "-1": -1, "a half": 0.5, "NaN": NAN, "a list": [1], "a huge one": 10**9}
    known = asdict(BASE)
    for field in known:
        for name, value in odd.items():
            fields = known | {field: value}
            yield case("model configurations", f"{field}: {name}", lambda f=fields: config_from_json(f))
    for field in asdict(FrontendConfig()):
        for name, value in odd.items():
            fields = known | {"frontend": known["frontend"] | {field: value}}
            yield case("model configurations", f"frontend.{field}: {name}", lambda f=fields: config_from_json(f))
    for name, fields in {"a list": [], "nothing": {}, "a stranger": known | {"gone": 1}, "null": None}.items():
        yield case("model configurations", name, lambda f=fields: config_from_json(f))


def array_cases() -> Iterator[Case]:
    logits = jnp.zeros((3, 2))
    odd: dict[str, Callable[[], object]] = {
        "a waveform without a batch": lambda: mel_power(BASE.frontend, jnp.zeros(16_000)),
        "a waveform of three axes": lambda: mel_power(BASE.frontend, jnp.zeros((1, 1, 16_000))),
        "no samples": lambda: mel_power(BASE.frontend, jnp.zeros((1, 0))),
        "too few samples": lambda: mel_power(BASE.frontend, jnp.zeros((1, 200))),
        "a model of a number": lambda: predict({"params": {}}, BASE, jnp.zeros(3)),
        "labels of another number": lambda: losses.cross_entropy(logits, jnp.zeros(2, int)),
        "labels of two axes": lambda: losses.cross_entropy(logits, jnp.zeros((3, 1), int)),
        "a teacher of other classes": lambda: losses.dark_knowledge(logits, jnp.zeros((3, 1)), 1.0),
        "a teacher of other clips": lambda: losses.dark_knowledge(logits, jnp.zeros((1, 2)), 1.0),
        "groups that do not divide": lambda: quantization.quantize_weights(jnp.zeros((2, 4)), quantization.Grid(8, 3)),
        "a weight without an axis": lambda: quantization.quantize_weights(jnp.zeros(()), quantization.Grid()),
        "a scheme that is none": lambda: quantization.grid_of(("conv", "kernel"), (1, 2), "int3"),
        "no scheme": lambda: quantization.grid_of(("conv", "kernel"), (1, 2), None),
        "an axis of the batch": lambda: augment.mask(None, jnp.zeros((1, 2, 3)), 1, 0),
        "a plan of more than there is": lambda: pruning.kept(pruning.PruningPlan(99, 1, 1), BASE, 0.5),
        "a clip of no samples": lambda: macs_per_clip(BASE, 0),
        "a clip of less than none": lambda: macs_per_clip(BASE, -16_000),
    }
    for name, call in odd.items():
        yield case("arrays and grids", name, call)
    for bits in (-1, 0, 1, 9, 16, NAN):
        yield case("arrays and grids", f"a grid of {bits} bits", lambda b=bits: quantization.Grid(b))
    for groups in (0, -1):
        yield case("arrays and grids", f"a grid of {groups} groups", lambda g=groups: quantization.Grid(8, g))
    for number, name in enumerate(("channels", "GRU", "attention", "begin", "end", "interval")):
        for value, given in NUMBERS.items():
            plan = [1, 1, 1, 0.1, 0.6, 50]
            plan[number] = given
            yield case("pruning plans", f"{name}: {value}", lambda p=plan: pruning.PruningPlan(*p))


CASES = [*metric_cases(), *bootstrap_cases(), *stream_cases(), *config_cases(), *array_cases()]
