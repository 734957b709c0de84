"""One verifier for every stateful part of the stream: its contract, as checks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.tolerances import EXACT, GRADIENT, SAME_FRAMEWORK


@dataclass(frozen=True)
class Part:
    """A stateful part as closures; row j of what all steps, then flush, yield is offline's row j - skip.

    Attributes:
        init: Batch size to state.
        step: Parameters, state and one block (batch, block, ...) to state and outputs (batch, rows, ...).
        offline: Parameters and whole inputs to outputs (batch, rows, ...).
        params: Parameters.
        block: Inputs a step takes.
        skip: Rows of warm-up.
        span: Row to the range of inputs that it sees; None as its start where memory reaches back without bound.
        flush: Parameters, state, tail padded to a block, its length, to the rows of the right edge, NaN where there is
            none; None where inputs have no right edge.
        is_heard: Which positions of the inputs are seen by any row at all.
        tolerance: Of chunked against offline.
    """

    init: Callable[[int], Any]
    step: Callable[..., tuple[Any, jax.Array]]
    offline: Callable[..., jax.Array]
    params: Any
    block: int
    skip: int
    span: Callable[[int], tuple[int | None, int]]
    flush: Callable[..., jax.Array] | None = None
    is_heard: Callable[[np.ndarray], np.ndarray] = lambda positions: np.ones(positions.shape, bool)
    tolerance: float = SAME_FRAMEWORK


class Verifier:
    """The checks on one part, which share its compiled functions.

    Args:
        part: The part.
        inputs: (batch >= 2, at least 8 blocks, ...); what does not fill a block is the tail for flush.
    """

    def __init__(self, part: Part, inputs: np.ndarray) -> None:
        self.part, self.all_inputs = part, inputs
        self.batch, num_blocks = inputs.shape[0], inputs.shape[1] // part.block
        self.inputs = inputs[:, : num_blocks * part.block]
        self._step, self._scan, self._offline = jax.jit(part.step), jax.jit(self._scan_steps), jax.jit(part.offline)
        self._flush = jax.jit(part.flush) if part.flush else None
        self._gradient = jax.jit(jax.grad(self._streamed_sum, (0, 1)))
        self.clean = self.scan(self.inputs)
        self.middle = self.clean.shape[1] // 2

    def verify(self) -> None:
        """All checks that need no more than the part."""
        self.check_chunked_is_offline()
        self.check_scan_is_a_loop_of_steps()
        self.check_state_keeps_its_form()
        self.check_the_future_is_not_seen()
        self.check_rows_are_independent()
        self.check_vmap_is_batch()
        self.check_gradients_are_offlines()
        self.check_receptive_field()
        assert self._step._cache_size() == self._scan._cache_size() == 1, "one compilation per block shape"

    def _scan_steps(self, params: Any, state: Any, inputs: jax.Array) -> tuple[Any, jax.Array]:
        blocks = inputs.reshape(inputs.shape[0], -1, self.part.block, *inputs.shape[2:])
        state, rows = jax.lax.scan(lambda s, x: self.part.step(params, s, x), state, jnp.moveaxis(blocks, 1, 0))
        rows = jnp.moveaxis(rows, 0, 1)
        return state, rows.reshape(rows.shape[0], -1, *rows.shape[3:])

    def _streamed_sum(self, params: Any, inputs: jax.Array, weights: jax.Array) -> jax.Array:
        _, rows = self._scan_steps(params, self.part.init(self.batch), inputs)
        return (rows[:, self.part.skip :] * weights).sum()

    def scan(self, inputs: np.ndarray) -> np.ndarray:
        """Rows after the warm-up that scan yields for whole blocks."""
        return np.asarray(self._scan(self.part.params, self.part.init(self.batch), inputs)[1][:, self.part.skip :])

    def loop(self, inputs: np.ndarray) -> tuple[Any, np.ndarray]:
        """State and rows after the warm-up of a loop of steps."""
        state, rows = self.part.init(self.batch), []
        for start in range(0, inputs.shape[1], self.part.block):
            state, new = self._step(self.part.params, state, inputs[:, start : start + self.part.block])
            rows.append(new)
        return state, np.concatenate(rows, axis=1)[:, self.part.skip :]

    def check_chunked_is_offline(self) -> None:
        """Whole blocks, with a tail and without; what lies beyond the tail's length is never read."""
        whole, (state, rows) = self.inputs.shape[1], self.loop(self.inputs)
        for length in sorted({0, self.all_inputs.shape[1] - whole}):
            streamed = np.concatenate([rows, self._right_edge(state, length)], axis=1)
            expected = np.asarray(self._offline(self.part.params, self.all_inputs[:, : whole + length]))
            assert streamed.shape == expected.shape
            np.testing.assert_allclose(streamed, expected, rtol=0, atol=self.part.tolerance)

    def _right_edge(self, state: Any, tail_length: int) -> np.ndarray:
        if self.part.flush is None:
            return self.clean[:, :0]
        tail = np.full_like(self.inputs[:, : self.part.block], np.nan)
        tail[:, :tail_length] = self.all_inputs[:, self.inputs.shape[1] :][:, :tail_length]
        rows = np.asarray(self._flush(self.part.params, state, tail, tail_length))
        return rows[:, ~np.isnan(rows).any(axis=(0, *range(2, rows.ndim)))]

    def check_scan_is_a_loop_of_steps(self) -> None:
        """Outputs and the state too."""
        looped, rows = self.loop(self.inputs)
        scanned, _ = self._scan(self.part.params, self.part.init(self.batch), self.inputs)
        np.testing.assert_allclose(rows, self.clean, rtol=0, atol=self.part.tolerance)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=self.part.tolerance), looped, scanned)

    def check_state_keeps_its_form(self) -> None:
        """Structure, shapes and types, down to JAX's weak types, which would compile a second time."""
        first, (later, _) = self.part.init(self.batch), self.loop(self.inputs)
        form = [jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), state) for state in (first, later)]
        assert form[0] == form[1]

    def check_the_future_is_not_seen(self) -> None:
        """NaN from the end of a row's span on leaves that row and all before it as they were, to the bit."""
        for row in (0, self.middle):
            broken = self.inputs.copy()
            broken[:, self.part.span(row)[1] :] = np.nan
            rows = self.scan(broken)
            np.testing.assert_array_equal(rows[:, : row + 1], self.clean[:, : row + 1])
            assert np.isnan(rows[:, row + 1]).any(), "the next row sees the NaN"

    def check_rows_are_independent(self) -> None:
        """NaN in one stream of a batch leaves the others as they were, to the bit."""
        broken = self.inputs.copy()
        broken[0] = np.nan
        np.testing.assert_array_equal(self.scan(broken)[1:], self.clean[1:])

    def check_vmap_is_batch(self) -> None:
        """Streams of one row each, mapped, are the rows of a batch."""
        states = jax.tree.map(lambda x: jnp.stack([x] * self.batch), self.part.init(1))
        mapped = jax.jit(jax.vmap(self._scan_steps, (None, 0, 0)))
        rows = np.asarray(mapped(self.part.params, states, self.inputs[:, None])[1][:, 0, self.part.skip :])
        np.testing.assert_allclose(rows, self.clean, rtol=0, atol=self.part.tolerance)

    def check_gradients_are_offlines(self) -> None:
        """With respect to parameters and inputs, of a random weighting of all rows."""
        weights = np.random.default_rng(0).normal(size=self.clean.shape).astype(np.float32)

        def offline_sum(params: Any, inputs: jax.Array) -> jax.Array:
            return (self.part.offline(params, inputs)[:, : weights.shape[1]] * weights).sum()

        expected = jax.jit(jax.grad(offline_sum, (0, 1)))(self.part.params, self.inputs)
        streamed = self._gradient(self.part.params, self.inputs, weights)
        for ours, theirs in zip(jax.tree.leaves(streamed), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=GRADIENT * max(1, np.abs(theirs).max()))

    def check_receptive_field(self) -> None:
        """A middle row's gradient is nonzero at exactly the inputs of its span that are heard."""
        weights = np.zeros_like(self.clean)
        weights[:, self.middle] = np.random.default_rng(1).normal(size=weights[:, self.middle].shape)
        gradient = np.asarray(self._gradient(self.part.params, self.inputs, weights)[1])
        seen = np.flatnonzero((np.abs(gradient) > EXACT).any(axis=(0, *range(2, gradient.ndim))))
        start, stop = self.part.span(self.middle)
        if start is None:
            assert seen[-1] == stop - 1
        else:
            positions = np.arange(start, stop)
            np.testing.assert_array_equal(seen, positions[self.part.is_heard(positions)])
