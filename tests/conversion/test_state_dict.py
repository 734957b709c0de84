"""The table of names between the two sides: every bit comes back, and what does not fit is named."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion.configs import infer_config, to_crnn_config, to_task_config
from conversion.files import from_module, to_module
from kws_jax.config import BASE, CrnnConfig
from kws_jax.errors import MisshapenTensor, MissingTensor, UnexpectedTensor, UserError, WeightsError
from kws_jax.model import init_variables
from kws_jax.state_dict import from_variables, mapping, to_variables
from tests.helpers.models import CONFIGS, PCEN, STUDENT, TOY
from torch_ref.model import CRNN

NORMED = replace(TOY, batch_norm=True)
VARIED = CONFIGS | {"pooled": STUDENT, "normed": NORMED, "one layer": replace(TOY, gru_layers=1)}
every_config = pytest.mark.parametrize("config", VARIED.values(), ids=VARIED)


def torch_state(config: CrnnConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Random bits for every tensor of PyTorch's own model: all floats there are, NaN and infinity among them."""
    rng = np.random.default_rng(seed)
    shapes = {key: tuple(tensor.shape) for key, tensor in CRNN(to_task_config(config)).state_dict().items()}
    floats = {key: rng.integers(0, 2**32, shape, np.uint32).view(np.float32) for key, shape in shapes.items() if shape}
    return floats | {key: np.zeros((), np.int64) for key, shape in shapes.items() if not shape}


def assert_same_bits(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    for key, array in first.items():
        assert array.dtype == second[key].dtype
        assert array.shape == second[key].shape
        assert array.tobytes() == second[key].tobytes(), key


@every_config
def test_every_bit_comes_back(config: CrnnConfig):
    state = torch_state(config)
    variables = to_variables(state, config)
    assert_same_bits(state, from_variables(variables, config))
    fresh = jax.eval_shape(lambda: init_variables(jax.random.key(0), config))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, fresh), "Flax's own names and shapes"
    arrays = jax.tree.leaves(variables)
    assert not any(np.shares_memory(a, b) for a in arrays for b in state.values())
    assert not any(np.shares_memory(a, b) for a in arrays for b in from_variables(variables, config).values())


CONFIGURATIONS = st.builds(
    replace,
    st.sampled_from([TOY, PCEN]),
    conv_channels=st.integers(1, 4),
    kernel_size=st.tuples(st.integers(1, 6), st.integers(2, 5)),
    stride=st.tuples(st.integers(1, 3), st.just(2)),
    batch_norm=st.booleans(),
    gru_hidden=st.integers(1, 6),
    gru_layers=st.integers(1, 3),
    attention_width=st.integers(1, 5),
    num_classes=st.integers(2, 4),
)


@settings(max_examples=40, deadline=None)
@given(config=CONFIGURATIONS, seed=st.integers(0, 2**32))
def test_any_model_comes_back_and_is_told_by_its_shapes(config: CrnnConfig, seed: int):
    state = torch_state(config, seed)
    assert_same_bits(state, from_variables(to_variables(state, config), config))
    assert infer_config(state, TOY, config.stride) == config


def test_modules_hold_copies():
    model = CRNN(to_task_config(NORMED))
    variables = from_module(model, NORMED)
    back = to_module(NORMED, variables)
    assert not back.training
    assert_same_bits(
        {k: v.numpy() for k, v in model.state_dict().items()}, {k: v.numpy() for k, v in back.state_dict().items()}
    )
    before = variables["params"]["conv"]["bias"].copy()
    for tensor in (*model.parameters(), *back.parameters()):
        tensor.data.fill_(7)
    np.testing.assert_array_equal(variables["params"]["conv"]["bias"], before)


@every_config
def test_configurations_have_two_names(config: CrnnConfig):
    assert to_crnn_config(to_task_config(config)) == config


def _reference_state(hidden: int) -> dict[str, np.ndarray]:
    config = replace(BASE, gru_hidden=hidden, attention_width=hidden)
    return {key: np.zeros(entry.shape, np.float32) for entry in mapping(config) for key in [entry.key]}


@pytest.mark.parametrize(("hidden", "parameters"), [(64, 70_443), (32, 25_387)])
def test_public_checkpoints_are_recognised(hidden: int, parameters: int):
    state = _reference_state(hidden)
    assert infer_config(state) == replace(BASE, gru_hidden=hidden, attention_width=hidden)
    assert sum(array.size for array in state.values()) == parameters


def test_the_only_stride_that_explains_the_shapes_is_found():
    state = _reference_state(64) | {"gru.weight_ih_l0": np.zeros((192, 64), np.float32)}
    assert infer_config(state) == replace(BASE, stride=(5, 8))


def test_a_known_stride_and_pooling_are_kept():
    known = replace(BASE, pool=(2, 2), stride=(4, 4), relu=True, kernel_size=(4, 10))
    assert infer_config(torch_state(STUDENT), known) == replace(STUDENT, gru_dropout=BASE.gru_dropout)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"conv.0.weight": None}, MissingTensor, r"conv\.0\.weight is missing: this is no checkpoint"),
        ({"classifier.weight": None}, MissingTensor, r"classifier\.weight is missing"),
        ({"conv.0.weight": (8, 5, 20)}, MisshapenTensor, r"conv\.0\.weight has shape \(8, 5, 20\): 4 axes"),
        ({"gru.weight_ih_l0": (192, 143)}, MisshapenTensor, r"gru\.weight_ih_l0 takes 143 features"),
        ({"gru.weight_ih_l0": (192, 24)}, MisshapenTensor, "a stride over mels of 12 to 17 makes: give --stride"),
        ({"conv.0.weight": (8, 1, 41, 20)}, UserError, r"the kernel is \(41, 20\) \(mels, time\), not \(5, 20\)"),
        ({"gru.weight_ih_l0_reverse": (192, 144)}, UnexpectedTensor, r"gru\.weight_ih_l0_reverse: the GRU is bidir"),
        ({"conv.0.weight": (8, 1, 5, 15)}, UserError, "how far it moves: give --stride MELS TIME"),
        ({"classifier.weight": (1, 64)}, MisshapenTensor, "classifier.weight has one row: class 1 of two"),
        ({"gru.weight_ih_l0": (2, 144)}, UserError, "every size must be 1 or more"),
    ],
)
def test_other_models_are_not_recognised(changes: dict, error: type[Exception], message: str):
    state = _reference_state(64)
    for key, shape in changes.items():
        state.pop(key, None)
        if shape:
            state[key] = np.zeros(shape, np.float32)
    with pytest.raises(error, match=message):
        infer_config(state)


def _spoil(tree: dict, path: tuple[str, ...], change: Callable[[np.ndarray], np.ndarray] | None) -> dict:
    """A copy of the tree with one array changed, added, or without a change taken away."""
    head, *rest = path
    if rest:
        return tree | {head: _spoil(tree.get(head, {}), tuple(rest), change)}
    spoiled = {key: value for key, value in tree.items() if key != head}
    return spoiled | ({head: change(tree.get(head, np.zeros(1, np.float32)))} if change else {})


KINDS = {
    "missing": (None, MissingTensor, "is missing"),
    "misshapen": (lambda x: x[..., :1], MisshapenTensor, "but the model's is"),
    "flattened": (lambda x: x.ravel(), MisshapenTensor, "but the model's is"),
    "float64": (lambda x: x.astype(np.float64), WeightsError, "is float64: only float32"),
    "int8": (lambda x: np.zeros(x.shape, np.int8), WeightsError, "is int8: only float32"),
    "objects": (lambda x: x.astype(object), WeightsError, "is object: only float32"),
}


@pytest.mark.parametrize(("change", "error", "message"), KINDS.values(), ids=KINDS)
def test_what_does_not_fit_is_named_in_both_directions(change: Callable, error: type[Exception], message: str):
    state = torch_state(TOY)
    variables = to_variables(state, TOY)
    with pytest.raises(error, match=rf"^gru\.weight_hh_l1 .*{message}"):
        to_variables(_spoil(state, ("gru.weight_hh_l1",), change), TOY)
    with pytest.raises(error, match=f"^params/gru/layer_1/hidden_kernel .*{message}"):
        from_variables(_spoil(variables, ("params", "gru", "layer_1", "hidden_kernel"), change), TOY)


def test_what_has_no_place_is_named_in_both_directions():
    state = torch_state(TOY)
    with pytest.raises(UnexpectedTensor, match=r"^conv\.1\.weight, gru\.weight_hh_l2: no place"):
        to_variables(state | {"gru.weight_hh_l2": np.zeros(3), "conv.1.weight": np.zeros(3)}, TOY)
    for path in ("params/gru/layer_2/input_bias", "batch_stats/batch_norm/mean"):
        with pytest.raises(UnexpectedTensor, match=f"^{path}: no place"):
            from_variables(_spoil(to_variables(state, TOY), tuple(path.split("/")), lambda x: x), TOY)
