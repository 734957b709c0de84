"""What a benchmark's own process does; not in `__main__`, which such a process does not import."""

from collections.abc import Callable
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
from kws_jax.array_types import Params
from kws_jax.config import BASE, CrnnConfig
from kws_jax.model import init_variables
from torch_ref.model import CRNN

Runtime = Callable[[CrnnConfig, Params, CRNN, float], timing.Timed]
RUNTIMES: dict[str, Runtime] = {
    "JAX stream": lambda config, params, model, seconds: timing.jax_stream(params, config),
    "JAX scan": lambda config, params, model, seconds: timing.jax_scan(params, config, seconds),
    "JAX clip": lambda config, params, model, seconds: timing.jax_clip(params, config),
    "JAX model": lambda config, params, model, seconds: timing.jax_model(params, config),
    "PyTorch stream": lambda config, params, model, seconds: timing.torch_stream(model),
    "PyTorch clip": lambda config, params, model, seconds: timing.torch_clip(model),
    "PyTorch model": lambda config, params, model, seconds: timing.torch_model(model),
}


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
    runtimes, trained = tqdm(RUNTIMES, "inference", unit="runtime"), tqdm(plan.trained, "training", unit="model")
    return {
        "environment": environment(),
        "models": {name: asdict(config) for name, config in plan.models},
        "inference": [row for runtime in runtimes for row in inference_speed(runtime, plan)],
        "training": [
            row
            for name, config in trained
            for row in training_speed(name, config, plan.batch_size, plan.training_repeats)
        ],
    }


def inference_speed(runtime: str, plan: Plan) -> list[dict[str, Any]]:
    """Rows of all models in one runtime."""
    timed = []
    for _, config in plan.models:
        params = init_variables(jax.random.key(0), config)["params"]
        timed.append(RUNTIMES[runtime](config, params, to_module(config, {"params": params}), plan.seconds))
    seconds = timing.seconds_per_second(*timed, repeats=plan.repeats)
    return [
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
