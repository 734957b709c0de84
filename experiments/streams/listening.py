"""Audio from a file, a pipe or a microphone through a checkpoint, and a line of JSON for each detection."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from kws_jax.array_types import Params
from kws_jax.checkpoint import load_deployed
from kws_jax.compiled import stream as compiled
from kws_jax.config import CrnnConfig
from kws_jax.data.audio import open_source
from kws_jax.detector import Detection, Detector
from kws_jax.errors import UserError
from kws_jax.streaming import StreamingKws

Stream = compiled.StreamingKws | StreamingKws


def listen(
    source: str | None,
    checkpoint: Path,
    microphone: bool,
    threshold: float | None,
    smoothing: int | None,
    false_alarms_per_hour: float | None,
    refractory: float,
) -> None:
    """Prints detections until the audio ends; see `experiments.listen`."""
    chunks = open_source(source, microphone)
    config, variables, about = load_deployed(checkpoint)
    settings = about.detector(config, threshold, smoothing, false_alarms_per_hour)
    detector = Detector(replace(settings, refractory=refractory))
    stream = open_stream(variables["params"], config)
    compile_steps(stream, detector)
    if threshold is None and about.threshold is None and false_alarms_per_hour is None:
        print(f"the checkpoint has no threshold, and {settings.threshold:g} is a guess: give one", file=sys.stderr)
    rate = false_alarms_per_hour or about.false_alarms_per_hour
    stands = "" if rate is None or (threshold, smoothing) != (None, None) else _meaning(rate, about.validation_hours)
    word = about.keyword or "the keyword"
    print(f"listening for {word} from probability {settings.threshold:g} on{stands}; Ctrl-C ends", file=sys.stderr)
    for detection in detect(chunks, stream, detector):
        line = {"time": round(detection.time, 4), "probability": round(detection.probability, 6)}
        print(json.dumps(line), flush=True)


def _meaning(rate: float, hours: float | None) -> str:
    alarms, heard = "alarm" if rate == 1 else "alarms", "hours" if hours is None else f"{hours:g} h"
    return f", about {rate:g} false {alarms} an hour on {heard} of validation speakers' words, speech and noise"


def open_stream(params: Params, config: CrnnConfig) -> Stream:
    """The stream in C where this machine can compile it, else in JAX, which is said."""
    try:
        return compiled.StreamingKws(params, config, flags=compiled.SOON)
    except UserError as error:
        print(f"in JAX, since C is not to be had: {error}", file=sys.stderr)
        _keep_compiled()
        return StreamingKws(params, config)


def _keep_compiled() -> None:
    """What JAX compiles once is there the next time, where the user has a folder for it."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    with suppress(RuntimeError):  # of a user without a home
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(Path(caches, "kws_jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def compile_steps(stream: Stream, detector: Detector) -> None:
    """Runs once what each step runs: compiling takes a second, in which a microphone would lose audio."""
    stream.push(np.zeros(stream.config.block_size, np.float32))
    detector.push(np.zeros(1), np.zeros(1, np.float32))
    stream.reset()
    detector.reset()


def detect(chunks: Iterator[np.ndarray], stream: Stream, detector: Detector) -> Iterator[Detection]:
    """Detections in audio that comes in chunks, each as soon as its chunk is there; the stream's end is flushed."""
    for chunk in chunks:
        yield from detector.push(*stream.push(chunk))
    yield from detector.push(*stream.flush())
