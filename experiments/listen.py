"""Listens for the keyword and writes a line of JSON for each detection, as it happens.

A line is {"time": 12.35, "probability": 0.981}: seconds of audio up to the end of what decided, and the smoothed
probability. The exit status is 0 where the audio ends, and also where the reader of the lines goes away, which is
noticed at the next line; 130 on Ctrl-C, as shells expect of what that ended; 1, with one line on stderr, where
something is wrong.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tyro
from tyro.conf import Positional

from kws_jax.array_types import Params
from kws_jax.checkpoint import load_deployed
from kws_jax.compiled import stream as compiled
from kws_jax.config import CrnnConfig
from kws_jax.data.audio import open_source
from kws_jax.detector import Detection, Detector, DetectorConfig
from kws_jax.errors import UserError, one_line_errors
from kws_jax.streaming import StreamingKws

INTERRUPTED = 130  # 128 + SIGINT
Stream = compiled.StreamingKws | StreamingKws


def listen(
    source: Positional[str | None] = None,
    *,
    checkpoint: Path,
    microphone: bool = False,
    threshold: float | None = None,
    smoothing: int | None = None,
    false_alarms_per_hour: float | None = None,
    refractory: float = DetectorConfig.refractory,
) -> None:
    """Streams audio through a checkpoint.

    Args:
        source: A sound file, or - for raw PCM on standard input: 16 bits little-endian, one channel, 16 kHz.
        checkpoint: The model: a shipped file, or a folder of one's own.
        microphone: Listen to the default microphone; needs the extra "microphone".
        threshold: Probability from which on a word is the keyword; the checkpoint's own, else 0.5.
        smoothing: Steps that the probability is averaged over; by default what the checkpoint says, else 1.
        false_alarms_per_hour: 0.2, 0.5, 1 or 2: takes the threshold that the checkpoint has for it.
        refractory: Seconds after a detection in which there is no other.
    """
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
        return compiled.StreamingKws(params, config)
    except UserError as error:
        print(f"in JAX, since C is not to be had: {error}", file=sys.stderr)
        return StreamingKws(params, config)


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    try:
        with one_line_errors():
            tyro.cli(listen, prog="python -m experiments.listen", description=__doc__, args=arguments)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except OSError as error:
        # The interpreter flushes stdout once more as it exits, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise SystemExit(f"error: cannot write: {error.strerror}") from None


if __name__ == "__main__":
    main()
