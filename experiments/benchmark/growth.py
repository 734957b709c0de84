"""How a cost grows with what there is more of: seconds of audio, streams, or hidden units."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from experiments.benchmark import timing
from experiments.benchmark.training import jax_step
from kws_jax.array_types import Params
from kws_jax.compiled import stream as compiled
from kws_jax.config import BASE, CrnnConfig
from kws_jax.model import init_variables
from kws_jax.streaming import StreamingKws
from torch_ref import accounting

Row = dict[str, Any]
LENGTHS, STREAMS, HIDDEN = (1, 10, 60, 600, 3_600), (1, 16, 256, 1_024, 4_096, 16_384), (16, 32, 64, 128, 256)
ENOUGH_AUDIO = 3_000.0  # s in all the calls of one median: longer calls are repeated less


def growth(models: Iterable[tuple[str, CrnnConfig]], batch_size: int, most: int) -> list[Row]:
    """Rows of all that grows; of each size, the median time of a call.

    Args:
        models: Names and deployed models; the first is the base, whose hidden units vary.
        batch_size: Of training.
        most: No size is larger: of seconds, streams or hidden units.
    """
    rows = []
    for name, config in models:
        params = init_variables(jax.random.key(0), config)["params"]
        rows += _rows(name, "seconds of audio", [n for n in LENGTHS if n <= most], audio_calls(params, config))
        rows += _rows(name, "streams", [n for n in STREAMS if n <= most], streams_calls(params, config))
    return rows + _rows("base", "hidden units", [n for n in HIDDEN if n <= most], hidden_calls(batch_size))


def _rows(model: str, of: str, sizes: list[int], calls: Callable[[int], dict[str, timing.Timed]]) -> list[Row]:
    rows = []
    for size in sizes:
        for what, timed in calls(size).items():  # one after the other, as a large one empties a small one's caches
            repeats = int(np.clip(ENOUGH_AUDIO / timed.seconds, 3, 50))
            (seconds,) = accounting.measure(timed.call, warmup=1, repeats=repeats)
            row = {"model": model, "of": of, "size": size, "what": what}
            rows.append(row | {"milliseconds": 1e3 * seconds, "heard": timed.seconds})
    return rows


def audio_calls(params: Params, config: CrnnConfig) -> Callable[[int], dict[str, timing.Timed]]:
    """A whole recording in one push."""
    streams: dict[str, compiled.StreamingKws | StreamingKws] = {
        "C": compiled.StreamingKws(params, config),
        "JAX": StreamingKws(params, config),
    }

    def calls(seconds: int) -> dict[str, timing.Timed]:
        audio = timing.some_audio(seconds)
        return {what: timing.Timed(partial(stream.push, audio), float(seconds)) for what, stream in streams.items()}

    return calls


def streams_calls(params: Params, config: CrnnConfig) -> Callable[[int], dict[str, timing.Timed]]:
    """A block of each stream in one call."""
    return lambda num_streams: {"JAX": timing.jax_streams(params, config, num_streams)}


def hidden_calls(batch_size: int) -> Callable[[int], dict[str, timing.Timed]]:
    """A push of a block, and a training step, of the base with other hidden units."""

    def calls(hidden: int) -> dict[str, timing.Timed]:
        config = replace(BASE, gru_hidden=hidden)
        params = init_variables(jax.random.key(0), config)["params"]
        step = jax_step(config, batch_size, "mel power")
        return {
            "C": timing.c_stream(params, config),
            "JAX": timing.jax_stream(params, config),
            "training step": timing.Timed(step, float(batch_size)),
        }

    return calls
