"""Sound from pipes: every header and encoding gives what the file gives, however it is cut into pieces."""

import io
import shlex
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from experiments import listen
from kws_jax.data.audio import read_audio, to_float
from kws_jax.data.pipes import ENCODINGS, Pcm, pipe_chunks
from kws_jax.errors import UserError
from tests.helpers.listening import Dribble
from tests.tolerances import CLOSED_FORM

SAMPLES = np.random.default_rng(0).normal(0, 0.2, (20_000, 2)).clip(-0.999, 0.999)
LIVE = [
    ("WAV", "PCM_U8"), ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "FLOAT"), ("WAV", "DOUBLE"),
    ("WAVEX", "PCM_16"), ("WAVEX", "PCM_24"), ("WAVEX", "FLOAT"), ("RF64", "PCM_16"), ("RF64", "FLOAT"),
]  # fmt: skip
ENDED = [
    ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("AIFF", "PCM_16"), ("CAF", "PCM_24"), ("AU", "ULAW"), ("W64", "PCM_16"),
    ("WAV", "ALAW"), ("WAV", "MS_ADPCM"), ("NIST", "PCM_16"),
]  # fmt: skip


def written(tmp_path: Path, kind: str, subtype: str, rate: int = 22_050, endian: str = "FILE") -> Path:
    soundfile.write(tmp_path / "a", SAMPLES, rate, subtype, endian, kind)
    return tmp_path / "a"


def heard(content: bytes, raw: Pcm | None = None) -> np.ndarray:
    return np.concatenate(list(pipe_chunks(Dribble(content), raw)))


@pytest.mark.parametrize(("kind", "subtype", "endian"), [(*both, "FILE") for both in LIVE] + [("WAV", "PCM_24", "BIG")])
def test_a_wav_is_heard_as_it_comes(tmp_path: Path, kind: str, subtype: str, endian: str):
    path = written(tmp_path, kind, subtype, endian=endian)
    chunks = list(pipe_chunks(Dribble(path.read_bytes())))
    assert len(chunks) > 5
    np.testing.assert_allclose(np.concatenate(chunks), read_audio(path), rtol=0, atol=CLOSED_FORM)


@pytest.mark.parametrize(("kind", "subtype"), ENDED)
def test_what_only_a_file_can_be_decoded_from_is_heard_at_its_end(
    tmp_path: Path, kind: str, subtype: str, caplog: pytest.LogCaptureFixture
):
    path = written(tmp_path, kind, subtype)
    np.testing.assert_allclose(heard(path.read_bytes()), read_audio(path), rtol=0, atol=CLOSED_FORM)
    assert "heard when it has ended; ffmpeg -i - -f wav - |" in caplog.text


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (48_000, 2)])
def test_raw_pcm_is_what_its_options_say(tmp_path: Path, encoding: str, rate: int, channels: int):
    bits, endian = encoding[1:].rstrip("lbe"), "BIG" if encoding.endswith("be") else "LITTLE"
    subtype = {"f32": "FLOAT", "f64": "DOUBLE", "u8": "PCM_U8"}.get(encoding.rstrip("lbe"), f"PCM_{bits}")
    path, samples = tmp_path / "a.wav", SAMPLES[:, :channels]
    soundfile.write(path, samples, rate, subtype)
    content = io.BytesIO()
    soundfile.write(content, samples, rate, subtype, endian, "RAW")
    found = heard(content.getvalue(), Pcm(rate, channels, encoding))
    np.testing.assert_allclose(found, read_audio(path), rtol=0, atol=CLOSED_FORM)


@pytest.mark.parametrize("size", [0, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 10_000, None])
def test_a_length_that_a_pipe_cannot_know_is_not_believed(tmp_path: Path, size: int | None):
    """As ffmpeg, sox and arecord write it; one that may be true is, and what follows is no sound."""
    content = bytearray(written(tmp_path, "WAV", "PCM_16", 16_000).read_bytes())
    if size is not None:
        content[4:8], content[40:44] = struct.pack("<I", size), struct.pack("<I", size)
    expected = read_audio(tmp_path / "a")[: 2_500 if size == 10_000 else None]
    np.testing.assert_array_equal(heard(bytes(content) + (b"LIST" if size is None else b"")), expected)


def test_what_does_not_fill_a_frame_is_left_out_and_said(caplog: pytest.LogCaptureFixture):
    pcm = np.arange(-3_000, 3_000, dtype="<i2")
    np.testing.assert_array_equal(heard(pcm.tobytes() + b"\1"), to_float(pcm))
    assert caplog.messages == ["left out 1 bytes at the end, half a sample: is this s16le PCM, one channel, 16000 Hz?"]
    caplog.clear()
    with pytest.raises(ValueError, match="no samples"):
        heard(b"\1", Pcm(encoding="f32le"))
    assert "is this f32le PCM" in caplog.text


def test_what_cannot_be_decoded_at_all_is_for_ffmpeg():
    with pytest.raises(ValueError, match=r"Format not recognised; ffmpeg -i - -f wav - \| before this command"):
        heard(b"\x1aE\xdf\xa3 a WebM")


def test_nothing_is_one_line():
    with pytest.raises(ValueError, match="no samples: it takes a WAV, or s16be PCM, 2 channels, 48000 Hz"):
        heard(b"", Pcm(48_000, 2, "s16be"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sample_rate": 100}, "sample rate of 100 Hz"),
        ({"channels": 0}, "0 channels: 1 to 64"),
        ({"encoding": "mp3"}, "encoding 'mp3': choose one of s16le,"),
    ],
)
def test_no_raw_sound_is_such(fields: dict, message: str):
    with pytest.raises(UserError, match=message):
        Pcm(**fields)


@pytest.mark.parametrize("cut", [13, 30, 44, 45, 9_001])
def test_a_wav_that_breaks_off_is_heard_so_far_or_refused(tmp_path: Path, cut: int):
    content = written(tmp_path, "WAV", "PCM_16", 16_000).read_bytes()[:cut]
    if cut > 45:
        np.testing.assert_array_equal(heard(content), read_audio(tmp_path / "a")[: (cut - 44) // 4])
        return
    with pytest.raises((ValueError, soundfile.SoundFileError)):
        heard(content)


def test_a_pipe_is_not_read_further_than_it_must(tmp_path: Path):
    """What comes first is given before the rest is asked for."""

    class Slow(Dribble):
        asked = 0

        def read1(self, size: int | None = -1) -> bytes:
            self.asked += 1
            return super().read1(size)

    pipe = Slow(written(tmp_path, "WAV", "PCM_16", 16_000).read_bytes())
    chunks = pipe_chunks(pipe)
    assert len(next(chunks)) > 0
    assert pipe.asked == 1


@pytest.mark.parametrize("tool", ["ffmpeg", "sox"])
def test_what_the_help_says_of_other_programs_works(tmp_path: Path, tool: str):
    if not shutil.which(tool):
        pytest.skip(f"needs {tool}")
    (line,) = (line for line in (listen.__doc__ or "").splitlines() if line.startswith(f"  {tool} "))
    command = shlex.split(line.replace("ANYTHING", str(written(tmp_path, "WAV", "PCM_16"))))
    sent = subprocess.run(command, check=True, capture_output=True).stdout
    np.testing.assert_allclose(heard(sent), read_audio(tmp_path / "a"), rtol=0, atol=CLOSED_FORM)
