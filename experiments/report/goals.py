"""The study's goals at both bars, and how near the records come to them."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from experiments.report.comparison import BARS, TOLERATED_RATIO, Comparison, Entry
from experiments.study.records import BASE_NAME, TUNED_NAME
from kws_jax.evaluation.bootstrap import Interval

__all__ = ["BAR_RULES", "GOALS", "MIN_KEYWORDS", "MIN_SEEDS", "RUNTIME", "Bar", "Goal", "Reached", "reached"]

MIN_KEYWORDS, MIN_SEEDS = 3, 3  # that a result must hold over
RUNTIME = "JAX scan"  # of the benchmark: where calls cost least, so that the clock shows the model's own work


@dataclass(frozen=True)
class Bar:
    """What a setting's error is compared with.

    Attributes:
        title: For tables.
        ratio: The largest error over it that keeps the quality.
        upper_end: What the ratio's interval must stay below; None where it is only to be stated.
    """

    title: str
    ratio: float
    upper_end: float | None

    def holds(self, found: Interval) -> bool:
        """Whether an error over the bar's keeps the quality."""
        return found.estimate <= self.ratio and (self.upper_end is None or found.high < self.upper_end)


@dataclass(frozen=True)
class Goal:
    """Something to have less of.

    Attributes:
        name: For tables.
        get: How many times less than the base a setting has; NaN where it was not measured.
        wanted: By bar.
    """

    name: str
    get: Callable[[Comparison, Entry], float]
    wanted: dict[str, float]


@dataclass(frozen=True)
class Reached:
    """How far a goal was reached at a bar.

    Attributes:
        goal: Name of the goal.
        bar: The setting that is the bar.
        wanted: Times less than the base.
        by: Of the settings that go far enough, the one with the lowest error on validation speakers.
        value: Its times less.
        ratio: Its error over the bar's, on test speakers.
        verdict: "met", "not met", "not measured", or "not yet: too few runs".
    """

    goal: str
    bar: str
    wanted: float
    by: Entry | None
    value: float
    ratio: Interval
    verdict: str


BAR_RULES = {
    BASE_NAME: Bar("homework's", ratio=1.0, upper_end=TOLERATED_RATIO),
    TUNED_NAME: Bar("strict", ratio=TOLERATED_RATIO, upper_end=None),
}


def _goal(name: str, cost: str, homework: float, strict: float) -> Goal:
    return Goal(
        name,
        lambda comparison, entry: comparison.times_less(entry, cost),
        dict(zip(BARS, (homework, strict), strict=True)),
    )


GOALS = (
    _goal("MACs per clip", "thop_macs", 300, 20),
    _goal("weight bytes", "weight_bytes", 800, 60),
    _goal("shipped file", "shipped_bytes", 100, 40),
    Goal("the clock", lambda _, entry: entry.clock.get(RUNTIME, math.nan), {BASE_NAME: 4, TUNED_NAME: 2}),
)


def reached(comparison: Comparison) -> list[Reached]:
    """Every goal at both bars, and all of them in one model."""

    def all_at_once(bar: str) -> Goal:
        def count(comparison: Comparison, entry: Entry) -> float:
            return sum(goal.get(comparison, entry) >= goal.wanted[bar] for goal in GOALS)

        return Goal("all in one model", count, {bar: len(GOALS)})

    return [_reached(comparison, goal, bar) for bar in BARS for goal in (*GOALS, all_at_once(bar))]


def _reached(comparison: Comparison, goal: Goal, bar: str) -> Reached:
    students = [entry for entry in comparison.entries if entry.name not in BARS]
    measured = [e for e in students if goal.get(comparison, e) >= 0 and e.ratio(bar).estimate >= 0]
    far = [entry for entry in measured if goal.get(comparison, entry) >= goal.wanted[bar]]
    if not far:
        missing = Interval(math.nan, math.nan, math.nan)
        verdict = "not met" if measured else "not measured"
        return Reached(goal.name, bar, goal.wanted[bar], None, math.nan, missing, verdict)
    chosen = min(far, key=lambda entry: entry.ratio(bar, "validation").estimate)
    verdict = _verdict(BAR_RULES[bar].holds(chosen.ratio(bar)), chosen)
    value = goal.get(comparison, chosen)
    return Reached(goal.name, bar, goal.wanted[bar], chosen, value, chosen.ratio(bar), verdict)


def _verdict(is_met: bool, entry: Entry) -> str:
    if not is_met:
        return "not met"
    runs = [(run.keyword, run.seed) for run in entry.runs]
    fewest = min(sum(keyword == other for other, _ in set(runs)) for keyword in entry.keywords)
    return "met" if len(entry.keywords) >= MIN_KEYWORDS and fewest >= MIN_SEEDS else "not yet: too few runs"
