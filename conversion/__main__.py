"""Converts checkpoints between PyTorch and Flax, checks that both sides compute the same, and writes C or a page.

A PyTorch file is .safetensors, a state_dict, checkpoint, module or script of PyTorch, or a pickle, of which nothing is
executed; a Flax checkpoint is a folder, or a shipped file.
"""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import tyro
from tyro.conf import Positional

from kws_jax.command import command
from kws_jax.config import BASE
from kws_jax.errors import UserError

# What a command runs with is imported where it runs: that takes seconds, which --help does not need.
app = tyro.extras.SubcommandApp()


@app.command
def torch_to_flax(
    source: Positional[Path],
    target: Positional[Path],
    stride: tuple[int, int] | None = None,
    pool: tuple[int, int] = BASE.pool,
    relu: bool = BASE.relu,
    part: str | None = None,
) -> None:
    """Converts a PyTorch checkpoint into a Flax one.

    Args:
        source: PyTorch file.
        target: Folder to write.
        stride: Of the convolution (mels, time), where the file does not tell: the base's by default, if the kernel is
            the base's; over mels another one is taken where the shapes leave no choice.
        pool: Pooling before the convolution (mels, time), where the file does not tell.
        relu: Whether the convolution is rectified, where the file does not tell.
        part: Which model, where the file holds several: student, say.
    """
    from conversion.files import is_ours, load
    from kws_jax import checkpoint

    _check_not_source(source, target)
    config, variables, about = load(source, replace(BASE, pool=pool, relu=relu), stride, part)
    if not is_ours(source):
        assumed = f"stride {config.stride}, pool {pool}, relu {relu}, a window of {config.max_window_length} steps"
        print(
            f"assumed, since shapes do not tell: {assumed}, {config.frontend}; --stride, --pool, --relu say otherwise"
        )
    checkpoint.save(target, config, variables, replace(about, number_format="fp32"))
    print(f"wrote {target}: {config}")


@app.command
def flax_to_torch(source: Positional[Path], target: Positional[Path]) -> None:
    """Converts a Flax checkpoint into a PyTorch one.

    Args:
        source: Folder of the Flax checkpoint, or a shipped file.
        target: File to write; the suffix .safetensors or .pt chooses the format.
    """
    from conversion.files import write_state_dict
    from kws_jax import checkpoint
    from kws_jax.state_dict import from_variables

    _check_not_source(source, target)
    config, variables, about = checkpoint.load(source)
    write_state_dict(target, from_variables(variables, config), config, replace(about, number_format="fp32"))
    print(f"wrote {target}: {config}")


@app.command
def to_c(source: Positional[Path], target: Positional[Path], as_stored: bool = False) -> None:
    """Writes a checkpoint's stream and detector as C99, which needs no library, with a program that listens.

    Args:
        source: A shipped file, or a folder of the Flax checkpoint.
        target: Folder to write.
        as_stored: Read packed integers (int8, int5, int4) in place, for a microcontroller; float32 weights are faster
            elsewhere.
    """
    from kws_jax.compiled.source import write_c

    _check_target(target)
    command = shlex.join(["python", "-m", "conversion", "to-c", source.name, target.name])
    write_c(source, target, command + " --as-stored" * as_stored, as_stored)
    print(f"wrote {target}: cd {shlex.quote(str(target))} && make && ./listen < audio.raw")


@app.command
def to_page(sources: Positional[tuple[Path, ...]], target: Positional[Path]) -> None:
    """Writes checkpoints as a page that listens: one HTML file, for any browser, without a network.

    Args:
        sources: Shipped files, or folders of the Flax checkpoint; the page offers the choice.
        target: HTML file to write.
    """
    from conversion.page import write_page

    write_page(sources, target)
    print(f"wrote {target}, {target.stat().st_size:,} bytes: open it in a browser")


@app.command
def to_onnx(source: Positional[Path], target: Positional[Path]) -> None:
    """Writes a checkpoint's streaming step, front end included, as ONNX; needs the extra "export".

    Args:
        source: A shipped file, or a folder of the Flax checkpoint.
        target: File to write.
    """
    from conversion import onnx_step

    _check_target(target, ".onnx")
    _say(target, onnx_step.to_onnx(source, target))


@app.command
def to_stablehlo(source: Positional[Path], target: Positional[Path]) -> None:
    """Writes a checkpoint's streaming step, front end included, as StableHLO; needs the extra "export".

    Args:
        source: A shipped file, or a folder of the Flax checkpoint.
        target: File to write; `jax.export.deserialize` reads it.
    """
    from conversion import stablehlo_step

    _check_target(target)
    _say(target, stablehlo_step.to_stablehlo(source, target))


def _check_target(target: Path, suffix: str | None = None) -> None:
    """Refuses what would be a checkpoint's end: a forgotten OUT is the last of them."""
    from kws_jax.checkpoint import SUFFIX

    if not target.name or target.suffix == SUFFIX or suffix not in (None, target.suffix):
        raise UserError(f"{target} is to be written: name a new {suffix or 'file'} after the checkpoint")


def _check_not_source(source: Path, target: Path) -> None:
    if target.exists() and source.exists() and target.samefile(source):
        raise UserError(f"{target} is what is to be converted: name another file to write")


def _say(target: Path, signature: list[str]) -> None:
    print(f"wrote {target}: a block and the state, zeros at first, to the probability and the next state")
    print("\n".join(signature))


@app.command
def check(
    torch_file: Positional[Path], flax_folder: Positional[Path], audio: Path | None = None, part: str | None = None
) -> None:
    """Compares the weights, and runs both sides on audio, layer by layer; exits with status 1 when they differ.

    Args:
        torch_file: PyTorch side.
        flax_folder: Flax side.
        audio: A sound file, at least as long as one step sees; seeded noise without it.
        part: Which model, where the PyTorch file holds several: student, say.
    """
    from conversion.files import load, to_module
    from conversion.parity import compare, some_audio
    from kws_jax import checkpoint

    config, variables = checkpoint.restore(flax_folder)
    other = load(torch_file, config, config.stride, part)
    if other.config != config:
        raise UserError(f"not the same model: {torch_file} is {other.config}, {flax_folder} is {config}")
    waveform = some_audio(audio, config.receptive_field)
    report = compare(to_module(config, other.variables), variables, config, waveform)
    for line in report.lines():
        print(line)
    if not report.agrees:
        raise UserError(f"{torch_file} and {flax_folder} differ, first in {report.first}")
    print("equal: all weights, and all layers within their limits")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a person can mend ends in one line and exit status 1."""
    with command():
        app.cli(prog="python -m conversion", description=__doc__, args=arguments)


if __name__ == "__main__":
    main()
