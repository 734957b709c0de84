"""What a benchmark's own process does; not in `__main__`, which such a process does not import."""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import jax
from tqdm import tqdm

from conversion.files import to_module
from experiments.benchmark import microcontroller, parts, timing
from experiments.benchmark.commands import start_up
from experiments.benchmark.growth import growth
from experiments.benchmark.training import training_speed
from experiments.study.environment import environment
from experiments.study.settings import STUDENT_12X, STUDENT_314X
from kws_jax import cost
from kws_jax.checkpoint import About
from kws_jax.compiled.source import c_source
from kws_jax.config import BASE, CrnnConfig
from kws_jax.data.audio import to_pcm
from kws_jax.model import init_variables
from kws_jax.state_dict import from_variables
from torch_ref.packing import to_packed

MICROCONTROLLER_SECONDS = 4.0  # of audio


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        models: Names and deployed models for inference; the first is the base.
        packed: Names, deployed models and number formats for a microcontroller.
        trained: Names and models for training; the floor is of the first.
        seconds: Of audio in a scan.
        batch_size: Of training.
        repeats: Of each inference.
        training_repeats: Of each training step.
        most: Seconds of audio, streams, or hidden units, at most, where it is measured how a cost grows.
        starts: Of each command.
    """

    models: tuple[tuple[str, CrnnConfig], ...]
    packed: tuple[tuple[str, CrnnConfig, str], ...] = ()
    trained: tuple[tuple[str, CrnnConfig], ...] = (
        ("base", BASE),
        ("student_12x", STUDENT_12X),
        ("student_314x", STUDENT_314X),
    )
    seconds: float = 40.0
    batch_size: int = 128
    repeats: int = 200
    training_repeats: int = 15
    most: int = 16_384
    starts: int = 3

    @property
    def growing(self) -> tuple[tuple[str, CrnnConfig], ...]:
        """The models of which it is measured how a cost grows: the base, and the one with the least work."""
        least = min(self.models, key=lambda model: cost.macs_per_streamed_second(model[1]))
        return tuple(dict.fromkeys((self.models[0], least)))


def measure(plan: Plan) -> dict[str, Any]:
    """The whole benchmark, on one thread if its process has been told so."""
    return {
        "environment": environment(),
        "models": {name: asdict(config) for name, config in plan.models},
        "inference": inference_speed(plan),
        "peers": peer_speed(plan),
        "microcontroller": [microcontroller_row(*model) for model in plan.packed] if microcontroller.is_there() else [],
        "training": [
            row
            for name, config in tqdm(plan.trained, "training", unit="model", disable=None)
            for row in training_speed(name, config, plan.batch_size, plan.training_repeats)
        ],
        "training_floor": parts.training_floor(plan.trained[0][1], plan.batch_size, plan.training_repeats),
        "parts": [
            row
            for name, config in tqdm(plan.growing, "parts", unit="model", disable=None)
            for row in parts.parts(name, config, plan.batch_size, plan.training_repeats)
        ],
        "growth": growth(plan.growing, plan.batch_size, plan.most),
        "start_up": start_up(plan.starts),
        "state_bytes": {name: cost.state_bytes(config) for name, config in plan.models},
    }


def runtimes(config: CrnnConfig, seconds: float) -> dict[str, timing.Timed]:
    """A model with fresh weights, ready to run in each runtime."""
    params = init_variables(jax.random.key(0), config)["params"]
    model = to_module(config, {"params": params})
    return {
        "C scan": timing.c_scan(params, config, seconds),
        "C stream": timing.c_stream(params, config),
        "JAX stream": timing.jax_stream(params, config),
        "JAX scan": timing.jax_scan(params, config, seconds),
        "JAX clip": timing.jax_clip(params, config),
        "JAX model": timing.jax_model(params, config),
        "PyTorch stream": timing.torch_stream(model),
        "PyTorch clip": timing.torch_clip(model),
        "PyTorch model": timing.torch_model(model),
    }


def microcontroller_row(name: str, config: CrnnConfig, number_format: str) -> dict[str, Any]:
    """What a model with fresh weights takes on an emulated Cortex-M4F, as a row."""
    variables = init_variables(jax.random.key(0), config)
    packed = to_packed(to_module(config, variables), number_format).packed.numpy().tobytes()
    about = About(number_format=number_format)
    text = c_source(config, from_variables(variables, config), about, "Written to be measured", packed)
    found = microcontroller.run_on_cortex_m4(text, to_pcm(timing.some_audio(MICROCONTROLLER_SECONDS)))
    return {
        "model": name,
        "number_format": number_format,
        "flash_bytes": found.flash_bytes,
        "memory_bytes": found.state_bytes + found.stack_bytes,
        "of_it_samples": found.sample_bytes,
        "instructions_per_second": found.instructions_per_second,
    }


def peer_speed(plan: Plan) -> list[dict[str, Any]]:
    """Those peers that are installed, as rows, in turn with the models in C and those that grow in JAX too."""
    params = {name: init_variables(jax.random.key(0), config)["params"] for name, config in plan.models}
    peers = {
        ("microWakeWord", "pymicro-wakeword"): timing.micro_wake_word(),
        ("PocketSphinx", "pocketsphinx"): timing.pocketsphinx(),
    } | {(f"{name} in ONNX", "onnxruntime"): timing.onnx_stream(params[name], config) for name, config in plan.growing}
    there = {which: timed for which, timed in peers.items() if timed}
    ours = {("C", name): timing.c_stream(params[name], config) for name, config in plan.models}
    ours |= {("JAX", name): timing.jax_stream(params[name], config) for name, config in plan.growing}
    times = timing.seconds_per_second(*there.values(), *ours.values(), repeats=plan.repeats)
    own = dict(zip(ours, times[len(there) :], strict=True))
    return [
        {
            "engine": engine,
            "package": f"{package} {version(package)}",
            "microseconds_per_second": 1e6 * seconds,
            "times_cheaper": {name: seconds / time for (runtime, name), time in own.items() if runtime == "C"},
            "times_cheaper_in_jax": {name: seconds / time for (runtime, name), time in own.items() if runtime == "JAX"},
        }
        for (engine, package), seconds in zip(there, times, strict=False)
    ]


def inference_speed(plan: Plan) -> list[dict[str, Any]]:
    """Rows of all models in one runtime after the other."""
    timed = [runtimes(config, plan.seconds) for _, config in plan.models]
    rows = []
    for runtime in tqdm(timed[0], "inference", unit="runtime", disable=None):
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
