"""A stream as pure functions of its state."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from kws_jax import frontend
from kws_jax.array_types import Frames, MelPower, Params, Smoother, Waveform
from kws_jax.config import CrnnConfig
from kws_jax.layers import attend_trailing
from kws_jax.model import Crnn, zero_hidden

GROUP = 16  # blocks: enough that the front end's calls no longer cost, few enough that an hour needs no memory


class StreamState(NamedTuple):
    """Everything a stream remembers; the first axis of every array is the batch.

    Attributes:
        frontend: The last samples, and the number of blocks heard.
        smoother: Of PCEN, one a mel band; none where the model takes the logarithm.
        frames: Frames that coming steps still need (kernel - stride, and those heard ahead of their step).
        hidden: GRU state; every frame has entered it once.
        votes: Logits that each step in the attention window would have alone, oldest first. The classifier is linear,
            so what it makes of a mean of outputs is the mean of what it makes of each.
        energies: Their attention energies; -inf where the window has not filled yet.
    """

    frontend: frontend.FrontendState
    smoother: Smoother
    frames: Frames
    hidden: Float[Array, "batch layers hidden"]
    votes: Float[Array, "batch window classes"]
    energies: Float[Array, "batch window"]


def init_state(config: CrnnConfig, batch_size: int) -> StreamState:
    """State of streams that have heard nothing.

    Raises:
        ValueError: If the model still has batch normalisation.
    """
    if config.batch_norm:
        raise ValueError("a stream needs a model without batch normalisation: apply model.fold_batch_norm first")
    kept_frames = config.warmup_blocks * config.stride_frames - config.frontend.right_frames + 1
    window = config.max_window_length
    return StreamState(
        frontend=frontend.init_state(config.frontend, batch_size),
        smoother=jnp.zeros((batch_size, config.frontend.num_mels if config.has_pcen else 0), jnp.float32),
        frames=jnp.zeros((batch_size, kept_frames, config.frontend.num_mels), jnp.float32),
        hidden=zero_hidden(config, batch_size),
        votes=jnp.zeros((batch_size, window, config.num_classes), jnp.float32),
        energies=jnp.full((batch_size, window), -jnp.inf, jnp.float32),
    )


def step(
    params: Params, config: CrnnConfig, state: StreamState, samples: Waveform
) -> tuple[StreamState, Float[Array, "batch classes"]]:
    """Takes in one block of config.block_size samples and yields one step's logits, NaN before step 0.

    Raises:
        ValueError: If there are more samples or fewer.
    """
    if samples.shape[1] != config.block_size:
        raise ValueError(f"a step takes a block of {config.block_size} samples, not {samples.shape[1]}")
    state, logits = _take_blocks(params, config, state, samples)
    return state, logits[:, 0]


def scan(
    params: Params, config: CrnnConfig, state: StreamState, samples: Waveform
) -> tuple[StreamState, Float[Array, "batch steps classes"]]:
    """`step` over a whole number of blocks, GROUP of them at a time: only the GRU has to wait for itself.

    Samples must be finite: where one is not, all steps of its group are spoiled, those before it too.

    Raises:
        ValueError: If the samples are not a whole number of blocks.
    """
    batch, num_samples = samples.shape
    if num_samples % config.block_size:
        raise ValueError(f"{num_samples} samples are not a whole number of blocks of {config.block_size}")
    whole = num_samples - num_samples % (GROUP * config.block_size)
    groups = jnp.moveaxis(samples[:, :whole].reshape(batch, -1, GROUP * config.block_size), 1, 0)
    state, logits = jax.lax.scan(lambda carry, group: _take_blocks(params, config, carry, group), state, groups)
    logits = jnp.moveaxis(logits, 0, 1).reshape(batch, -1, config.num_classes)
    if whole == num_samples:
        return state, logits
    state, rest = _take_blocks(params, config, state, samples[:, whole:])
    return state, jnp.concatenate([logits, rest], axis=1)


def flush(
    params: Params,
    config: CrnnConfig,
    state: StreamState,
    tail: Waveform | None = None,
    tail_length: int | Int[Array, ""] = 0,
) -> Float[Array, "batch steps classes"]:
    """Logits of the steps that need the mirrored right edge of the stream's end; NaN where there is no such step.

    Args:
        params: Parameters.
        config: Model.
        state: State after the last whole block.
        tail: Samples after it, in a block of config.block_size of which the first `tail_length` exist.
        tail_length: In [0, config.block_size).
    """
    if tail is None:
        tail = jnp.zeros((state.energies.shape[0], config.block_size), jnp.float32)
    power, num_frames = frontend.flush(config.frontend, state.frontend, tail, jnp.asarray(tail_length))
    new_frames, _ = _compress(params, config, state, power)
    frames = jnp.concatenate([state.frames, new_frames], axis=1)
    num_frames += state.frames.shape[1]
    index = jnp.arange(config.num_steps(frames.shape[1]))
    has_begun = state.frontend.blocks[:, None] + index >= config.warmup_blocks
    is_step = has_begun & (index * config.stride_frames + config.kernel_frames <= num_frames[:, None])
    return _advance(params, config, state, frames, is_step)[1]


def reset(config: CrnnConfig, state: StreamState, mask: Bool[Array, " batch"]) -> StreamState:
    """Starts the streams where `mask` is true anew and leaves the others as they are."""
    return _select(mask, init_state(config, 1), state)


def _take_blocks(
    params: Params, config: CrnnConfig, state: StreamState, samples: Waveform
) -> tuple[StreamState, Float[Array, "batch steps classes"]]:
    """The steps of one block or more, all at once but for the GRU's."""
    num_blocks = samples.shape[1] // config.block_size
    heard = state.frontend.blocks
    frontend_state, power = frontend.step(config.frontend, state.frontend, samples)
    new_frames, smoother = _compress(params, config, state, power)
    frames = jnp.concatenate([state.frames, new_frames], axis=1)
    is_step = heard[:, None] + jnp.arange(num_blocks) >= config.warmup_blocks
    needed = (num_blocks - 1) * config.stride_frames + config.kernel_frames
    state, logits = _advance(params, config, state, frames[:, :needed], is_step)
    frontend_state = frontend_state._replace(blocks=heard + num_blocks)
    kept = frames[:, num_blocks * config.stride_frames :]
    return state._replace(frontend=frontend_state, smoother=smoother, frames=kept), logits


def _compress(params: Params, config: CrnnConfig, state: StreamState, power: MelPower) -> tuple[Frames, Smoother]:
    """Frames of new mel power; of the first block's, those of negative index are no frames of the stream."""
    first = jnp.where(state.frontend.blocks == 0, config.frontend.right_frames - 1, -1)
    return Crnn(config).bind({"params": params}).compress(power, state.smoother, first)


def _advance(
    params: Params, config: CrnnConfig, state: StreamState, frames: Frames, is_step: Bool[Array, "batch steps"]
) -> tuple[StreamState, Float[Array, "batch steps classes"]]:
    """Steps of convolution, GRU and attention, where `is_step`; elsewhere the logits are NaN.

    What is no step comes before a stream's first or after its last, and leaves no trace in the first case: the hidden
    state stays at its start, and the energy says that there is nothing to attend to.
    """
    model, num_steps = Crnn(config).bind({"params": params}), is_step.shape[1]
    outputs, energies, hidden = model.recur(model.convolve(frames), state.hidden, is_step=is_step)
    votes = jnp.concatenate([state.votes, model.classifier(outputs)], axis=1)
    energies = jnp.concatenate([state.energies, jnp.where(is_step, energies, -jnp.inf)], axis=1)
    logits = attend_trailing(votes, energies, config.max_window_length, num_steps)
    state = state._replace(hidden=hidden, votes=votes[:, num_steps:], energies=energies[:, num_steps:])
    return state, jnp.where(is_step[..., None], logits, jnp.nan)


def _select(mask: Bool[Array, " batch"], where_true: StreamState, where_false: StreamState) -> StreamState:
    return jax.tree.map(lambda a, b: jnp.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b), where_true, where_false)
