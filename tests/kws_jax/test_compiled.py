"""Models in C: the text, what it computes under any compiler's options, and the program that listens."""

import copy
import ctypes
import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from conversion.__main__ import main as convert
from kws_jax.checkpoint import About, load, packed_bytes, save
from kws_jax.compiled import stream as compiled
from kws_jax.compiled.source import c_source, write_c
from kws_jax.config import CrnnConfig
from kws_jax.data.audio import to_float, to_pcm
from kws_jax.detector import Detector
from kws_jax.state_dict import from_variables
from kws_jax.streaming import StreamingKws
from tests.helpers.definition import probabilities
from tests.helpers.models import TOY, loud_and_quiet, random_variables, speech_like
from tests.helpers.streams import heard
from tests.tolerances import C_AND_DEFINITION, C_AND_JAX

SHIPPED = Path(__file__).parents[2] / "checkpoints"
SMALL, MIDDLE, LIGHT = (
    SHIPPED / "happy" / f"student_{name}.safetensors"
    for name in ("185x_stream_int5", "21x_stream_int8", "21x_stream_light_int8")
)
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

pytestmark = pytest.mark.skipif(compiled.compiler() is None, reason="needs a C compiler")


LEVELS = (0.0, 0.001, 0.01, 0.1, 0.3)  # from digital silence to bursts near clipping
PCM = to_pcm(np.append(speech_like(0, 20, LEVELS), speech_like(0, 1, LEVELS)[:777]))


def written(path: Path, as_stored: bool) -> dict[str, str]:
    config, variables, about = load(path)
    return c_source(
        config, from_variables(variables, config), about, "A test", packed_bytes(path) if as_stored else None
    )


def stream_of(path: Path, as_stored: bool = False, flags: tuple[str, ...] = compiled.FLAGS) -> compiled.StreamingKws:
    config, variables, _ = load(path)
    text = written(path, as_stored)
    return compiled.StreamingKws(variables["params"], config, compiled.compiled(text["kws.h"], text["kws.c"], flags))


@lru_cache
def expected(path: Path) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """What JAX's stream says, and what the definition does."""
    config, variables, _ = load(path)
    samples = to_float(PCM)
    in_jax = heard(StreamingKws(variables["params"], config), [samples])
    return in_jax, probabilities(config, from_variables(variables, config), samples)


def check(path: Path, as_stored: bool, flags: tuple[str, ...] = compiled.FLAGS) -> None:
    in_jax, defined = expected(path)
    times, found = heard(stream_of(path, as_stored, flags), np.array_split(to_float(PCM), 9))
    np.testing.assert_array_equal(times, in_jax[0])
    np.testing.assert_allclose(found, in_jax[1], rtol=0, atol=C_AND_JAX)
    np.testing.assert_allclose(found, defined, rtol=0, atol=C_AND_DEFINITION)


@pytest.mark.parametrize("as_stored", [False, True], ids=["floats", "as stored"])
@pytest.mark.parametrize("path", [SMALL, MIDDLE], ids=lambda path: path.stem)
def test_c_computes_the_model(path: Path, as_stored: bool):
    check(path, as_stored)


def architectures() -> dict[str, Path]:
    """A shipped file of every configuration and number format that C tells apart."""
    found: dict[tuple[CrnnConfig, str], Path] = {}
    for path in sorted(SHIPPED.glob("*/*.safetensors")):
        config, _, about = load(path)
        found.setdefault((config, about.number_format if packed_bytes(path) else ""), path)
    return {path.stem: path for path in found.values()}


@pytest.mark.slow
def test_c_computes_every_shipped_architecture():
    for path in architectures().values():
        check(path, False)
        if packed_bytes(path) is not None:
            check(path, True)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["gcc", "clang"])
@pytest.mark.parametrize("lanes", [None, 1])
def test_c_computes_the_same_under_any_options(command: str, lanes: int | None, monkeypatch: pytest.MonkeyPatch):
    if not shutil.which(command):
        pytest.skip(f"needs {command}")
    monkeypatch.setenv("CC", command)
    compiled.compiled.cache_clear()
    for flags in (("-O0",), ("-Os",), ("-O2", "-Wall", "-Wextra", "-pedantic", "-Werror"), compiled.FLAGS):
        for path, as_stored in ((SMALL, True), (MIDDLE, False), (SHIPPED / "happy" / "base.safetensors", False)):
            check(path, as_stored, flags if lanes is None else (*flags, f"-DKWS_LANES={lanes}"))


def detections(path: Path, pcm: np.ndarray) -> list[tuple[float, float]]:
    """Of the stream in C with the checkpoint's own detector, in Python."""
    config, _, about = load(path)
    times, found = heard(stream_of(path), [to_float(pcm)])
    return [(round(time, 4), round(score, 6)) for time, score in Detector(about.detector(config)).push(times, found)]


@pytest.fixture
def often(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A checkpoint whose probability crosses its threshold often, and the PCM in which it does."""
    pcm = loud_and_quiet(160_001, 4_000)
    variables = random_variables(TOY)
    middle = float(np.median(heard(StreamingKws(variables["params"], TOY), [to_float(pcm)])[1]))
    save(tmp_path / "toy", TOY, variables, About('a "word"', threshold=round(middle, 4), smoothing=3))
    return tmp_path / "toy", pcm


@pytest.mark.parametrize("flags", [compiled.FLAGS, pytest.param(SANITIZED, marks=pytest.mark.slow)], ids=" ".join)
def test_the_program_prints_what_the_detector_finds(
    flags: tuple[str, ...], often: tuple[Path, np.ndarray], tmp_path: Path
):
    path, pcm = often
    convert(["to-c", str(path), str(tmp_path / "c")])
    subprocess.run(["make", "-s", "-C", str(tmp_path / "c"), f"CFLAGS={' '.join(flags)} -Wall -Wextra"], check=True)
    ran = subprocess.run([tmp_path / "c" / "listen"], input=pcm.tobytes() + b"\0", capture_output=True, check=True)
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert {line["keyword"] for line in lines} == {'a "word"'}
    assert [line["time"] for line in lines] == [time for time, _ in detections(path, pcm)]
    np.testing.assert_allclose(
        [line["probability"] for line in lines], [score for _, score in detections(path, pcm)], rtol=0, atol=2e-6
    )
    assert len(lines) > 3, "the test would show nothing"
    assert b'listening for a "word" from probability' in ran.stderr
    assert b"half a sample" in ran.stderr
    with Path("/dev/full").open("w") as full:
        program = [tmp_path / "c" / "listen"]
        unwritten = subprocess.run(program, input=pcm.tobytes(), stdout=full, stderr=subprocess.PIPE, check=False)
    assert unwritten.returncode == 1
    assert b"cannot write" in unwritten.stderr
    silent = subprocess.run([tmp_path / "c" / "listen"], input=b"", capture_output=True, check=False)
    assert (silent.returncode, silent.stdout) == (1, b"")
    assert b"no samples on standard input" in silent.stderr


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("path", [SMALL, MIDDLE, LIGHT], ids=lambda path: path.stem)
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_a_shipped_model_does_nothing_undefined(compiler: str, path: Path, lanes: int, tmp_path: Path):
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    for number, as_stored in enumerate((False, True)):
        write_c(path, tmp_path / f"c{number}", "a test", as_stored)
        flags = f"CFLAGS={' '.join(SANITIZED)} -DKWS_LANES={lanes}"
        subprocess.run(["make", "-s", "-C", str(tmp_path / f"c{number}"), f"CC={compiler}", flags], check=True)
        for length in (0, 100, 5_000, len(PCM)):
            ran = subprocess.run(
                [tmp_path / f"c{number}" / "listen"], input=PCM[:length].tobytes(), capture_output=True
            )
            assert ran.returncode == (length == 0), ran.stderr


def test_pcm_is_heard_as_its_floats_are():
    stream, config = stream_of(SMALL), load(SMALL)[0]
    found = np.zeros(len(PCM) // config.block_size + 2, compiled.STEP)
    push = stream._library.kws_push_int16
    push.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    count = push(stream._state.ctypes.data, PCM.ctypes.data, len(PCM), found.ctypes.data)
    _, floats = stream_of(SMALL).push(to_float(PCM))
    np.testing.assert_array_equal(found["probability"][:count], floats)


def test_a_copy_goes_on_by_itself_and_threads_share_a_stream():
    stream, samples = stream_of(SMALL), to_float(PCM)
    whole = np.concatenate([stream.push(samples[:50_000])[1], stream.push(samples[50_000:])[1]])
    stream.reset()
    first = stream.push(samples[:50_000])[1]
    twin = copy.deepcopy(stream)
    stream.push(samples[:7_777])
    np.testing.assert_array_equal(np.concatenate([first, twin.push(samples[50_000:])[1]]), whole)
    twin.reset()
    chunks, config = np.array_split(samples, 400), stream.config
    with ThreadPoolExecutor(4) as threads:
        steps = sum(threads.map(lambda chunk: len(twin.push(chunk)[0]), chunks))
    assert steps + len(twin.flush()[0]) == config.num_steps(config.frontend.num_frames(len(PCM)))
