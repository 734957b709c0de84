"""What is timed: one stream or clip from raw samples to probability, in each runtime, as functions to call."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from conversion.onnx_step import to_onnx
from kws_jax import checkpoint, streaming
from kws_jax.array_types import Params
from kws_jax.compiled import stream as compiled
from kws_jax.config import SAMPLE_RATE, CrnnConfig
from kws_jax.data.audio import to_pcm
from kws_jax.model import Crnn, predict
from kws_jax.streaming import many
from torch_ref import accounting
from torch_ref.frontend import MelPower
from torch_ref.model import CRNN
from torch_ref.streaming import StreamingKws

PEER_SECONDS = 0.08  # of audio that the peer takes in a call, as the base does


class Timed(NamedTuple):
    """Something to time.

    Attributes:
        call: Does it once.
        seconds: Of audio that a call takes in.
    """

    call: Callable[[], Any]
    seconds: float


def seconds_per_second(*timed: Timed, warmup: int = 10, repeats: int = 200) -> list[float]:
    """Median time for a second of audio of each, called in turn on one thread; the inverse of "times real time"."""
    seconds = accounting.measure(*(each.call for each in timed), warmup=warmup, repeats=repeats)
    return [time / each.seconds for time, each in zip(seconds, timed, strict=True)]


def some_audio(seconds: float) -> np.ndarray:
    """Noise; how long a model takes does not depend on what it hears."""
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


def torch_stream(model: CRNN) -> Timed:
    """The PyTorch class, eager, fed a block a call, as a microphone feeds it."""
    return _stream(StreamingKws(model), model.config.block_size)


def jax_stream(params: Params, config: CrnnConfig) -> Timed:
    """The JAX class, a compiled step a block, fed in the same way."""
    return _stream(streaming.StreamingKws(params, config), config.block_size)


def c_stream(params: Params, config: CrnnConfig) -> Timed:
    """The class compiled from C, fed in the same way."""
    return _stream(compiled.StreamingKws(params, config), config.block_size)


def c_scan(params: Params, config: CrnnConfig, seconds: float) -> Timed:
    """All blocks in one call of the same class, which shows C without what a call from Python costs."""
    return _stream(compiled.StreamingKws(params, config), round(seconds * SAMPLE_RATE))


def micro_wake_word() -> Timed | None:
    """The peer that microcontrollers run, TensorFlow Lite and a front end in C++; None where it is not installed."""
    try:
        from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures, Model
    except ImportError:
        return None
    detector, features = MicroWakeWord.from_builtin(Model.OKAY_NABU), MicroWakeWordFeatures()
    block = to_pcm(some_audio(PEER_SECONDS)).tobytes()

    def call() -> None:
        for feature in features.process_streaming(block):
            detector.process_streaming(feature)

    return Timed(call, PEER_SECONDS)


def pocketsphinx(word: str = "happy") -> Timed | None:
    """The peer that needs no training: a search for one phrase; None where it is not installed."""
    try:
        from pocketsphinx import Config, Decoder
    except ImportError:
        return None
    decoder = Decoder(Config(keyphrase=word, kws_threshold=1e-20, lm=None, loglevel="FATAL"))
    decoder.start_utt()
    block = to_pcm(some_audio(PEER_SECONDS)).tobytes()

    def call() -> None:
        decoder.process_raw(block, False, False)
        decoder.hyp()

    return Timed(call, PEER_SECONDS)


def onnx_stream(params: Params, config: CrnnConfig) -> Timed | None:
    """The step that `to-onnx` writes, by ONNX Runtime with its state bound in place; None where it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder, "model"), config, {"params": params})
        to_onnx(Path(folder, "model"), Path(folder, "model.onnx"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(Path(folder, "model.onnx"), options)
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
    inputs = {one.name: np.zeros(one.shape, kinds[one.type]) for one in session.get_inputs()}
    inputs["block"] = some_audio(config.step_duration)[None]
    bound = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in inputs.items()}
    binding = session.io_binding()

    def call() -> Any:
        for name, value in bound.items():
            binding.bind_ortvalue_input(name, value)
        for output in session.get_outputs():
            binding.bind_output(output.name)
        session.run_with_iobinding(binding)
        probability, *state = binding.get_outputs()
        for one, value in zip(session.get_outputs()[1:], state, strict=True):
            bound[one.name.removeprefix("next_")] = value
        return probability.numpy()

    return Timed(call, config.step_duration)


def _stream(stream: StreamingKws | streaming.StreamingKws | compiled.StreamingKws, block_size: int) -> Timed:
    block = some_audio(block_size / SAMPLE_RATE)
    return Timed(lambda: stream.push(block), block_size / SAMPLE_RATE)


def jax_scan(params: Params, config: CrnnConfig, seconds: float) -> Timed:
    """All blocks in one compiled call."""
    num_samples = round(seconds * SAMPLE_RATE) // config.block_size * config.block_size
    samples, state = jnp.asarray(some_audio(seconds)[None, :num_samples]), streaming.init_state(config, 1)

    @jax.jit
    def scan(params: Params, samples: jax.Array) -> jax.Array:
        return jax.nn.softmax(streaming.scan(params, config, state, samples)[1])[..., 1]

    return Timed(lambda: scan(params, samples).block_until_ready(), num_samples / SAMPLE_RATE)


def jax_streams(
    params: Params, config: CrnnConfig, num_streams: int, tile: int | None = None, is_sent: bool = False
) -> Timed:
    """A block of each of many streams in one compiled call; it lies on the device, or is sent there in the call."""
    step, tiled = many.compiled_step(config, tile=tile), np.tile if is_sent else jnp.tile
    blocks: Any = tiled(some_audio(config.step_duration), (num_streams, 1))
    carried, is_new = [many.init_state(config, num_streams)], jnp.zeros(num_streams, bool)

    def call() -> jax.Array:
        carried[0], logits = step(params, carried[0], blocks, is_new)
        return logits.block_until_ready()

    return Timed(call, num_streams * config.step_duration)


def torch_clip(model: CRNN) -> Timed:
    """One second in one eager call."""
    mel_power, clip = MelPower(model.config), torch.from_numpy(some_audio(1)[None])
    dtype = model.get_parameter("conv.0.weight").dtype

    @torch.inference_mode()
    def call() -> torch.Tensor:
        return torch.softmax(model(model.compress(mel_power(clip)).to(dtype)).float(), dim=1)[:, 1]

    return Timed(call, 1.0)


def jax_clip(params: Params, config: CrnnConfig) -> Timed:
    """One second in one compiled call."""
    whole = jax.jit(lambda params, clip: jax.nn.softmax(predict({"params": params}, config, clip))[:, 1])
    clip = jnp.asarray(some_audio(1)[None])
    return Timed(lambda: whole(params, clip).block_until_ready(), 1.0)


def torch_model(model: CRNN) -> Timed:
    """The model alone, eager, from the frames of one second on."""
    config, dtype = model.config, model.get_parameter("conv.0.weight").dtype
    frames = torch.zeros(1, config.n_mels, config.num_frames(SAMPLE_RATE), dtype=dtype)
    return Timed(torch.inference_mode()(partial(model, frames)), 1.0)


def jax_model(params: Params, config: CrnnConfig) -> Timed:
    """The model alone, compiled, from the frames of one second on."""
    model = jax.jit(lambda params, frames: Crnn(config).apply({"params": params}, frames)[0])
    frames = jnp.zeros((1, config.frontend.num_frames(SAMPLE_RATE), config.frontend.num_mels))
    return Timed(lambda: model(params, frames).block_until_ready(), 1.0)
