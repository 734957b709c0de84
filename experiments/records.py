"""The record of a run: one JSON file that says what ran, on what, how well, and at which cost."""

import json
import math
import os
import platform
import re
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from kws_jax.errors import UserError

PACKAGES = ("jax", "flax", "optax", "torch", "torchaudio", "numpy", "thop")


@dataclass(frozen=True)
class Quality:
    """Metrics over one part of the split; an interval is (estimate, low, high) at 95 %, speakers resampled.

    Attributes:
        clips: Clips judged.
        keyword_clips: Those of the keyword.
        auroc_error: 1 - AUROC.
        au_fa_fr: The homework's area at the part's own share of keyword clips.
        balanced_au_fa_fr: The same at equal shares.
        equal_error_rate: In [0, 1].
        auroc_error_interval: Of 1 - AUROC.
        ratio_to_base: Of 1 - AUROC (and so of au_fa_fr) to the base's with the same seed, paired.
    """

    clips: int
    keyword_clips: int
    auroc_error: float
    au_fa_fr: float
    balanced_au_fa_fr: float
    equal_error_rate: float
    auroc_error_interval: tuple[float, ...]
    ratio_to_base: tuple[float, ...]


@dataclass(frozen=True)
class Cost:
    """What the model costs; MACs are per 1 s clip unless said otherwise.

    Attributes:
        thop_macs: As the homework counts.
        flop_counter_macs: Matrix products by torch's counter.
        analytic_macs: Matrix products by arithmetic, the attention's weighted mean included.
        macs_per_streamed_second: Of the model in a stream.
        frontend_macs_per_second: Of the log-mel, which every setting pays.
        parameters: Numbers trained, batch norm folded away.
        weight_bytes: Of the weights, with scales.
        file_bytes: Of torch.save's file of the state_dict.
        shipped_bytes: Of the file of plain tensors that is shipped.
        homework_megabytes: Parameters x element size / 2**20.
        state_bytes: What a stream remembers.
        seconds_per_clip: Median time of the PyTorch model on one clip's log-mel, one thread.
        base_seconds_per_clip: The base's, measured in turn with it.
        stream_seconds_per_second: Median time of the PyTorch stream, fed block by block on one thread, from raw samples
            to probability, for a second of audio; NaN in records made before it was measured.
        base_stream_seconds_per_second: The base's, measured in turn with it.
    """

    thop_macs: int
    flop_counter_macs: int
    analytic_macs: int
    macs_per_streamed_second: float
    frontend_macs_per_second: float
    parameters: int
    weight_bytes: int
    file_bytes: int
    shipped_bytes: int
    homework_megabytes: float
    state_bytes: int
    seconds_per_clip: float
    base_seconds_per_clip: float
    stream_seconds_per_second: float = math.nan
    base_stream_seconds_per_second: float = math.nan


@dataclass(frozen=True)
class Training:
    """How the weights were made.

    Attributes:
        framework: Of the training.
        epochs: Of one initialisation.
        seconds: In training, of all initialisations together.
        clips_per_second: Median over the epochs.
        final_loss: Mean over the last epoch.
        restarts: Validation errors, 1 - AUROC, of the initialisations that the kept one was chosen from; empty where
            there was one alone.
    """

    framework: str
    epochs: int
    seconds: float
    clips_per_second: float
    final_loss: float
    restarts: tuple[float, ...] = ()


@dataclass(frozen=True)
class Record:
    """One run of a setting.

    Attributes:
        setting: The resolved row of the table.
        keyword: The word to spot.
        corpus: "synthetic", or the data folder's name, with " + ... by voices" where synthetic voices were added.
        split: "official" or "random".
        seed: Of the training, and of a random split.
        command: That ran it.
        commit: Of the code, with "+" when it had uncommitted changes.
        started: UTC, ISO 8601.
        wall_seconds: Of the whole run.
        versions: Of Python and the packages that matter.
        device: Processor and its cores.
        data: The corpus's fingerprint and the number of clips of each part.
        training: None where the weights are another setting's.
        validation: Quality on validation speakers; None on a random split.
        testing: Quality on test speakers.
        held_out: Quality on both together.
        cost: Cost.
        paths: Of log, scores and checkpoint, relative to the output folder.
    """

    setting: dict[str, Any]
    keyword: str
    corpus: str
    split: str
    seed: int
    command: str
    commit: str
    started: str
    wall_seconds: float
    versions: dict[str, str]
    device: str
    data: dict[str, Any]
    training: Training | None
    validation: Quality | None
    testing: Quality
    held_out: Quality
    cost: Cost
    paths: dict[str, str]

    @property
    def name(self) -> str:
        """Used in file names."""
        return run_name(self.setting["name"], self.keyword, self.split, self.seed, self.corpus)


def run_name(setting: str, keyword: str, split: str, seed: int, corpus: str) -> str:
    """Name of a run."""
    return f"{model_name(setting, keyword, corpus)}-{split}-{seed}"


def model_name(setting: str, keyword: str, corpus: str) -> str:
    """Name of a setting's model of a keyword; one that synthetic voices helped to train says so."""
    voices = re.search(r" \+ (\w+) by voices$", corpus)
    return f"{setting}-{keyword}" + (f"-{voices[1]}_by_voices" if voices else "")


def write_record(folder: Path, record: Record) -> Path:
    """Writes <folder>/<name>.json in one piece."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record.name}.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(record), indent=1) + "\n")
    part.replace(path)
    return path


def read_record(path: Path) -> Record:
    """Reads a record.

    Raises:
        UserError: If the file is no record of this version.
    """
    try:
        values = json.loads(path.read_text())
        for part, kind in (("training", Training), ("cost", Cost)):
            values[part] = _read(kind, values[part])
        for part in ("validation", "testing", "held_out"):
            values[part] = _read(Quality, values[part])
        return Record(**values)
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is no record of this version ({error}): delete it and run again") from error


def _read(kind: Callable[..., Any], values: dict[str, Any] | None) -> Any:
    if values is None:
        return None
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def read_records(folder: Path) -> list[Record]:
    """All records of a folder, by name.

    Raises:
        UserError: If there are none.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise UserError(f"no records in {folder}: make some with python -m experiments.run")
    return [read_record(path) for path in paths]


def environment() -> dict[str, Any]:
    """The parts of a record that describe where it ran: commit, versions, device."""
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}
    return {"commit": _commit(), "versions": versions, "device": _device()}


def _commit() -> str:
    def git(*arguments: str) -> str:
        root = Path(__file__).parent
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", "*.py") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _device() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores"
