"""What a benchmark's own process does; not in `__main__`, which such a process does not import."""

from dataclasses import asdict, dataclass
from typing import Any

import jax
from tqdm import tqdm

from conversion.files import to_module
from experiments.benchmark import timing
from experiments.benchmark.training import training_speed
from experiments.study.environment import environment
from experiments.study.settings import STUDENT_12X
from kws_jax import cost
from kws_jax.config import BASE, CrnnConfig
from kws_jax.model import init_variables


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        models: Names and deployed models for inference; the first is the base.
        trained: Names and models for training.
        seconds: Of audio in a scan.
        batch_size: Of training.
        repeats: Of each inference.
        training_repeats: Of each training step.
    """

    models: tuple[tuple[str, CrnnConfig], ...]
    trained: tuple[tuple[str, CrnnConfig], ...] = (("base", BASE), ("student_12x", STUDENT_12X))
    seconds: float = 40.0
    batch_size: int = 128
    repeats: int = 200
    training_repeats: int = 15


def measure(plan: Plan) -> dict[str, Any]:
    """The whole benchmark, on one thread if its process has been told so."""
    return {
        "environment": environment(),
        "models": {name: asdict(config) for name, config in plan.models},
        "inference": inference_speed(plan),
        "training": [
            row
            for name, config in tqdm(plan.trained, "training", unit="model")
            for row in training_speed(name, config, plan.batch_size, plan.training_repeats)
        ],
    }


def runtimes(config: CrnnConfig, seconds: float) -> dict[str, timing.Timed]:
    """A model with fresh weights, ready to run in each runtime."""
    params = init_variables(jax.random.key(0), config)["params"]
    model = to_module(config, {"params": params})
    return {
        "JAX stream": timing.jax_stream(params, config),
        "JAX scan": timing.jax_scan(params, config, seconds),
        "JAX clip": timing.jax_clip(params, config),
        "JAX model": timing.jax_model(params, config),
        "PyTorch stream": timing.torch_stream(model),
        "PyTorch clip": timing.torch_clip(model),
        "PyTorch model": timing.torch_model(model),
    }


def inference_speed(plan: Plan) -> list[dict[str, Any]]:
    """Rows of all models in one runtime after the other."""
    timed = [runtimes(config, plan.seconds) for _, config in plan.models]
    rows = []
    for runtime in tqdm(timed[0], "inference", unit="runtime"):
        seconds = timing.seconds_per_second(*(each[runtime] for each in timed), repeats=plan.repeats)
        rows += [
            {
                "model": name,
                "runtime": runtime,
                "microseconds_per_second": 1e6 * time,
                "real_time_factor": time,
                "ratio_to_base": seconds[0] / time,
                "parameters": cost.num_parameters(config),
                "macs_per_second": cost.macs_per_streamed_second(config),
                "frontend_macs_per_second": cost.frontend_macs_per_second(config),
                "step_milliseconds": 1e3 * config.step_duration,
            }
            for (name, config), time in zip(plan.models, seconds, strict=True)
        ]
    return rows
