"""A stream's step as ONNX, by way of PyTorch.

It takes a block of samples and the state, and yields the keyword's probability, NaN before the first step, and the next
state. A state of zeros starts a stream, so that it runs without this project. With onnxruntime, copying nothing:

    session = InferenceSession("step.onnx")
    inputs, outputs, binding = session.get_inputs(), session.get_outputs(), session.io_binding()
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
    values = [OrtValue.ortvalue_from_numpy(np.zeros(value.shape, kinds[value.type])) for value in inputs]
    for block in blocks:  # of as many samples as the first input says, (1, samples), float32
        values[0].update_inplace(block)
        for name, value in zip((given.name for given in inputs), values):
            binding.bind_ortvalue_input(name, value)
        for given in outputs:
            binding.bind_output(given.name)
        session.run_with_iobinding(binding)
        probability, *values[1:] = binding.get_outputs()
        print(probability.numpy()[0])
"""

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from conversion.files import to_module
from kws_jax import checkpoint
from kws_jax.errors import UserError
from kws_jax.files import written
from torch_ref.config import TaskConfig
from torch_ref.frontend import MelPower
from torch_ref.model import CRNN
from torch_ref.samples import LOUDEST
from torch_ref.streaming import StreamingModel, StreamState


class FoldedMelPower(nn.Module):
    """`MelPower` without padding, its Fourier transform as two products with matrices.

    The matrices have half the rows, since a cosine is even about the middle of the window and a sine is odd, and no
    columns for bins outside the mel bands. (onnxruntime's own transform is inexact where the window is no power of 2.)
    """

    window: Tensor
    cosines: Tensor
    sines: Tensor
    banks: Tensor

    def __init__(self, config: TaskConfig) -> None:
        super().__init__()
        mels = MelPower(config).mel_spectrogram
        self.window_length, self.hop_length, banks = config.n_fft, config.hop_length, mels.mel_scale.fb
        half, used = self.window_length // 2, torch.nonzero(banks.sum(dim=1)).ravel()
        angle = 2 * torch.pi * torch.outer(torch.arange(half + 1).double(), used.double()) / self.window_length
        self.register_buffer("window", mels.spectrogram.window)
        self.register_buffer("cosines", torch.cos(angle).float())
        self.register_buffer("sines", torch.sin(angle)[1:half].float())
        self.register_buffer("banks", banks[used])

    def forward(self, samples: Tensor) -> Tensor:
        """Mel power (batch, mels, frames) of samples (batch, samples)."""
        half = self.window_length // 2
        frames = samples.unfold(1, self.window_length, self.hop_length) * self.window
        first, mirrored = frames[..., 1:half], frames[..., half + 1 :].flip(-1)
        even = torch.cat([frames[..., :1], first + mirrored, frames[..., half : half + 1]], dim=-1)
        power = (even @ self.cosines) ** 2 + ((first - mirrored) @ self.sines) ** 2
        return (power @ self.banks).transpose(1, 2)


class TorchStep(nn.Module):
    """One stream's step as a module, for the exporter: a block and the state's tensors, to probability and the next."""

    def __init__(self, model: CRNN) -> None:
        super().__init__()
        self.model, self.mel_power = model, FoldedMelPower(model.config)
        self.streaming = StreamingModel(model, self.mel_power)

    def forward(self, samples: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Probability (1,), and the state's tensors."""
        state, samples = StreamState(*tensors), samples.clamp(-LOUDEST, LOUDEST)
        state, logits = self.streaming.step(self.streaming.reset(state, state.blocks == 0), samples)
        return torch.softmax(logits, dim=1)[:, 1], *state


def to_onnx(source: Path, target: Path) -> list[str]:
    """Writes a checkpoint's step as ONNX, weights as float32, what is known of it as metadata "kws".

    Args:
        source: A shipped file, or a folder of one's own.
        target: File to write.

    Returns:
        Inputs and outputs, a line each.

    Raises:
        UserError: If there is no such checkpoint, or the exporter is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401, what torch exports with
    except ImportError as error:
        raise UserError(f"ONNX needs {error.name}: pip install -e '.[export]'") from error
    config, variables, about = checkpoint.load_deployed(source)
    step = TorchStep(to_module(config, variables)).eval()
    state = StreamState(*map(torch.zeros_like, step.streaming.init_state(1)))
    names = list(StreamState._fields)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of the exporter's own parts
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program: Any = torch.onnx.export(
            step,
            (torch.zeros(1, config.block_size), *state),
            input_names=["block", *names],
            output_names=["probability", *(f"next_{name}" for name in names)],
            dynamo=True,
            verbose=False,
        )
    model = program.model_proto
    for node in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:], model.functions[:], model.metadata_props[:]
    entry = model.metadata_props.add()
    ((entry.key, entry.value),) = checkpoint.header(config, about).items()
    onnx.checker.check_model(model, full_check=True)
    with written(target) as part:
        part.write_bytes(model.SerializeToString())
    return [_described(value.name, value.type.tensor_type) for value in (*model.graph.input, *model.graph.output)]


def _described(name: str, tensor: Any) -> str:
    kind = {1: "float32", 7: "int64"}[tensor.elem_type]
    return f"{name}: {kind} [{', '.join(str(size.dim_value) for size in tensor.shape.dim)}]"
