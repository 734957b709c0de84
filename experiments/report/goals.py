"""The study's goals at both bars and in a stream, and how near the records come to them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from experiments.report.comparison import BARS, Comparison, Entry
from experiments.report.streams import StreamEntry
from experiments.study.records import BASE_NAME, TUNED_NAME
from kws_jax.evaluation.bootstrap import Interval

MIN_KEYWORDS, MIN_SEEDS = 3, 3  # that a result must hold over
RUNTIME = "C scan"  # of the benchmark: what is deployed, without what a call from Python costs
# At one false alarm an hour a carried state misses at most so many points more than a sliding window, at so many times
# less work.
TOLERATED_POINTS, LEAST_TIMES = 1.0, 12.0


@dataclass(frozen=True)
class Rule:
    """When a setting keeps the quality at a bar.

    Attributes:
        bar: Setting whose error it is compared with; it has a name for people.
        ratio: The largest error over the bar's.
        upper_end: What the ratio's interval must stay below; None where it is only to be stated.
    """

    bar: str
    name: str
    ratio: float
    upper_end: float | None = None

    def holds(self, found: Interval) -> bool:
        """Whether a ratio keeps to the rule."""
        return found.estimate <= self.ratio and (self.upper_end is None or found.high < self.upper_end)


@dataclass(frozen=True)
class Goal:
    """Something to have less of than the base, and how many times less at each bar."""

    name: str
    get: Callable[[Comparison, Entry], float]
    wanted: dict[str, float]


class Reached(NamedTuple):
    """How near the settings come to a goal at a bar.

    Attributes:
        by: Of the settings that go far enough, the one with the lowest error on validation speakers.
        verdict: "met", "not met", "not measured", or "too few runs" to tell; on test speakers.
        farthest: The setting that goes farthest of those that keep to the rule on validation speakers.
    """

    goal: Goal
    rule: Rule
    by: Entry | None
    verdict: str
    farthest: Entry | None


RULES = (Rule(BASE_NAME, "homework's", ratio=1.0, upper_end=1.1), Rule(TUNED_NAME, "strict", ratio=1.1))
GOALS = (
    Goal("MACs a clip", lambda found, entry: found.times_less(entry, "thop_macs"), {BASE_NAME: 300, TUNED_NAME: 20}),
    Goal(
        "weight bytes", lambda found, entry: found.times_less(entry, "weight_bytes"), {BASE_NAME: 800, TUNED_NAME: 60}
    ),
    Goal("file bytes", lambda found, entry: found.times_less(entry, "shipped_bytes"), {BASE_NAME: 100, TUNED_NAME: 40}),
    Goal("time a second", lambda _, entry: entry.times_faster(RUNTIME), {BASE_NAME: 4, TUNED_NAME: 2}),
)


def check_goals(comparison: Comparison) -> list[Reached]:
    """Each goal at each bar, and at last how many of them one model reaches."""
    return [_reached(comparison, goal, rule) for rule in RULES for goal in (*GOALS, _together(rule))]


def _together(rule: Rule) -> Goal:
    def count(found: Comparison, entry: Entry) -> int:
        return sum(goal.get(found, entry) >= goal.wanted[rule.bar] for goal in GOALS)

    return Goal("all of these in one model", count, {rule.bar: len(GOALS)})


def _reached(comparison: Comparison, goal: Goal, rule: Rule) -> Reached:
    def promise(entry: Entry) -> Interval:
        return entry.ratio(rule.bar, "validation")

    def times(entry: Entry) -> float:
        return goal.get(comparison, entry)

    students = [entry for entry in comparison.entries if entry.name not in BARS]
    measured = [entry for entry in students if times(entry) >= 0 and promise(entry).estimate >= 0]
    far = [entry for entry in measured if times(entry) >= goal.wanted[rule.bar]]
    kept = [entry for entry in measured if rule.holds(promise(entry))]
    by = min(far, key=lambda entry: promise(entry).estimate, default=None)
    farthest = max(kept, key=lambda entry: (times(entry), -promise(entry).estimate), default=None)
    verdict = _verdict(by, rule) if by else "not met" if measured else "not measured"
    return Reached(goal, rule, by, verdict, farthest)


def _verdict(entry: Entry, rule: Rule) -> str:
    if not rule.holds(entry.ratio(rule.bar)):
        return "not met"
    seeds = [{run.seed for run in entry.runs if run.keyword == keyword} for keyword in entry.keywords]
    enough = len(seeds) >= MIN_KEYWORDS and min(map(len, seeds)) >= MIN_SEEDS
    return "met" if enough else "too few runs"


def stream_verdict(entry: StreamEntry) -> str:
    """Whether a carried state is as good as a sliding window and cheap enough.

    "met", "not met", "undecided", or "not measured" where no window slid.
    """
    more = entry.minus_sliding()
    if math.isnan(more.estimate):
        return "not measured"
    if 100 * more.low > TOLERATED_POINTS or entry.times_less() < LEAST_TIMES:
        return "not met"
    return "met" if 100 * more.high <= TOLERATED_POINTS else "undecided"
