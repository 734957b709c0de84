"""What JAX does on its default accelerator, beside one core of the same machine's processor in the same run."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from tqdm import tqdm

from experiments.benchmark import timing, training
from experiments.study.environment import environment
from experiments.study.settings import STUDENT_21X, STUDENT_314X
from kws_jax.config import BASE, CrnnConfig
from kws_jax.errors import UserError
from kws_jax.model import init_variables
from kws_jax.streaming import init_state, many, scan
from torch_ref import accounting

Row = dict[str, Any]
ON_IT, ON_CORE, IN_TORCH = "JAX", "JAX, a core", "PyTorch"
PRECISIONS = ("default", "highest")  # of products in float32, by JAX's names


@dataclass(frozen=True)
class AcceleratorPlan:
    """What is measured.

    Attributes:
        models: Names and deployed models that stream.
        trained: Names and models that train.
        streams: Numbers of streams at once.
        tiled: Those that are also taken a processor's tile at a time.
        core_streams: Streams at once on the core.
        seconds: Of audio in one call.
        batch_sizes: Of training, in clips; the core takes the first.
        repeats: Of each call.
    """

    models: tuple[tuple[str, CrnnConfig], ...] = (
        ("base", BASE),
        ("student_314x", replace(STUDENT_314X, batch_norm=False)),
    )
    trained: tuple[tuple[str, CrnnConfig], ...] = (("base", BASE), ("student_21x", STUDENT_21X))
    streams: tuple[int, ...] = (256, 2_048, 16_384, 131_072)
    tiled: tuple[int, ...] = (2_048, 16_384)
    core_streams: int = 2_048
    seconds: float = 600.0
    batch_sizes: tuple[int, ...] = (128, 2_048)
    repeats: int = 10


class Subject(NamedTuple):
    """Something to time.

    Attributes:
        engine: What runs it.
        size: Streams, seconds of audio or clips in a call.
        make: Builds the call where it will run.
        device: Where JAX makes and runs it; None where JAX has no part in it.
    """

    engine: str
    size: float
    make: Callable[[], timing.Timed]
    device: jax.Device | None = None


def measure_accelerator(plan: AcceleratorPlan) -> dict[str, Any]:
    """All of it on JAX's default device.

    Raises:
        UserError: If that is a processor.
    """
    os.environ.pop("NPROC", None)  # of a process that is to use one thread: compiling for a GPU would take minutes
    if jax.default_backend() == "cpu":
        raise UserError("JAX sees no accelerator here, a processor alone: for NVIDIA's, pip install -e '.[cuda]'")
    keep_to_one_core()
    return measure(plan, jax.devices()[0])


def keep_to_one_core() -> None:
    """Lets the threads that compute for JAX on the processor share a core; those that compile keep all of them."""
    core = max(os.sched_getaffinity(0))
    for thread in Path("/proc/self/task").iterdir():
        if "XLAEigen" in (thread / "comm").read_text():
            os.sched_setaffinity(int(thread.name), {core})


def measure(plan: AcceleratorPlan, device: jax.Device) -> dict[str, Any]:
    """Rows of one device and of the processor, which is a core if this process keeps to one.

    A rate is seconds of audio heard, or learnt from, a second.
    """
    groups = [*_streaming(plan, device), *_training(plan, device)]
    return {
        "environment": environment() | {"accelerator": device.device_kind},
        "rows": [
            row
            for model, what, subjects in tqdm(groups, "accelerator", unit="group", disable=None)
            for row in rows_of(model, what, subjects, plan.repeats)
        ],
        "agreement": [
            {"model": name, "precision": precision, "largest_difference": difference(config, device, precision)}
            for name, config in plan.models
            for precision in PRECISIONS
        ],
    }


def rows_of(model: str, what: str, subjects: list[Subject], repeats: int) -> list[Row]:
    """Medians of calls in turn, without those that do not fit in memory; the ratio is to the core's rate."""
    timed = {subject: found for subject in subjects if (found := _if_it_fits(subject))}
    seconds = accounting.measure(*(one.call for one in timed.values()), warmup=2, repeats=repeats)
    rates = [one.seconds / time for one, time in zip(timed.values(), seconds, strict=True)]
    (core,) = (rate for subject, rate in zip(timed, rates, strict=True) if subject.engine == ON_CORE)
    return [
        {
            "model": model,
            "what": what,
            "engine": subject.engine,
            "size": subject.size,
            "milliseconds": 1e3 * time,
            "rate": rate,
            "ratio_to_core": rate / core,
        }
        for subject, time, rate in zip(timed, seconds, rates, strict=True)
    ]


def _if_it_fits(subject: Subject) -> timing.Timed | None:
    """Made and called once where it runs; None where that needs more memory than there is."""
    try:
        with jax.default_device(subject.device):
            timed = subject.make()
            timed.call()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None

    def call() -> Any:
        with jax.default_device(subject.device):
            return timed.call()

    return timing.Timed(call, timed.seconds)


def _streaming(plan: AcceleratorPlan, device: jax.Device) -> Iterator[tuple[str, str, list[Subject]]]:
    core = jax.devices("cpu")[0]
    for name, config in plan.models:

        def streams(number: int, tile: int | None, is_sent: bool, config: CrnnConfig = config) -> timing.Timed:
            return timing.jax_streams(_params(config), config, number, tile, is_sent)

        for what, sizes, tile, is_sent in (
            ("streams", plan.streams, None, False),
            ("streams, sent from the host", plan.streams, None, True),
            (f"streams, {many.TILE} after the other", plan.tiled, many.TILE, False),
        ):
            subjects = [Subject(ON_IT, size, partial(streams, size, tile, is_sent), device) for size in sizes]
            on_core = partial(streams, plan.core_streams, many.TILE, is_sent)
            subjects.append(Subject(ON_CORE, plan.core_streams, on_core, core))
            yield name, what, subjects

        def audio(config: CrnnConfig = config) -> timing.Timed:
            return timing.jax_scan(_params(config), config, plan.seconds)

        def push(config: CrnnConfig = config) -> timing.Timed:
            return timing.jax_stream(_params(config), config)

        for what, size, make in (("audio in one call", plan.seconds, audio), ("a push", config.step_duration, push)):
            yield name, what, [Subject(ON_IT, size, make, device), Subject(ON_CORE, size, make, core)]


def _training(plan: AcceleratorPlan, device: jax.Device) -> Iterator[tuple[str, str, list[Subject]]]:
    core, source = jax.devices("cpu")[0], "mel power"
    for name, config in plan.trained:

        def step(batch_size: int, config: CrnnConfig = config) -> timing.Timed:
            return timing.Timed(training.jax_step(config, batch_size, source), float(batch_size))

        def in_torch(batch_size: int, config: CrnnConfig = config) -> timing.Timed:
            return timing.Timed(training.torch_step(config, batch_size, source, "cuda"), float(batch_size))

        def epoch(batch_size: int, config: CrnnConfig = config) -> timing.Timed:
            call = training.jax_epoch(config, batch_size, training.BATCHES)
            return timing.Timed(call, float(batch_size * training.BATCHES))

        for what, make in ((f"step from {source}", step), (training.EPOCH, epoch)):
            subjects = [Subject(ON_IT, size, partial(make, size), device) for size in plan.batch_sizes]
            subjects.append(Subject(ON_CORE, plan.batch_sizes[0], partial(make, plan.batch_sizes[0]), core))
            if make is step and device.platform == "gpu" and torch.cuda.is_available():
                subjects += [Subject(IN_TORCH, size, partial(in_torch, size)) for size in plan.batch_sizes]
            yield name, what, subjects


def difference(config: CrnnConfig, device: jax.Device, precision: str, seconds: float = 10.0) -> float:
    """The largest between the device's probabilities and the core's, of a stream of noise."""
    samples = timing.some_audio(seconds)
    samples = samples[None, : len(samples) - len(samples) % config.block_size]

    def probabilities(device: jax.Device) -> np.ndarray:
        with jax.default_device(device), jax.default_matmul_precision(precision):
            streamed = partial(scan, _params(config), config, init_state(config, 1))
            return np.asarray(jax.nn.softmax(jax.jit(streamed)(samples)[1])[..., 1])

    return float(np.nanmax(np.abs(probabilities(device) - probabilities(jax.devices("cpu")[0]))))


def _params(config: CrnnConfig) -> Any:
    """Fresh weights on the default device, drawn by the processor: the same whatever that is."""
    with jax.default_device(jax.devices("cpu")[0]):
        params = init_variables(jax.random.key(0), config)["params"]
    return jax.tree.map(jnp.asarray, jax.tree.map(np.asarray, params))
