"""The report's head, tables over all settings of a study, and machines: records in, Markdown out."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from experiments.markdown import count, error, interval, ratio_interval, table, times
from experiments.records import Record
from experiments.summary import TOLERATED_RATIO, Cost, Row, Study, file_bytes, thop_macs, weight_bytes, with_frontend
from kws_jax.bootstrap import Interval

__all__ = ["PARTS", "grade", "how_to_read", "machines", "study_section", "summary_table", "verdict"]

PARTS = {"validation": "validation speakers", "testing": "test speakers", "held_out": "both"}
HOW_TO_READ = f"""\
- **1 - AUROC**: how often a clip of another word outranks a clip of the keyword; it needs no threshold and does not
  depend on how many clips are the keyword's.
- **au_fa_fr**: the homework's area under false rejections over false alarms, both as shares of all clips, so that
  au_fa_fr = p (1 - p) (1 - AUROC) with p the keyword's share. It is given at the **natural** share of the clips at hand
  (p stands beside it) and at **equal** shares (p = 0.5). Ratios are the same in both and in 1 - AUROC.
- **Ratio**: the setting's error over the base's with the same seed on the same clips. The homework asks for at most
  {TOLERATED_RATIO}; "yes" and "no" mean that the whole interval is on that side, "undecided" that it is not.
- **Intervals** are 95 % bootstrap intervals that resample speakers, the same ones for both models. Over several runs,
  errors are averaged before a ratio is taken, and an interval's ends are the mean of the runs' ends: how runs differ
  among themselves is in each setting's table of runs.
- **MACs** are thop's for one 1 s clip from its log-mel on; "with the front end" adds the log-mel. **Weight bytes** are
  weights with their scales; the **file** is what torch.save makes of the state_dict.
- **Grade**: 4 x compression / 10 + 4 x speed-up / 10 + 2, the homework's formula with full marks for streaming;
  compression by weight bytes or by file bytes, speed-up by thop's MACs."""


def how_to_read(num_records: int) -> str:
    """The report's head."""
    return f"# Report\n\nRendered from {num_records} records by `python -m experiments.report`.\n\n{HOW_TO_READ}"


def verdict(value: Interval) -> str:
    """Whether a ratio keeps to the homework's rule, as far as its interval tells."""
    if value.high <= TOLERATED_RATIO:
        return "yes"
    return "no" if value.low > TOLERATED_RATIO else "undecided"


def grade(row: Row, size: Cost) -> float:
    """The homework's, with full marks for streaming."""
    return 4 * row.times_less(size) / 10 + 4 * row.times_less(thop_macs) / 10 + 2


def summary_table(study: Study) -> str:
    """One line a setting: how much less it costs, and how much worse it is."""
    columns = ["setting", "MACs", "weight bytes", "file", "1 - AUROC, test speakers", "au_fa_fr / base"]
    columns += [f"<= {TOLERATED_RATIO}?", "seeds", "keywords"]
    rows = []
    for row in study.rows:
        costs = [times(row.times_less(cost)) for cost in (thop_macs, weight_bytes, file_bytes)]
        compared = ["1", ""] if row is study.base else [ratio_interval(row.ratio()), verdict(row.ratio())]
        runs = [str(len(row.seeds)), ", ".join(row.keywords)]
        rows.append([row.name, *costs, interval(row.error()), *compared, *runs])
    base = [count(study.base.mean(cost)) for cost in (thop_macs, weight_bytes, file_bytes)]
    caption = f"The base: {base[0]} MACs a clip, {base[1]} bytes of weights, {base[2]} in a file; others: times less."
    return f"{caption}\n\n{table(columns, rows)}"


def study_section(study: Study, pictures: Sequence[str]) -> str:
    """What a study was made on, and its tables over all settings."""
    drawn = "\n\n".join(f"![{PurePosixPath(path).stem}]({path})" for path in pictures)
    blocks = [f"## {study.title}", _data(study), "### Summary", summary_table(study), drawn]
    blocks += ["### Errors", _errors(study), "### Work and time", _work(study), "### Size and grade", _size(study)]
    return "\n\n".join(blocks)


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
            *(error(row.error(part).estimate) for part in PARTS),
            error(row.mean(lambda run: run.testing.au_fa_fr)),
            f"{row.mean(lambda run: run.testing.keyword_clips / run.testing.clips):.4f}",
            error(row.mean(lambda run: run.testing.balanced_au_fa_fr)),
        ]
        for row in study.rows
    ]
    columns = ["setting", *(f"1 - AUROC, {name}" for name in PARTS.values())]
    return table([*columns, "au_fa_fr, natural, test", "at p =", "au_fa_fr, equal shares, test"], rows)


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
        ]
        for row in study.rows
    ]
    columns = ["setting", "MACs per clip", "fewer", "MACs per streamed second with the front end", "fewer"]
    text = "Measured: the PyTorch model on one clip's log-mel, one thread, against the base timed in turn with it."
    return f"{text}\n\n{table([*columns, 'measured per clip', 'faster'], rows)}"


def _size(study: Study) -> str:
    columns = ["setting", "parameters", "weight bytes", "smaller", "file bytes", "smaller", "homework's MB"]
    rows = [
        [
            row.name,
            count(row.mean(lambda run: run.cost.parameters)),
            count(row.mean(weight_bytes)),
            times(row.times_less(weight_bytes)),
            count(row.mean(file_bytes)),
            times(row.times_less(file_bytes)),
            f"{row.mean(lambda run: run.cost.homework_megabytes):.4f}",
            f"{grade(row, weight_bytes):.1f}",
            f"{grade(row, file_bytes):.1f}",
        ]
        for row in study.rows
    ]
    return table([*columns, "grade by weight bytes", "grade by file bytes"], rows)


def machines(records: Sequence[Record]) -> str:
    """What the records were made on."""
    lines = {f"- {run.device}; {', '.join(' '.join(pair) for pair in run.versions.items())}" for run in records}
    commits = sorted({run.commit for run in records})
    days = sorted({run.started[:10] for run in records})
    dates = " to ".join(dict.fromkeys((days[0], days[-1])))
    hours = sum(run.wall_seconds for run in records) / 3600
    ran = f"Commits {', '.join(commits)}; {dates}; {hours:.2f} hours in all."
    return "\n".join(["## Where it ran", "", ran, "", *sorted(lines)])
