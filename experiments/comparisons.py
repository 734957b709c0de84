"""What stands beside the study: the homework's random split, and the two frameworks against each other."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from experiments.benchmark_file import read_benchmark
from experiments.markdown import NONE, count, error, table, times
from experiments.sections import natural_scale, ratio_cell
from experiments.setting import BASE_NAME
from experiments.summary import Study

__all__ = ["frameworks_section", "splits_section"]


def splits_section(studies: Sequence[Study]) -> str:
    """The random split, on which speakers are heard in training, beside the official one; empty without it."""
    blocks = []
    for official, other in product(studies, repeat=2):
        same = (official.corpus, official.keywords) == (other.corpus, other.keywords)
        if same and (official.split, other.split) == ("official", "random"):
            blocks += [f"### {', '.join(official.keywords)} ({official.corpus})", _splits(official, other)]
    if not blocks:
        return ""
    text = (
        "Public solutions are judged on random splits, where nearly every test speaker is also heard in training. Here "
        "are the same settings on both."
    )
    return "\n\n".join(["## Official and random split", text, *blocks])


def _splits(official: Study, random: Study) -> str:
    columns = ["setting", f"au_fa_fr / {BASE_NAME}, official", "random", "1 - AUROC, official", "random"]
    columns += ["au_fa_fr, natural, random", "at p ="]
    found = {row.name: row for row in random.rows}
    rows = [
        [
            row.name,
            *(ratio_cell(one, BASE_NAME) for one in (row, found[row.name])),
            *(error(one.error().estimate) for one in (row, found[row.name])),
            *natural_scale(found[row.name]),
        ]
        for row in official.rows
        if row.name in found
    ]
    return table(columns, rows)


def frameworks_section(path: Path) -> str:
    """Both frameworks on the clock, from the file of `experiments.benchmark`; empty without it.

    Raises:
        UserError: If the file is not that command's.
    """
    return read_benchmark(path, _frameworks, absent="")


def _frameworks(measured: dict[str, Any]) -> str:
    blocks = [_inference(measured["inference"]), _training(measured["training"]), _vmap(measured["vmap"])]
    text = (
        f"Measured by `python -m experiments.benchmark` on one thread of {measured['environment']['device']}; models "
        "in turn, medians. A stream takes a block a call, as from a microphone; a scan all blocks in one call; a clip "
        "one second in one call: all from raw samples to probability. A model alone starts from the log-mel."
    )
    return "\n\n".join(["## Both frameworks on the clock", text, *blocks])


def _inference(rows: Sequence[dict[str, Any]]) -> str:
    runtimes = list(dict.fromkeys(row["runtime"] for row in rows))
    found = {(row["model"], row["runtime"]): row for row in rows}
    lines = []
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [found[model, runtime] for runtime in runtimes]
        cells = [f"{row['microseconds_per_second']:.0f} ({times(row['ratio_to_base'])})" for row in own]
        total = own[0]["macs_per_second"] + own[0]["frontend_macs_per_second"]
        lines.append([model, f"{own[0]['step_milliseconds']:.0f} ms", count(total), *cells])
    text = "Microseconds per second of audio, and how many times faster than the base in the same runtime:"
    return f"{text}\n\n{table(['model', 'step', 'MACs per second, front end included', *runtimes], lines)}"


def _training(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        [
            row["model"],
            row["what"],
            row["framework"],
            str(row["batch_size"]),
            count(row["clips_per_second"]),
            NONE if row["ratio_to_torch"] is None else times(row["ratio_to_torch"]),
        ]
        for row in rows
    ]
    columns = ["model", "what", "framework", "batch", "clips/s", "times PyTorch's"]
    return f"Training, the same model and batch in both:\n\n{table(columns, lines)}"


def _vmap(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        [
            row["model"],
            str(row["seeds"]),
            f"{row['seconds_in_turn']:.2f} s",
            f"{row['seconds_together']:.2f} s",
            times(row["speed_up"]),
        ]
        for row in rows
    ]
    columns = ["model", "seeds", "an epoch of each, in turn", "together", "faster"]
    return f"Seeds of one setting trained together under vmap:\n\n{table(columns, lines)}"
