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
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import numpy as np
import soundfile
import tyro
from tyro.conf import Positional

from kws_jax import checkpoint as checkpoints
from kws_jax.config import SAMPLE_RATE
from kws_jax.data import read_audio, to_float
from kws_jax.detector import Detection, Detector, DetectorConfig
from kws_jax.errors import UserError, one_line_errors
from kws_jax.model import fold_batch_norm
from kws_jax.streaming import StreamingKws

FILE_BLOCK = 10 * SAMPLE_RATE  # samples
PIPE_BLOCK = 65_536  # bytes at most: a pipe's capacity, so about 2 s; what has arrived is taken at once
MICROPHONE_BLOCK = SAMPLE_RATE // 25  # samples: 40 ms, half a step of the base
INTERRUPTED = 130  # 128 + SIGINT


def listen(
    source: Positional[str | None] = None,
    *,
    checkpoint: Path,
    microphone: bool = False,
    threshold: float | None = None,
    smoothing: int | None = None,
    refractory: float = DetectorConfig.refractory,
) -> None:
    """Streams audio through a checkpoint.

    Args:
        source: A sound file, or - for raw PCM on standard input: 16 bits little-endian, one channel, 16 kHz.
        checkpoint: Folder of the model.
        microphone: Listen to the default microphone; needs the extra "microphone".
        threshold: Probability from which on a word is the keyword; the checkpoint's own, else 0.5.
        smoothing: Steps that the probability is averaged over; by default what the checkpoint says, else 1.
        refractory: Seconds after a detection in which there is no other.
    """
    chunks = open_source(source, microphone)
    config, params = fold_batch_norm(*checkpoints.restore(checkpoint))
    own = checkpoints.read_detector(checkpoint, config)
    settings = replace(
        own,
        threshold=own.threshold if threshold is None else threshold,
        smoothing=own.smoothing if smoothing is None else smoothing,
        refractory=refractory,
    )
    detector = Detector(settings)
    stream = StreamingKws(params["params"], config)
    compile_steps(stream, detector)
    keyword = checkpoints.read_about(checkpoint).get("keyword", "the keyword")
    print(
        f"listening for {keyword} from probability {settings.threshold:g} on; Ctrl-C ends", file=sys.stderr, flush=True
    )
    for detection in detect(chunks, stream, detector):
        line = {"time": round(detection.time, 4), "probability": round(detection.probability, 6)}
        print(json.dumps(line), flush=True)


def compile_steps(stream: StreamingKws, detector: Detector) -> None:
    """Runs once what each step runs: compiling takes a second, in which a microphone would lose audio."""
    stream.push(np.zeros(stream.config.block_size, np.float32))
    detector.push(np.zeros(1), np.zeros(1, np.float32))
    stream.reset()
    detector.reset()


def detect(chunks: Iterator[np.ndarray], stream: StreamingKws, detector: Detector) -> Iterator[Detection]:
    """Detections in audio that comes in chunks, each as soon as its chunk is there; the stream's end is flushed."""
    for chunk in chunks:
        yield from detector.push(*stream.push(chunk))
    yield from detector.push(*stream.flush())


def open_source(source: str | None, microphone: bool) -> Iterator[np.ndarray]:
    """Chunks of samples at 16 kHz, in [-1, 1].

    Raises:
        UserError: If there is not exactly one source, or no such file.
    """
    if (source is None) != microphone:
        raise UserError("name one source: a sound file, - for standard input, or --microphone")
    if source is None:
        return microphone_chunks()
    if source == "-":
        return pcm_chunks(cast(BufferedIOBase, sys.stdin.buffer))
    if not Path(source).exists():
        raise UserError(f"no file {source}")
    return file_chunks(Path(source))


def file_chunks(path: Path) -> Iterator[np.ndarray]:
    """A sound file in blocks, so that its length does not matter; whole where it must be resampled.

    Channels are averaged, as in `kws_jax.data.read_audio`.

    Raises:
        UserError: If the file cannot be decoded, or holds no samples, NaN or infinity.
    """
    try:
        with soundfile.SoundFile(path) as sound:
            if not (is_resampled := sound.samplerate != SAMPLE_RATE):
                yield from _blocks(sound)
        if is_resampled:
            yield read_audio(path)
    except (OSError, TypeError, ValueError, soundfile.SoundFileError) as error:
        raise UserError(f"{path}: {error}") from error


def _blocks(sound: soundfile.SoundFile) -> Iterator[np.ndarray]:
    heard = 0
    while len(block := sound.read(FILE_BLOCK, dtype="float64", always_2d=True)):
        samples = block.mean(axis=1)
        if not np.isfinite(samples).all():
            raise ValueError(f"NaN or infinite sample at {(heard + np.argmin(np.isfinite(samples))) / SAMPLE_RATE} s")
        yield samples.astype(np.float32)
        heard += len(samples)
    if not heard:
        raise ValueError("no samples")


def pcm_chunks(pipe: BufferedIOBase) -> Iterator[np.ndarray]:
    """Samples of raw PCM (16 bits, little-endian) as they arrive; half a sample at the end is left out, and said.

    Raises:
        UserError: If nothing arrives.
    """
    rest, heard = b"", 0
    while data := pipe.read1(PIPE_BLOCK):
        data = rest + data
        heard += len(data) // 2
        rest = data[len(data) // 2 * 2 :]
        yield to_float(np.frombuffer(data, "<i2", len(data) // 2))
    if rest:
        print("warning: left out half a sample at the end: is this 16-bit PCM?", file=sys.stderr)
    if not heard:
        raise UserError("no samples on standard input: it takes 16-bit PCM, one channel, 16 kHz")


def microphone_chunks() -> Iterator[np.ndarray]:
    """Samples of the default microphone, without end.

    Raises:
        UserError: If sounddevice, its PortAudio library or a microphone is missing.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        remedy = "pip install 'kws-jax[microphone]', and PortAudio where the wheel has none"
        raise UserError(f"no microphone without sounddevice ({error}): {remedy}") from error
    try:
        with sounddevice.InputStream(SAMPLE_RATE, MICROPHONE_BLOCK, channels=1, dtype="float32") as microphone:
            while True:
                samples, overflowed = microphone.read(MICROPHONE_BLOCK)
                if overflowed:
                    print("warning: samples were lost: this machine is too busy", file=sys.stderr, flush=True)
                yield samples[:, 0]
    except (sounddevice.PortAudioError, ValueError) as error:
        raise UserError(f"no microphone: {error}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    try:
        with one_line_errors():
            tyro.cli(listen, prog="python -m experiments.listen", description=__doc__, args=arguments)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        # The interpreter flushes stdout once more as it exits, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
