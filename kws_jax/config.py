"""Configurations of the front end and the model, with the timing that follows from them."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from kws_jax.errors import UserError

if TYPE_CHECKING:
    import numpy

SAMPLE_RATE = 16_000  # Hz
REFRACTORY = 1.0  # s in which a detector rests after a detection
LARGEST_SIZE = 2**16  # that a file may ask for: what is made of it has to fit into memory
RANGES = {"num_classes": (2, LARGEST_SIZE), "gru_layers": (1, 100), "gru_dropout": (0, 0.99)}
POWER_RANGE = (1e-9, 1e9)  # mel power is clamped to it before the logarithm, as the reference does
Compression = Literal["log", "pcen"]
Steps = TypeVar("Steps", int, "numpy.ndarray")


@dataclass(frozen=True)
class FrontendConfig:
    """Mel spectrogram; the default is torchaudio's MelSpectrogram, and its logarithm, as the reference uses them.

    Attributes:
        window_length: Length of the Hann window and of the Fourier transform, in samples; even.
        hop_length: Distance between frames, in samples; beyond `window_length`, what lies between frames is not heard.
        num_mels: Number of triangular HTK mel bands between `f_min` and `f_max`.
        f_min: Where the lowest band begins, in Hz.
        f_max: Where the highest band ends, in Hz; half the sample rate by default.
        compression: What becomes of mel power: its logarithm, or per-channel energy normalization, whose parameters
            belong to the model (see `kws_jax.layers.Pcen`).

    Raises:
        UserError: If the window is odd, a size is less than one sample or band, there are more bands than bins,
            they have no room below half the sample rate, or there is no such compression.
    """

    window_length: int = 400
    hop_length: int = 160
    num_mels: int = 40
    f_min: float = 0.0
    f_max: float | None = None
    compression: Compression = "log"

    def __post_init__(self) -> None:
        if self.compression not in get_args(Compression):
            raise UserError(f"compression {self.compression!r} must be one of {', '.join(get_args(Compression))}")
        if self.window_length % 2 or min(self.window_length, self.hop_length, self.num_mels) < 1:
            raise UserError(
                f"window_length {self.window_length} must be even, and it, hop_length {self.hop_length} and "
                f"num_mels {self.num_mels} must be 1 or more"
            )
        if self.num_mels > self.num_bins:
            raise UserError(f"{self.num_mels} mel bands are more than the {self.num_bins} bins that they are made of")
        if not 0 <= self.f_min < self.top_frequency <= SAMPLE_RATE / 2:
            raise UserError(
                f"mel bands from {self.f_min:g} to {self.top_frequency:g} Hz: f_min and f_max must ascend from 0 to at "
                f"most {SAMPLE_RATE / 2:g}"
            )

    @property
    def top_frequency(self) -> float:
        """Where the highest mel band ends, in Hz."""
        return SAMPLE_RATE / 2 if self.f_max is None else self.f_max

    @property
    def num_bins(self) -> int:
        """Fourier bins of a real frame."""
        return self.window_length // 2 + 1

    @property
    def padding(self) -> int:
        """Samples mirrored at each end, since frames are centred on multiples of hop_length."""
        return self.window_length // 2

    @property
    def right_frames(self) -> int:
        """Hops from a frame's centre until its right edge has been heard (2 by default)."""
        return math.ceil(self.padding / self.hop_length)

    def num_frames(self, num_samples: int) -> int:
        """Frames of a waveform of `num_samples` samples (101 for one second by default)."""
        return 1 + num_samples // self.hop_length


@dataclass(frozen=True)
class CrnnConfig:
    """CRNN with attention; the default is the reference model ("base"), hidden size 64.

    A student is the same model with other numbers. Pairs are (mel, time), as in the reference.

    Attributes:
        frontend: The mel spectrogram in front of the model.
        pool: Average pooling of the frames before the convolution.
        conv_channels: Output channels of the one convolution.
        kernel_size: Of the convolution, in pooled mels and pooled frames.
        stride: Of the convolution, in pooled mels and pooled frames.
        batch_norm: Batch normalisation after the convolution. It exists in training only: `model.fold_batch_norm`
            returns an equal model without it.
        relu: Rectify the convolution's output (the base does not).
        gru_hidden: Units of each GRU layer.
        gru_layers: Number of GRU layers.
        gru_dropout: Dropout rate between GRU layers in training.
        attention_width: Hidden units of the attention's energy network.
        num_classes: Outputs; class 1 is the keyword.
        max_window_length: Steps the attention sees in a stream: the newest and those before it.

    Raises:
        UserError: If no model can be made, or streamed, with these numbers.

    References:
        Shan, Zhang, Wang, Xie: Attention-based End-to-End Models for Small-Footprint Keyword Spotting, 2018.
    """

    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    pool: tuple[int, int] = (1, 1)
    conv_channels: int = 8
    kernel_size: tuple[int, int] = (5, 20)
    stride: tuple[int, int] = (2, 8)
    batch_norm: bool = False
    relu: bool = False
    gru_hidden: int = 64
    gru_layers: int = 2
    gru_dropout: float = 0.1
    attention_width: int = 64
    num_classes: int = 2
    max_window_length: int = 11

    def __post_init__(self) -> None:
        sizes = (*self.pool, *self.kernel_size, *self.stride, self.conv_channels, self.gru_hidden, self.gru_layers)
        if min(*sizes, self.attention_width, self.num_classes, self.max_window_length) < 1:
            raise UserError(f"every size must be 1 or more: {self}")
        if self.conv_mels < 1:
            raise UserError(
                f"kernel {self.kernel_size} is taller than {self.frontend.num_mels} mels pooled {self.pool}"
            )
        if self.stride[1] > self.kernel_size[1]:
            raise UserError(f"time stride {self.stride[1]} would skip frames: kernel is {self.kernel_size[1]} long")
        if self.block_size <= self.frontend.padding:
            raise UserError(
                f"a step of {self.block_size} samples is too short for the left edge's reflection: "
                f"make hop_length x pool x stride in time exceed {self.frontend.padding}"
            )

    @property
    def has_pcen(self) -> bool:
        """Whether mel power is normalized channel by channel, in place of its logarithm."""
        return self.frontend.compression == "pcen"

    @property
    def conv_mels(self) -> int:
        """Mel rows left after pooling and convolution."""
        return (self.frontend.num_mels // self.pool[0] - self.kernel_size[0]) // self.stride[0] + 1

    @property
    def features(self) -> int:
        """Input size of the first GRU layer."""
        return self.conv_channels * self.conv_mels

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
        return self.frontend.hop_length * self.stride_frames

    @property
    def step_duration(self) -> float:
        """Seconds between steps."""
        return self.block_size / SAMPLE_RATE

    @property
    def receptive_field(self) -> int:
        """Samples that one step sees, from its first frame's left edge to its last frame's right edge."""
        return self.frontend.hop_length * (self.kernel_frames - 1) + self.frontend.window_length

    @property
    def warmup_blocks(self) -> int:
        """Blocks a stream takes in before its first step: block k yields step k - warmup_blocks."""
        return math.ceil((self.frontend.right_frames + self.kernel_frames - 1) / self.stride_frames) - 1

    @property
    def algorithmic_latency(self) -> int:
        """Samples between the end of a step's receptive field and the end of the block that yields it."""
        return (self.warmup_blocks + 1) * self.block_size - self.step_end(0)

    def step_end(self, step: Steps) -> Steps:
        """End of a step's receptive field, in samples from the start of the stream."""
        last_frame = step * self.stride_frames + self.kernel_frames - 1
        return last_frame * self.frontend.hop_length + self.frontend.padding

    def num_steps(self, num_frames: int) -> int:
        """Steps of `num_frames` frames (11 for 101 frames of the base)."""
        return max(0, (num_frames - self.kernel_frames) // self.stride_frames + 1)


BASE = CrnnConfig()


def config_from_json(fields: dict[str, Any]) -> CrnnConfig:
    """The configuration that `dataclasses.asdict` and JSON made these fields of; those that are missing are the base's.

    Raises:
        UserError: If it is none, or no model can be made with it.
    """
    try:
        model, frontend = dict(fields), FrontendConfig(**_checked(FrontendConfig(), fields["frontend"]))
        del model["frontend"]
        return CrnnConfig(frontend=frontend, **_checked(BASE, model))
    except (TypeError, LookupError, AttributeError, ValueError, OverflowError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"not a model configuration: {error!r}") from error


def _checked(known: FrontendConfig | CrnnConfig, fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of the kinds that a known configuration has.

    Raises:
        UserError: If one is of another kind, or a size beyond reason.
    """
    checked: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
    for name, value in checked.items():
        wanted, allowed = getattr(known, name), RANGES.get(name)
        if not _fits(wanted, value) or (allowed and not allowed[0] <= value <= allowed[1]):
            raise UserError(f"not a model configuration: {name} is {value!r}, where the base has {wanted!r}")
    return checked


def _fits(wanted: Any, value: Any) -> bool:
    """Whether a value is a pair, a word, a yes or no, a size, or another number, as the wanted one is."""
    if isinstance(wanted, tuple):
        return isinstance(value, tuple) and len(value) == len(wanted) and all(map(_fits, wanted, value))
    if isinstance(wanted, bool | str):
        return isinstance(value, type(wanted))
    if isinstance(wanted, int):
        return type(value) is int and 1 <= value <= LARGEST_SIZE
    return value is wanted or (type(value) in (int, float) and math.isfinite(value))
