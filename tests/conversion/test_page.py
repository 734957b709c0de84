"""The page that listens: one file that asks for nothing, and computes what Python does."""

import base64
import hashlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from conversion import page
from conversion.__main__ import main as convert
from kws_jax.checkpoint import load, save
from kws_jax.compiled import stream as compiled
from kws_jax.config import CrnnConfig, FrontendConfig
from kws_jax.data.audio import read_audio, to_float
from kws_jax.detector import Detector
from kws_jax.errors import UserError
from tests.helpers.models import TOY, noise, random_variables
from tests.helpers.pages import KEYWORD, PCM, needs_clang, needs_node, shipped
from tests.helpers.streams import heard
from tests.tolerances import RESAMPLED, WEBASSEMBLY

ROOT = Path(__file__).parents[2]
MOST_BYTES = 100_000
SOUND_JS = (page.SOURCES / "sound.js").read_text()


def models_of(path: Path) -> list[dict[str, Any]]:
    """What a page knows of its models."""
    return json.loads(re.search('<script id="models"[^>]*>(.*?)</script>', path.read_text(), re.DOTALL)[1])


def in_node(script: str, **data: Any) -> Any:
    """What a script prints, as JSON, with the page's sound.js before it; it finds the data in `data`."""
    begin = f'{SOUND_JS}\nconst data = JSON.parse(require("fs").readFileSync(0));\n'
    ran = subprocess.run(
        ["node", "-e", f"{begin}{script}"], input=json.dumps(data), capture_output=True, check=True, text=True
    )
    return json.loads(ran.stdout)


@needs_clang
@pytest.mark.parametrize("name", ["21x_stream_int8", "185x_stream_int5"])
def test_it_is_one_small_file_that_asks_for_nothing(name: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    checkpoints = [str(shipped(word, name)) for word in ("happy", "right", "bed")]
    convert(["to-page", *checkpoints, str(tmp_path / "page.html")])
    text = (tmp_path / "page.html").read_text()
    assert len(text.encode()) < MOST_BYTES
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert not re.search(r"https?://|@[A-Z]+@|\bimport\b|<link(?! rel=\"icon\" href=\"data:,\")|\bsrc=", text)
    assert "default-src 'none'" in text
    assert [model["name"] for model in models_of(tmp_path / "page.html")] == ["happy", "right", "bed"]
    assert f"{len(text.encode()):,} bytes" in capsys.readouterr().out


@needs_clang
def test_thresholds_are_the_checkpoints_and_say_what_they_stand_for(toy: Path, toy_page: Path, tmp_path: Path):
    own, other = models_of(toy_page)
    assert (own["keyword"], own["point"], [point["name"] for point in own["points"]]) == (
        KEYWORD,
        1,
        ["about 1 an hour", "about 2 an hour"],
    )
    assert "about 2 false alarms an hour on 3 h of validation speakers' words" in own["points"][1]["meaning"]
    assert "</script><b>" not in toy_page.read_text()
    config, _, about = load(toy)
    for rate, point in zip((1.0, 2.0), own["points"], strict=True):
        assert point["level"] == about.detector(config, false_alarms_per_hour=rate).level
    assert other["points"][other["point"]]["name"] == "about 0.5 an hour"
    save(tmp_path / "bare", TOY, random_variables(TOY))
    page.write_page([tmp_path / "bare", tmp_path / "bare"], tmp_path / "page.html")
    bare, _ = models_of(tmp_path / "page.html")
    assert (bare["name"], bare["point"]) == ("the keyword: bare", 0)
    assert [point["name"] for point in bare["points"]] == ["unknown, threshold 0.5"]
    assert "It is a guess" in bare["points"][0]["meaning"]


@needs_clang
def test_misuse_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wide, model = CrnnConfig(FrontendConfig(window_length=402)), str(shipped("happy", "185x_stream_int5"))
    save(tmp_path / "wide", wide, random_variables(wide))
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("no weights")
    out = str(tmp_path / "page.html")
    for arguments, message in (
        ([out], "no checkpoint: name one or more"),
        ([model, str(tmp_path / "folder")], "is a folder: name a file"),
        ([model, str(tmp_path / "text")], "text is to be written, and is no .html: name the page after"),
        ([str(tmp_path / "text"), out], "is no checkpoint"),
        ([str(tmp_path / "wide"), out], "wide: no C for windows of 402 samples: give a multiple of 4"),
    ):
        with pytest.raises(SystemExit, match=message) as stop:
            convert(["to-page", *arguments])
        assert "\n" not in str(stop.value)
    monkeypatch.setattr(page, "FLAGS", (*page.FLAGS, "-fuse-ld=/no/such/linker"))
    with pytest.raises(UserError, match=r"clang writes no WebAssembly \(.*linker.*\): install clang and lld"):
        page.write_page([Path(model)], Path(out))
    monkeypatch.setattr(page.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="no clang: install clang and lld"):
        page.write_page([Path(model)], Path(out))
    assert not Path(out).exists()


SLOW_RATES = (4_000, 8_000, 16_000, 22_050, 44_056, 48_000, 96_000)


@needs_node
@pytest.mark.parametrize("rate", [11_025, 44_100, *(pytest.param(rate, marks=pytest.mark.slow) for rate in SLOW_RATES)])
def test_resampling_is_scipys(rate: int):
    script = """
      const resampler = new Resampler(data.rate), found = [];
      const samples = Float32Array.from(data.samples);
      for (let at = 0; at < samples.length; at += data.size) {
        found.push(...resampler.push(samples.subarray(at, at + data.size)));
      }
      console.log(JSON.stringify([...found, ...resampler.flush()]));
    """
    divisor = np.gcd(rate, 16_000)
    for length in (1, 50, 4_001):
        samples = noise(length, 1, length)[0]
        expected = resample_poly(samples.astype(np.float64), 16_000 // divisor, rate // divisor).astype(np.float32)
        for size in (length, 128, 7):
            found = in_node(script, rate=rate, size=size, samples=samples.tolist())
            np.testing.assert_allclose(found, expected, rtol=0, atol=RESAMPLED)


@needs_node
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("form", ["WAV", "WAVEX"])
def test_wavs_are_read_as_python_reads_them(form: str, channels: int, tmp_path: Path):
    script = (
        "console.log(JSON.stringify([...readWav(Uint8Array.from(Buffer.from(data.file, 'base64')).buffer).samples]))"
    )
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"):
        path = tmp_path / f"{subtype}.wav"
        soundfile.write(path, np.clip(noise(0, channels, 777).T, -1, 1), 16_000, subtype, format=form)
        found = in_node(script, file=base64.b64encode(path.read_bytes()).decode())
        np.testing.assert_array_equal(np.float32(found), read_audio(path))


@needs_clang
@needs_node
@pytest.mark.parametrize("size", [700, 16_001])
def test_webassembly_computes_what_python_does(toy: Path, toy_page: Path, size: int):
    script = """
      const steps = [], samples = Float32Array.from(data.samples);
      const note = (...step) => steps.push([...step, detector.push(step[2])]);
      const detector = new Detector(data.model.points[data.model.point].level, data.model.refractorySteps);
      let frames = 0;
      Spotter.load(data.model, note, () => frames++).then((spotter) => {
        for (let at = 0; at < samples.length; at += data.size) spotter.push(samples.subarray(at, at + data.size));
        spotter.flush();
        console.log(JSON.stringify({ steps, frames }));
      });
    """
    for model, path in zip(models_of(toy_page), (toy, shipped("happy", "185x_stream_int5")), strict=True):
        config, variables, about = load(path)
        times, expected = heard(compiled.StreamingKws(variables["params"], config), [to_float(PCM)])
        found = in_node(script, model=model, size=size, samples=to_float(PCM).tolist())
        ends, probabilities, _, triggers = (np.array(column) for column in zip(*found["steps"], strict=True))
        np.testing.assert_array_equal(ends / 16_000, times)
        np.testing.assert_allclose(probabilities, expected, rtol=0, atol=WEBASSEMBLY)
        detected = [time for time, _ in Detector(about.detector(config)).push(times, expected)]
        assert (ends[triggers] / 16_000).tolist() == detected
        assert len(detected) > 3 or path != toy, "the test would show nothing"
        assert 0 <= len(PCM) // config.frontend.hop_length - found["frames"] < 3 * config.stride_frames


def test_the_shipped_page_holds_the_shipped_detectors():
    """Bytes differ from compiler to compiler, so what tells is the files' own digests."""
    models = {model["keyword"]: model for model in models_of(ROOT / "docs" / "listen.html")}
    assert models.keys() == {"happy", "right", "bed"}
    for word, model in models.items():
        path = shipped(word, "21x_stream_int8")
        assert hashlib.sha256(path.read_bytes()).hexdigest() in model["origin"]
        config, _, about = load(path)
        assert float(about.detector(config).level) == model["points"][model["point"]]["level"]
    assert (ROOT / "docs" / "listen.html").stat().st_size < MOST_BYTES
    built = (ROOT / "docs" / "listen.html").read_text(encoding="utf-8")
    assert built == page.rendered([*models.values()]), "build it again: its sources have changed"
