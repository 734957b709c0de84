"""The report's chapter on streams: records of continuous audio in, Markdown out."""

import math
from collections.abc import Callable, Sequence

from experiments.markdown import NONE, count, ratio, table, times
from experiments.stream_judging import MODES
from experiments.stream_records import StreamRecord, StreamRow, StreamStudy, mode_interval
from kws_jax.bootstrap import Interval

__all__ = ["goal", "stream_chapter", "stream_line", "way"]

TOLERATED_POINTS, LEAST_RATIO = 1.0, 12.0
TITLE = "In a stream"
GOAL = (
    f"at 1 false alarm per hour, a carried state misses at most {TOLERATED_POINTS:g} point more than the sliding "
    f"window, at a {LEAST_RATIO:g}th of its work or less"
)
HOW_TO_READ = """\
- A **hit** is the first detection between a word's start and 1 s after its end; every other detection is a **false
  alarm**, a second one of the same word too. There is at most one trigger a second.
- Clips and utterances come again in shuffled rounds, each time under other noise: a false alarm on one utterance may
  come back with it, and streams are less independent than their intervals assume.
- **Carried** streams with one state from the first sample to the last, **reset** sets the GRU's state to zero at times,
  and **sliding** runs the offline model on the last second at every step, from a zero state.
- **Misses at 1 false alarm per hour** are the lowest at any threshold with no more than that on the test speakers
  themselves, which compares curves. **In use** takes the threshold from the validation speakers (fewest misses at no
  more than 1 false alarm per hour) and leaves it as it is for test speakers. The smoothing, 1, 3 or 5 steps, is the one
  that misses least on validation speakers in both.
- **Intervals** are at 95 %. Of misses at a rate of false alarms, and of their differences, streams are resampled, the
  same ones for both; of misses in use, speakers; of false alarms, they are exact for a Poisson count. Over several
  runs, values and ends of intervals are the means of the runs' own.
- **Latency** runs from the word's end to the end of the audio that the triggering step hears."""


def stream_chapter(studies: Sequence[StreamStudy], pictures: Sequence[str]) -> str:
    """The whole chapter; a picture for each study."""
    blocks = [f"## {TITLE}", f"Goal: {GOAL}.", HOW_TO_READ]
    for study, picture in zip(studies, pictures, strict=True):
        keyword = f"“{study.about['keyword']}”"
        blocks += [f"### {keyword}", _heard(study), _verdict(study), f"![Misses of {keyword}]({picture})"]
        blocks += ["#### At a number of false alarms per hour", _misses(study), "#### In use", _in_use(study)]
        blocks += ["#### Carried, reset and sliding", _differences(study), "#### Work", _work(study)]
        blocks += [*_peer(study), "#### Single runs", _runs(study)]
    return "\n\n".join(blocks)


def way(study: StreamStudy, mode: str) -> str:
    """A mode in words."""
    return {"reset": f"reset every {study.about['reset_seconds']:g} s", "sliding": "sliding 1 s window"}.get(mode, mode)


def percent(value: float) -> str:
    """A share in %, one digit after the point."""
    return NONE if math.isnan(value) else f"{100 * value:.1f} %"


def percent_interval(value: Interval) -> str:
    """A share with its interval."""
    return NONE if math.isnan(value.estimate) else f"{percent(value.estimate)} ({_ends(value, 100)})"


def points(value: Interval) -> str:
    """A difference of shares with its interval, in points of 1 %."""
    return f"{100 * value.estimate:+.1f} ({100 * value.low:+.1f} to {100 * value.high:+.1f})"


def _ends(value: Interval, factor: float) -> str:
    return f"{factor * value.low:.1f} to {factor * value.high:.1f}"


def _rate(value: Interval) -> str:
    return f"{value.estimate:.2f} ({value.low:.2f} to {value.high:.2f})"


def _milliseconds(seconds: float) -> str:
    return NONE if math.isnan(seconds) else f"{1e3 * seconds:.0f} ms"


def goal(row: StreamRow) -> str:
    """Whether a setting keeps to the goal, as far as its interval tells: "met", "not met" or "undecided"."""
    more = row.minus_sliding("carried")
    if 100 * more.low > TOLERATED_POINTS or row.times_less_work < LEAST_RATIO:
        return "not met"
    return "met" if 100 * more.high <= TOLERATED_POINTS else "undecided"


def _verdict(study: StreamStudy) -> str:
    """The goal, setting by setting, in sentences."""
    return "The goal:\n\n" + "\n".join(f"- `{row.setting}`: **{goal(row)}**. {_reasons(row)}" for row in study.rows)


def _reasons(row: StreamRow) -> str:
    more = row.minus_sliding("carried")
    if 100 * more.high <= TOLERATED_POINTS:
        misses = "which the goal allows over the whole interval"
    elif 100 * more.low > TOLERATED_POINTS:
        misses = "over the whole interval more than the goal allows"
    else:
        misses = f"and the interval lies on both sides of {TOLERATED_POINTS:g} point, so these hours do not settle it"
    enough = "enough" if row.times_less_work >= LEAST_RATIO else f"short of {LEAST_RATIO:g}"
    return (
        f"Carried less sliding is {points(more)} points, {misses}. With the front end the stream takes "
        f"{times(row.times_less_work)} less work, which is {enough}; without, {times(row.times_less_model_work)} less."
    )


def _heard(study: StreamStudy) -> str:
    about = study.about
    rows = []
    for part, speakers in (("validation", "validation speakers"), ("testing", "test speakers")):
        scenes = about["scenes"][part]
        numbers = (scenes["streams"], scenes["keywords"], scenes["keyword_speakers"])
        others = (scenes["events"].get(kind, 0) for kind in ("word", "speech"))
        rows.append([speakers, f"{scenes['hours']:g}", *map(count, (*numbers, *others))])
    columns = ["heard", "hours", "streams", "keywords", "by speakers", "other words", "utterances of running speech"]
    snrs = dict.fromkeys(about["scenes"]["testing"]["snrs"])
    noise = ", ".join("no noise" if snr is None else f"{snr:g} dB" for snr in snrs)
    text = (
        f"“{about['keyword']}”, from {about['corpus_name']} (fingerprint {about['corpus'][:12]}, official split) and "
        f"{about['speech']}, glued in random order with seed {about['seed']}, over recorded noise at signal-to-noise "
        f"ratios of, in turn: {noise}."
    )
    return f"{text}\n\n{table(columns, rows)}"


def _by_mode(study: StreamStudy, cells: Callable[[list[dict]], list[str]]) -> list[list[str]]:
    """A row for each setting and mode, and one for the peer; `cells` makes them of the runs' summaries."""
    rows = [
        [row.setting, way(study, mode), str(len(row.runs)), *cells([run["modes"][mode] for run in row.runs])]
        for row in study.rows
        for mode in MODES
    ]
    return rows + ([[study.peer["engine"], "its own", "", *cells([study.peer["mode"]])]] if study.peer else [])


def _misses(study: StreamStudy) -> str:
    names = ("test_miss_rate_at_1", "test_miss_rate_at_half")
    rows = _by_mode(study, lambda modes: [percent_interval(mode_interval(modes, name)) for name in names])
    columns = ["setting", "way", "runs", "misses at 1 false alarm per hour", "misses at 0.5"]
    return f"Test speakers, on their own curve.\n\n{table(columns, rows)}"


def _in_use(study: StreamStudy) -> str:
    def cells(modes: list[dict]) -> list[str]:
        rates = [
            percent_interval(mode_interval(modes, "miss_rate")),
            _rate(mode_interval(modes, "false_alarms_per_hour")),
        ]
        latencies = [[mode[name] for mode in modes if mode[name] is not None] for name in ("latency", "latency_90")]
        return rates + [_milliseconds(sum(found) / len(found)) if found else NONE for found in latencies]

    columns = ["setting", "way", "runs", "misses", "false alarms per hour", "latency, median", "latency, 90 %"]
    late = 1e3 * study.about["cost"]["algorithmic_latency"]
    text = (
        "Test speakers, at the threshold and smoothing chosen on validation speakers. A stream yields a step "
        f"{late:.1f} ms after the end of the audio it hears, when its block is full; this comes on top of the latency."
    )
    return f"{text}\n\n{table(columns, _by_mode(study, cells))}"


def _differences(study: StreamStudy) -> str:
    rows = [
        [
            row.setting,
            str(len(row.runs)),
            *(points(row.minus_sliding(mode)) for mode in ("carried", "reset")),
            goal(row),
        ]
        for row in study.rows
    ]
    columns = ["setting", "runs", "carried - sliding", f"{way(study, 'reset')} - sliding", "goal"]
    return f"Misses at 1 false alarm per hour, differences in points.\n\n{table(columns, rows)}"


def _work(study: StreamStudy) -> str:
    rows = []
    for row in study.rows:
        work = [row.macs(mode, part) for part in ("model", "frontend") for mode in ("carried", "sliding")]
        state = row.runs[0]["cost"]["state_bytes"]
        rows.append(
            [row.setting, *map(count, work), times(row.times_less_model_work), times(row.times_less_work), count(state)]
        )
    columns = ["setting", "model, carried", "model, sliding", "front end, carried", "front end, sliding"]
    columns += ["less, model", "less, both", "state bytes"]
    text = (
        "Multiply-accumulates per second of audio; resetting the state costs nothing. A sliding window computes a "
        "whole clip, and a second of log-mel, at every step."
    )
    return f"{text}\n\n{table(columns, rows)}"


def _peer(study: StreamStudy) -> list[str]:
    if study.peer is None:
        return []
    rows = [
        [name, f"{speed['seconds_per_second']:.4f}", f"{1e3 * speed['median_chunk_seconds']:.2f} ms"]
        for name, speed in study.peer["speed"].items()
    ]
    text = (
        f"{study.peer['engine']} {study.peer['version']} searched the same scenes for the same word, at its own "
        "thresholds from 1e-50 to 1e25; its latency runs to the end of the stretch that matches best. Speed was "
        f"measured on one core of {study.peer['device']}, both engines in one run, fed 80 ms at a time."
    )
    columns = ["engine", "processor seconds per second of audio", "80 ms, median"]
    return [f"{text}\n\n{table(columns, rows)}"]


def _runs(study: StreamStudy) -> str:
    def cells(mode: dict) -> list[str]:
        threshold = NONE if mode["threshold"] is None else f"{mode['threshold']:.6g}"
        shares = [percent(mode[name]) for name in ("test_miss_rate_at_1", "miss_rate")]
        return [str(mode["smoothing"]), threshold, *shares, f"{mode['false_alarms_per_hour']:.2f}"]

    runs: list[StreamRecord] = [run for row in study.rows for run in row.runs]
    rows = [[run["checkpoint"], way(study, mode), *cells(run["modes"][mode])] for run in runs for mode in MODES]
    if study.peer:
        rows.append([f"{study.peer['engine']} {study.peer['version']}", "its own", *cells(study.peer["mode"])])
    columns = ["checkpoint", "way", "smoothing", "threshold", "misses at 1 per hour", "misses in use"]
    return table([*columns, "false alarms per hour in use"], rows)


def stream_line(study: StreamStudy) -> str:
    """One paragraph for the README: of the setting that misses least on validation speakers, with a link."""
    best = min(study.rows, key=lambda row: row.validation_miss_rate)
    carried, sliding = (best.of_mode(mode, "test_miss_rate_at_1") for mode in ("carried", "sliding"))
    peer = ""
    if study.peer:
        peer = f" {study.peer['engine']} misses {percent(study.peer['mode']['test_miss_rate_at_1'])} there."
    hours = study.about["scenes"]["testing"]["hours"]
    return (
        f"**In a stream**, {hours:g} h of test speakers among other words, running speech and noise: at "
        f"1 false alarm per hour `{best.setting}` misses {percent_interval(carried)} of "
        f"“{study.about['keyword']}” with a carried state, and {percent_interval(sliding)} as a sliding window at "
        f"{ratio(best.times_less_work)} times the work.{peer} [More](REPORT.md#{TITLE.lower().replace(' ', '-')})"
    )
