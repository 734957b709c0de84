"""The benchmark of an accelerator, which here is the processor."""

from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.benchmark import __main__ as benchmark
from experiments.benchmark import accelerator
from experiments.benchmark.accelerator import IN_TORCH, ON_CORE, ON_IT, AcceleratorPlan, Subject
from experiments.benchmark.timing import Timed
from experiments.report.benchmark import Accelerator, read_accelerator
from experiments.study.json_files import write_json
from kws_jax.errors import UserError
from kws_jax.streaming import many
from tests.helpers.models import TOY
from tests.helpers.toy_training import CONFIG
from tests.tolerances import SAME_FRAMEWORK

PROCESSOR = jax.devices("cpu")[0]
PLAN = AcceleratorPlan((("toy", TOY),), (("toy", CONFIG),), (1, 2), (many.TILE + 1,), 3, 0.5, (4,), 1)
TIMED = Timed(lambda: None, 2.0)
CALLS = ("jax_streams", "jax_scan", "jax_stream")


def test_every_call_has_rows_of_it_and_of_a_core(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in CALLS:
        monkeypatch.setattr(accelerator.timing, name, lambda *_: TIMED)
    for name in ("jax_step", "jax_epoch"):
        monkeypatch.setattr(accelerator.training, name, lambda *_: TIMED.call)
    monkeypatch.setattr(accelerator, "difference", lambda *_: 1e-7)
    found = accelerator.measure(PLAN, PROCESSOR)
    assert found.keys() == Accelerator.__required_keys__
    assert found["environment"]["accelerator"] == PROCESSOR.device_kind
    assert [(row["engine"], row["size"]) for row in found["rows"]] == [
        *[(ON_IT, 1), (ON_IT, 2), (ON_CORE, 3)] * 2,
        *[(ON_IT, many.TILE + 1), (ON_CORE, 3)],
        *[(ON_IT, 0.5), (ON_CORE, 0.5)],
        *[(ON_IT, TOY.step_duration), (ON_CORE, TOY.step_duration)],
        *[(ON_IT, 4), (ON_CORE, 4)] * 2,
    ]
    assert [(row["model"], row["precision"]) for row in found["agreement"]] == [("toy", "default"), ("toy", "highest")]
    write_json(tmp_path / "accelerator.json", found)
    assert read_accelerator(tmp_path) == found
    assert read_accelerator(tmp_path / "none") == {}


@pytest.mark.slow
def test_what_is_measured_is_the_real_thing():
    found = accelerator.measure(PLAN, PROCESSOR)
    assert min(row["milliseconds"] for row in found["rows"]) > 0
    assert [row["largest_difference"] for row in found["agreement"]] == [0, 0], "the accelerator is the core"


def test_rates_are_set_against_the_cores(monkeypatch: pytest.MonkeyPatch):
    """Medians in the order of the calls; what does not fit in memory is left out, and any other error is one."""
    monkeypatch.setattr(accelerator.accounting, "measure", lambda *calls, **_: [0.5, 0.25, 4.0][: len(calls)])

    def raised(message: str) -> Timed:
        raise jax.errors.JaxRuntimeError(message)

    full = Subject(ON_IT, 9, partial(raised, "RESOURCE_EXHAUSTED: Out of memory"), PROCESSOR)
    subjects = [Subject(engine, 2, lambda: TIMED) for engine in (ON_IT, IN_TORCH, ON_CORE)]
    rows = accelerator.rows_of("toy", "a call", [full, *subjects], 1)
    assert [(row["engine"], row["milliseconds"]) for row in rows] == [(ON_IT, 500), (IN_TORCH, 250), (ON_CORE, 4_000)]
    assert [(row["rate"], row["ratio_to_core"]) for row in rows] == [(4, 8), (8, 16), (0.5, 1)]
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        accelerator.rows_of("toy", "a call", [full._replace(make=partial(raised, "INTERNAL"))], 1)


def test_a_processor_alone_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(benchmark, "in_its_process", lambda measure, plan: measure(plan))
    with pytest.raises(UserError, match=r"JAX sees no accelerator here, .* pip install -e '\.\[cuda\]'"):
        benchmark.main(out=tmp_path / "out.json", accelerator=True)
    with pytest.raises(UserError, match="name none"):
        benchmark.main(("base",), out=tmp_path / "out.json", accelerator=True)
    assert not [*tmp_path.iterdir()]


def test_threads_that_compute_share_a_core(monkeypatch: pytest.MonkeyPatch):
    pinned: dict[int, set[int]] = {}
    monkeypatch.setattr(accelerator.os, "sched_setaffinity", pinned.__setitem__)
    jax.block_until_ready(jax.numpy.ones(2))
    accelerator.keep_to_one_core()
    assert len(pinned) > 0
    assert len(set.union(*pinned.values())) == 1
    assert all("XLAEigen" in Path(f"/proc/self/task/{thread}/comm").read_text() for thread in pinned)


def test_a_tile_is_as_wide_as_is_said():
    """What streams say is the same, be it by one tile or by several."""
    said = [accelerator.timing.jax_streams(accelerator._params(TOY), TOY, 5, tile) for tile in (2, 5, None)]
    for _ in range(TOY.warmup_blocks + 1):
        first, *others = [np.asarray(timed.call()) for timed in said]
    assert np.isfinite(first).all()
    for logits in others:
        np.testing.assert_allclose(logits, first, rtol=0, atol=SAME_FRAMEWORK)
