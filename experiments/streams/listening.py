"""Audio from a file, a pipe or a microphone through checkpoints, and what comes of it for each detection."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import jax
import numpy as np

from experiments.streams.observers import Bar, Clips, Lines, Observer, Picture
from kws_jax.array_types import Params
from kws_jax.checkpoint import load_deployed
from kws_jax.compiled import stream as compiled
from kws_jax.config import CrnnConfig
from kws_jax.data.inputs import Chunks
from kws_jax.detector import Detection, Detector
from kws_jax.errors import LONGEST, UserError, printable
from kws_jax.streaming import StreamingKws

Stream = compiled.StreamingKws | StreamingKws
Say = Callable[[str], None]


@dataclass(frozen=True)
class Rule:
    """How probabilities become detections, of every checkpoint; what is None, the checkpoint says itself.

    See `experiments.listen`.
    """

    threshold: float | None
    smoothing: int | None
    false_alarms_per_hour: float | None
    refractory: float


@dataclass(frozen=True)
class Wanted:
    """What comes of listening beside lines; see `experiments.listen`."""

    save: Path | None
    plot: Path | None
    level: bool
    quiet: bool


@dataclass(frozen=True)
class Ear:
    """A checkpoint that listens for its keyword."""

    keyword: str
    stream: Stream
    detector: Detector

    def hear(self, chunk: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, list[Detection]]:
        """Times, probabilities and detections of the steps that a chunk completes; None is the end."""
        times, probabilities = self.stream.flush() if chunk is None else self.stream.push(chunk)
        return times, probabilities, self.detector.push(times, probabilities)


def listen(chunks: Chunks, checkpoints: Sequence[Path], rule: Rule, wanted: Wanted) -> None:
    """Prints detections until the audio ends; see `experiments.listen`."""
    bar = Bar() if wanted.level and sys.stderr.isatty() else None

    def say(words: str) -> None:
        if bar:
            bar.clear()
        if not wanted.quiet:
            print(printable(words, LONGEST), file=sys.stderr, flush=True)

    clips = Clips(wanted.save) if wanted.save else None
    with _warnings(say):
        ears = open_ears(checkpoints, rule, say)
        thresholds = {ear.keyword: ear.detector.config.threshold for ear in ears}
        picture = Picture(wanted.plot, thresholds) if wanted.plot else None
        follow(chunks, ears, [observer for observer in (bar, Lines(), clips, picture) if observer])


def follow(chunks: Chunks, ears: Sequence[Ear], observers: Sequence[Observer]) -> None:
    """Lets everyone hear chunks as they come, and what follows from them; observers are told of the end in any case."""
    try:
        for chunk in chain(chunks, (None,)):
            if chunk is not None:
                _tell(observers, "hear", chunk)
            found = []
            for ear in ears:
                times, probabilities, detections = ear.hear(chunk)
                _tell(observers, "see", ear.keyword, times, probabilities)
                found += [(detection.time, ear.keyword, detection) for detection in detections]
            for _, keyword, detection in sorted(found):
                _tell(observers, "find", keyword, detection)
    finally:
        _tell(observers, "end")


def _tell(observers: Sequence[Observer], what: str, *news: object) -> None:
    for observer in observers:
        getattr(observer, what)(*news)


@contextmanager
def _warnings(say: Say) -> Iterator[None]:
    """What the package warns of is said as everything else is."""
    logger, handler = logging.getLogger("kws_jax"), logging.Handler(logging.WARNING)
    handler.emit = lambda record: say(f"warning: {record.getMessage()}")  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


def open_ears(checkpoints: Sequence[Path], rule: Rule, say: Say) -> list[Ear]:
    """Loads and compiles the checkpoints, and says what is listened for.

    Raises:
        UserError: If there is no such checkpoint, or two are of one keyword.
    """
    loaded = {path: load_deployed(path) for path in checkpoints}
    words = [about.keyword or path.stem for path, (_, _, about) in loaded.items()]
    if len(set(words)) < len(checkpoints):
        raise UserError(f"two checkpoints of {max(words, key=words.count)!r}: give one of each keyword")
    ears = []
    for word, (config, variables, about) in zip(words, loaded.values(), strict=True):
        settings = about.detector(config, rule.threshold, rule.smoothing, rule.false_alarms_per_hour)
        detector = Detector(replace(settings, refractory=rule.refractory))
        ears.append(Ear(word, open_stream(variables["params"], config, say), detector))
        compile_steps(ears[-1])
        if rule.threshold is None and about.threshold is None and rule.false_alarms_per_hour is None:
            say(f"the checkpoint of {word} has no threshold, and {settings.threshold:g} is a guess: give one")
        rate = rule.false_alarms_per_hour or about.false_alarms_per_hour
        is_own = rule.threshold is None and rule.smoothing is None
        stands = _meaning(rate, about.validation_hours) if is_own and rate is not None else ""
        say(f"listening for {word} from probability {settings.threshold:g} on{stands}; Ctrl-C ends")
    return ears


def _meaning(rate: float, hours: float | None) -> str:
    alarms, heard = "alarm" if rate == 1 else "alarms", "hours" if hours is None else f"{hours:g} h"
    return f", about {rate:g} false {alarms} an hour on {heard} of validation speakers' words, speech and noise"


def open_stream(params: Params, config: CrnnConfig, say: Say) -> Stream:
    """The stream in C where this machine can compile it, else in JAX, which is said."""
    try:
        return compiled.StreamingKws(params, config)
    except UserError as error:
        say(f"in JAX, since C is not to be had: {error}")
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


def compile_steps(ear: Ear) -> None:
    """Runs once what each step runs: compiling takes a second, in which a microphone would lose audio."""
    ear.stream.push(np.zeros(ear.stream.config.block_size, np.float32))
    ear.detector.push(np.zeros(1), np.zeros(1, np.float32))
    ear.stream.reset()
    ear.detector.reset()
