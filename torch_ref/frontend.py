"""The reference's front end: waveform to mel power, by torchaudio, and its logarithm."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torch_ref.config import TaskConfig
from torch_ref.torchaudio_import import torchaudio

__all__ = ["MelPower", "log_mel"]


class MelPower(nn.Module):
    """Mel power spectrogram: centred frames with reflected edges, power 2, HTK mel bands without normalisation.

    Frame k is centred on sample k * hop_length, so a clip of N samples has 1 + N // hop_length frames.

    Args:
        config: Names the front end's sizes.
        center: False for a waveform whose edges are mirrored already: frame k then starts at sample k * hop_length.
    """

    def __init__(self, config: TaskConfig, center: bool = True) -> None:
        super().__init__()
        self.config = config
        self.mel_spectrogram = torchaudio.transforms.MelSpectrogram(
            sample_rate=config.sample_rate,
            n_fft=config.n_fft,
            win_length=config.n_fft,
            hop_length=config.hop_length,
            n_mels=config.n_mels,
            f_min=config.f_min,
            f_max=config.f_max,
            center=center,
        )

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch mels frames"]:
        """Returns the mel power, linear and not negative.

        Args:
            waveform: Samples in [-1, 1] at the configuration's sample rate, more than n_fft // 2 of them.
        """
        return self.mel_spectrogram(waveform)


def log_mel(mel_power: Float[Tensor, "batch mels frames"]) -> Float[Tensor, "batch mels frames"]:
    """Natural logarithm of the mel power clamped to [1e-9, 1e9], so in [-20.72, 20.72]."""
    return torch.log(mel_power.clamp(1e-9, 1e9))
