"""What `experiments.benchmark` measured, as its file holds it."""

from pathlib import Path
from typing import Any, NotRequired, TypedDict

from experiments.study.json_files import read_json
from kws_jax.config import config_from_json
from kws_jax.errors import UserError

__all__ = ["read_accelerator", "read_benchmark"]

FILE, ACCELERATOR, REMEDY = "benchmark.json", "accelerator.json", "measure again"


class Environment(TypedDict):
    """Where it was measured."""

    commit: str
    device: str


class Inference(TypedDict):
    """A model in a runtime."""

    model: str
    runtime: str
    microseconds_per_second: float
    real_time_factor: float
    ratio_to_base: float
    macs_per_second: float
    frontend_macs_per_second: float
    step_milliseconds: float


class Peer(TypedDict):
    """Another engine; its speed over our models', by their names."""

    engine: str
    package: str
    microseconds_per_second: float
    times_cheaper: dict[str, float]
    times_cheaper_in_jax: dict[str, float]


class Microcontroller(TypedDict):
    """A model on the emulated one."""

    model: str
    number_format: str
    flash_bytes: int
    memory_bytes: int
    of_it_samples: int
    instructions_per_second: float


class Training(TypedDict):
    """A model's training in a framework."""

    model: str
    what: str
    framework: str
    batch_size: int
    clips_per_second: float
    ratio_to_torch: float | None


class Floor(TypedDict):
    """The most that a training could do."""

    sgemm_gigaflops: float
    clips_per_second: float


class Part(TypedDict):
    """What a part of a push or of a training step takes."""

    of: str
    model: str
    part: str
    microseconds: float


class Growth(TypedDict):
    """What a call takes at a size."""

    of: str
    model: str
    what: str
    size: int
    milliseconds: float
    heard: float


class StartUp(TypedDict):
    """What a command takes before it does anything."""

    command: str
    seconds: float


class Benchmark(TypedDict):
    """All of it; rows as they were measured."""

    environment: Environment
    models: dict[str, dict[str, Any]]
    inference: list[Inference]
    peers: list[Peer]
    microcontroller: list[Microcontroller]
    training: list[Training]
    training_floor: Floor
    parts: list[Part]
    growth: list[Growth]
    start_up: list[StartUp]
    state_bytes: dict[str, int]


class AcceleratorEnvironment(Environment):
    """Where it was measured, and beside what."""

    accelerator: str


class AcceleratorRow(TypedDict):
    """What a call of a size takes, on the accelerator or on a core."""

    model: str
    what: str
    engine: str
    size: float
    milliseconds: float
    rate: float
    ratio_to_core: float


class Agreement(TypedDict):
    """How far probabilities are from the core's."""

    model: str
    precision: str
    largest_difference: float


class Accelerator(TypedDict):
    """All that was measured of an accelerator."""

    environment: AcceleratorEnvironment
    rows: list[AcceleratorRow]
    agreement: list[Agreement]
    note: NotRequired[str]  # by hand, of a run that was not as others are


def read_accelerator(results: Path) -> dict[str, Any]:
    """What `experiments.benchmark --accelerator` measured; nothing where it did not.

    Raises:
        UserError: If the file is not that command's.
    """
    path = results / ACCELERATOR
    what = "file of experiments.benchmark --accelerator"
    return read_json(path, Accelerator, what, REMEDY) if path.exists() else {}


def read_benchmark(results: Path) -> dict[str, Any]:
    """What `experiments.benchmark` measured; nothing where it did not.

    Raises:
        UserError: If the file is not that command's, or lacks a time of one of its models.
    """
    path = results / FILE
    if not path.exists():
        return dict.fromkeys(Benchmark.__annotations__.keys() - {"environment"}, ())
    measured: dict[str, Any] = read_json(path, Benchmark, "file of experiments.benchmark", REMEDY)
    runtimes = {row["runtime"] for row in measured["inference"]}
    timed = {(row["model"], row["runtime"]) for row in measured["inference"]}
    for name, model in measured["models"].items():
        try:
            config_from_json(model)
        except UserError as error:
            raise UserError(f"{path} has no model {name!r} ({error}): {REMEDY}") from error
        if untimed := [runtime for runtime in runtimes if (name, runtime) not in timed]:
            raise UserError(f"{path} has no time of {name!r} in {untimed[0]!r}: {REMEDY}")
    if any(row["microseconds"] <= 0 for row in measured["parts"]) or any(
        min(row["size"], row["milliseconds"]) <= 0 for row in measured["growth"]
    ):
        raise UserError(f"{path} has something that takes no time: {REMEDY}")
    return measured
