"""A setting from question to answer: records in, Markdown out."""

import math
from collections.abc import Callable, Iterable

from experiments.how import how
from experiments.markdown import count, error, interval, milliseconds, ratio, ratio_interval, table, times
from experiments.records import Quality, Record, Training
from experiments.sections import PARTS, grade, verdict
from experiments.setting import BASE_NAME
from experiments.summary import (
    FAIR_BASE_NAME,
    TOLERATED_RATIO,
    Cost,
    Row,
    Study,
    base_stream_seconds,
    file_bytes,
    shipped_bytes,
    stream_seconds,
    thop_macs,
    weight_bytes,
    with_frontend,
)

__all__ = ["conclusion", "setting_section"]

COSTS: dict[str, tuple[Cost, Callable[[float], str]]] = {
    "MACs per clip, thop": (thop_macs, count),
    "MACs per clip, torch's flop counter": (lambda run: run.cost.flop_counter_macs, count),
    "MACs per clip, by arithmetic": (lambda run: run.cost.analytic_macs, count),
    "MACs per streamed second, model": (lambda run: run.cost.macs_per_streamed_second, count),
    "MACs per streamed second, with the front end": (with_frontend, count),
    "parameters": (lambda run: run.cost.parameters, count),
    "weight bytes": (weight_bytes, count),
    "bytes of the shipped file": (shipped_bytes, count),
    "bytes of torch.save's file": (file_bytes, count),
    "homework's megabytes": (lambda run: run.cost.homework_megabytes, "{:.4f}".format),
    "bytes of a stream's state": (lambda run: run.cost.state_bytes, count),
}


def setting_section(name: str, studies: Iterable[Study], link: Callable[[str], str]) -> str:
    """A setting from question to answer, over all studies that it is in.

    Args:
        name: Of the setting.
        studies: All of them.
        link: From a path in a record to one that the report can link to.
    """
    found = [(study, row) for study in studies for row in study.rows if row.name == name]
    row = found[0][1]
    setting, runs = row.runs[0].setting, {(run.corpus, run.name): run for _, row in found for run in row.runs}
    commands = "\n".join(dict.fromkeys(run.command for run in runs.values()))
    blocks = [f"### {name}", f"**Question.** {setting['question']}", f"**Expected.** {setting['expectation']}"]
    blocks.append(f"**How.** {how(setting)}")
    for study, row in found:
        blocks += [f"**Came out.** {conclusion(study, row)}", _qualities(row)]
    blocks += [_costs(*found[0]), _runs(runs.values(), link), f"```sh\n{commands}\n```"]
    return "\n\n".join(blocks)


def conclusion(study: Study, row: Row) -> str:
    """What the numbers say, in words."""
    start = f"On {study.title}, 1 - AUROC on test speakers is {interval(row.error())}"
    if row is study.base:
        return f"{start}; this is what the others are compared with."
    sentences = [f"{start}. {_beside(row, BASE_NAME)}"]
    if row.name != FAIR_BASE_NAME and (FAIR_BASE_NAME, "testing") in row.compared:
        sentences.append(_beside(row, FAIR_BASE_NAME))
    work, size, file = (times(row.times_less(cost)) for cost in (thop_macs, weight_bytes, shipped_bytes))
    clock = f"MACs are {work} fewer, which the clock shows as {times(row.measured_speedup)} faster on a clip"
    if not math.isnan(row.measured_stream_speedup):
        clock += f" and {times(row.measured_stream_speedup)} faster in a stream, front end included"
    grades = f"{grade(row, weight_bytes):.1f} by weight bytes and {grade(row, file_bytes):.1f} by torch.save's file"
    sentences.append(f"{clock}; weight bytes are {size} fewer, the shipped file is {file} smaller.")
    return " ".join([*sentences, f"The homework's grade is {grades}."])


def _beside(row: Row, bar: str) -> str:
    value, limit = row.ratio(bar), f"{TOLERATED_RATIO} times"
    within = "within" if value.estimate <= TOLERATED_RATIO else "beyond"
    settled = "does not settle it" if verdict(value) == "undecided" else "settles it"
    return f"That is {ratio_interval(value)} times that of `{bar}`: {within} {limit}, and the interval {settled}."


def _qualities(row: Row) -> str:
    def cells(part: str) -> list[str]:
        def mean(get: Callable[[Quality], float]) -> float:
            return row.mean(lambda run: get(getattr(run, part)))

        scales = [mean(lambda q: q.au_fa_fr), mean(lambda q: q.balanced_au_fa_fr), mean(lambda q: q.equal_error_rate)]
        clips = [count(mean(lambda q: q.clips)), count(mean(lambda q: q.keyword_clips))]
        share = f"{mean(lambda q: q.keyword_clips / q.clips):.4f}"
        return [*clips, interval(row.error(part)), error(scales[0]), share, error(scales[1]), f"{scales[2]:.2%}"]

    columns = ["judged on", "clips", "of the keyword", "1 - AUROC", "au_fa_fr, natural", "at p =", "equal shares"]
    parts = [part for part in PARTS if all(getattr(run, part) for run in row.runs)]
    return table([*columns, "equal error rate"], [[PARTS[part], *cells(part)] for part in parts])


def _costs(study: Study, row: Row) -> str:
    base = Row(row.base_runs, row.base_runs, {}, {})
    rows = [
        [name, show(row.mean(cost)), show(base.mean(cost)), times(row.times_less(cost))]
        for name, (cost, show) in COSTS.items()
    ]
    seconds = [row.mean(lambda run: run.cost.seconds_per_clip), row.mean(lambda run: run.cost.base_seconds_per_clip)]
    rows.append(["a clip by the clock", *map(milliseconds, seconds), times(row.measured_speedup)])
    seconds = [row.mean(stream_seconds), row.mean(base_stream_seconds)]
    rows.append(["a streamed second by the clock", *map(milliseconds, seconds), times(row.measured_stream_speedup)])
    width = 2 if row is study.base else 4
    return table(["cost", row.name, "base", "times less"][:width], [cells[:width] for cells in rows])


def _epochs(done: Training) -> str:
    return f"{len(done.restarts)} x {done.epochs}" if done.restarts else str(done.epochs)


def _runs(runs: Iterable[Record], link: Callable[[str], str]) -> str:
    columns = [
        "run",
        "1 - AUROC, test speakers",
        "ratio to base",
        "trained in",
        "epochs",
        "for",
        "clips/s",
        "last loss",
        "whole run",
    ]
    rows = []
    for run in runs:
        done = run.training
        cells = [done.framework, _epochs(done), f"{done.seconds:.0f} s"] if done else ["", "", ""]
        cells += [count(done.clips_per_second), f"{done.final_loss:.4f}"] if done else ["", ""]
        log = f"[log]({link(run.paths['log'])})" if "log" in run.paths else f"weights of {run.setting['source']}"
        compared = ratio(run.testing.ratio_to_base[0])
        cells.append(f"{run.wall_seconds:.0f} s")
        rows.append([f"{run.corpus}: {run.name}", error(run.testing.auroc_error), compared, *cells, log])
    return table([*columns, "log"], rows)
