"""A model in C on an emulated Cortex-M4F: that it computes the same, and what it takes of flash, memory and time.

QEMU counts instructions (`-icount`), not cycles: a Cortex-M4 takes between one and two for each.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kws_jax.compiled.stream import STEP, said_of
from kws_jax.config import SAMPLE_RATE
from kws_jax.errors import UserError

TOOLS = ("arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm")
BOARD = Path(__file__).parent / "cortex_m4"
CORE = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
LEAST = ("-std=c99", "-ffp-contract=fast", "-fno-math-errno", "-DKWS_LANES=1", "-ffunction-sections", "-fdata-sections")
INSTRUCTIONS_A_TICK = 40  # one a nanosecond by -icount shift=0, and the board's clock has 25 MHz


class Measured(NamedTuple):
    """What a stream took.

    Attributes:
        steps: As `kws_jax.compiled.stream.STEP` has them.
        flash_bytes: Code, constants and weights, what the library gives included; not the board's start-up.
        state_bytes: Of one stream, the samples that it holds included.
        sample_bytes: Of these samples.
        stack_bytes: At its deepest.
        instructions_per_second: Of audio.
    """

    steps: np.ndarray
    flash_bytes: int
    state_bytes: int
    sample_bytes: int
    stack_bytes: int
    instructions_per_second: float


def is_there() -> bool:
    """Whether a cross-compiler and the emulator are installed."""
    return all(map(shutil.which, TOOLS))


def run_on_cortex_m4(text: dict[str, str], pcm: np.ndarray, optimize: str = "-Os") -> Measured:
    """Compiles kws.c and kws.h, and lets the emulated processor hear 16-bit PCM.

    Args:
        text: From `kws_jax.compiled.source.c_source`.
        pcm: Samples at 16 kHz, int16.
        optimize: The compiler's level.

    Raises:
        UserError: If a tool is missing or fails.
    """
    if not is_there():
        raise UserError(f"a Cortex-M4 needs {', '.join(TOOLS)}: install gcc-arm-none-eabi and qemu-system-arm")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in text.items():
            (folder / file).write_text(content)
        pcm.astype("<i2").tofile(folder / "audio.raw")
        compile_ = ("arm-none-eabi-gcc", *CORE, *LEAST, optimize, "-I.")
        _run(folder, *compile_, "-c", "kws.c", "-o", "kws.o")
        _run(folder, *compile_, "-c", str(BOARD / "main.c"), "-o", "main.o")
        link = ("--specs=nano.specs", "-nostartfiles", "-Wl,--gc-sections", "-T", str(BOARD / "link.ld"))
        _run(folder, "arm-none-eabi-gcc", *CORE, *link, "main.o", "kws.o", "-o", "kws.elf")
        emulate = ("qemu-system-arm", "-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none")
        _run(folder, *emulate, "-semihosting", "-icount", "shift=0", "-kernel", "kws.elf")
        ticks, stack, state, samples = np.fromfile(folder / "taken.bin", "<u8").tolist()
        sizes = [_text_size(folder, file) for file in ("kws.elf", "main.o")]
        steps = np.fromfile(folder / "steps.bin", STEP)
    rate = ticks * INSTRUCTIONS_A_TICK * SAMPLE_RATE / len(pcm)
    return Measured(steps, sizes[0] - sizes[1], state, samples, stack, rate)


def _run(folder: Path, *command: str) -> str:
    try:
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=300).stdout
    except subprocess.CalledProcessError as error:
        raise UserError(f"{command[0]} fails: {said_of(error)}") from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{command[0]} does not end") from error


def _text_size(folder: Path, file: str) -> int:
    return int(_run(folder, "arm-none-eabi-size", file).splitlines()[1].split()[0])
