"""A stream's step as StableHLO, by jax.export, for any number of streams and every platform at once.

It takes blocks of samples and the state, and yields the keyword's probabilities, NaN before the first step, and the
next state. A state of zeros starts a stream, so that it runs without this project.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from kws_jax import checkpoint, streaming
from kws_jax.config import CrnnConfig
from kws_jax.data.audio import LOUDEST
from kws_jax.errors import UserError
from kws_jax.files import written

PLATFORMS = ("cpu", "cuda", "tpu")


def to_stablehlo(source: Path, target: Path) -> list[str]:
    """Writes a checkpoint's step; `jax.export.deserialize(bytes).call(block, *state)` runs it.

    Args:
        source: A shipped file, or a folder of one's own.
        target: File to write.

    Returns:
        Arguments and results, a line each; the first dimension is the streams'.

    Raises:
        UserError: If there is no such checkpoint, or flatbuffers is not installed.
    """
    config, variables, _ = checkpoint.load_deployed(source)
    (streams,) = export.symbolic_shape("streams")
    paths, _ = jax.tree_util.tree_flatten_with_path(streaming.init_state(config, 1))
    shapes = [jax.ShapeDtypeStruct((streams, *leaf.shape[1:]), leaf.dtype) for _, leaf in paths]
    block = jax.ShapeDtypeStruct((streams, config.block_size), jnp.float32)
    step = jax.jit(flat_step(config, variables["params"]))
    exported = export.export(step, platforms=PLATFORMS)(block, *shapes)
    try:
        stored = exported.serialize()
    except ImportError as error:
        raise UserError(f"StableHLO needs flatbuffers: pip install -e '.[export]' ({error})") from error
    with written(target) as part:
        part.write_bytes(stored)
    names = [str(path[-1]).strip(".") for path, _ in paths]
    names = ["block", *names, "probability", *(f"next_{name}" for name in names)]
    avals = (*exported.in_avals, *exported.out_avals)
    return [f"{name}: {aval.str_short()}" for name, aval in zip(names, avals, strict=True)]


def flat_step(config: CrnnConfig, params: Any) -> Callable[..., tuple[jax.Array, ...]]:
    """The step as a function of a block and the state's arrays, to the probability and the next state's."""
    tree = jax.tree.structure(streaming.init_state(config, 1))
    params = jax.tree.map(np.asarray, params)

    def step(block: jax.Array, *leaves: jax.Array) -> tuple[jax.Array, ...]:
        state: streaming.StreamState = jax.tree.unflatten(tree, leaves)
        state = streaming.reset(config, state, state.frontend.blocks == 0)
        is_step = state.frontend.blocks >= config.warmup_blocks
        state, logits = streaming.step(params, config, state, jnp.clip(block, -LOUDEST, LOUDEST))
        # Said once more, since a softmax of NaN may be any number once it is compiled.
        probability = jnp.where(is_step, jax.nn.softmax(logits)[:, 1], jnp.nan)
        return probability, *jax.tree.leaves(state)

    return step
