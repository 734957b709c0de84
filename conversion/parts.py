"""Where in a checkpoint a model of the reference lies: nested, behind prefixes, within a pickled module or a script.

    content["state_dict"]["student._orig_mod.conv.0.weight"]

is the tensor `conv.0.weight` of the part `state_dict.student`: a nest, in it a prefix, and words of a wrapper, which
are left out wherever they stand.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Any

from kws_jax.errors import DuplicateTensor, UserError, WeightsError
from torch_ref.archives import is_tensor
from torch_ref.pickles import Inert

__all__ = ["find_model"]

# Of DataParallel and its like, torch.compile, FSDP and Lightning's Fabric.
WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_forward_module"})
ANCHORS = ("conv.0.weight", "gru.weight_ih_l0", "attention.energy.0.weight", "classifier.weight")
LAYERS = ("pcen.", "conv.", "gru.", "attention.", "classifier.")
LEFT_OVERS = ("total_ops", "total_params", "n_averaged")  # thop's counts, and what averaging counts
SCRIPT = "__torch__."  # before the name of a script's class
QUANTIZED = ("_packed_params", "_all_weight_values")
MOST_LETTERS = 1_000_000  # of all names, so that nests within nests come to an end

Entries = dict[str, Any]
Place = tuple[str, str]


def find_model(content: Any, part: str | None = None) -> Entries:
    """The reference model's tensors by their bare names, and what else lies beside them under its prefix.

    Args:
        content: What a file holds.
        part: Which model, where there are several: its name, or words of it.

    Raises:
        UserError: There are several models and no part is given, or no such part.
        DuplicateTensor: A tensor is there with and without a wrapper's word.
        WeightsError: The model is quantized by PyTorch.
    """
    nests: dict[str, Entries] = {}
    for nest, key, value in _walk(content):
        nests.setdefault(nest, {})[key] = value
    places = _places(nests)
    if not places and part is None:
        return _state(nests.get("", {}), "", [])
    nest, prefix = _chosen(places, part)
    inner = [other for where, other in places if where == nest and len(other) > len(prefix)]
    return _state(nests[nest], prefix, inner)


def _places(nests: Mapping[str, Entries]) -> list[Place]:
    """Nest and prefix of each model; where one has more of the layers than another, only that."""
    counts: Counter[Place] = Counter()
    for nest, entries in nests.items():
        bare = [f".{_unwrapped(key)}" for key in entries]
        counts.update((nest, key[1:].removesuffix(a)) for key in bare for a in ANCHORS if key.endswith(f".{a}"))
    most = max(counts.values(), default=0)
    return [place for place, count in counts.items() if count == most]


def _chosen(places: list[Place], part: str | None) -> Place:
    names = [".".join(filter(None, (nest, prefix[:-1]))) or "." for nest, prefix in places]
    exact = [place for place, name in zip(places, names, strict=True) if name == part]
    found = [place for place, name in zip(places, names, strict=True) if part is None or f".{part}." in f".{name}."]
    for fitting in (exact, found):
        if len(fitting) == 1:
            return fitting[0]
    unfit = "" if part is None else f", of which {part!r} is none or several"
    raise UserError(f"models of the reference in it: {', '.join(names) or 'none'}{unfit}: choose one with --part NAME")


def _state(entries: Entries, prefix: str, inner: list[str]) -> Entries:
    """What lies under a prefix and no longer one; what is no tensor and in no layer of the model is left out."""
    state: Entries = {}
    for key, value in entries.items():
        bare = _unwrapped(key)
        if not bare.startswith(prefix) or any(bare.startswith(other) for other in inner):
            continue
        bare = bare.removeprefix(prefix)
        if any(word in bare for word in QUANTIZED) or (isinstance(value, Inert) and "quantized" in value.name):
            raise WeightsError(f"{bare} is quantized by PyTorch: give the model as it was before, in floats")
        is_layer = bare.startswith(LAYERS) and not _is_module(value)
        if bare.rpartition(".")[2] in LEFT_OVERS or not (is_tensor(value) or is_layer):
            continue
        if bare in state:
            raise DuplicateTensor(f"{bare} is there twice, with and without the prefix of a wrapper: remove one")
        state[bare] = value
    return state


def _unwrapped(key: str) -> str:
    return ".".join(word for word in key.split(".") if word not in WRAPPERS)


def _walk(content: Any) -> Iterator[tuple[str, str, Any]]:
    """Every entry of every container with its nest and its key in it; of what holds itself, the outermost."""
    pending: deque[tuple[str, str, Any, tuple[int, ...]]] = deque([("", "", content, ())])
    letters = 0
    while pending:
        nest, prefix, container, above = pending.popleft()
        above = (*above, id(container))
        for name, value in _entries(container).items():
            key = prefix + name
            letters += len(nest) + len(key) + 1 if _is_container(value) else 1
            if letters > MOST_LETTERS:
                raise WeightsError("too many names within names to look through: save the state_dict alone")
            yield nest, key, value
            if not _is_container(value) or id(value) in above:
                continue
            if _is_module(container) and _is_module(value):
                pending.append((nest, f"{key}.", value, above))
            else:
                pending.append((f"{nest}.{key}".lstrip("."), "", value, above))


def _entries(container: Any) -> Entries:
    """What a container holds by name: of a module its parameters, buffers and layers, of a list what has names."""
    if isinstance(container, Mapping):
        return {str(key): value for key, value in container.items()}
    if isinstance(container, list | tuple):
        return {str(number): value for number, value in enumerate(container) if _is_container(value)}
    if not isinstance(container, Inert):
        return {}
    if container.name.startswith(SCRIPT):
        return {
            name: value for name, value in _entries(container.state).items() if _is_container(value) or is_tensor(value)
        }
    state: Entries = {}
    for part in container.state if isinstance(container.state, tuple) else (container.state,):
        state |= _entries(part) if isinstance(part, Mapping) else {}
    if "_modules" in state:
        parts = (_entries(state.get(name)) for name in ("_parameters", "_buffers", "_modules"))
        return {name: value for part in parts for name, value in part.items() if value is not None}
    return _entries(container.items) | state


def _is_module(container: Any) -> bool:
    return isinstance(container, Inert) and (
        container.name.startswith(SCRIPT) or (isinstance(s := container.state, Mapping) and "_modules" in s)
    )


def _is_container(value: Any) -> bool:
    return isinstance(value, Inert | Mapping | list | tuple) and not is_tensor(value)
