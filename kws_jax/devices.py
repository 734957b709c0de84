"""Where arrays lie when there are several devices, or several processes with some each."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Tree = TypeVar("Tree")

# A mesh is taken anew, so that JAX divides what is computed by itself, whatever types the caller's axes have.


def copied(mesh: Mesh | None) -> NamedSharding | None:
    """An array is on every device of the mesh; without one, on the only device."""
    return None if mesh is None else NamedSharding(Mesh(mesh.devices, mesh.axis_names), PartitionSpec())


def divided(mesh: Mesh | None, axis: int, length: int) -> NamedSharding | None:
    """Each device of the mesh has an equal part of an array; without one, the only device has all.

    Args:
        mesh: All its axes divide the array's one.
        axis: Of the array.
        length: Of this axis.

    Raises:
        ValueError: If the devices do not divide it.
    """
    if mesh is None:
        return None
    if length % mesh.size:
        raise ValueError(f"{mesh.size} devices do not divide {length} rows: choose a multiple")
    return NamedSharding(Mesh(mesh.devices, mesh.axis_names), PartitionSpec(*[None] * axis, mesh.axis_names))


def all_that_divide(length: int) -> Mesh | None:
    """A mesh of all devices, of all processes, if there are several and they divide so many rows."""
    found = jax.devices()
    return Mesh(found, ("rows",)) if len(found) > 1 and length % len(found) == 0 else None


def put(tree: Tree, where: NamedSharding | None) -> Tree:
    """`jax.device_put`, which takes no random keys where devices are another process's: their numbers go instead."""
    plain = jax.device_put(jax.tree.map(numbers, tree), where)
    return jax.tree.map(lambda old, new: jax.random.wrap_key_data(new) if is_key(old) else new, tree, plain)


def is_key(leaf: Any) -> bool:
    """Whether a leaf of a tree is random keys."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def numbers(leaf: Any) -> Any:
    """The numbers of a leaf, where it is random keys."""
    return jax.random.key_data(leaf) if is_key(leaf) else leaf
