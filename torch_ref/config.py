"""The model's configuration, in the reference's own names."""

import math
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np

__all__ = ["TaskConfig"]

Compression = Literal["log", "pcen"]
Steps = TypeVar("Steps", int, np.ndarray)


@dataclass(frozen=True)
class TaskConfig:
    """Front end and CRNN; the default is the reference model ("base"). Pairs are (mel, time).

    A student is the same model with other numbers; `pool`, `attention_hidden_size`, `batch_norm`, `relu` and
    `max_window_length` are fields that the reference does not have, nor has it any compression but the logarithm.

    Attributes:
        sample_rate: In Hz.
        n_fft: Length of the Fourier transform and of its Hann window, in samples.
        hop_length: Distance between frames, in samples.
        n_mels: Number of HTK mel bands between f_min and f_max.
        f_min: Where the lowest band begins, in Hz.
        f_max: Where the highest band ends, in Hz; half the sample rate by default.
        compression: Of mel power: its logarithm, or per-channel energy normalization (`model.Pcen`).
        pool: Average pooling of the frames before the convolution; what does not fill a cell is dropped.
        cnn_out_channels: Output channels of the one convolution.
        kernel_size: Of the convolution, in pooled mels and pooled frames.
        stride: Of the convolution, in pooled mels and pooled frames.
        batch_norm: Batch normalisation after the convolution.
        relu: Rectify after the convolution (and the normalisation).
        hidden_size: Units of each GRU layer.
        gru_num_layers: Number of GRU layers.
        gru_dropout: Dropout rate between GRU layers in training.
        attention_hidden_size: Hidden units of the attention's energy network.
        num_classes: Outputs; class 1 is the keyword.
        max_window_length: Steps the attention sees in a stream: the newest and those before it.
    """

    sample_rate: int = 16_000
    n_fft: int = 400
    hop_length: int = 160
    n_mels: int = 40
    f_min: float = 0.0
    f_max: float | None = None
    compression: Compression = "log"
    pool: tuple[int, int] = (1, 1)
    cnn_out_channels: int = 8
    kernel_size: tuple[int, int] = (5, 20)
    stride: tuple[int, int] = (2, 8)
    batch_norm: bool = False
    relu: bool = False
    hidden_size: int = 64
    gru_num_layers: int = 2
    gru_dropout: float = 0.1
    attention_hidden_size: int = 64
    num_classes: int = 2
    max_window_length: int = 11

    def __post_init__(self) -> None:
        if self.compression not in get_args(Compression):
            raise ValueError(f"compression {self.compression!r} must be one of {', '.join(get_args(Compression))}")
        if self.max_window_length < 1:
            raise ValueError(f"max_window_length {self.max_window_length} must be 1 or more")
        if self.conv_mels < 1:
            raise ValueError(f"kernel {self.kernel_size} is taller than {self.n_mels} mels pooled {self.pool}")

    @property
    def conv_mels(self) -> int:
        """Mel rows left after pooling and convolution."""
        return (self.n_mels // self.pool[0] - self.kernel_size[0]) // self.stride[0] + 1

    @property
    def gru_input_size(self) -> int:
        """Features of one step: channels x conv_mels (144 for the base)."""
        return self.cnn_out_channels * self.conv_mels

    @property
    def padding(self) -> int:
        """Samples mirrored at each end, since frames are centred on multiples of hop_length."""
        return self.n_fft // 2

    @property
    def right_frames(self) -> int:
        """Hops from a frame's centre until its right edge has been heard (2 by default)."""
        return math.ceil(self.padding / self.hop_length)

    @property
    def kernel_frames(self) -> int:
        """Frames that one step sees through pooling and convolution."""
        return self.pool[1] * self.kernel_size[1]

    @property
    def stride_frames(self) -> int:
        """Frames between steps."""
        return self.pool[1] * self.stride[1]

    @property
    def block_size(self) -> int:
        """Samples between steps, the block that a stream advances by (1,280 = 80 ms for the base)."""
        return self.hop_length * self.stride_frames

    @property
    def warmup_blocks(self) -> int:
        """Blocks a stream takes in before its first step: block k yields step k - warmup_blocks."""
        return math.ceil((self.right_frames + self.kernel_frames - 1) / self.stride_frames) - 1

    def step_end(self, step: Steps) -> Steps:
        """End of what a step sees, in samples from the start of the stream."""
        return (step * self.stride_frames + self.kernel_frames - 1) * self.hop_length + self.padding

    def num_frames(self, num_samples: int) -> int:
        """Frames of a waveform of `num_samples` samples; none where it is too short to be mirrored."""
        return 1 + num_samples // self.hop_length if num_samples > self.padding else 0

    def num_steps(self, num_frames: int) -> int:
        """Steps, the convolution's outputs in time, of `num_frames` frames (11 for 101)."""
        return max(0, (num_frames // self.pool[1] - self.kernel_size[1]) // self.stride[1] + 1)
