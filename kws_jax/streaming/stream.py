"""One stream as a class: a thin shell around the pure functions, which costs little more than they do."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from kws_jax.array_types import Params
from kws_jax.config import SAMPLE_RATE, CrnnConfig
from kws_jax.data.audio import LOUDEST, checked_samples
from kws_jax.streaming import functions
from kws_jax.streaming.functions import GROUP, StreamState

LONG = 16 * GROUP  # blocks that one call takes of a longer chunk
FLOAT, NO_SOUND = np.dtype(np.float32), -1.0  # in a probability's place: the block holds what is no sound
Packed = Float[Array, " packed"]


class _Weights:
    """Parameters that are equal where their numbers are: streams of one model share what is compiled for it."""

    def __init__(self, params: Params) -> None:
        self.params = jax.tree.map(jnp.array, params)  # copies: the caller may give its own away
        leaves, tree = jax.tree.flatten(self.params)
        self._content = tree, tuple((leaf.shape, leaf.dtype, np.asarray(leaf).tobytes()) for leaf in leaves)

    def __hash__(self) -> int:
        return hash(self._content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Weights) and self._content == other._content


class PackedStream(NamedTuple):
    """A model's functions over a packed state, compiled with its parameters inside.

    A call costs by the array that goes in or comes out, a few microseconds each, which is as much as a step's
    arithmetic. So the state is one array, and the newest probability its last number: NaN before step 0, and NO_SOUND
    where a block has a sample that is not finite or louder than LOUDEST.
    """

    fresh: Packed
    step: Callable[[Packed, np.ndarray], Packed]
    scan: Callable[[Packed, np.ndarray], tuple[Packed, Float[Array, " steps"]]]
    flush: Callable[[Packed, np.ndarray, int], Float[Array, " steps"]]


@lru_cache(maxsize=16)
def _packed_stream(weights: _Weights, config: CrnnConfig) -> PackedStream:
    start = functions.init_state(config, 1)
    # The count of blocks becomes a float, which stops counting at 2 ** 24: no step looks whether it is that large.
    _, unpack_state = ravel_pytree(start)

    def pack(state: StreamState, newest: Array) -> Packed:
        return jnp.append(ravel_pytree(state)[0], newest)

    def take(
        over: Callable[..., tuple[StreamState, Array]], packed: Packed, samples: Array
    ) -> tuple[StreamState, Float[Array, " steps"]]:
        state, logits = over(weights.params, config, unpack_state(packed[:-1]), samples[None])
        return state, jax.nn.softmax(logits.reshape(-1, config.num_classes))[:, 1]

    def step(packed: Packed, block: Array) -> Packed:
        state, probabilities = take(functions.step, packed, block)
        is_sound = jnp.all(jnp.abs(block) <= LOUDEST)  # NaN is not; a look in Python costs more
        return pack(state, jnp.where(is_sound, probabilities[0], NO_SOUND))

    def scan(packed: Packed, samples: Array) -> tuple[Packed, Float[Array, " steps"]]:
        state, probabilities = take(functions.scan, packed, samples)
        return pack(state, probabilities[-1]), probabilities

    def flush(packed: Packed, tail: Array, tail_length: Int[Array, ""]) -> Float[Array, " steps"]:
        logits = functions.flush(weights.params, config, unpack_state(packed[:-1]), tail[None], tail_length)
        return jax.nn.softmax(logits[0])[:, 1]

    return PackedStream(
        fresh=pack(start, jnp.array(jnp.nan)),
        step=jax.jit(step),
        scan=jax.jit(scan),
        flush=jax.jit(flush),
    )


def packed_stream(params: Params, config: CrnnConfig) -> PackedStream:
    """The functions of a model without batch normalisation, compiled once for all streams of equal parameters."""
    return _packed_stream(_Weights(params), config)


class StreamingKws:
    """One stream that takes chunks of any length: a thin shell around `step`, `scan` and `flush`.

    An error leaves the stream as it was before the call.

    Example:
        >>> stream = StreamingKws(params, config)
        >>> times, probabilities = stream.push(chunk)

    Args:
        params: Parameters of a model without batch normalisation.
        config: The model; its `max_window_length` bounds what the stream remembers.
    """

    def __init__(self, params: Params, config: CrnnConfig) -> None:
        self.config = config
        self._compiled = packed_stream(params, config)
        self._block_size, self._warmup_blocks = config.block_size, config.warmup_blocks
        self._block_shape = (config.block_size,)
        self._first_end = config.step_end(-config.warmup_blocks)  # of block 0, in samples, if it were a step
        self.reset()

    def reset(self) -> None:
        """Forgets everything heard so far."""
        self._state = self._compiled.fresh
        self._pending = np.zeros(0, np.float32)
        self._blocks = 0

    def push(self, samples: np.ndarray, sample_rate: int = SAMPLE_RATE) -> tuple[np.ndarray, np.ndarray]:
        """Takes in the next samples and yields the steps they complete.

        Args:
            samples: Any number of samples in [-1, 1], also none.
            sample_rate: Of the samples, in Hz; it must be the model's.

        Returns:
            Times in seconds from the start of the stream (the end of each step's receptive field), and the keyword's
            probability at each.

        Raises:
            TypeError: If the samples are no floats.
            ValueError: If they are not finite, have more axes than one, or another sample rate than the model's.
        """
        if (
            type(samples) is np.ndarray
            and samples.dtype is FLOAT
            and samples.shape == self._block_shape
            and sample_rate == SAMPLE_RATE
            and not len(self._pending)
        ):  # What a microphone gives, with as little Python as can be: what is not in the cache costs most.
            state = self._compiled.step(self._state, samples)
            newest = np.asarray(state)[-1:]
            if not newest[0] < 0.0:
                self._state, number = state, self._blocks
                self._blocks = number + 1
                if number < self._warmup_blocks:
                    return np.zeros(0), np.zeros(0, np.float32)
                return np.array([(self._first_end + number * self._block_size) / SAMPLE_RATE]), newest.copy()
        heard = checked_samples(samples, sample_rate, SAMPLE_RATE)
        if len(self._pending):
            heard = np.concatenate([self._pending, heard])
        size, state = self._block_size, self._state
        num_blocks = len(heard) // size
        probabilities = np.empty(num_blocks, np.float32)
        first_alone = num_blocks - num_blocks % LONG
        for block in range(0, first_alone, LONG):
            state, found = self._compiled.scan(state, heard[block * size : (block + LONG) * size])
            probabilities[block : block + LONG] = found
        for block in range(first_alone, num_blocks):
            state = self._compiled.step(state, heard[block * size : (block + 1) * size])
            probabilities[block] = np.asarray(state)[-1]
        self._state, self._pending = state, heard[num_blocks * size :].copy()
        self._blocks += num_blocks
        return self._steps(probabilities, self._blocks - num_blocks)

    def flush(self) -> tuple[np.ndarray, np.ndarray]:
        """Ends the stream: yields the steps that need its right edge, and resets."""
        config, tail_length = self.config, len(self._pending)
        tail = np.pad(self._pending, (0, config.block_size - tail_length))
        probabilities = np.asarray(self._compiled.flush(self._state, tail, tail_length))
        num_samples = self._blocks * config.block_size + tail_length
        num_frames = config.frontend.num_frames(num_samples) if num_samples > config.frontend.padding else 0
        num_steps = config.num_steps(num_frames) - self._blocks + config.warmup_blocks
        ended = self._steps(probabilities[: max(0, num_steps)], self._blocks)
        self.reset()
        return ended

    def _steps(self, probabilities: np.ndarray, first_block: int) -> tuple[np.ndarray, np.ndarray]:
        """Times and probabilities of those blocks, from `first_block` on, that yield a step."""
        size, no_steps = self._block_size, max(0, self._warmup_blocks - first_block)
        first = self._first_end + first_block * size
        ends = np.arange(first + no_steps * size, first + len(probabilities) * size, size)
        return ends / SAMPLE_RATE, probabilities[no_steps:]
