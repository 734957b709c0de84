"""What a run leaves behind: a folder with one JSON record that says what ran, on what, how well, and at which cost.

RESULTS/runs/NAME/record.json         the record, written last
                  scores.npz          ranks of the held-out clips, for intervals over any runs
                  log.jsonl           the training's log, where there was one
                  model.safetensors   the model as it was judged
                  provenance.json     all that decides its weights
                  unfinished/         until there is a record: the state of the training, or why it failed
"""

import re
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from experiments.study.json_files import AGAIN, files_in, read_json, write_json
from kws_jax.config import config_from_json
from kws_jax.errors import UserError

RUNS, RECORD, LOG, MODEL = "runs", "record.json", "log.jsonl", "model.safetensors"
UNFINISHED = "unfinished"
BASE_NAME, TUNED_NAME = "base", "base_tuned"  # the homework's bar, and the strict one


class RanFor(TypedDict):
    """Of a recipe, what every one says."""

    epochs: int
    batch_size: int


class Row(TypedDict):
    """Of a setting, what is told of it; see `experiments.study.settings.Setting`."""

    name: str
    question: str
    expectation: str
    model: dict[str, Any]
    recipe: RanFor | None
    weights_from: str | None
    teacher: str | None
    number_format: str
    word_balance: float
    framings: int
    restarts: int
    scene_hours: NotRequired[float]


class Part(TypedDict):
    """Of a split's part."""

    clips: int
    keyword_clips: int
    speakers: int


class Data(TypedDict):
    """Of a corpus."""

    fingerprint: str
    training: Part
    validation: Part
    testing: Part


@dataclass(frozen=True)
class Quality:
    """Metrics over one part of the split.

    Attributes:
        clips: Clips judged.
        keyword_clips: Those of the keyword.
        auroc_error: 1 - AUROC.
        au_fa_fr: The homework's area at the part's own share of keyword clips.
        balanced_au_fa_fr: The same at equal shares.
        equal_error_rate: In [0, 1].
    """

    clips: int
    keyword_clips: int
    auroc_error: float
    au_fa_fr: float
    balanced_au_fa_fr: float
    equal_error_rate: float

    def __post_init__(self) -> None:
        if not 0 < self.keyword_clips < self.clips or not all(0 <= value <= 1 for value in astuple(self)[2:]):
            raise ValueError(f"errors are shares of clips of both classes, not {self}")


@dataclass(frozen=True)
class Cost:
    """What the model costs; MACs are per 1 s clip unless said otherwise.

    Attributes:
        thop_macs: As the homework counts.
        flop_counter_macs: Matrix products by torch's counter.
        analytic_macs: Matrix products by arithmetic, the attention's weighted mean included.
        macs_per_streamed_second: Of the model in a stream.
        frontend_macs_per_second: Of the log-mel.
        parameters: Numbers trained, batch norm folded away.
        weight_bytes: Of the weights, with scales.
        file_bytes: Of torch.save's file of the state_dict.
        shipped_bytes: Of the file that is shipped, its thresholds included.
        homework_megabytes: Parameters x element size / 2**20.
        state_bytes: What a stream remembers.
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

    def __post_init__(self) -> None:
        if min(astuple(self)) <= 0:
            raise ValueError(f"nothing is free: {self}")


@dataclass(frozen=True)
class Training:
    """How the weights were made.

    Attributes:
        framework: Of the training.
        epochs: Of one initialisation.
        seconds: In training, of all initialisations together, on one core beside whatever else ran.
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
        setting: The resolved row of the table, with the deployed model.
        keyword: The word to spot.
        corpus: "synthetic", or the data folder's name.
        voices: What synthetic voices added to the corpus: "keyword" or "words", if anything.
        split: "official" or "random".
        seed: Of the training, and of a random split.
        quick: Whether it only shows that everything works.
        command: That ran it.
        commit: Of the code, with "+" when any of it had changed since.
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
    """

    setting: Annotated[dict[str, Any], Row]
    keyword: str
    corpus: str
    voices: str | None
    split: str
    seed: int
    quick: bool
    command: str
    commit: str
    started: str
    wall_seconds: float
    versions: dict[str, str]
    device: str
    data: Annotated[dict[str, Any], Data]
    training: Training | None
    validation: Quality | None
    testing: Quality
    held_out: Quality
    cost: Cost

    @property
    def name(self) -> str:
        """The name of its folder."""
        return run_name(self.setting["name"], self.keyword, self.voices, self.split, self.seed)


def run_name(setting: str, keyword: str, voices: str | None, split: str, seed: int) -> str:
    """Name of a run; one that synthetic voices helped to train says so."""
    helped = f"-{voices}_by_voices" if voices else ""
    return f"{setting}-{keyword}{helped}-{split}-{seed}"


def write_record(folder: Path, record: Record) -> None:
    """Writes the record of a run into its folder."""
    write_json(folder / RECORD, asdict(record))


def read_record(path: Path) -> Record:
    """Reads a record.

    Raises:
        UserError: If the file is no record of this version.
    """
    record: Record = read_json(path, Record)
    if not re.fullmatch(r"\w+", record.setting["name"]):
        raise UserError(f"{path} is of a setting {record.setting['name']!r}, which is no name of one: {AGAIN}")
    try:
        config_from_json(record.setting["model"])
    except UserError as error:
        raise UserError(f"{path} has no model ({error}): {AGAIN}") from error
    return record


def read_records(results: Path) -> list[Record]:
    """All records of a results folder, by name; a run that is not finished has none.

    Raises:
        UserError: If there are none, one lies in a folder of another name, or something lies there that is no run.
    """
    folders = files_in(results / RUNS)
    if strange := [path for path in folders if not path.is_dir()]:
        raise UserError(f"{strange[0]} is no run's folder: move it out of this one")
    records = {folder: read_record(folder / RECORD) for folder in folders if (folder / RECORD).exists()}
    if not records:
        raise UserError(f"no records in {results / RUNS}: make some with python -m experiments.run")
    if moved := [folder for folder, record in records.items() if record.name != folder.name]:
        raise UserError(f"{moved[0] / RECORD} is the record of {records[moved[0]].name}: a run's folder has its name")
    return list(records.values())
