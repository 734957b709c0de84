"""Streaming inference: the offline model, a block of samples at a time, for float32, float16 and int8 models.

For every split of a waveform into chunks, the logits of all steps are those of the offline model run over the whole
waveform, each step attending over the trailing `config.max_window_length` steps; a clip no longer than the window ends
on the plain model's logits. Block k yields step k - config.warmup_blocks. The state's shapes and types never change.

An int8 model quantizes its activations by their range in each call. A stream calls it once a step, so its logits are
those of the offline model run step by step; a pass over the whole waveform at once takes its ranges from all steps.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from torch_ref.frontend import MelPower
from torch_ref.model import CRNN
from torch_ref.samples import checked_samples
from torch_ref.threads import single_thread

__all__ = ["StreamState", "StreamingKws", "StreamingModel"]


class StreamState(NamedTuple):
    """Everything a stream remembers; the first axis of every tensor is the batch.

    Attributes:
        samples: The last samples, which the next frames reach back to.
        blocks: Blocks heard so far.
        smoother: Of PCEN, negative before the first frame; of a log-mel there is none.
        frames: Frames that coming steps still need, in the model's type, as are all that follow.
        hidden: GRU state; every frame has entered it once.
        outputs: GRU outputs in the attention window, oldest first.
        energies: Their attention energies; -inf where the window has not filled yet.
    """

    samples: Float[Tensor, "batch context"]
    blocks: Int[Tensor, " batch"]
    smoother: Float[Tensor, "batch bands"]
    frames: Float[Tensor, "batch mels kept"]
    hidden: Float[Tensor, "batch layers hidden"]
    outputs: Float[Tensor, "batch window hidden"]
    energies: Float[Tensor, "batch window"]


class StreamingModel:
    """The functions of a stream, which hold no state: they take one and return the next.

    Args:
        model: In evaluation mode; float32, float16 or dynamically quantized. Its frames are computed in float32.
            The attention sees its configuration's `max_window_length` steps: the newest and those before it.
        mel_power: Mel power of samples whose edges are mirrored already; torchaudio's by default.

    Raises:
        ValueError: If the model is in training mode, or cannot be streamed.
    """

    def __init__(self, model: CRNN, mel_power: nn.Module | None = None) -> None:
        config = model.config
        if model.training:
            raise ValueError("a stream needs a model in evaluation mode: call model.eval() first")
        if config.stride_frames > config.kernel_frames or config.block_size <= config.padding:
            raise ValueError(
                f"a step of {config.block_size} samples must exceed half a window of {config.padding}, "
                f"and its {config.stride_frames} frames may not skip any: the kernel spans {config.kernel_frames}"
            )
        self.model, self.config = model, config
        self.dtype = model.get_parameter("conv.0.weight").dtype
        self._mel_power = mel_power or MelPower(config, center=False)
        # The right edge's mirror reaches back padding + 1 samples, and the next frame this far:
        reach = config.padding + (config.right_frames - 1) * config.hop_length
        self._context_length = max(reach, config.padding + 1)
        self._unframed = self._context_length - reach

    def init_state(self, batch_size: int) -> StreamState:
        """State of streams that have heard nothing."""
        config, window = self.config, self.config.max_window_length
        kept_frames = config.warmup_blocks * config.stride_frames - config.right_frames + 1
        return StreamState(
            samples=torch.zeros(batch_size, self._context_length),
            blocks=torch.zeros(batch_size, dtype=torch.int64),
            smoother=-torch.ones(batch_size, config.n_mels if self.model.pcen else 0),
            frames=torch.zeros(batch_size, config.n_mels, kept_frames, dtype=self.dtype),
            hidden=torch.zeros(batch_size, config.gru_num_layers, config.hidden_size, dtype=self.dtype),
            outputs=torch.zeros(batch_size, window, config.hidden_size, dtype=self.dtype),
            energies=torch.full((batch_size, window), -torch.inf, dtype=self.dtype),
        )

    def step(
        self, state: StreamState, samples: Float[Tensor, "batch block"]
    ) -> tuple[StreamState, Float[Tensor, "batch classes"]]:
        """Takes in one block of config.block_size samples and yields one step's logits, NaN before step 0."""
        is_step = state.blocks >= self.config.warmup_blocks
        known = torch.cat([self._left_context(state, samples), samples], dim=1)
        state = self._hear(state, known)
        state, logits = self._advance(state, state.frames[..., : self.config.kernel_frames], is_step)
        frames = state.frames[..., self.config.stride_frames :]
        return state._replace(samples=known[:, samples.shape[1] :], blocks=state.blocks + 1, frames=frames), logits

    def flush(
        self, state: StreamState, tail: Float[Tensor, "batch block"], tail_length: int
    ) -> Float[Tensor, "batch steps classes"]:
        """Logits of the steps that need the mirrored right edge of the stream's end; NaN where there is no such step.

        Args:
            state: State after the last whole block.
            tail: Samples after it, in a block of config.block_size of which the first `tail_length` exist.
            tail_length: In [0, config.block_size).
        """
        config = self.config
        known = torch.cat([self._left_context(state, tail), tail[:, :tail_length]], dim=1)
        known = functional.pad(known[:, None], (0, config.padding), mode="reflect")[:, 0]
        # The hop after the stream's last frame is not full, so no frame beyond the last one comes out.
        frames = self._hear(state, known).frames
        is_heard = (state.blocks > 0) | (tail_length > config.padding)
        logits = []
        for index in range(config.num_steps(frames.shape[2])):
            is_step = is_heard & (state.blocks - config.warmup_blocks + index >= 0)
            first = index * config.stride_frames
            state, step_logits = self._advance(state, frames[..., first : first + config.kernel_frames], is_step)
            logits.append(step_logits)
        return torch.stack(logits, dim=1) if logits else torch.zeros(len(tail), 0, config.num_classes)

    def reset(self, state: StreamState, mask: Bool[Tensor, " batch"]) -> StreamState:
        """Starts the streams where `mask` is true anew and leaves the others as they are."""
        return _select(mask, self.init_state(len(mask)), state)

    def _left_context(self, state: StreamState, block: Float[Tensor, "batch block"]) -> Float[Tensor, "batch context"]:
        padding, is_first = self.config.padding, state.blocks == 0
        if _is_known(~is_first):
            return state.samples
        edge = functional.pad(block[:, 1 : padding + 1].flip(1), (state.samples.shape[1] - padding, 0))
        return torch.where(is_first[:, None], edge, state.samples)

    def _hear(self, state: StreamState, known: Float[Tensor, "batch samples"]) -> StreamState:
        """Adds the frames of these samples; where PCEN starts, copies of frame 0 stand for what is before it."""
        power, is_first = self._mel_power(known[:, self._unframed :]), state.blocks == 0
        if self.model.pcen and not _is_known(~is_first):
            copied = power[..., torch.arange(power.shape[2]).clamp(min=self.config.right_frames - 1)]
            power = torch.where(is_first[:, None, None], copied, power)
        frames, smoother = self.model.compress_next(power, state.smoother)
        return state._replace(smoother=smoother, frames=torch.cat([state.frames, frames.to(self.dtype)], dim=2))

    def _advance(
        self, state: StreamState, frames: Float[Tensor, "batch mels kernel"], is_step: Bool[Tensor, " batch"]
    ) -> tuple[StreamState, Float[Tensor, "batch classes"]]:
        """One step of convolution, GRU and attention where `is_step`; elsewhere the state stays and logits are NaN."""
        model = self.model
        output, hidden = model.gru(model.features(frames), state.hidden.transpose(0, 1).contiguous())
        outputs = torch.cat([state.outputs[:, 1:], output], dim=1)
        energies = torch.cat([state.energies[:, 1:], model.attention.energy(output)[..., 0]], dim=1)
        # In the shapes of `Attention`, as other shapes round otherwise, which an int8 classifier magnifies.
        weights = torch.softmax(energies[..., None], dim=1)
        logits = model.classifier((outputs * weights).sum(dim=1))
        advanced = state._replace(hidden=hidden.transpose(0, 1), outputs=outputs, energies=energies)
        return _select(is_step, advanced, state), torch.where(is_step[:, None], logits, torch.nan)


def _is_known(mask: Bool[Tensor, " batch"]) -> bool:
    """Whether a mask is true throughout, which spares a running stream what else might be; not where it is traced."""
    return not torch.compiler.is_compiling() and bool(mask.all())


def _select(mask: Bool[Tensor, " batch"], where_true: StreamState, where_false: StreamState) -> StreamState:
    if _is_known(mask):
        return where_true
    pairs = zip(where_true, where_false, strict=True)
    return StreamState(*(torch.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in pairs))


class StreamingKws:
    """One stream that takes chunks of any length: a thin shell around `StreamingModel`.

    An error leaves the stream as it was before the call.

    Example:
        >>> stream = StreamingKws(model)
        >>> times, probabilities = stream.push(chunk)

    Args:
        model: In evaluation mode; float32, float16 or dynamically quantized.
    """

    def __init__(self, model: CRNN) -> None:
        self.streaming_model = StreamingModel(model)
        self.reset()

    def reset(self) -> None:
        """Forgets everything heard so far."""
        self._state = self.streaming_model.init_state(1)
        self._pending = np.zeros(0, np.float32)
        self._blocks = 0

    def push(self, samples: np.ndarray, sample_rate: int = 16_000) -> tuple[np.ndarray, np.ndarray]:
        """Takes in the next samples and yields the steps they complete.

        Args:
            samples: Any number of samples in [-1, 1], also none.
            sample_rate: Of the samples, in Hz; it must be the model's.

        Returns:
            Times in seconds from the start of the stream (the end of each step's receptive field), and the keyword's
            probability at each.

        Raises:
            TypeError: If the samples are no floats.
            ValueError: If they are not finite, have more axes than one, or another sample rate than the model's.
        """
        samples = checked_samples(samples, sample_rate, self.streaming_model.config.sample_rate)
        heard = np.concatenate([self._pending, samples])
        block_size, state, logits = self.streaming_model.config.block_size, self._state, []
        num_blocks = len(heard) // block_size
        with single_thread(), torch.inference_mode():
            for block in torch.from_numpy(heard[: num_blocks * block_size]).reshape(num_blocks, 1, block_size):
                state, step_logits = self.streaming_model.step(state, block)
                logits.append(step_logits)
        self._state, self._pending = state, heard[num_blocks * block_size :].copy()
        self._blocks += num_blocks
        return self._yield(logits, self._blocks - num_blocks, self._blocks - self.streaming_model.config.warmup_blocks)

    def flush(self) -> tuple[np.ndarray, np.ndarray]:
        """Ends the stream: yields the steps that need its right edge, and resets."""
        config, tail_length = self.streaming_model.config, len(self._pending)
        tail = torch.from_numpy(np.pad(self._pending, (0, config.block_size - tail_length)))[None]
        with single_thread(), torch.inference_mode():
            logits = self.streaming_model.flush(self._state, tail, tail_length)
        num_samples = self._blocks * config.block_size + tail_length
        ended = self._yield(logits.unbind(1), self._blocks, config.num_steps(config.num_frames(num_samples)))
        self.reset()
        return ended

    def _yield(self, logits: Sequence[Tensor], first_block: int, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Times and probabilities of the steps up to `num_steps` among the logits of blocks from `first_block` on."""
        config = self.streaming_model.config
        numbers = np.arange(len(logits)) + first_block - config.warmup_blocks
        is_step = (numbers >= 0) & (numbers < num_steps)
        rows = torch.stack([row[0] for row in logits]) if logits else torch.zeros(0, config.num_classes)
        times = config.step_end(numbers[is_step]) / config.sample_rate
        return times, torch.softmax(rows.float(), dim=1)[:, 1].numpy()[is_step]
