"""The page that listens: one file that asks for nothing, and computes what Python does, in Node and in a browser."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from conversion import page
from conversion.__main__ import main as convert
from experiments import listen
from kws_jax.checkpoint import About, load, save
from kws_jax.compiled import stream as compiled
from kws_jax.config import CrnnConfig, FrontendConfig
from kws_jax.data.audio import read_audio, to_float, to_pcm
from kws_jax.detector import Detector
from kws_jax.errors import UserError
from tests.helpers.browser import Browser, program
from tests.helpers.models import TOY, noise, random_variables
from tests.helpers.streams import heard
from tests.tolerances import RESAMPLED, WEBASSEMBLY

SHIPPED = Path(__file__).parents[2] / "checkpoints"
MOST_BYTES = 100_000
KEYWORD = 'a "word" & </script><b>'
SAMPLES = noise(0, 1, 160_001)[0] * np.repeat(np.float32([3, 0.02] * 21), 4_000)[:160_001]
PCM = to_pcm(np.clip(SAMPLES, -1, 1))
SOUND_JS = (page.SOURCES / "sound.js").read_text()

needs_clang = pytest.mark.skipif(not shutil.which("clang") or not shutil.which("wasm-ld"), reason="needs clang and lld")
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="needs Node")
needs_chromium = pytest.mark.skipif(program() is None, reason="needs Chromium")


def shipped(word: str, name: str) -> Path:
    return SHIPPED / word / f"student_{name}.safetensors"


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


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose probability crosses its thresholds often in `PCM`."""
    path, variables = tmp_path_factory.mktemp("models") / "toy", random_variables(TOY)
    _, found = heard(compiled.StreamingKws(variables["params"], TOY), [to_float(PCM)])
    half, most = (round(float(np.quantile(found, part)), 4) for part in (0.5, 0.6))
    save(path, TOY, variables, About(KEYWORD, "fp32", half, 3, 2.0, {"1": most, "2": half}, 3.0))
    return path


@pytest.fixture(scope="module")
def toy_page(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "toy.html"
    page.write_page([toy, shipped("happy", "185x_stream_int5")], path)
    return path


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


@needs_node
@pytest.mark.parametrize("rate", [4_000, 8_000, 11_025, 16_000, 22_050, 44_056, 44_100, 48_000, 96_000])
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


def write_at(path: Path, rate: int) -> None:
    """Writes `PCM` at another rate."""
    soundfile.write(path, np.clip(resample_poly(to_float(PCM), rate // 100, 160), -1, 1), rate)


HEARD = "/heard|cannot/.test(document.getElementById('status').textContent)"
LISTED = (
    "[...document.querySelectorAll('#triggers li')].reverse().map(({dataset}) => [+dataset.time, +dataset.probability])"
)


REFUSED = """new Promise((resolve) => {
  addEventListener("securitypolicyviolation", ({ effectiveDirective }) => resolve(effectiveDirective));
  fetch("https://a.example").catch(() => {});
})"""


@pytest.mark.slow
@needs_clang
@needs_chromium
def test_a_browser_finds_what_listening_does(toy: Path, toy_page: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    with Browser(tmp_path / "profile") as browser:
        browser.open(toy_page)
        browser.wait_for("!!spotter")
        assert browser.evaluate("document.getElementById('word').textContent") == KEYWORD
        for name, rate in (("a.wav", 16_000), ("b.wav", 44_100), ("c.wav", 48_000), ("d.flac", 44_100)):
            write_at(tmp_path / name, rate)
            for point, alarms in enumerate(("1", "2")):
                browser.evaluate(f"$('point').selectedIndex = {point}; explain(); say('')")
                browser.choose_file("#file", tmp_path / name)
                browser.wait_for(HEARD)
                listen.main(["--checkpoint", str(toy), str(tmp_path / name), "--false-alarms-per-hour", alarms])
                expected = [tuple(json.loads(line).values()) for line in capsys.readouterr().out.splitlines()]
                assert [
                    (round(time, 4), pytest.approx(score, abs=2e-6)) for time, score in browser.evaluate(LISTED)
                ] == expected
                assert len(expected) > 1, "the test would show nothing"
        browser.choose_file("#file", toy_page)
        browser.wait_for("document.getElementById('status').className === 'wrong'")
        assert browser.evaluate(REFUSED) == "connect-src"
        asked = [m["params"]["request"]["url"] for m in browser.messages if m["method"] == "Network.requestWillBeSent"]
        assert {url.partition(":")[0] for url in asked} <= {"file", "data", "about"}
        assert not [m for m in browser.messages if m["method"] == "Runtime.exceptionThrown"]


@pytest.mark.slow
@needs_clang
@needs_chromium
def test_a_browser_listens_to_a_microphone(toy_page: Path, tmp_path: Path):
    write_at(tmp_path / "a.wav", 48_000)
    with Browser(tmp_path / "profile", f"--use-file-for-fake-audio-capture={tmp_path / 'a.wav'}") as browser:
        browser.open(toy_page)
        browser.wait_for("!!spotter")
        browser.evaluate("$('microphone').click()")
        browser.wait_for("heard > 4 * SAMPLE_RATE && $('triggers').childElementCount > 1")
        assert browser.evaluate("Math.abs(steps.at(-1).time - heard / SAMPLE_RATE)") < 2
        browser.evaluate("$('microphone').click()")
        assert browser.evaluate("$('status').textContent").startswith("Heard")
        assert not [m for m in browser.messages if m["method"] == "Runtime.exceptionThrown"]
