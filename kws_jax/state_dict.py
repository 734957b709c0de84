"""The reference's state_dict and Flax variables: the table of names, shapes and axes, and both directions.

Shipped files and the reference's public checkpoints name their tensors as PyTorch does; nothing here needs PyTorch.

| key                                       | Flax (collection / path)                       | transform             |
|-------------------------------------------|------------------------------------------------|-----------------------|
| conv.0.weight  (out, 1, mel, time)        | params/conv/kernel (time, mel, 1, out)         | axes 3, 2, 1, 0       |
| gru.weight_ih_l{i} (3 hidden, features)   | params/gru/layer_{i}/input_kernel (transposed) | axes 1, 0             |
| linear weights (out, in)                  | kernel (in, out)                               | axes 1, 0             |
| biases, batch-norm vectors                | bias, scale, mean, var                         | none                  |
| pcen.smoothing, root, bias                | params/pcen/smoothing, root, bias              | none                  |

Gates stay packed in the order r, z, n on both sides, and features stay channel-major. Both sides hold float32;
float16 and bfloat16 widen to it, which is exact, and any other type is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kws_jax.config import CrnnConfig
from kws_jax.errors import MisshapenTensor, MissingTensor, UnexpectedTensor, WeightsError

Path = tuple[str, ...]
# torch's count of batches, which nothing reads while the momentum is a number; Flax has no such thing.
BATCH_COUNT_KEY = "conv.1.num_batches_tracked"


@dataclass(frozen=True)
class Entry:
    """One tensor, under both names.

    Attributes:
        key: Key in the state_dict.
        flax_path: Collection and path in the variables.
        shape: Shape in the state_dict.
        axes: The Flax array's axes among these; an involution, so it serves both directions.
    """

    key: str
    flax_path: Path
    shape: tuple[int, ...]
    axes: tuple[int, ...]


def mapping(config: CrnnConfig) -> list[Entry]:
    """Every tensor of the model, with the shape that its configuration demands."""
    hidden, width, channels = config.gru_hidden, config.attention_width, config.conv_channels
    gates = 3 * hidden
    rows: list[tuple[str, str, tuple[int, ...]]] = []
    if config.has_pcen:
        bands, names = (config.frontend.num_mels,), ("smoothing", "root", "bias")
        rows += [(f"pcen.{name}", f"params/pcen/{name}", bands) for name in names]
    rows += [
        ("conv.0.weight", "params/conv/kernel", (channels, 1, *config.kernel_size)),
        ("conv.0.bias", "params/conv/bias", (channels,)),
    ]
    if config.batch_norm:
        rows += [
            ("conv.1.weight", "params/batch_norm/scale", (channels,)),
            ("conv.1.bias", "params/batch_norm/bias", (channels,)),
            ("conv.1.running_mean", "batch_stats/batch_norm/mean", (channels,)),
            ("conv.1.running_var", "batch_stats/batch_norm/var", (channels,)),
        ]
    for layer in range(config.gru_layers):
        inputs = hidden if layer else config.features
        rows += [
            (f"gru.weight_ih_l{layer}", f"params/gru/layer_{layer}/input_kernel", (gates, inputs)),
            (f"gru.weight_hh_l{layer}", f"params/gru/layer_{layer}/hidden_kernel", (gates, hidden)),
            (f"gru.bias_ih_l{layer}", f"params/gru/layer_{layer}/input_bias", (gates,)),
            (f"gru.bias_hh_l{layer}", f"params/gru/layer_{layer}/hidden_bias", (gates,)),
        ]
    rows += [
        ("attention.energy.0.weight", "params/attention/project/kernel", (width, hidden)),
        ("attention.energy.0.bias", "params/attention/project/bias", (width,)),
        ("attention.energy.2.weight", "params/attention/score/kernel", (1, width)),
        ("attention.energy.2.bias", "params/attention/score/bias", (1,)),
        ("classifier.weight", "params/classifier/kernel", (config.num_classes, hidden)),
        ("classifier.bias", "params/classifier/bias", (config.num_classes,)),
    ]
    return [Entry(key, tuple(path.split("/")), shape, tuple(range(len(shape)))[::-1]) for key, path, shape in rows]


def to_variables(state: Mapping[str, np.ndarray], config: CrnnConfig) -> dict[str, Any]:
    """Flax variables that hold copies of the state_dict's tensors.

    Raises:
        MissingTensor: If a tensor of the model is absent.
        UnexpectedTensor: If there is a tensor that the model has no place for.
        MisshapenTensor: If a tensor's shape is not the model's.
        WeightsError: If a tensor's type is wider than float32, or no float.
    """
    table = mapping(config)
    known = {entry.key for entry in table} | ({BATCH_COUNT_KEY} if config.batch_norm else set())
    if unexpected := sorted(set(state) - known):
        raise UnexpectedTensor(f"{', '.join(unexpected)}: no place for it in this model")
    variables: dict[str, Any] = {}
    for entry in table:
        _put(variables, entry.flax_path, _copy(entry.key, state.get(entry.key), entry.shape, entry.axes))
    return variables


def from_variables(variables: Mapping[str, Any], config: CrnnConfig) -> dict[str, np.ndarray]:
    """The state_dict that holds copies of the variables' arrays.

    Raises:
        MissingTensor: If an array of the model is absent.
        UnexpectedTensor: If there is an array that the model has no place for.
        MisshapenTensor: If an array's shape is not the model's.
        WeightsError: If an array's type is wider than float32, or no float.
    """
    table = mapping(config)
    arrays = _flatten(variables)
    if unexpected := sorted(set(arrays) - {entry.flax_path for entry in table}):
        raise UnexpectedTensor(f"{', '.join('/'.join(path) for path in unexpected)}: no place for it in this model")
    state = {}
    for entry in table:
        shape = tuple(entry.shape[axis] for axis in entry.axes)
        state[entry.key] = _copy("/".join(entry.flax_path), arrays.get(entry.flax_path), shape, entry.axes)
    if config.batch_norm:
        state[BATCH_COUNT_KEY] = np.zeros((), np.int64)
    return state


def check_numbers(state: Mapping[str, np.ndarray]) -> None:
    """Refuses weights that no training leaves behind on purpose.

    Raises:
        WeightsError: If a number is not finite, or a variance negative; it names the tensor.
    """
    for key, array in state.items():
        if not np.isfinite(array).all():
            raise WeightsError(f"{key} holds NaN or infinity: a training that diverged, or a damaged file")
        if key.endswith("running_var") and (array < 0).any():
            raise WeightsError(f"{key} holds a negative variance: the file is damaged")


def _copy(name: str, tensor: np.ndarray | None, shape: tuple[int, ...], axes: tuple[int, ...]) -> np.ndarray:
    """The tensor with its axes in another order; it has to be there, of the model's shape and a type that converts."""
    if tensor is None:
        raise MissingTensor(f"{name} is missing")
    if tensor.shape != shape:
        raise MisshapenTensor(f"{name} has shape {tensor.shape}, but the model's is {shape}")
    if tensor.dtype.kind in "biu" or not np.can_cast(tensor.dtype, np.float32):
        raise WeightsError(
            f"{name} is {tensor.dtype}: only float32, and float16 or bfloat16, convert without loss: save it in float32"
        )
    return np.array(tensor.transpose(axes), np.float32, order="C")


def _put(tree: dict[str, Any], path: Path, array: np.ndarray) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = array


def _flatten(tree: Mapping[str, Any], prefix: Path = ()) -> dict[Path, np.ndarray]:
    flat: dict[Path, np.ndarray] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, (*prefix, name))
        else:
            flat[(*prefix, name)] = np.asarray(value)
    return flat
