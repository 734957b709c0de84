"""The page in a browser: the triggers of `experiments.listen` from any file, and a microphone."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from experiments import listen
from kws_jax.data.audio import to_float
from tests.helpers.browser import Browser
from tests.helpers.pages import KEYWORD, PCM, needs_chromium, needs_clang

pytestmark = [pytest.mark.slow, needs_clang, needs_chromium]


HEARD = "/heard|cannot/.test(document.getElementById('status').textContent)"
LISTED = (
    "[...document.querySelectorAll('#triggers li')].reverse().map(({dataset}) => [+dataset.time, +dataset.probability])"
)


REFUSED = """new Promise((resolve) => {
  addEventListener("securitypolicyviolation", ({ effectiveDirective }) => resolve(effectiveDirective));
  fetch("https://a.example").catch(() => {});
})"""


def write_at(path: Path, rate: int) -> None:
    """Writes `PCM` at another rate."""
    soundfile.write(path, np.clip(resample_poly(to_float(PCM), rate // 100, 160), -1, 1), rate)


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
                lines = map(json.loads, capsys.readouterr().out.splitlines())
                expected = [(line["time"], line["probability"]) for line in lines]
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
