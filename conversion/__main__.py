"""Converts checkpoints between PyTorch and Flax, and checks that both sides compute the same.

A PyTorch file is .safetensors, or a .pt or .pth of plain tensors; a Flax checkpoint is a folder.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import soundfile
import tyro
from tyro.conf import Positional

from conversion.files import load_for_flax, to_module, write_state_dict
from conversion.mapping import flax_to_torch
from conversion.parity import PROBABILITY_TOLERANCE, TOLERANCE, compare
from kws_jax import checkpoint
from kws_jax.config import BASE
from kws_jax.errors import UserError, one_line_errors

app = tyro.extras.SubcommandApp()


@app.command
def torch_to_flax(
    source: Positional[Path],
    target: Positional[Path],
    stride: tuple[int, int] = BASE.stride,
    pool: tuple[int, int] = BASE.pool,
    relu: bool = BASE.relu,
) -> None:
    """Converts a PyTorch checkpoint into a Flax one.

    Args:
        source: PyTorch file.
        target: Folder to write.
        stride: Of the convolution (mels, time), where the file does not tell; over mels another one is taken where the
            shapes leave no choice.
        pool: Pooling before the convolution (mels, time), where the file does not tell.
        relu: Whether the convolution is rectified, where the file does not tell.
    """
    config, variables = load_for_flax(source, replace(BASE, stride=stride, pool=pool, relu=relu))
    checkpoint.save(target, config, variables)
    print(f"wrote {target}: {config}")


@app.command(name="flax-to-torch")
def write_torch(source: Positional[Path], target: Positional[Path]) -> None:
    """Converts a Flax checkpoint into a PyTorch one.

    Args:
        source: Folder of the Flax checkpoint.
        target: File to write; the suffix .safetensors or .pt chooses the format.
    """
    config, variables = checkpoint.restore(source)
    write_state_dict(target, flax_to_torch(variables, config), config)
    print(f"wrote {target}: {config}")


@app.command
def check(torch_file: Positional[Path], flax_folder: Positional[Path], audio: Path | None = None) -> None:
    """Compares the weights, and runs both sides on audio; exits with status 1 when they differ.

    Args:
        torch_file: PyTorch side.
        flax_folder: Flax side.
        audio: A sound file at 16 kHz, at least as long as one step sees; seeded noise without it.
    """
    config, variables = checkpoint.restore(flax_folder)
    torch_config, torch_variables = load_for_flax(torch_file, config)
    if torch_config != config:
        raise UserError(f"not the same model: {torch_file} is {torch_config}, {flax_folder} is {config}")
    report = compare(to_module(config, torch_variables), variables, config, _waveform(audio, config.receptive_field))
    for name, value in asdict(report).items():
        print(f"{name:12} {value:.2e}")
    limits = (
        f"limits are 0 for weights, {PROBABILITY_TOLERANCE:.0e} for probability, {TOLERANCE:.0e} for all but log_mel"
    )
    if not report.agrees:
        raise UserError(f"{torch_file} and {flax_folder} differ: {limits}")
    print(f"equal: {limits}")


def _waveform(audio: Path | None, shortest: int) -> np.ndarray:
    if audio is None:
        return np.random.default_rng(0).normal(0, 0.1, (4, 16_000)).astype(np.float32)
    try:
        samples, sample_rate = soundfile.read(audio, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise UserError(f"{audio} is no readable sound file: {error}") from error
    if sample_rate != 16_000 or samples.shape[0] < shortest:
        raise UserError(f"{audio}: {samples.shape[0]} samples at {sample_rate} Hz; give {shortest} or more at 16000 Hz")
    return samples.mean(axis=1)[None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a person can mend ends in one line and exit status 1."""
    with one_line_errors():
        try:
            app.cli(prog="python -m conversion", description=__doc__, args=arguments)
        except OSError as error:
            raise UserError(f"{error.filename}: {error.strerror}") from error


if __name__ == "__main__":
    main()
