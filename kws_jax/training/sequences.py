"""Training for streams: clips glued into sequences that one GRU state runs through, judged at every step.

A model trained on single clips has only ever seen the first second after a zero state. Here each clip but the first of
a sequence is heard with the state that the clips before it have left, and each step attends over its trailing window,
as in a stream.
"""

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from kws_jax.array_types import LogMel
from kws_jax.config import SAMPLE_RATE, CrnnConfig

TOLERANCE = 0.12  # s around a keyword clip's end in which a step must say "keyword"


def glue(log_mel: LogMel, clips_per_sequence: int) -> Float[Array, "sequences glued mels"]:
    """Joins consecutive clips of a batch; each gives all frames but its last, which only mirrors its end."""
    batch, frames, mels = log_mel.shape
    return log_mel[:, :-1].reshape(batch // clips_per_sequence, clips_per_sequence * (frames - 1), mels)


def step_coverage(config: CrnnConfig, frames_per_clip: int, clips_per_sequence: int) -> tuple[np.ndarray, np.ndarray]:
    """How each step's window lies over each clip of a sequence.

    Returns:
        Two boolean arrays (steps, clips): the window ends within TOLERANCE of the clip's end, or within half a step
        where steps are so far apart that none might; the window touches the clip at all.
    """
    num_steps = config.num_steps(frames_per_clip * clips_per_sequence)
    last = np.arange(num_steps)[:, None] * config.stride_frames + config.kernel_frames - 1
    first = last - (config.max_window_length - 1) * config.stride_frames - config.kernel_frames + 1
    start = np.arange(clips_per_sequence) * frames_per_clip
    end = start + frames_per_clip - 1
    reach = max(TOLERANCE * SAMPLE_RATE, config.block_size / 2)
    return np.abs(last - end) * config.frontend.hop_length <= reach, (last >= start) & (first <= end)


def sequence_loss(
    logits: Float[Array, "sequences steps classes"],
    labels: Int[Array, " batch"],
    config: CrnnConfig,
    frames_per_clip: int,
) -> Float[Array, ""]:
    """Mean cross-entropy of the steps that must say "keyword" and of those that must not, in equal parts.

    A step must say "keyword" where its window ends with a keyword's clip, and must not where its window touches none.
    Steps in between hold part of a keyword: they are free.

    Args:
        logits: Of every step.
        labels: Of the clips, sequence after sequence.
        config: Model.
        frames_per_clip: Frames that each clip has in a sequence.
    """
    by_sequence = labels.reshape(logits.shape[0], -1)
    at_end, touches = step_coverage(config, frames_per_clip, by_sequence.shape[1])
    is_keyword = by_sequence @ jnp.asarray(at_end.T, jnp.int32) > 0
    is_other = (by_sequence @ jnp.asarray(touches.T, jnp.int32) == 0) & ~is_keyword
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, is_keyword.astype(jnp.int32))

    def mean_where(chosen: Array) -> Array:
        return jnp.sum(loss * chosen) / jnp.maximum(chosen.sum(), 1)

    return 0.5 * (mean_where(is_keyword) + mean_where(is_other))
