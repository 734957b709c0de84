"""Runs one model on both sides over the same audio and measures how far apart they end up."""

from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import soundfile
import torch

from conversion.files import from_module
from kws_jax.config import SAMPLE_RATE, CrnnConfig
from kws_jax.data.audio import read_audio
from kws_jax.errors import UserError
from kws_jax.frontend import mel_power
from kws_jax.model import Crnn
from torch_ref import frontend as torch_frontend
from torch_ref.model import CRNN

TOLERANCE = 1e-5  # float32 through two GRU layers differs by 3e-7; a wrong gate order by 0.1
# From samples on, the logarithm magnifies rounding next to digital silence: 5e-5 on real clips, 2e-3 in the log-mel.
PROBABILITY_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ParityReport:
    """Largest absolute differences between PyTorch and JAX.

    Attributes:
        weights: Between the tensors themselves; conversion is exact, so any difference is another model.
        mel_power: Of the front end before compression, relative to the largest power.
        frames: Of the front end; near digital silence compression magnifies rounding, and this is no fault.
        logits: Of the model on the same frames.
        attention: Of the attention weights on the same frames.
        probability: From samples to the keyword's probability, each side with its own front end.
    """

    weights: float
    mel_power: float
    frames: float
    logits: float
    attention: float
    probability: float

    @property
    def agrees(self) -> bool:
        """Whether nothing is NaN, weights are equal, and all but the frames are within the tolerances above."""
        if not np.isfinite(astuple(self)).all() or self.weights:
            return False
        return (
            max(self.mel_power, self.logits, self.attention) <= TOLERANCE and self.probability <= PROBABILITY_TOLERANCE
        )


def compare(model: CRNN, variables: dict[str, Any], config: CrnnConfig, waveform: np.ndarray) -> ParityReport:
    """Compares both sides.

    Args:
        model: PyTorch side.
        variables: Flax side.
        config: Of both.
        waveform: (batch, samples), float32 in [-1, 1].
    """
    model = model.eval()
    crnn, compress = (jax.jit(partial(Crnn(config).apply, method=method)) for method in (None, "compress"))
    with torch.no_grad():
        torch_power = torch_frontend.MelPower(model.config)(torch.from_numpy(waveform))
        torch_frames = model.compress(torch_power)
        torch_logits, torch_attention = model.forward_with_attention(torch_frames)
        torch_probability = torch_logits.softmax(-1)
    with jax.default_matmul_precision("highest"):
        power = jax.jit(partial(mel_power, config.frontend))(jnp.asarray(waveform))
        frames, _ = compress(variables, power)
        logits, attention = crnn(variables, jnp.asarray(torch_frames.transpose(1, 2).numpy()))
        probability = jax.nn.softmax(crnn(variables, frames)[0])

    def distance(ours: jax.Array, theirs: torch.Tensor) -> float:
        return float(np.abs(np.asarray(ours) - theirs.numpy()).max())

    weights = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), from_module(model, config), dict(variables))
    return ParityReport(
        weights=max(jax.tree.leaves(weights)),
        mel_power=distance(power, torch_power.transpose(1, 2)) / max(float(power.max()), 1e-30),
        frames=distance(frames, torch_frames.transpose(1, 2)),
        logits=distance(logits, torch_logits),
        attention=distance(attention, torch_attention),
        probability=distance(probability, torch_probability),
    )


def some_audio(audio: Path | None, shortest: int) -> np.ndarray:
    """What both sides hear, (batch, samples): a sound file, or seeded noise without one.

    Raises:
        UserError: If it cannot be read, or is not of the shortest length.
    """
    if audio is None:
        return np.random.default_rng(0).normal(0, 0.1, (4, max(SAMPLE_RATE, shortest))).astype(np.float32)
    try:
        samples = read_audio(audio)
    except (OSError, ValueError, soundfile.SoundFileError) as error:
        raise UserError(f"{audio} cannot be read: {error}") from error
    if len(samples) < shortest:
        found, wanted = (length / SAMPLE_RATE for length in (len(samples), shortest))
        raise UserError(f"{audio} is {found:.2f} s long: give {wanted:.2f} s or more")
    return samples[None]
