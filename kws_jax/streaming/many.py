"""Many streams at once, as a server has them: on a processor one tile after the other, whose arrays stay cached.

A server's loop, on all devices that there are:

    mesh = Mesh(jax.devices(), ("streams",))
    step, state = many.compiled_step(config, mesh), many.init_state(config, num_streams, mesh)
    is_new = np.ones(num_streams, bool)
    while True:
        blocks = next_blocks()  # (num_streams, config.block_size), in [-1, 1]
        state, logits = step(params, state, blocks, is_new)
        serve(jax.nn.softmax(logits)[:, 1])  # NaN where a stream has just begun
        is_new = who_begins()  # (num_streams,): rows whose next block is another caller's first
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float

from kws_jax import devices
from kws_jax.array_types import Params, Waveform
from kws_jax.config import CrnnConfig
from kws_jax.streaming import functions
from kws_jax.streaming.functions import StreamState

TILE = 128  # streams: few enough for a core's cache, enough that the calls within a step no longer cost
WIDE_TILE = 2**17  # streams on an accelerator, which one call fills or does not: no more than its memory takes
Step = Callable[[Params, StreamState, Waveform, Bool[Array, " batch"]], tuple[StreamState, Array]]


def init_state(config: CrnnConfig, num_streams: int, mesh: Mesh | None = None) -> StreamState:
    """State of streams that have heard nothing, divided over the devices of a mesh where there is one.

    Raises:
        ValueError: If the devices do not divide the streams.
    """
    return jax.device_put(functions.init_state(config, num_streams), devices.divided(mesh, 0, num_streams))


def compiled_step(config: CrnnConfig, mesh: Mesh | None = None, tile: int | None = None) -> Step:
    """`step_tiles` of a model, compiled; with a mesh, each device takes its part of the streams and talks to no other.

    The state that goes in is given away: its memory is used for the one that comes out.

    Args:
        config: Model.
        mesh: Devices; the default one without.
        tile: Streams that a device takes at once; by default what suits its kind.
    """
    platform = jax.default_backend() if mesh is None else mesh.devices.flat[0].platform
    width = tile or (TILE if platform == "cpu" else WIDE_TILE)

    def step(
        params: Params, state: StreamState, samples: Waveform, is_new: Bool[Array, " batch"]
    ) -> tuple[StreamState, Array]:
        return step_tiles(params, config, state, samples, is_new, width)

    everywhere, part = devices.copied(mesh), devices.divided(mesh, axis=0, length=0)
    if everywhere is None or part is None:
        return jax.jit(step, donate_argnums=1)
    where = (everywhere, part, part, part)
    step = jax.shard_map(
        step, mesh=part.mesh, in_specs=tuple(each.spec for each in where), out_specs=(part.spec, part.spec)
    )
    return jax.jit(step, in_shardings=where, donate_argnums=1)


def step_tiles(
    params: Params,
    config: CrnnConfig,
    state: StreamState,
    samples: Waveform,
    is_new: Bool[Array, " batch"],
    tile: int = TILE,
) -> tuple[StreamState, Float[Array, "batch classes"]]:
    """`step` of any number of streams, `tile` of them after the other; those that are new start with this block.

    Raises:
        TypeError: If the samples are no floats, or `is_new` is no bool.
        ValueError: If state, samples and `is_new` are not of as many streams, or the samples no block of each.
    """
    rows = [len(state.energies), len(samples), *is_new.shape]
    if len(rows) != 3 or len(set(rows)) > 1:
        raise ValueError(f"a state of {rows[0]} streams, samples of {rows[1]}, and is_new of shape {is_new.shape}")
    if not jnp.issubdtype(samples.dtype, jnp.floating) or is_new.dtype != bool:
        raise TypeError(f"samples are {samples.dtype} and is_new is {is_new.dtype}: give floats in [-1, 1], and bools")

    def step(streams: tuple[StreamState, Waveform, Array]) -> tuple[StreamState, Array]:
        state, samples, is_new = streams
        return functions.step(params, config, functions.reset(config, state, is_new), samples)

    streams, whole = (state, samples, is_new), len(samples) - len(samples) % tile
    tiles = jax.tree.map(lambda leaf: leaf[:whole].reshape(whole // tile, tile, *leaf.shape[1:]), streams)
    stepped = jax.tree.map(lambda leaf: leaf.reshape(whole, *leaf.shape[2:]), jax.lax.map(step, tiles))
    if whole == len(samples):
        return stepped
    rest = step(jax.tree.map(lambda leaf: leaf[whole:], streams))
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), stepped, rest) if whole else rest
