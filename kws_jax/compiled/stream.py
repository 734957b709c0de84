"""The stream of `kws_jax.streaming`, compiled from C on this machine: one stream, at a fraction of the cost."""

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from kws_jax.array_types import Params
from kws_jax.checkpoint import About
from kws_jax.compiled.source import c_source
from kws_jax.config import SAMPLE_RATE, CrnnConfig
from kws_jax.data.audio import checked_samples
from kws_jax.errors import UserError
from kws_jax.state_dict import from_variables

__all__ = ["StreamingKws", "compiled", "compiler", "said_of"]

FLAGS = ("-O3", "-march=native", "-ffp-contract=fast")
SHARED = ("-std=c99", "-fPIC", "-shared")
FLOAT = np.dtype(np.float32)
STEP = np.dtype([("end", "u8"), ("probability", "f4"), ("score", "f4"), ("is_detection", "i4")], align=True)
# What Python calls: a model's sizes, which are constants of its header, and steps as columns, which NumPy takes sooner.
CALLED = """
size_t kws_state_size(void) { return sizeof(kws_state); }
size_t kws_block(void) { return KWS_BLOCK; }
size_t kws_flush_steps(void) { return KWS_FLUSH_STEPS; }

typedef struct { kws_state *state; kws_step *steps; double *times; float *probabilities; } kws_stream;

static int kws_columns(const kws_stream *stream, int count) {
    for (int i = 0; i < count; i++) {
        stream->times[i] = (double)stream->steps[i].end / KWS_SAMPLE_RATE;
        stream->probabilities[i] = stream->steps[i].probability;
    }
    return count;
}

int kws_push_columns(const kws_stream *stream, const float *samples, size_t count) {
    return kws_columns(stream, kws_push(stream->state, samples, count, stream->steps));
}

int kws_flush_columns(const kws_stream *stream) { return kws_columns(stream, kws_flush(stream->state, stream->steps)); }
"""


def compiler() -> list[str] | None:
    """The C compiler's command: $CC, or one on the path; None where there is none.

    Raises:
        UserError: If $CC is no command.
    """
    try:
        named = shlex.split(os.environ.get("CC", ""))
    except ValueError as error:
        raise UserError(f"CC is no command: {error}") from error
    return named or [name for name in ("cc", "gcc", "clang") if shutil.which(name)][:1] or None


@lru_cache
def compiled(header: str, source: str, flags: tuple[str, ...] = FLAGS) -> ctypes.CDLL:
    """The library of a model's kws.h and kws.c, compiled once; its file may go once it is loaded.

    Raises:
        UserError: If there is no C compiler, or it refuses.
    """
    command = compiler()
    if command is None:
        raise UserError("no C compiler: install gcc or clang, or name one in CC")
    try:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "kws.h").write_text(header, encoding="utf-8")
            Path(folder, "kws.c").write_text(source + CALLED, encoding="utf-8")
            build = [*command, *flags, *SHARED, "kws.c", "-o", "kws.so"]
            subprocess.run(build, cwd=folder, check=True, capture_output=True, text=True, errors="replace")
            loaded = ctypes.CDLL(str(Path(folder, "kws.so")))
        loaded.kws_init.argtypes = loaded.kws_flush_columns.argtypes = [ctypes.c_void_p]
        loaded.kws_push_columns.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        for size in (loaded.kws_state_size, loaded.kws_flush_steps, loaded.kws_block):
            size.restype = ctypes.c_size_t
    except (OSError, AttributeError, subprocess.CalledProcessError) as error:
        raise UserError(f"{shlex.join(command)} compiles no stream: {said_of(error)}") from error
    return loaded


def said_of(error: Exception) -> str:
    """The line of a program's error output that says why it failed; of an error without, its own first line."""
    lines = [*(getattr(error, "stderr", None) or "").splitlines(), *str(error).splitlines()]
    return next((line for line in lines if "error" in line), [*lines, type(error).__name__][0]).strip()


class StreamingKws:
    """`kws_jax.streaming.StreamingKws`, step for step, in C; a step comes as soon as its last sample is there.

    Threads may share it, one call at a time; `copy.copy` forks the stream.

    Args:
        params: Parameters of a model without batch normalisation.
        config: The model.
        library: Of the model, where it is compiled already.

    Raises:
        UserError: If there is no C compiler, or no C for such a model.
    """

    def __init__(
        self,
        params: Params,
        config: CrnnConfig,
        library: ctypes.CDLL | None = None,
    ) -> None:
        self.config = config
        if library is None:
            text = c_source(
                config, from_variables({"params": params}, config), About(), "Written to be compiled at once"
            )
            library = compiled(text["kws.h"], text["kws.c"])
        if library.kws_block() != config.block_size:
            raise UserError(f"the library takes steps of {library.kws_block()} samples: it is another model's")
        self._open(library, np.zeros(library.kws_state_size(), np.uint8))
        self.reset()

    def _open(self, library: ctypes.CDLL, state: np.ndarray) -> None:
        self._library, self._push, self._block_size = library, library.kws_push_columns, self.config.block_size
        self._state, self._lock = state, threading.Lock()
        self._make_room(library.kws_flush_steps())

    def __copy__(self) -> "StreamingKws":
        """A stream that has heard the same, and goes on by itself."""
        twin = object.__new__(type(self))
        twin.config = self.config
        with self._lock:
            twin._open(self._library, self._state.copy())
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> "StreamingKws":
        """The same."""
        return self.__copy__()

    def reset(self) -> None:
        """Forgets everything heard so far."""
        with self._lock:
            self._library.kws_init(self._state.ctypes.data)

    def push(self, samples: np.ndarray, sample_rate: int = SAMPLE_RATE) -> tuple[np.ndarray, np.ndarray]:
        """Takes in the next samples and yields the steps they complete; see `kws_jax.streaming.StreamingKws.push`."""
        # What C checks is not checked twice; the error's words are Python's. An array's address is found soonest by its
        # buffer, which must be writable and not empty.
        if not (
            type(samples) is np.ndarray
            and samples.dtype is FLOAT
            and samples.ndim == 1
            and samples.flags.carray
            and sample_rate == SAMPLE_RATE
        ):
            samples = np.require(checked_samples(samples, sample_rate, SAMPLE_RATE), requirements=["C", "W"])
        if not (length := len(samples)):
            return self._times[:0].copy(), self._probabilities[:0].copy()
        with self._lock:
            if (most := length // self._block_size + 2) > self._room:
                self._make_room(most)
            count = self._push(self._stream, ctypes.byref(ctypes.c_char.from_buffer(samples.data)), length)
            if count >= 0:
                return self._times[:count].copy(), self._probabilities[:count].copy()
        checked_samples(samples, sample_rate, SAMPLE_RATE)
        raise AssertionError("C refused samples that are finite")

    def flush(self) -> tuple[np.ndarray, np.ndarray]:
        """Ends the stream: yields the steps that need its right edge, and resets."""
        with self._lock:
            count = self._library.kws_flush_columns(self._stream)
            return self._times[:count].copy(), self._probabilities[:count].copy()

    def _make_room(self, num_steps: int) -> None:
        self._room, self._steps = num_steps, np.zeros(num_steps, STEP)
        self._times, self._probabilities = np.zeros(num_steps), np.zeros(num_steps, np.float32)
        kept = (self._state, self._steps, self._times, self._probabilities)
        self._addresses = np.array([array.ctypes.data for array in kept], np.uintp)
        self._stream = self._addresses.ctypes.data
