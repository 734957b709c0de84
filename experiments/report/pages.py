"""What the templates are given: numbers as text, a setting in words, and the pages that records make."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from experiments.report import goals
from experiments.report.comparison import TOLERATED_RATIO, Comparison, Entry
from experiments.report.streams import group
from experiments.study.records import BASE_NAME, TUNED_NAME, Record
from experiments.study.stream_records import PeerRecord, StreamRecord
from kws_jax.evaluation.bootstrap import Interval

__all__ = ["BEGIN", "END", "STORY", "render_pages"]

TEMPLATES = Path(__file__).with_name("templates")
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
NONE = "-"
# The settings of the story's pictures: the two bars, and students at three sizes, before and after rounding.
STORY = (
    BASE_NAME,
    TUNED_NAME,
    "student_21x",
    "student_21x_hop20_int8",
    "student_157x",
    "student_157x_int5",
    "student_314x",
    "student_314x_int5",
)


def render_pages(
    comparisons: list[Comparison],
    streams: list[StreamRecord],
    peers: list[PeerRecord],
    benchmark: dict[str, Any],
    results: Path,
    links: str,
    manifest: dict[str, Any] | None,
) -> dict[str, str]:
    """Every page as text, by its path.

    Args:
        comparisons: The first is the one to show first.
        streams: What was judged on continuous audio.
        peers: Other engines on the same audio.
        benchmark: What the clock says; see `comparison.read_benchmark`.
        results: Folder of the records.
        links: The way from the report to it.
        manifest: Of the shipped models, if there are any.
    """
    records = list({(run.corpus, run.name): run for one in comparisons for run in one.runs}.values())
    values: dict[str, Any] = {
        "main": comparisons[0],
        "first": max(comparisons[:2], key=lambda one: len(one.entries)),
        "comparisons": comparisons,
        "records": records,
        "machines": sorted({machine(run) for run in records}),
        "streams": group(streams),
        "peers": peers,
        "benchmark": benchmark,
        "goals": goals,
        "links": links,
        "story": STORY,
    }
    is_study = all(comparisons[0].find(name) for name in STORY) and bool(streams) and bool(benchmark["inference"])
    pages = {"REPORT.md": _render("story.md.j2" if is_study else "run.md.j2", values)}
    pages["report/all_settings.md"] = _render("all_settings.md.j2", values)
    if is_study:
        pages |= {f"report/{name}.md": _render(f"{name}.md.j2", values) for name in ("clock", "stream")}
        pages["README.md"] = _render("readme.md.j2", values)
    if manifest:
        pages["checkpoints/README.md"] = _render("checkpoints.md.j2", values | manifest)
    for name in dict.fromkeys(entry.name for one in comparisons for entry in one.entries):
        found = [(one, entry) for one in comparisons if (entry := one.find(name))]
        runs = list({run.name: run for _, entry in found for run in entry.runs}.values())
        logs = {run.name for run in runs if (results / "runs" / run.name / "log.jsonl").is_file()}
        own = {"name": name, "found": found, "runs": runs, "logs": logs, "setting": runs[0].setting}
        pages[f"report/settings/{name}.md"] = _render("setting.md.j2", values | own | {"links": f"../../{links}"})
    return pages


def _render(template: str, values: dict[str, Any]) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for function in (count, error, how, interval, percent, points, ratio, seconds, times, verdict):
        environment.filters[function.__name__] = function
    environment.globals.update(grade=grade, TOLERATED=TOLERATED_RATIO, BASE=BASE_NAME, TUNED=TUNED_NAME, json=json)
    return environment.get_template(template).render(values)


def count(value: float) -> str:
    """A whole number with separators."""
    return f"{value:,.0f}"


def error(value: float) -> str:
    """Such as 1.23e-3; a dash where there is none."""
    if math.isnan(value):
        return NONE
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}" if value else "0"


def _plain(value: float) -> str:
    if not math.isfinite(value):
        return "infinite" if value > 0 else NONE
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else count(value)


def times(value: float) -> str:
    """How many times less; a dash where nothing was measured."""
    return NONE if math.isnan(value) else f"{_plain(value)}x"


def ratio(value: Interval) -> str:
    """A ratio with the ends of its interval; a dash where there is none."""
    if math.isnan(value.estimate):
        return NONE
    return f"{_plain(value.estimate)} ({_plain(value.low)} to {_plain(value.high)})"


def interval(value: Interval) -> str:
    """An error with the ends of its interval."""
    if math.isnan(value.estimate):
        return NONE
    return f"{error(value.estimate)} ({error(value.low)} to {error(value.high)})"


def percent(value: Interval | float) -> str:
    """A share in %, with the ends of its interval if it has one."""
    if not isinstance(value, Interval):
        return NONE if math.isnan(value) else f"{100 * value:.1f} %"
    return f"{100 * value.estimate:.1f} % ({100 * value.low:.1f} to {100 * value.high:.1f})"


def points(value: Interval) -> str:
    """A difference of shares with its interval, in points of 1 %."""
    return f"{100 * value.estimate:+.1f} ({100 * value.low:+.1f} to {100 * value.high:+.1f})"


def seconds(value: float) -> str:
    """Such as 0.31 s; a dash where there is none."""
    return NONE if math.isnan(value) else f"{value:.2f} s"


def verdict(value: Interval) -> str:
    """Whether a ratio keeps to the homework's rule, as far as its interval tells; a dash where there is none."""
    if math.isnan(value.estimate):
        return NONE
    if value.high <= TOLERATED_RATIO:
        return "yes"
    return "no" if value.low > TOLERATED_RATIO else "undecided"


def grade(comparison: Comparison, entry: Entry, size: str = "weight_bytes") -> float:
    """The homework's, with full marks for streaming: 4 x compression / 10 + 4 x speed-up / 10 + 2."""
    return 4 * comparison.times_less(entry, size) / 10 + 4 * comparison.times_less(entry, "thop_macs") / 10 + 2


def machine(run: Record) -> str:
    """What a record was made on."""
    return f"{run.device}; {', '.join(' '.join(pair) for pair in run.versions.items())}"


def how(setting: dict[str, Any]) -> str:
    """How a setting is made, in words: where the weights come from, and what was done to them."""
    recipe = setting["recipe"]
    if recipe is None:
        return f"The weights of `{setting['weights_from']}`, stored as {setting['number_format']}."
    start = f"From the weights of `{setting['weights_from']}`" if setting["weights_from"] else "From scratch"
    rate = recipe.get("peak_learning_rate")
    schedule = f"AdamW, one cycle up to {rate:g}" if rate else f"Adam at {recipe['learning_rate']:g}"
    said = [f"{_architecture(setting['model'])}."]
    training = f"{recipe['epochs']} epochs of batches of {recipe['batch_size']}, {schedule}"
    said.append(f"{start}, {training}{''.join(f', {part}' for part in _parts(setting, recipe))}.")
    if plan := recipe.get("pruning"):
        sizes = f"{plan['conv_channels']} channels, {plan['gru_hidden']} GRU units, attention {plan['attention_width']}"
        said.append(f"Pruned to {sizes} between {plan['begin']:.0%} and {plan['end']:.0%} of the steps.")
    if recipe.get("scheme"):
        said.append(f"Weights rounded to the {recipe['scheme']} grid in every step; their moving average is kept.")
    if setting["restarts"] > 1:
        said.append(f"Of {setting['restarts']} initialisations, validation speakers chose.")
    return " ".join(said)


def _architecture(model: dict[str, Any]) -> str:
    frontend, pool = model["frontend"], model["pool"]
    window, hop = (frontend[name] / 16 for name in ("window_length", "hop_length"))
    mels = f"{frontend['num_mels']} mels of {window:g} ms every {hop:g} ms"
    if frontend.get("f_max"):
        mels += f" from {frontend['f_min']:g} to {frontend['f_max']:g} Hz"
    pooled = f", pooled {pool[0]} x {pool[1]}" if pool != [1, 1] else ""
    sizes = "kernel {} x {}, stride {} x {}".format(*model["kernel_size"], *model["stride"])
    layers = f"{model['gru_layers']} GRU layer{'s' if model['gru_layers'] > 1 else ''} of {model['gru_hidden']}"
    conv = f"{model['conv_channels']} channels (mels x frames: {sizes})"
    return f"{mels}{pooled}; {conv}; {layers}; attention width {model['attention_width']}"


def _parts(setting: dict[str, Any], recipe: dict[str, Any]) -> Iterable[str]:
    if setting["teacher"]:
        yield f"taught by `{setting['teacher']}` (dark knowledge {recipe['teacher_weight']:g}"
        yield f"attention {recipe['attention_weight']:g}, similarity {recipe['similarity_weight']:g})"
    else:
        yield "hard labels"
    if recipe.get("clips_per_sequence", 1) > 1:
        yield f"sequences of {recipe['clips_per_sequence']} clips"
    if setting["speech_share"]:
        yield f"{setting['speech_share']:.0%} of the negatives from running speech"
    if setting["framings"] > 1:
        yield f"clips framed at {setting['framings']} positions in a hop"
    if setting["word_balance"] != 1:
        yield f"words drawn by their clips to the power {setting['word_balance']:g}"
