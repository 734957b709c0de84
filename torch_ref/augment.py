"""The seminar's augmentations of waveforms and of mel power, every draw from a given generator."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from torch_ref.torchaudio_import import torchaudio

__all__ = ["WaveAugmentation", "mask_mel_power"]

NOISE_DEVIATION = 0.01  # of the white noise, in samples' units
VOLUME = 0.25  # factor
BACKGROUND_LEVEL = 1.0  # dB that the whole noise file's norm, not its crop's, stays below the clip's
MAX_MEL_MASK = 15  # mel bands, exclusive
MAX_FRAME_MASK = 35  # frames, exclusive


class WaveAugmentation:
    """One of four changes per clip, equally likely: none, white noise, a quarter of the volume, background noise.

    The background's gain is ||clip|| / ||whole noise file|| * 10^(-1/20). As the file is much longer than the clip,
    the signal-to-noise ratio is about 1 dB + 10 log10(file length / clip length): 19 dB for a file of a minute.
    """

    def __init__(self, background: Sequence[Tensor | np.ndarray]) -> None:
        """Takes the noise recordings: each (samples,), in [-1, 1], longer than the clips, and not silent.

        Without a recording, the fourth change does nothing.

        Raises:
            ValueError: A recording is silent, so that no gain brings it to the clip's level.
        """
        self.background = [torch.as_tensor(noise, dtype=torch.float32) for noise in background]
        self.norms = [noise.norm() for noise in self.background]
        for index, norm in enumerate(self.norms):
            if not norm > 0:
                raise ValueError(f"background recording {index} is silent (norm {float(norm)}): leave it out")

    def __call__(
        self, waveforms: Float[Tensor, "batch samples"], generator: torch.Generator
    ) -> Float[Tensor, "batch samples"]:
        """Returns changed copies of the clips; both in [-1, 1]."""
        kinds = torch.randint(4, (len(waveforms),), generator=generator)
        output = waveforms.clone()
        self._add_white_noise(output, kinds == 1, generator)
        output[kinds == 2] *= VOLUME
        if self.background:
            for row in (kinds == 3).nonzero().flatten().tolist():
                output[row] = self._with_background(output[row], generator)
        return output

    @staticmethod
    def _add_white_noise(
        waveforms: Float[Tensor, "batch samples"], rows: Bool[Tensor, "batch"], generator: torch.Generator
    ) -> None:
        noise = torch.randn(int(rows.sum()), waveforms.shape[1], generator=generator)
        waveforms[rows] = (waveforms[rows] + NOISE_DEVIATION * noise).clamp(-1.0, 1.0)

    def _with_background(
        self, waveform: Float[Tensor, "samples"], generator: torch.Generator
    ) -> Float[Tensor, "samples"]:
        index = int(torch.randint(len(self.background), (), generator=generator))
        noise = self.background[index]
        room = len(noise) - len(waveform)
        if room < 0:
            raise ValueError(f"background recording {index} has {len(noise)} samples, a clip {len(waveform)}")
        start = int(torch.randint(room + 1, (), generator=generator))
        gain = waveform.norm() / self.norms[index] * 10 ** (-BACKGROUND_LEVEL / 20)
        return (waveform + gain * noise[start : start + len(waveform)]).clamp(-1.0, 1.0)


_mask_mels = torchaudio.transforms.FrequencyMasking(MAX_MEL_MASK)
_mask_frames = torchaudio.transforms.TimeMasking(MAX_FRAME_MASK)


def mask_mel_power(
    mel_power: Float[Tensor, "batch mels frames"], generator: torch.Generator
) -> Float[Tensor, "batch mels frames"]:
    """Zeroes one band of mels and one span of frames, the same for the whole batch, as the seminar does.

    Widths are whole numbers below MAX_MEL_MASK and MAX_FRAME_MASK; after the logarithm the zeros read -20.72.
    torchaudio draws from torch's global generator, which is seeded from `generator` for the call and then restored.

    References:
        Park et al.: SpecAugment, 2019.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        return _mask_frames(_mask_mels(mel_power))
