"""The clock's goals: what was wanted, what was measured, and the least that this machine would take for it."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

Measured = dict[str, Any]
FEW_STREAMS, HOUR = 256, 3_600


class SpeedGoal(NamedTuple):
    """A number to reach.

    Attributes:
        what: That is measured.
        unit: Of all three numbers.
        wanted: At most, or at least.
        is_most: Whether it is at most.
        measured: Here.
        floor: The best that could be had, where something tells.
        why: What the floor is.
    """

    what: str
    unit: str
    wanted: float
    is_most: bool
    measured: float
    floor: float | None = None
    why: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the goal is reached."""
        return self.measured <= self.wanted if self.is_most else self.measured >= self.wanted


def speed_goals(measured: Measured) -> list[SpeedGoal]:
    """All goals of a benchmark, of the base and of the model with the least work; none where it has not both."""
    models = list(dict.fromkeys(row["model"] for row in measured["growth"]))
    if len(models) < 2:
        return []
    base, least = models
    goals = [*_pushes(measured, base, 65, 2.9), *_pushes(measured, least, 45, 8)]
    goals.append(SpeedGoal(f"PyTorch's push, {base}", "us", 250, True, _push(measured, base, "PyTorch stream")))
    for name, rate, times, size in ((base, 4_500, 8_000, 4_500), (least, 50_000, 50_000, 630)):
        goals += _many(measured, name, rate, times, size)
    return [*goals, *_training(measured, base, least), *_start_up(measured)]


def exponents(measured: Measured) -> list[tuple[str, str, str, float]]:
    """Of each model and runtime, what grows and the exponent b of cost = a size^b, by least squares of logarithms."""
    series = dict.fromkeys((row["of"], row["model"], row["what"]) for row in measured["growth"])
    found = [(key, curve(measured, *key)) for key in series]
    return [(*key, _slope(*np.log(line))) for key, line in found if len(line[0]) > 1]


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.polyfit(x, y, deg=1)[0])


def curve(measured: Measured, of: str, model: str, what: str) -> tuple[list[float], list[float]]:
    """Sizes, and milliseconds of a call."""
    rows = _of(measured["growth"], of=of, model=model, what=what)
    return [row["size"] for row in rows], [row["milliseconds"] for row in rows]


def _pushes(measured: Measured, name: str, most: float, times: float) -> Iterable[SpeedGoal]:
    part = _one(measured["parts"], model=name, of="push", part="a compiled call")
    floor = part["microseconds"] + _push(measured, name, "C scan")
    why = "an empty call, and the arithmetic as C does it"
    yield SpeedGoal(f"JAX's push, {name}", "us", most, True, _push(measured, name, "JAX stream"), floor, why)
    for peer in _of(measured["peers"], engine="microWakeWord"):
        cheaper = peer["times_cheaper_in_jax"][name]
        yield SpeedGoal(f"the same, cheaper than {peer['engine']}", "times", times, False, cheaper)


def _many(measured: Measured, name: str, rate: float, times: float, size: float) -> Iterable[SpeedGoal]:
    rows = [row for row in _of(measured["growth"], of="streams", model=name) if row["size"] >= FEW_STREAMS]
    rates = [1e3 * row["heard"] / row["milliseconds"] for row in rows]
    in_c = 1 / _one(measured["inference"], model=name, runtime="C scan")["real_time_factor"]
    if rates:
        what = f"streams on a core, {rows[0]['size']:,} to {rows[-1]['size']:,} at once, {name}"
        yield SpeedGoal(what, "streams", rate, False, min(rates), in_c, "C, one after the other")
        yield SpeedGoal("the same, fewest over most", "of it", 0.7, False, min(rates) / max(rates))
    for row in _of(measured["growth"], of="seconds of audio", model=name, what="JAX", size=HOUR):
        fast = 1e3 * row["heard"] / row["milliseconds"]
        yield SpeedGoal(f"an hour in one push, {name}", "x real time", times, False, fast, in_c, "C")
    yield SpeedGoal(f"a stream's state, {name}", "bytes", size, True, measured["state_bytes"][name])


def _training(measured: Measured, base: str, least: str) -> Iterable[SpeedGoal]:
    speed = {(row["model"], row["framework"], row["what"]): row["clips_per_second"] for row in measured["training"]}

    def ratio(name: str, ours: str, theirs: str) -> float:
        return speed[name, "JAX", ours] / speed[name, "PyTorch", theirs]

    power, samples = "step from mel power", "step from samples"
    epoch, scenes = "epoch from cached mel power, augmented", "epoch on scenes, augmented"
    if (base, "JAX", power) in speed:
        floor = measured["training_floor"]["clips_per_second"] / speed[base, "PyTorch", power]
        why = "all products as fast as of large matrices"
        yield SpeedGoal(f"a training step, {base}", "x PyTorch's", 1.3, False, ratio(base, power, power), floor, why)
    if (least, "JAX", epoch) in speed:
        yield SpeedGoal(f"an epoch, {least}", "x PyTorch's from samples", 20, False, ratio(least, epoch, samples))
        yield SpeedGoal("the same", "x PyTorch's from log-mel", 8, False, ratio(least, epoch, power))
        yield SpeedGoal("on scenes, audio", "x PyTorch's from samples", 20, False, ratio(least, scenes, samples))


def _start_up(measured: Measured) -> Iterable[SpeedGoal]:
    seconds = {row["command"]: row["seconds"] for row in measured["start_up"]}
    slowest = max((command for command in seconds if command.endswith("--help")), key=seconds.__getitem__)
    yield SpeedGoal(f"slowest help: {slowest}", "s", 0.5, True, seconds[slowest])
    floor = seconds["import jax, flax.linen"]
    mine = "import kws_jax.streaming"
    yield SpeedGoal(mine, "s", 0.9, True, seconds[mine], floor, "JAX and Flax alone")
    listen = next(command for command in seconds if command.startswith("listen"))
    yield SpeedGoal(listen, "s", 2.0, True, seconds[listen], floor, "JAX and Flax alone")


def _push(measured: Measured, name: str, runtime: str) -> float:
    """Microseconds of a block."""
    row = _one(measured["inference"], model=name, runtime=runtime)
    return float(row["microseconds_per_second"] * row["step_milliseconds"] / 1e3)


def _one(rows: list[dict[str, Any]], **values: Any) -> dict[str, Any]:
    return _of(rows, **values)[0]


def _of(rows: list[dict[str, Any]], **values: Any) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[key] == value for key, value in values.items())]
