"""Numbers for the templates: prose is Markdown in templates/, and every measured number in it comes from records."""

import math
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import fmean
from typing import Any, NotRequired, TypedDict
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from experiments.report import goals
from experiments.report.benchmark import read_accelerator, read_benchmark
from experiments.report.comparison import BARS, TOLERATED_RATIO, Comparison, compare, verdict
from experiments.report.robustness import read_robustness
from experiments.report.speed import speed_goals
from experiments.report.streams import StreamComparison, compare_streams, mean_rate
from experiments.study.json_files import read_json, read_lines
from experiments.study.own_records import OwnKeyword, read_own_keywords
from experiments.study.records import Record, read_records
from kws_jax.config import config_from_json
from kws_jax.errors import UserError
from kws_jax.evaluation.bootstrap import Interval

__all__ = ["DETECTORS", "NAMED", "Study", "commands", "read_study", "render_pages"]

NAMED = {*BARS, "student_21x", "student_21x_hop20_int8"}  # in pictures
NAMED |= {"student_157x", "student_157x_int5", "student_314x", "student_314x_int5"}
DETECTORS = ["base", "base_tuned", "student_21x_hop20_int8", "student_157x_int5", "student_314x_int5", "base_stream"]
DETECTORS += ["student_21x_stream_int8", "student_185x_stream_int5"]
NAME = r'"((?:base|pruned|assistant|student)\w*)"'  # of a setting, in a template
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
TEMPLATES = Path(__file__).with_name("templates")
# What would be more than text where somebody has named a keyword or a folder so: HTML, a table's bar, a link, code.
ESCAPED = str.maketrans({"<": "&lt;", "|": r"\|", "[": r"\[", "`": "'"})


class Shipped(TypedDict):
    """A line of the manifest, as far as it is told."""

    keyword: str
    setting: str
    number_format: str
    bytes: int
    macs: int
    auroc_error: float
    smoothing: int | None
    threshold: float | None
    false_alarms_per_hour: float | None
    operating_points: NotRequired[dict[str, float] | None]


class Manifest(TypedDict):
    """Of the shipped checkpoints."""

    checkpoints: list[Shipped]


@dataclass(frozen=True)
class Study:
    """All that is rendered: comparisons on clips and in streams, the clock, what was searched, what was tried."""

    results: Path
    comparisons: list[Comparison]
    streams: list[StreamComparison]
    benchmark: dict[str, Any]
    accelerator: dict[str, Any]
    tried: list[dict[str, Any]]
    robustness: dict[str, Any]
    own: list[OwnKeyword]

    @property
    def first(self) -> Comparison:
        """The comparison to show first."""
        return self.comparisons[0]

    @property
    def crowd(self) -> Comparison:
        """The one with the most settings of those on the same corpus and split."""
        same = (self.first.corpus, self.first.split)
        return max((c for c in self.comparisons if (c.corpus, c.split) == same), key=lambda c: len(c.entries))

    @property
    def splits(self) -> tuple[Comparison, Comparison] | None:
        """The same keywords on the official and on a random split, where both were run."""
        found = {(c.corpus, c.keywords, c.split): c for c in self.comparisons}
        both = ((c, found.get((*key[:2], "random"))) for key, c in found.items() if key[2] == "official")
        return next(((official, random) for official, random in both if random), None)

    @cached_property
    def runs(self) -> list[Record]:
        """All records, each once."""
        return list({(run.corpus, run.name): run for c in self.comparisons for run in c.runs}.values())

    def misses(self, name: str) -> Interval:
        """Misses at one false alarm an hour, the mean over the keywords whose scenes the setting heard."""
        heard = [entry.rate("test_miss_rate_at_1") for c in self.streams if (entry := c.find(name))]
        return Interval(*map(fmean, zip(*heard, strict=True)))

    @property
    def is_told(self) -> bool:
        """Whether these are the records of the story, and all that it speaks of is there."""
        story = (TEMPLATES / "story.md.j2").read_text()
        told = set(re.findall(NAME, story))
        is_searched = any("setting" not in line for line in self.tried)  # as experiments.search writes no line
        is_judged = {entry.name for entry in self.crowd.entries} >= told and self.first is not self.crowd
        is_heard = self.streams and {entry.name for entry in self.streams[0].entries} >= {*told, *DETECTORS}
        is_real = not any(run.quick for run in self.runs)
        return bool(is_real and is_searched and is_judged and is_heard and self.benchmark["models"] and self.splits)


def read_study(results: Path) -> Study:
    """Reads a folder of results.

    Raises:
        UserError: If there are no records, or broken ones.
    """
    comparisons = compare(read_records(results), results)
    path = results / "search.jsonl"
    tried = read_lines(path, remedy="take it out") if path.exists() else []
    clocks = read_benchmark(results), read_accelerator(results)
    others = read_robustness(results), read_own_keywords(results)
    return Study(results, comparisons, compare_streams(results), *clocks, tried, *others)


def render_pages(study: Study, out: Path, pictures: Iterable[str]) -> dict[Path, str]:
    """All texts, by their paths below `out`; README.md gets its block, and checkpoints/ its page, where they are there.

    Raises:
        UserError: If the README's end marker does not follow the first.
    """
    show = partial(_render, study, out, list(pictures))
    pages = {"REPORT.md": "story" if study.is_told else "run", "report/all_settings.md": "tables"}
    pages |= {"report/clock.md": "clock"} if study.benchmark["models"] else {}
    pages |= {"report/robustness.md": "robustness"} if study.robustness else {}
    pages |= {"report/stream.md": "stream"} if study.streams else {}
    pages |= {"report/random_split.md": "random_split"} if study.splits else {}
    texts = {out / page: show(page, template) for page, template in pages.items()}
    for name in dict.fromkeys(entry.name for c in study.comparisons for entry in c.entries):
        found = [(c, entry) for c in study.comparisons if (entry := c.find(name))]
        runs = list({(run.corpus, run.name): run for _, entry in found for run in entry.runs}.values())
        page = f"report/settings/{name}.md"
        model = config_from_json(runs[0].setting["model"])
        texts[out / page] = show(page, "setting", found=found, runs=runs, model=model)
    if (manifest := out / "checkpoints/manifest.json").is_file() and study.is_told:
        shipped = read_json(manifest, Manifest, "manifest", "git checkout -- checkpoints")["checkpoints"]
        texts[out / "checkpoints/README.md"] = show("checkpoints/README.md", "checkpoints", shipped=shipped)
    readme = out / "README.md"
    if study.is_told and readme.is_file() and BEGIN in (text := readme.read_text()):
        before, _, rest = text.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not end:
            raise UserError(f"README.md has {BEGIN} but no {END} after it")
        texts[readme] = f"{before}{BEGIN}\n\n{show('README.md', 'readme')}\n{END}{after}"
    return texts


def _render(study: Study, out: Path, pictures: list[str], page: str, template: str, **extra: Any) -> str:
    def to(target: Path) -> str:
        return Path(os.path.relpath(target, (out / page).parent)).as_posix()

    def clock(name: str, runtime: str) -> dict[str, Any]:
        return next(row for row in study.benchmark["inference"] if (row["model"], row["runtime"]) == (name, runtime))

    shared = dict(study=study, first=study.first, crowd=study.crowd, clock=clock, pictures=pictures) | {
        "root": to(out),
        "results": to(study.results),
        "link": lambda name: Markup(f"[`{_escaped(name)}`]({to(out / 'report/settings' / quote(name))}.md)"),
        "command": f"python -m experiments.report {study.results.as_posix()} --out {out.as_posix()}",
    }
    return ENVIRONMENT.get_template(f"{template}.md.j2").render(**shared, **extra)


def _escaped(value: Any) -> Any:
    """What a template shows, as text that is nothing else; only what the templates have made is Markdown."""
    return value.translate(ESCAPED) if isinstance(value, str) and not isinstance(value, Markup) else value


def commands(runs: Iterable[Record]) -> list[str]:
    """The commands of runs, those that differ in keyword and seed alone as one."""
    merged: dict[tuple[str, ...], tuple[dict[str, None], dict[str, None]]] = {}
    for run in runs:
        parts = re.fullmatch(r"(.*--keywords )\S+(.*--seeds )\S+(.*)", run.command)
        words, seeds = merged.setdefault(parts.groups() if parts else (run.command, "", ""), ({}, {}))
        words |= {run.keyword: None} if parts else {}
        seeds |= {str(run.seed): None} if parts else {}
    return ["".join((a, " ".join(words), b, " ".join(seeds), c)) for (a, b, c), (words, seeds) in merged.items()]


def _number(value: float) -> str:
    """Two or three digits that count; a dash where there is nothing."""
    if not math.isfinite(value):
        return "infinite" if value > 0 else "-"
    return f"{value:.3f}" if 0 < value < 0.1 else f"{value:.2f}" if value < 10 else f"{value:,.{int(value < 100)}f}"


def _error(value: float) -> str:
    if math.isnan(value) or not value:
        return "0" if value == 0 else "-"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _with_ends(show: Callable[[float], str], value: Interval) -> str:
    if math.isnan(value.estimate) or value == (1, 1, 1):
        return "1" if value.estimate == 1 else "-"  # a bar's own
    return f"{show(value.estimate)} ({show(value.low)} to {show(value.high)})"


FILTERS: dict[str, Callable[..., Any]] = {
    "number": _number,
    "times": lambda value: "-" if math.isnan(value) else f"{_number(value)}x",
    "count": lambda value: f"{value:,.0f}",
    "error": _error,
    "percent": lambda value, digits=0: f"{100 * value:.{digits}f} %",
    "errors": partial(_with_ends, _error),
    "ratio": partial(_with_ends, _number),
    "percents": lambda value: f"{_with_ends(lambda share: f'{100 * share:.1f}', value)} %",
    "points": partial(_with_ends, lambda share: f"{100 * share:+.1f}"),
    "verdict": verdict,
    "amount": lambda value: f"{value:,.0f}" if value >= 1 else f"{value:.4f}",
    "grade": lambda value: "-" if math.isnan(value) else f"{value:.1f}",
    "milliseconds": lambda seconds: "-" if seconds is None or math.isnan(seconds) else f"{1e3 * seconds:.0f} ms",
}
ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, finalize=_escaped, autoescape=False
)
ENVIRONMENT.trim_blocks = ENVIRONMENT.lstrip_blocks = ENVIRONMENT.keep_trailing_newline = True
ENVIRONMENT.filters |= FILTERS
ENVIRONMENT.globals |= {"goals": goals, "BARS": BARS, "TOLERATED_RATIO": TOLERATED_RATIO}
ENVIRONMENT.globals |= {
    "DETECTORS": DETECTORS,
    "mean_rate": mean_rate,
    "commands": commands,
    "speed_goals": speed_goals,
}
