"""The reference model: compression of mel power, convolution, GRU, attention over time, linear head."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torch_ref.config import TaskConfig
from torch_ref.frontend import log_mel

__all__ = ["CRNN", "Attention", "Pcen", "TaskConfig"]


class Pcen(nn.Module):
    """Per-channel energy normalization, one frame after the other, in float32 whatever its parameters are stored as.

    With mel power P: E_t = 1000 min(P_t, 10^9);  M_t = (1 - s) M_{t-1} + s E_t, M_0 = E_0;
    F_t = 3 ((E_t / (10^-6 + M_t) + d)^r - d^r). Of each band s and r are sigmoids of `smoothing` and `root`, and d is
    the exponential of `bias`.

    References:
        Wang, Getreuer, Hughes, Lyon, Saurous: Trainable Frontend For Robust and Far-Field Keyword Spotting, 2017.
    """

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        smoothing, root, bias = math.log(0.047 / 0.953), 0.0, math.log(2.0)
        self.smoothing = nn.Parameter(torch.full((n_mels,), smoothing))
        self.root = nn.Parameter(torch.full((n_mels,), root))
        self.bias = nn.Parameter(torch.full((n_mels,), bias))

    def forward(
        self, power: Float[Tensor, "batch mels frames"], smoother: Float[Tensor, "batch mels"]
    ) -> tuple[Float[Tensor, "batch mels frames"], Float[Tensor, "batch mels"]]:
        """Normalizes frames, and returns the smoother after the last of them.

        Args:
            power: Mel power.
            smoother: M before these frames; negative where there has been none.
        """
        smoothing, root = (parameter.float().sigmoid() for parameter in (self.smoothing, self.root))
        bias = self.bias.float().exp()
        at_silence, frames = bias**root, []
        for energy in (1000 * power.clamp(max=1e9)).unbind(2):
            smoother = torch.where(smoother < 0, energy, (1 - smoothing) * smoother + smoothing * energy)
            frames.append(3 * ((energy / (1e-6 + smoother) + bias) ** root - at_silence))
        return torch.stack(frames, dim=2), smoother


class Attention(nn.Module):
    """Weighted sum over time, the weights a softmax of energies v . tanh(W h + b) + c."""

    def __init__(self, hidden_size: int, attention_hidden_size: int) -> None:
        super().__init__()
        self.energy = nn.Sequential(
            nn.Linear(hidden_size, attention_hidden_size), nn.Tanh(), nn.Linear(attention_hidden_size, 1)
        )

    def forward(
        self, sequence: Float[Tensor, "batch steps hidden"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch steps"]]:
        """Returns the weighted sum of the sequence and the weights, which sum to 1 over the steps."""
        weights = torch.softmax(self.energy(sequence), dim=1)
        return (sequence * weights).sum(dim=1), weights.squeeze(-1)


class CRNN(nn.Module):
    """CRNN with attention; keys and shapes of the state_dict are those of the reference's public checkpoints.

    Each step's features are ordered channel-major: channel * conv_mels + mel. The GRU's gates are torch's: reset,
    update, new, with both bias vectors. Batch normalisation, where present, is `conv.1`.

    References:
        Shan, Zhang, Wang, Xie: Attention-based End-to-End Models for Small-Footprint Keyword Spotting, 2018.
        markovka17/dla, branch 2021, week06 and hw2_kws: the base's numbers.
    """

    def __init__(self, config: TaskConfig) -> None:
        super().__init__()
        self.config = config
        self.pcen = Pcen(config.n_mels) if config.compression == "pcen" else None
        # thop counts a pooling of single cells as work, so the base has none.
        self.pool = nn.Identity() if config.pool == (1, 1) else nn.AvgPool2d(config.pool)
        channels = config.cnn_out_channels
        layers: list[nn.Module] = [nn.Conv2d(1, channels, config.kernel_size, config.stride)]
        if config.batch_norm:
            layers.append(nn.BatchNorm2d(channels))
        if config.relu:
            layers.append(nn.ReLU())
        self.conv = nn.Sequential(*layers, nn.Flatten(1, 2))
        self.gru = nn.GRU(
            config.gru_input_size,
            config.hidden_size,
            config.gru_num_layers,
            batch_first=True,
            # One layer has no gap for a dropout, and torch warns of a rate without effect.
            dropout=config.gru_dropout if config.gru_num_layers > 1 else 0.0,
        )
        self.attention = Attention(config.hidden_size, config.attention_hidden_size)
        self.classifier = nn.Linear(config.hidden_size, config.num_classes)

    def compress(self, mel_power: Float[Tensor, "batch mels frames"]) -> Float[Tensor, "batch mels frames"]:
        """Returns whole clips as the model hears them, float32: their log-mel, or what PCEN makes of mel power."""
        return self.compress_next(mel_power, -torch.ones_like(mel_power[..., 0]))[0]

    def compress_next(
        self, mel_power: Float[Tensor, "batch mels frames"], smoother: Float[Tensor, "batch bands"]
    ) -> tuple[Float[Tensor, "batch mels frames"], Float[Tensor, "batch bands"]]:
        """Returns the same of a stream's next frames, and PCEN's smoother after them (see `Pcen`)."""
        return (log_mel(mel_power), smoother) if self.pcen is None else self.pcen(mel_power, smoother)

    def features(self, input: Float[Tensor, "batch mels frames"]) -> Float[Tensor, "batch steps features"]:
        """Returns the GRU's input: pooled, convolved, flattened."""
        return self.conv(self.pool(input.unsqueeze(1))).transpose(1, 2)

    def forward_with_attention(
        self, input: Float[Tensor, "batch mels frames"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch steps"]]:
        """Returns the logits and the attention weights over the steps.

        Args:
            input: What `compress` returns, in the model's type, with at least pool x kernel frames in time.
        """
        sequence, _ = self.gru(self.features(input))
        context, weights = self.attention(sequence)
        return self.classifier(context), weights

    def forward(self, input: Float[Tensor, "batch mels frames"]) -> Float[Tensor, "batch classes"]:
        """Returns the logits; class 1 is the keyword."""
        return self.forward_with_attention(input)[0]
