"""Runs one model on both sides over the same audio and measures how far apart they end up."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from conversion.files import from_module
from kws_jax.config import SAMPLE_RATE, CrnnConfig
from kws_jax.data.recordings import read_named
from kws_jax.errors import UserError
from kws_jax.frontend import mel_power
from kws_jax.model import Crnn
from kws_jax.state_dict import from_variables
from torch_ref import frontend as torch_frontend
from torch_ref.model import CRNN

TOLERANCE = 1e-5  # float32 through two GRU layers differs by 3e-7; a wrong gate order by 0.1
# From samples on, the logarithm magnifies rounding next to digital silence: 5e-5 on real clips, 2e-3 in the log-mel.
PROBABILITY_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ParityReport:
    """Largest absolute differences between PyTorch and JAX, in the order of the computation.

    Attributes:
        weights: Of each tensor, by its key; conversion is exact, so any difference is another model.
        layers: Of the values of each layer:

            - "mel power" of the front end before compression, relative to the largest power;
            - "frames", which are not judged: near digital silence compression magnifies rounding, and this is no fault;
            - of the model on the same frames "conv", each layer of the GRU and the "energies", sums that are relative
              to the largest of them if that is above 1, then "attention", its weights, and "logits";
            - "probability" of the keyword from samples on, each side with its own front end.
    """

    weights: dict[str, float]
    layers: dict[str, float]

    @property
    def agrees(self) -> bool:
        """Whether weights are equal, nothing is NaN, and all layers but the frames are within their limits."""
        return self.first is None

    @property
    def first(self) -> str | None:
        """The first tensor that differs, and the first layer where both sides part."""
        tensors = [f"{name} ({found:.1e})" for name, found in self.weights.items() if found != 0]
        layers = [
            f"{name} ({found:.1e}, limit {limit:.0e})" for name, found, limit in self._judged() if not found <= limit
        ]
        return " and then in ".join([*tensors[:1], *layers[:1]]) or None

    def lines(self) -> list[str]:
        """The whole report, a line each."""
        differing = sum(found != 0 for found in self.weights.values())
        return [f"{'weights':12} {differing} of {len(self.weights)} tensors differ"] + [
            f"{name:12} {found:.2e}" + (f", limit {limit:.0e}" if limit < np.inf else "")
            for name, found, limit in self._judged()
        ]

    def _judged(self) -> list[tuple[str, float, float]]:
        limits = {"probability": PROBABILITY_TOLERANCE, "frames": np.inf}
        return [(name, found, limits.get(name, TOLERANCE)) for name, found in self.layers.items()]


def compare(model: CRNN, variables: dict[str, Any], config: CrnnConfig, waveform: np.ndarray) -> ParityReport:
    """Compares both sides.

    Args:
        model: PyTorch side.
        variables: Flax side.
        config: Of both.
        waveform: (batch, samples), float32 in [-1, 1].
    """
    model = model.eval()
    with torch.no_grad():
        torch_power = torch_frontend.MelPower(model.config)(torch.from_numpy(waveform))
        torch_frames = model.compress(torch_power)
        theirs = _torch_layers(model, torch_frames)
    with jax.default_matmul_precision("highest"):
        power = jax.jit(partial(mel_power, config.frontend))(jnp.asarray(waveform))
        frames, _ = jax.jit(partial(Crnn(config).apply, method="compress"))(variables, power)
        run = jax.jit(partial(_flax_layers, config))
        ours = run(variables, jnp.asarray(torch_frames.transpose(1, 2).numpy()))
        probability = jax.nn.softmax(run(variables, frames)["logits"])
    layers = {
        "mel power": _distance(power, torch_power.transpose(1, 2)) / max(float(power.max()), 1e-30),
        "frames": _distance(frames, torch_frames.transpose(1, 2)),
    }
    for name, values in theirs.items():
        largest = 1.0 if name in ("attention", "logits") else max(1.0, float(values.abs().max()))
        layers[name] = _distance(ours[name], values) / largest
    layers["probability"] = _distance(probability, theirs["logits"].softmax(-1))
    return ParityReport(_weights(model, variables, config), layers)


def _distance(ours: jax.Array, theirs: torch.Tensor) -> float:
    return float(np.abs(np.asarray(ours) - theirs.numpy()).max())


def _weights(model: CRNN, variables: dict[str, Any], config: CrnnConfig) -> dict[str, float]:
    ours, theirs = from_variables(variables, config), from_variables(from_module(model, config), config)
    return {key: float(np.abs(array - theirs[key]).max()) for key, array in ours.items()}


def _torch_layers(model: CRNN, frames: torch.Tensor) -> dict[str, torch.Tensor]:
    values = {"conv": model.features(frames)}
    outputs = values["conv"]
    for number in range(model.gru.num_layers):
        layer = nn.GRU(outputs.shape[-1], model.gru.hidden_size, batch_first=True)
        names = {f"{name}_l0": f"{name}_l{number}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        layer.load_state_dict({name: model.gru.get_parameter(other) for name, other in names.items()})
        outputs, _ = layer(outputs)
        values[f"gru layer {number}"] = outputs
    values["energies"] = model.attention.energy(outputs).squeeze(-1)
    logits, values["attention"] = model.forward_with_attention(frames)
    return values | {"logits": logits}


def _flax_layers(config: CrnnConfig, variables: dict[str, Any], frames: jax.Array) -> dict[str, jax.Array]:
    (logits, attention), kept = Crnn(config).apply(
        variables,
        frames,
        capture_intermediates=lambda _, method: method in ("__call__", "convolve"),
        mutable=["intermediates"],
    )
    inner: Any = kept["intermediates"]
    values = {"conv": inner["convolve"][0]}
    for number in range(config.gru_layers):
        values[f"gru layer {number}"] = inner["gru"][f"layer_{number}"]["__call__"][0][0]
    return values | {"energies": inner["attention"]["__call__"][0], "logits": logits, "attention": attention}


def some_audio(audio: Path | None, shortest: int) -> np.ndarray:
    """What both sides hear, (batch, samples): a sound file, or seeded noise without one.

    Raises:
        UserError: If it cannot be read, or is not of the shortest length.
    """
    if audio is None:
        return np.random.default_rng(0).normal(0, 0.1, (4, max(SAMPLE_RATE, shortest))).astype(np.float32)
    samples = read_named(audio)
    if len(samples) < shortest:
        found, wanted = (length / SAMPLE_RATE for length in (len(samples), shortest))
        raise UserError(f"{audio} is {found:.2f} s long: give {wanted:.2f} s or more")
    return samples[None]
