"""The model's configuration, in the reference's own names."""

from dataclasses import dataclass

__all__ = ["TaskConfig"]


@dataclass(frozen=True)
class TaskConfig:
    """Front end and CRNN; the default is the reference model ("base"). Pairs are (mel, time).

    A student is the same model with other numbers; `pool`, `attention_hidden_size`, `batch_norm` and `relu` are fields
    that the reference does not have.

    Attributes:
        sample_rate: In Hz.
        n_fft: Length of the Fourier transform and of its Hann window, in samples.
        hop_length: Distance between frames, in samples.
        n_mels: Number of HTK mel bands between 0 Hz and half the sample rate.
        pool: Average pooling of the log-mel before the convolution; what does not fill a cell is dropped.
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
    """

    sample_rate: int = 16_000
    n_fft: int = 400
    hop_length: int = 160
    n_mels: int = 40
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

    def __post_init__(self) -> None:
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

    def num_steps(self, num_frames: int) -> int:
        """Steps, the convolution's outputs in time, of a log-mel with `num_frames` frames (11 for 101)."""
        return max(0, (num_frames // self.pool[1] - self.kernel_size[1]) // self.stride[1] + 1)
