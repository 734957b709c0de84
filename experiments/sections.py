"""The report's head, tables over all settings of a study, and machines: records in, Markdown out."""

import math
from collections.abc import Sequence
from pathlib import PurePosixPath

from experiments.markdown import NONE, count, error, interval, milliseconds, ratio_interval, table, times
from experiments.records import Record
from experiments.setting import BASE_NAME
from experiments.summary import (
    FAIR_BASE_NAME,
    TOLERATED_RATIO,
    Cost,
    Row,
    Study,
    file_bytes,
    shipped_bytes,
    stream_seconds,
    thop_macs,
    weight_bytes,
    with_frontend,
)
from kws_jax.bootstrap import Interval

__all__ = [
    "PARTS",
    "grade",
    "how_to_read",
    "machines",
    "natural_scale",
    "ratio_cell",
    "study_section",
    "summary_table",
    "verdict",
]

PARTS = {"validation": "validation speakers", "testing": "test speakers", "held_out": "both"}
HOW_TO_READ = f"""\
- **1 - AUROC**: how often a clip of another word outranks a clip of the keyword; it needs no threshold and does not
  depend on how many clips are the keyword's.
- **au_fa_fr**: the homework's area under false rejections over false alarms, both as shares of all clips, so that
  au_fa_fr = p (1 - p) (1 - AUROC) with p the keyword's share. It is given at the **natural** share of the clips at hand
  (p stands beside it) and at **equal** shares (p = 0.5). Ratios are the same in both and in 1 - AUROC.
- **Ratio**: the setting's error over a bar's with the same seeds on the same clips. The homework's bar is
  `{BASE_NAME}`, its model by the seminar's recipe; the strict bar is `{FAIR_BASE_NAME}`, the same model trained
  as long and as well as anything here. Errors are averaged over keywords and seeds before the ratio is taken, so that
  a keyword weighs as much as its error; the mean of the keywords' own ratios, in which each weighs the same, stands
  under "Errors". "Yes" and "no" say that the whole interval is on that side of {TOLERATED_RATIO}, "undecided" that it
  is not.
- **Intervals** are 95 % bootstrap intervals: speakers are resampled, the same ones for both models, all keywords and
  all seeds, and the average over the runs is taken of every resample. How runs differ among themselves is in each
  setting's table of runs.
- **MACs** are thop's for one 1 s clip from its log-mel on; "with the front end" adds the log-mel. **Weight bytes** are
  weights with their scales; the **shipped file** holds plain tensors; "torch.save" is what that makes of the
  state_dict. Each is compared with the base's own.
- **Grade**: 4 x compression / 10 + 4 x speed-up / 10 + 2, the homework's formula with full marks for streaming;
  compression by weight bytes or by torch.save's file, speed-up by thop's MACs."""


SUMMARIZED: tuple[Cost, ...] = (thop_macs, weight_bytes, shipped_bytes)
SIZES: tuple[Cost, ...] = (weight_bytes, shipped_bytes, file_bytes)


def how_to_read(num_records: int) -> str:
    """The report's head."""
    return f"# Report\n\nRendered from {num_records} records by `python -m experiments.report`.\n\n{HOW_TO_READ}"


def verdict(value: Interval) -> str:
    """Whether a ratio keeps to the homework's rule, as far as its interval tells; a dash where there is none."""
    if math.isnan(value.estimate):
        return NONE
    if value.high <= TOLERATED_RATIO:
        return "yes"
    return "no" if value.low > TOLERATED_RATIO else "undecided"


def grade(row: Row, size: Cost) -> float:
    """The homework's, with full marks for streaming."""
    return 4 * row.times_less(size) / 10 + 4 * row.times_less(thop_macs) / 10 + 2


def summary_table(study: Study) -> str:
    """One line a setting: how much less it costs, and how much worse it is."""
    columns = ["setting", "MACs", "weight bytes", "file", f"au_fa_fr / {BASE_NAME}", f"au_fa_fr / {FAIR_BASE_NAME}"]
    rows = [
        [
            row.name,
            *(times(row.times_less(cost)) for cost in SUMMARIZED),
            ratio_cell(row, BASE_NAME),
            ratio_cell(row, FAIR_BASE_NAME),
            str(len(row.seeds)),
            ", ".join(row.keywords),
        ]
        for row in study.rows
    ]
    macs, size, file = (count(study.base.mean(cost)) for cost in SUMMARIZED)
    caption = f"The base: {macs} MACs a clip, {size} bytes of weights, {file} in its shipped file; others: times less."
    return f"{caption}\n\n{table([*columns, 'seeds', 'keywords'], rows)}"


def ratio_cell(row: Row, bar: str) -> str:
    """A setting's ratio to a bar, which is itself 1."""
    return "1" if row.name == bar else ratio_interval(row.ratio(bar))


def study_section(study: Study, pictures: Sequence[str]) -> str:
    """What a study was made on, and its tables over all settings."""
    drawn = "\n\n".join(f"![{PurePosixPath(path).stem}]({path})" for path in pictures)
    blocks = [f"## {study.title}", _data(study), "### Summary", summary_table(study), drawn]
    blocks += ["### Errors", _errors(study), _ratios(study)]
    blocks += ["### Work and time", _work(study), "### Size and grade", _size(study)]
    return "\n\n".join(blocks)


def natural_scale(row: Row) -> list[str]:
    """au_fa_fr on test speakers as the homework counts it, and the keyword's share there."""
    share = row.mean(lambda run: run.testing.keyword_clips / run.testing.clips)
    return [error(row.mean(lambda run: run.testing.au_fa_fr)), f"{share:.4f}"]


def _data(study: Study) -> str:
    runs = {run.keyword: run for run in reversed(study.runs)}
    rows = [
        [
            f"{part}, {keyword}",
            *(count(runs[keyword].data[part][key]) for key in ("clips", "keyword_clips", "speakers")),
        ]
        for keyword in study.keywords
        for part in ("training", "validation", "testing")
        if part in runs[keyword].data
    ]
    prints = sorted({(run.data["fingerprint"][:12], run.data.get("unreadable", 0)) for run in study.runs})
    named = "; ".join(f"fingerprint {short}, {unreadable} unreadable files left out" for short, unreadable in prints)
    columns = ["part", "clips", "of the keyword", "speakers"]
    return f"Data: {study.corpus}, {study.split} split ({named}).\n\n{table(columns, rows)}"


def _errors(study: Study) -> str:
    rows = [
        [
            row.name,
            interval(row.error("validation")),
            interval(row.error()),
            error(row.error("held_out").estimate),
            *natural_scale(row),
            error(row.mean(lambda run: run.testing.balanced_au_fa_fr)),
        ]
        for row in study.rows
    ]
    columns = ["setting", *(f"1 - AUROC, {name}" for name in PARTS.values())]
    return table([*columns, "au_fa_fr, natural, test", "at p =", "au_fa_fr, equal shares, test"], rows)


def _ratios(study: Study) -> str:
    bars = (BASE_NAME, FAIR_BASE_NAME)
    columns = [name for bar in bars for name in (f"au_fa_fr / {bar}", f"<= {TOLERATED_RATIO}?", "mean over keywords")]
    rows = [
        [
            cell
            for bar in bars
            for cell in (ratio_cell(row, bar), verdict(row.ratio(bar)), ratio_interval(row.mean_ratio(bar)))
        ]
        for row in study.rows
    ]
    return table(["setting", *columns], [[row.name, *cells] for row, cells in zip(study.rows, rows, strict=True)])


def _work(study: Study) -> str:
    rows = [
        [
            row.name,
            count(row.mean(thop_macs)),
            times(row.times_less(thop_macs)),
            count(row.mean(with_frontend)),
            times(row.times_less(with_frontend)),
            f"{1e3 * row.mean(lambda run: run.cost.seconds_per_clip):.3f} ms",
            times(row.measured_speedup),
            milliseconds(row.mean(stream_seconds)),
            times(row.measured_stream_speedup),
        ]
        for row in study.rows
    ]
    columns = ["setting", "MACs per clip", "fewer", "MACs per streamed second with the front end", "fewer"]
    columns += ["a clip by the clock", "faster", "a streamed second by the clock", "faster"]
    text = (
        "By the clock, one thread, against the base timed in turn with it: a clip is the PyTorch model on one clip's "
        "log-mel; a streamed second goes from raw samples to probability, front end included."
    )
    return f"{text}\n\n{table(columns, rows)}"


def _size(study: Study) -> str:
    rows = [
        [
            row.name,
            count(row.mean(lambda run: run.cost.parameters)),
            *(text for size in SIZES for text in (count(row.mean(size)), times(row.times_less(size)))),
            f"{row.mean(lambda run: run.cost.homework_megabytes):.4f}",
            f"{grade(row, weight_bytes):.1f}",
            f"{grade(row, file_bytes):.1f}",
        ]
        for row in study.rows
    ]
    columns = ["setting", "parameters", "weight bytes", "smaller", "shipped file", "smaller", "torch.save", "smaller"]
    return table([*columns, "homework's MB", "grade by weight bytes", "grade by torch.save"], rows)


def machines(records: Sequence[Record]) -> str:
    """What the records were made on."""
    lines = {f"- {run.device}; {', '.join(' '.join(pair) for pair in run.versions.items())}" for run in records}
    commits = sorted({run.commit for run in records})
    days = sorted({run.started[:10] for run in records})
    dates = " to ".join(dict.fromkeys((days[0], days[-1])))
    hours = sum(run.wall_seconds for run in records) / 3600
    ran = f"Commits {', '.join(commits)}; {dates}; {hours:.2f} hours in all."
    return "\n".join(["## Where it ran", "", ran, "", *sorted(lines)])
