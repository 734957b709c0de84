"""Steps in other runtimes: ONNX and StableHLO against the stream, over audio from digital silence to clipping."""

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest

from conversion.__main__ import main as convert
from kws_jax import checkpoint, streaming
from kws_jax.checkpoint import HEADER_KEY
from tests.helpers.models import noise
from tests.helpers.streams import heard
from tests.tolerances import ONNX_AND_JAX, SAME_FRAMEWORK

SHIPPED = Path(__file__).parents[2] / "checkpoints" / "happy"
each_model = pytest.mark.parametrize("name", ["student_21x_stream_int8", "base", "student_314x_int5"])


def blocks_of(config: checkpoint.CrnnConfig, seconds: int, streams: int) -> np.ndarray:
    """(blocks, streams, samples) of noise that gets louder and louder, after a time of digital silence."""
    count = seconds * 16_000 // config.block_size
    loudness = np.repeat(np.float32([0, 0.001, 0.01, 3, 0.1, 1]), -(-count // 6))[:count]
    return noise(0, count * streams, config.block_size).reshape(count, streams, -1) * loudness[:, None, None]


@pytest.mark.slow
@each_model
def test_onnx_streams_as_jax_does(name: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra export")
    from conversion import onnx_step  # seconds to import

    convert(["to-onnx", str(SHIPPED / f"{name}.safetensors"), str(tmp_path / "step.onnx")])
    config, variables, about = checkpoint.load(SHIPPED / f"{name}.safetensors")
    session = runtime.InferenceSession(tmp_path / "step.onnx", providers=["CPUExecutionProvider"])
    known = json.loads(session.get_modelmeta().custom_metadata_map[HEADER_KEY])
    assert known["about"]["keyword"] == about.keyword
    assert session.get_modelmeta().custom_metadata_map.keys() == {HEADER_KEY}
    blocks, printed = blocks_of(config, 60, 1), []
    names = {"InferenceSession": lambda _: session, "OrtValue": runtime.OrtValue, "np": np, "blocks": blocks}
    loop = textwrap.dedent((onnx_step.__doc__ or "").partition("copying nothing:\n")[2])
    exec(loop, names | {"print": printed.append})  # the way that its documentation shows
    found = np.array(printed)
    assert np.isnan(found[: config.warmup_blocks]).all()
    _, expected = streaming.StreamingKws(variables["params"], config).push(blocks.ravel())
    np.testing.assert_allclose(found[config.warmup_blocks :], expected, rtol=0, atol=ONNX_AND_JAX)
    assert np.std(expected) > 100 * ONNX_AND_JAX, "a constant would agree too"
    assert "block: float32 [1, " in capsys.readouterr().out


@pytest.mark.slow
@each_model
def test_stablehlo_streams_as_jax_does(name: str, tmp_path: Path):
    pytest.importorskip("flatbuffers", reason="needs the extra export")
    # In a process of its own: here shapes are checked as code runs, and any number of streams is no number.
    words = ["-m", "conversion", "to-stablehlo", str(SHIPPED / f"{name}.safetensors"), str(tmp_path / "step.bin")]
    ran = subprocess.run([sys.executable, *words], cwd=SHIPPED.parents[1], capture_output=True, text=True, check=True)
    assert "block: float32[streams," in ran.stdout
    config, variables, _ = checkpoint.load(SHIPPED / f"{name}.safetensors")
    exported = jax.export.deserialize(bytearray((tmp_path / "step.bin").read_bytes()))
    assert set(exported.platforms) == {"cpu", "cuda", "tpu"}
    alone = [np.zeros((1, *aval.shape[1:]), aval.dtype) for aval in exported.in_avals[1:]]
    for samples in blocks_of(config, 2, 1)[: config.warmup_blocks]:
        probability, *alone = exported.call(samples, *alone)
        assert np.isnan(probability).all(), "nothing is said before the first step"
    streams, found, blocks = 3, [], blocks_of(config, 20, 3)
    state = [np.zeros((streams, *aval.shape[1:]), aval.dtype) for aval in exported.in_avals[1:]]
    for samples in blocks:
        probability, *state = exported.call(samples, *state)
        found.append(np.asarray(probability))
    for stream, ours in enumerate(np.array(found).T):
        expected = heard(streaming.StreamingKws(variables["params"], config), [blocks[:, stream].ravel()])[1]
        assert np.isnan(ours[: config.warmup_blocks]).all()
        ours = ours[config.warmup_blocks :]
        np.testing.assert_allclose(ours, expected[: len(ours)], rtol=0, atol=SAME_FRAMEWORK)


@pytest.mark.parametrize("command", ["to-onnx", "to-stablehlo", "to-c"])
def test_no_checkpoint_is_written_over(command: str, tmp_path: Path):
    path = tmp_path / "model.safetensors"
    shutil.copyfile(SHIPPED / "student_314x_int5.safetensors", path)
    for target in (path, Path(".")):
        with pytest.raises(SystemExit, match="is to be written: name a new"):
            convert([command, str(path), str(target)])
    with pytest.raises(SystemExit, match="is what is to be converted"):
        convert(["flax-to-torch", str(path), str(path)])
    assert path.read_bytes() == (SHIPPED / "student_314x_int5.safetensors").read_bytes()


def test_what_is_no_checkpoint_is_named(tmp_path: Path):
    for command in ("to-onnx", "to-stablehlo", "to-c"):
        with pytest.raises(SystemExit, match="is no checkpoint"):
            convert([command, str(tmp_path / "nothing"), str(tmp_path / "out.onnx")])
        assert not (tmp_path / "out.onnx").exists()
