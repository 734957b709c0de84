"""The reference model: convolution, GRU, attention over time, linear head."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torch_ref.config import TaskConfig

__all__ = ["CRNN", "Attention", "TaskConfig"]


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

    def features(self, input: Float[Tensor, "batch mels frames"]) -> Float[Tensor, "batch steps features"]:
        """Returns the GRU's input: pooled, convolved, flattened."""
        return self.conv(self.pool(input.unsqueeze(1))).transpose(1, 2)

    def forward_with_attention(
        self, input: Float[Tensor, "batch mels frames"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch steps"]]:
        """Returns the logits and the attention weights over the steps.

        Args:
            input: Log-mel with at least pool x kernel frames in time.
        """
        sequence, _ = self.gru(self.features(input))
        context, weights = self.attention(sequence)
        return self.classifier(context), weights

    def forward(self, input: Float[Tensor, "batch mels frames"]) -> Float[Tensor, "batch classes"]:
        """Returns the logits; class 1 is the keyword."""
        return self.forward_with_attention(input)[0]
