"""Models and clips that several test files share."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kws_jax.config import BASE, CrnnConfig, FrontendConfig
from kws_jax.data.audio import to_pcm
from kws_jax.model import fold_batch_norm, init_variables

# A student in training form: pooled, batch-normalised, one layer.
STUDENT = CrnnConfig(
    pool=(2, 2),
    kernel_size=(4, 10),
    stride=(4, 4),
    batch_norm=True,
    relu=True,
    gru_hidden=24,
    gru_layers=1,
    gru_dropout=0.0,
    attention_width=8,
)
DEPLOYED_STUDENT = replace(STUDENT, batch_norm=False)
# As small as the model gets while every part of it is there: pooling, overlap, two layers, a light front end.
TOY = CrnnConfig(
    frontend=FrontendConfig(window_length=128, hop_length=64, num_mels=12),
    pool=(2, 2),
    conv_channels=3,
    kernel_size=(3, 4),
    stride=(2, 2),
    relu=True,
    gru_hidden=5,
    gru_layers=2,
    attention_width=4,
    max_window_length=6,
)
# Its hop is longer than its window: most samples are never looked at.
LIGHT = CrnnConfig(
    frontend=FrontendConfig(window_length=256, hop_length=640, num_mels=16, f_min=150.0, f_max=5000.0),
    pool=(2, 1),
    kernel_size=(8, 8),
    stride=(1, 4),
    relu=True,
    gru_hidden=6,
    gru_layers=1,
    attention_width=6,
    max_window_length=6,
)
PCEN = replace(TOY, frontend=replace(TOY.frontend, compression="pcen"))
CONFIGS = {"base": BASE, "student": DEPLOYED_STUDENT, "toy": TOY, "light": LIGHT, "pcen": PCEN}


# Of what is drawn neither around 0 nor by its fan-in: mean and deviation.
DRAWN = {"smoothing": (-3.0, 0.5), "root": (0.0, 0.5)}
SPREAD = ("scale", "var")


def random_variables(config: CrnnConfig, seed: int = 0) -> dict[str, Any]:
    """Variables of a deployed model: batch statistics, where there are any, are folded.

    The tree is the caller's own, to change as it likes.
    """
    return jax.tree.map(lambda leaf: leaf, fold_batch_norm(config, random_model(config, seed))[1])


@lru_cache
def random_model(config: CrnnConfig, seed: int = 0) -> dict[str, Any]:
    """Variables in training form, none of them at its initial zero or one; no initializer is compiled for them."""
    rng, shapes = np.random.default_rng(seed), jax.eval_shape(lambda: init_variables(jax.random.key(0), config))

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        name = path[-1].key
        if name in SPREAD:
            return jnp.asarray(rng.uniform(0.5, 2, leaf.shape), leaf.dtype)
        mean, deviation = DRAWN.get(name, (0.0, 0.8 * math.prod(leaf.shape[:-1]) ** -0.5 if leaf.ndim > 1 else 0.2))
        return jnp.asarray(rng.normal(mean, deviation, leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def loud_and_quiet(length: int, period: int) -> np.ndarray:
    """PCM of noise, loud and quiet by turns, so that a model's probability rises and falls."""
    return to_pcm(noise(0, 1, length)[0] * np.repeat(np.float32([3, 0.02] * 21), period)[:length])


def speech_like(seed: int, seconds: int, levels: Sequence[float]) -> np.ndarray:
    """Noise that swells and fades four times a second, each second at one of the levels, float32."""
    rng, time = np.random.default_rng(seed), np.arange(seconds * 16_000) / 16_000
    loudness = np.repeat(rng.choice(levels, seconds), 16_000)
    return (rng.normal(size=len(time)) * loudness * np.abs(np.sin(np.pi * 4 * time))).astype(np.float32)


def noise(seed: int, batch: int, samples: int, level: float = 0.1) -> np.ndarray:
    """Gaussian noise, (batch, samples), float32."""
    return np.random.default_rng(seed).normal(0, level, (batch, samples)).astype(np.float32)
