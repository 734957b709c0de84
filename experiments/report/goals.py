"""The study's goals at both bars, and how near the records come to them: Markdown out."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from experiments.report.markdown import NONE, ratio_interval, table, times
from experiments.report.summary import FAIR_BASE_NAME, Row, Study, shipped_bytes, thop_macs, weight_bytes
from experiments.setting import BASE_NAME
from kws_jax.evaluation.bootstrap import Interval

__all__ = ["BARS", "GOALS", "Bar", "Goal", "goals_section"]

MIN_KEYWORDS, MIN_SEEDS = 3, 3  # that a result must hold over
RUNTIME = "JAX scan"  # of the benchmark: where calls cost least, so that the clock shows the model's own work


@dataclass(frozen=True)
class Bar:
    """What a setting's error is compared with.

    Attributes:
        name: For tables.
        setting: Whose error.
        ratio: The largest error over it that keeps the quality.
        upper_end: What the ratio's interval must stay below; None where it is only to be stated.
    """

    name: str
    setting: str
    ratio: float
    upper_end: float | None

    def is_promised(self, row: Row) -> bool:
        """Whether a setting keeps the quality on validation speakers, where settings are chosen."""
        return self._holds(row.ratio(self.setting, "validation"))

    def is_kept(self, row: Row) -> bool:
        """Whether it does on test speakers."""
        return self._holds(row.ratio(self.setting))

    def _holds(self, found: Interval) -> bool:
        return found.estimate <= self.ratio and (self.upper_end is None or found.high < self.upper_end)

    @property
    def rule(self) -> str:
        """In words."""
        end = "95 % interval stated" if self.upper_end is None else f"95 % interval below {self.upper_end:g}"
        return f"at most {self.ratio:.1f}, {end}"


@dataclass(frozen=True)
class Goal:
    """Something to have less of, and how many times less than the base.

    Attributes:
        name: For tables.
        get: How many times less a setting has; NaN where it was not measured.
        wanted: One number a bar, in the order of BARS.
    """

    name: str
    get: Callable[[Row], float]
    wanted: tuple[float, ...]


BARS = (
    Bar("homework's", BASE_NAME, ratio=1.0, upper_end=1.1),
    Bar("strict", FAIR_BASE_NAME, ratio=1.1, upper_end=None),
)
GOALS = (
    Goal("MACs per clip, fewer", lambda row: row.times_less(thop_macs), (300, 20)),
    Goal("weight bytes, fewer", lambda row: row.times_less(weight_bytes), (800, 60)),
    Goal("shipped file, smaller", lambda row: row.times_less(shipped_bytes), (100, 40)),
    Goal("samples to probability by the clock, faster", lambda row: row.clock.get(RUNTIME, math.nan), (4, 2)),
)


def goals_section(study: Study) -> str:
    """Which goals are met, by which setting, and how far the quality reaches."""
    over = f"{len(study.keywords)} keyword{'s' if len(study.keywords) > 1 else ''}"
    rules = "; ".join(f"{bar.name} bar: au_fa_fr over that of `{bar.setting}` {bar.rule}" for bar in BARS)
    text = (
        f"Over {over} ({', '.join(study.keywords)}), on test speakers. {rules[0].upper()}{rules[1:]}. A ratio is of "
        "errors averaged over keywords and seeds; the mean of each keyword's own ratio, which one easy keyword can "
        "carry far, stands beside it in REPORT.md's tables of errors. A goal counts as met only over at least "
        f"{MIN_KEYWORDS} keywords and {MIN_SEEDS} seeds. Of the settings that go far enough, "
        "validation speakers choose the one of the lowest error, and test speakers judge it. Last comes the setting "
        "that goes farthest of those that keep the bar, interval included, on validation speakers, with its ratio on "
        f"test speakers. The clock is the benchmark's, one stream in the runtime {RUNTIME}."
    )
    columns = ["goal", "bar", "wanted", "reached", "by", "au_fa_fr ratio", "met?", "farthest promised"]
    rows = [
        _line(study, number, goal.name, goal.get, goal.wanted[number], times)
        for number in range(len(BARS))
        for goal in GOALS
    ]
    rows += [_all_at_once(study, number) for number in range(len(BARS))]
    return f"{text}\n\n{table(columns, rows)}"


def _students(study: Study) -> list[Row]:
    return [row for row in study.rows if row.name not in (BASE_NAME, FAIR_BASE_NAME)]


def _line(
    study: Study, number: int, name: str, get: Callable[[Row], float], wanted: float, show: Callable[[float], str]
) -> list[str]:
    bar = BARS[number]
    measured = [row for row in _students(study) if get(row) >= 0 and row.ratio(bar.setting).estimate >= 0]
    cells = [name, bar.name, show(wanted), NONE, NONE, NONE, "not met" if measured else "not measured", NONE]

    def by_ratio(row: Row) -> float:
        return row.ratio(bar.setting, "validation").estimate

    if far := [row for row in measured if get(row) >= wanted]:
        chosen = min(far, key=by_ratio)
        cells[3:6] = [show(get(chosen)), f"`{chosen.name}`", ratio_interval(chosen.ratio(bar.setting))]
        cells[6] = _verdict(bar.is_kept(chosen), chosen)
    if promised := [row for row in measured if bar.is_promised(row)]:
        best = max(promised, key=lambda row: (get(row), -by_ratio(row)))
        cells[7] = f"{show(get(best))} by `{best.name}`, {ratio_interval(best.ratio(bar.setting))}"
    return cells


def _all_at_once(study: Study, number: int) -> list[str]:
    def reached(row: Row) -> int:
        return sum(goal.get(row) >= goal.wanted[number] for goal in GOALS)

    return _line(study, number, "all in one model", reached, len(GOALS), lambda count: f"{count:g} of {len(GOALS)}")


def _verdict(is_met: bool, row: Row) -> str:
    if not is_met:
        return "not met"
    enough = len(row.keywords) >= MIN_KEYWORDS and all(
        len({run.seed for run in row.runs if run.keyword == keyword}) >= MIN_SEEDS for keyword in row.keywords
    )
    return "met" if enough else "not yet: too few runs"
