"""What a command costs before it does anything: processor time of fresh processes."""

import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import soundfile

from experiments.benchmark import timing
from experiments.study.environment import ROOT
from kws_jax.config import SAMPLE_RATE

COMMANDS: tuple[str, ...] = ("run", "listen", "stream_demo", "stream_eval", "stream_peer")
COMMANDS += ("publish", "report", "benchmark", "search", "attention")
HELPS = {f"experiments.{name} --help": ["-m", f"experiments.{name}", "--help"] for name in COMMANDS}
HELPS |= {"conversion --help": ["-m", "conversion", "--help"]}
IMPORTS = {f"import {name}": ["-c", f"import {name}"] for name in ("jax, flax.linen", "kws_jax.streaming")}
LISTEN, MODEL = "listen to a file of 2 s", "checkpoints/happy/student_21x_stream_int8.safetensors"


def start_up(repeats: int) -> list[dict[str, Any]]:
    """Medians of every command's help, of what an import costs, and of listening from the start to the end, as rows."""
    with tempfile.TemporaryDirectory() as folder:
        audio = Path(folder, "audio.wav")
        soundfile.write(audio, timing.some_audio(2), SAMPLE_RATE)
        listen = {LISTEN: ["-m", "experiments.listen", str(audio), "--checkpoint", str(ROOT / MODEL)]}
        return [
            {"command": name, "seconds": statistics.median(_seconds(words) for _ in range(repeats))}
            for name, words in (HELPS | IMPORTS | listen).items()
        ]


def _seconds(words: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
