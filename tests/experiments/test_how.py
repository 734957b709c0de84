"""What the report says of how a setting is made is what the table of settings says."""

import json
from dataclasses import asdict

import pytest
from experiments.report.how import how
from experiments.setting import Setting
from experiments.settings import BY_NAME, SETTINGS


def said(setting: Setting) -> str:
    """Of a record: what JSON makes of the setting."""
    return how(json.loads(json.dumps(asdict(setting))))


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_says_what_made_it(setting: Setting):
    text, recipe = said(setting), setting.recipe
    assert "\n" not in text
    for name in setting.learns_from:
        assert f"`{name}`" in text
    if recipe is None:
        assert text == f"The weights of `{setting.source}`, stored as {setting.number_format}."
        return
    assert f"{recipe.epochs} epochs" in text
    assert ("hard labels" in text) == (setting.teacher is None)
    assert ("initialisations" in text) == (setting.restarts > 1)
    assert ("running speech" in text) == bool(setting.speech_share)
    assert (f"the {setting.number_format} grid" in text) == (setting.number_format != "fp32")


def test_in_full():
    assert said(BY_NAME["frontier"]) == (
        "8 mels of 16 ms every 40 ms from 150 to 5000 Hz; 7 channels (mels x frames: kernel 8 x 4, stride 1 x 4); "
        "1 GRU layer of 5; attention width 4. From scratch, 300 epochs of batches of 128, AdamW, one cycle up to 0.02, "
        "hard labels, clips framed at 4 positions in a hop, words drawn by their clips to the power 0.5. Kept: of 6 "
        "initialisations, the best on validation speakers."
    )
    assert "10% and 60%" in said(BY_NAME["pruned"])


def test_older_records_say_less():
    setting = json.loads(json.dumps(asdict(BY_NAME["pooled_hard"])))
    for name in ("phases", "restarts", "word_exponent", "augments_waveforms"):
        del setting[name]
    assert how(setting) == said(BY_NAME["pooled_hard"])
