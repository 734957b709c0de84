"""The clock's goals and fits from a benchmark's rows."""

from dataclasses import replace

import pytest

from experiments.report.speed import exponents, speed_goals
from kws_jax.config import BASE
from tests.helpers.fake_records import benchmark

MEASURED = benchmark({"base": BASE, "student_314x": replace(BASE, gru_hidden=8)})


def test_goals_are_what_was_measured():
    found = {goal.what: goal for goal in speed_goals(MEASURED)}
    push = found["JAX's push, base"]
    assert (push.measured, push.floor, push.is_met) == (72.0, 20.0 + 72.0, False)  # 900 us a second, steps of 80 ms
    cheaper = [goal for goal in speed_goals(MEASURED) if goal.what == "the same, cheaper than microWakeWord"]
    assert [(goal.measured, goal.is_met) for goal in cheaper] == [(3.0, True), (4.0, False)]
    many = found["streams on a core, 256 to 16,384 at once, base"]
    assert many.measured == pytest.approx(0.08 * 16_384 / 0.8), "the fewest; a single stream does not count"
    assert many.floor == pytest.approx(1 / 9e-4)
    assert found["the same, fewest over most"].measured == pytest.approx(16_384 / 0.8 / (256 / 0.01))
    assert found["an hour in one push, base"].measured == pytest.approx(6_000)
    assert (found["a stream's state, base"].is_met, found["a stream's state, student_314x"].is_met) == (True, False)
    assert found["slowest help: experiments.run --help"].is_met
    assert not found["import kws_jax.streaming"].is_met


def test_what_is_not_there_has_no_goal():
    every = speed_goals(MEASURED)
    without_peer = speed_goals(MEASURED | {"peers": []})
    assert [goal for goal in every if "microWakeWord" not in goal.what] == without_peer
    assert len(every) == len(without_peer) + 2
    of_base = [row for row in MEASURED["growth"] if row["model"] == "base"]
    assert speed_goals(MEASURED | {"growth": of_base}) == speed_goals(MEASURED | {"growth": []}) == []


def test_exponents_are_those_of_a_power():
    row = {"of": "streams", "model": "base", "what": "JAX"}
    growth = [row | {"size": size, "milliseconds": 3.0 * size**1.5} for size in (1, 10, 700)]
    growth.append(row | {"model": "a single point", "size": 1, "milliseconds": 1.0})
    ((of, model, what, exponent),) = exponents({"growth": growth})
    assert (of, model, what, exponent) == ("streams", "base", "JAX", pytest.approx(1.5))
