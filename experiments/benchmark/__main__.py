"""Measures speed on the clock, on one thread: inference in each runtime, and training in both frameworks.

Everything is compared inside one run, in turn, so that what else the machine does meets all alike; times are medians.
Weights are fresh, since a model's time depends on its sizes alone. The file holds, beside `environment` and the
configurations of its `models`, rows:

    inference: model, runtime, microseconds_per_second (of audio), real_time_factor, ratio_to_base (times faster than
               the base in this runtime), parameters, macs_per_second, frontend_macs_per_second, step_milliseconds
    training:  model, framework, what, batch_size, clips_per_second (seconds of audio), ratio_to_torch (times faster
               than PyTorch doing the same; null where PyTorch has no such thing)
    training_floor: sgemm_gigaflops (of large matrices here), clips_per_second (of the base's step at that rate)
    parts:     model, of (a push or a training step), part, microseconds (that it takes more than the parts before)
    growth:    model, of (seconds of audio, streams or hidden units), size, what, milliseconds (of a call), heard
    start_up:  command, seconds (of the processor, in a fresh process)
    state_bytes: by model, what a stream keeps
    peers:     engine, package, microseconds_per_second, times_cheaper (that each model in C is than it, called from
               Python in turn with it), times_cheaper_in_jax; none where the extra "benchmark" is not installed
    microcontroller: model, number_format, flash_bytes, memory_bytes (state and deepest stack), of_it_samples (those
               that wait to be heard), instructions_per_second; by an emulated Cortex-M4F, where QEMU is installed

Runtimes: "C stream", "JAX stream" and "PyTorch stream" take a block a call, as from a microphone, through the streaming
classes; "C scan" and "JAX scan" take all blocks in one call; "JAX clip" and "PyTorch clip" take one second in one call;
all from raw samples to probability. "JAX model" and "PyTorch model" are a clip's frames to logits, which leaves the
front end out.

With --accelerator, what JAX does on its default accelerator is measured alone, beside one core of the processor. Beside
`environment`, with the accelerator's name, its file holds:

    rows:      model, what, engine (JAX there, JAX on the core, PyTorch there), size (streams, seconds of audio or clips
               in a call), milliseconds (of a call), rate (seconds of audio a second), ratio_to_core (of rates)
    agreement: model, precision (of products, by JAX's names), largest_difference (of probabilities, from the core's)
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro

from kws_jax.command import command, heeds_quiet
from kws_jax.config import BASE, CrnnConfig
from kws_jax.errors import UserError
from kws_jax.files import check_writable


@heeds_quiet
def main(
    models: tyro.conf.Positional[tuple[str, ...]] = (),
    out: Path | None = None,
    quick: bool = False,
    accelerator: bool = False,
    quiet: bool = False,
) -> None:
    """Measures and writes OUT.

    Args:
        models: Names of settings, or checkpoints; every architecture of the table without.
        out: File to write; out/benchmark.json or out/accelerator.json without.
        quick: A few repeats on little audio, to see that everything works; the numbers mean little.
        accelerator: Measure JAX's default accelerator, with models of its own.
        quiet: Say nothing but what is wrong.
    """
    out = out or Path("out/accelerator.json" if accelerator else "out/benchmark.json")
    check_writable(out)
    if accelerator:
        measured = on_accelerator(models, quick)
        for row in measured["rows"]:
            call = f"{row['model']:15} {row['what']:40} {row['engine']:12} {row['size']:9,}"
            print(f"{call} {row['ratio_to_core']:8.2f} x the core's rate")
    else:
        measured = on_one_thread(models, quick)
        for row in measured["inference"]:
            print(f"{row['runtime']:15} {row['model']:30} {row['ratio_to_base']:6.2f} x the base's speed")
    # Seconds to import here and below, which --help does not need.
    from experiments.study.json_files import write_json

    write_json(out, measured)
    print(out)


def on_accelerator(models: tuple[str, ...], quick: bool) -> dict[str, Any]:
    """What JAX's default accelerator does.

    Raises:
        UserError: If there is none, or models are named.
    """
    from experiments.benchmark.accelerator import AcceleratorPlan, measure_accelerator

    if models:
        raise UserError("--accelerator has models of its own: name none")
    plan = AcceleratorPlan()
    if quick:
        plan = replace(plan, models=plan.models[-1:], trained=plan.trained[-1:], repeats=3)
        plan = replace(plan, streams=(64,), tiled=(256,), core_streams=64, seconds=4.0, batch_sizes=(8,))
    return in_its_process(measure_accelerator, plan)


def on_one_thread(models: tuple[str, ...], quick: bool) -> dict[str, Any]:
    """What the processor does.

    Raises:
        UserError: If a name is neither a setting nor a checkpoint.
    """
    from experiments.benchmark.measuring import Plan, measure

    plan = Plan((("base", BASE), *chosen_models(models)), packed_models(models))
    if quick:
        plan = replace(plan, models=plan.growing, packed=plan.packed[-1:])
        plan = replace(plan, trained=plan.trained[-1:], training_repeats=2, most=64, starts=1)
        plan = replace(plan, seconds=1.0, batch_size=8, repeats=3)
    return in_its_process(measure, plan)


def in_its_process(measure: Callable[[Any], dict[str, Any]], plan: Any) -> dict[str, Any]:
    """What a process of its own measures, which is told to use one thread before it imports anything.

    Raises:
        UserError: If it fails.
    """
    from experiments.study.workers import run_jobs

    (outcome,) = run_jobs(measure, {plan: ()}, num_workers=1)
    if outcome.result is None:
        print(outcome.traceback or "", end="", file=sys.stderr)
        raise UserError(str(outcome.error))
    return outcome.result


def chosen_models(names: tuple[str, ...]) -> list[tuple[str, CrnnConfig]]:
    """Deployed models by name, one an architecture, without the base.

    Raises:
        UserError: If a name is neither a setting nor a checkpoint.
    """
    from experiments.study.settings import BY_NAME

    found: dict[CrnnConfig, str] = {BASE: "base"}
    for label, config, _ in map(_model, names or BY_NAME):
        found.setdefault(config, label)
    return [(label, config) for config, label in found.items() if config != BASE]


def packed_models(names: tuple[str, ...]) -> tuple[tuple[str, CrnnConfig, str], ...]:
    """Those with packed integers for weights, one an architecture and number format.

    Raises:
        UserError: If a name is neither a setting nor a checkpoint.
    """
    from experiments.study.settings import BY_NAME
    from kws_jax.number_formats import MATRIX_BITS

    found: dict[tuple[CrnnConfig, str], str] = {}
    for label, config, number_format in map(_model, names or BY_NAME):
        if number_format in MATRIX_BITS:
            found.setdefault((config, number_format), label)
    return tuple((label, *model) for model, label in found.items())


def _model(name: str) -> tuple[str, CrnnConfig, str]:
    from experiments.study.settings import BY_NAME, deployed_model
    from kws_jax import checkpoint

    if name in BY_NAME:
        return name, deployed_model(BY_NAME[name]), BY_NAME[name].number_format
    if not Path(name).exists():
        raise UserError(f"{name!r} is neither a setting nor a checkpoint: choose from {', '.join(BY_NAME)}")
    config, about = checkpoint.describe(name)
    return Path(name).stem, replace(config, batch_norm=False), about.number_format


if __name__ == "__main__":
    with command():
        tyro.cli(main, description=__doc__)
