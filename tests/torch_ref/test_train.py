"""The seminar's augmentations, training loop and prediction."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.torch_models import PCEN, POOLED, random_module, tone_batches
from tests.tolerances import FLOAT16_LOGITS, SAME_FRAMEWORK
from torch_ref.augment import WaveAugmentation, mask_mel_power
from torch_ref.config import TaskConfig
from torch_ref.frontend import MelPower
from torch_ref.qint8 import to_fp16, to_qint8
from torch_ref.torchaudio_import import torchaudio
from torch_ref.train import LOG_EVERY, SeminarRecipe, predict, train

NOISE = torch.tensor([0.5, -0.5]).repeat(500)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_wave_augmentation_draws_one_of_four_changes() -> None:
    clips = torch.full((4000, 100), 0.4)
    output = WaveAugmentation([NOISE])(clips, generator())
    gain = clips[0].norm() / NOISE.norm() * 10 ** (-1 / 20)
    change = output - clips
    none = (change == 0).all(1)
    quiet = (output == 0.1).all(1)
    background = ((change.abs() - 0.5 * gain).abs() < SAME_FRAMEWORK).all(1)
    white = ~(none | quiet | background)
    for kind in (none, quiet, background, white):
        assert kind.float().mean() == pytest.approx(0.25, abs=0.03)
    assert change[white].std() == pytest.approx(0.01, rel=0.02)
    assert change[white].mean() == pytest.approx(0, abs=1e-4)
    assert (change[background, 0] > 0).float().mean() == pytest.approx(0.5, abs=0.06), "crops start anywhere"
    assert torch.equal(clips, torch.full((4000, 100), 0.4)), "the input is left alone"


def test_wave_augmentation_keeps_the_range() -> None:
    output = WaveAugmentation([NOISE])(torch.ones(200, 50), generator())
    assert output.abs().max() == 1


def test_background_noise_of_a_minute_is_19_db_below() -> None:
    clip, noise = torch.rand(1, 16_000, generator=generator()) - 0.5, torch.randn(960_000, generator=generator()) / 10
    changed = WaveAugmentation([noise])(clip.repeat(20, 1), generator(1)) - clip
    ratio = 20 * torch.log10(clip.norm() / changed.norm(dim=1))
    assert ((ratio - (1 + 10 * math.log10(60))).abs() < 0.2).any()


def test_wave_augmentation_without_recordings_leaves_the_fourth_alone() -> None:
    clips = torch.full((400, 10), 0.4)
    unchanged = (WaveAugmentation([])(clips, generator()) == clips).all(1)
    assert unchanged.float().mean() == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize(("noise", "message"), [(torch.zeros(500), "0 is silent"), (torch.ones(99), "99 samples")])
def test_useless_recordings_are_errors(noise: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WaveAugmentation([noise])(torch.ones(40, 100), generator())


def test_masks_are_torchaudios_and_leave_the_global_generator_alone() -> None:
    mels, state = torch.rand(3, 40, 101, generator=generator()) + 1, torch.get_rng_state()
    masked = mask_mel_power(mels, generator(5))
    assert torch.equal(torch.get_rng_state(), state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator(5))))
        expected = torchaudio.transforms.FrequencyMasking(15)(mels)
        expected = torchaudio.transforms.TimeMasking(35)(expected)
    assert torch.equal(masked, expected)


TOY = SeminarRecipe(learning_rate=3e-3, epochs=2)


@pytest.mark.parametrize("config", [POOLED, replace(POOLED, compression="pcen")], ids=["log", "pcen"])
def test_training_is_deterministic_by_seed(config: TaskConfig) -> None:
    state = torch.get_rng_state()
    first, again, other = (train(config, TOY, tone_batches, [], seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    trained = ["gru.weight_hh_l0", *(name for name in first if name.startswith("pcen."))]
    assert not any(torch.equal(first[name], other[name]) for name in trained)


def test_dropout_and_background_are_deterministic_too() -> None:
    recipe, noise = SeminarRecipe(epochs=1), torch.randn(20_000, generator=generator())
    first, again = (train(TaskConfig(), recipe, tone_batches, [noise], 1).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_toy_training_learns_and_logs(tmp_path: Path) -> None:
    seen = []
    path = tmp_path / "logs" / "train.jsonl"
    model = train(
        POOLED,
        SeminarRecipe(learning_rate=3e-3, epochs=20),
        tone_batches,
        [],
        0,
        on_epoch=lambda epoch, model: seen.append((epoch, model.training)),
        log_path=path,
    )
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(set(line) == {"step", "epoch", "loss", "seconds", "clips_per_second"} for line in lines)
    assert [line["step"] for line in lines] == sorted({*range(3, 61, 3), LOG_EVERY})
    assert [line["epoch"] for line in lines if line["step"] != LOG_EVERY] == list(range(20))
    assert all(line["clips_per_second"] > 0 for line in lines)
    assert np.mean([line["loss"] for line in lines[-3:]]) < 0.5 * lines[0]["loss"]
    assert seen == [(epoch, False) for epoch in range(20)]
    waveforms, labels = tone_batches(99)[0]
    assert not model.training
    np.testing.assert_array_equal(predict(model, MelPower(POOLED), waveforms).argmax(1), labels)


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        ([], ValueError, "epoch 0 has no batch"),
        ([(np.zeros((2, 16_000), np.int16), np.zeros(2, int))], TypeError, "int16"),
        ([(np.full((2, 16_000), np.nan, np.float32), np.zeros(2, int))], RuntimeError, "non-finite"),
    ],
)
def test_bad_batches_are_errors(batches: list, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        train(POOLED, TOY, lambda epoch: batches, [], 0)


def test_predict_does_not_depend_on_the_batch_nor_change_the_mode() -> None:
    model, waveforms = random_module(POOLED).train(), tone_batches(0)[0][0]
    whole, single = (predict(model, MelPower(POOLED), waveforms, batch_size) for batch_size in (16, 1))
    assert model.training
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, single, rtol=0, atol=SAME_FRAMEWORK)
    assert predict(model, MelPower(POOLED), waveforms[:0]).shape == (0, 2)


@pytest.mark.parametrize("config", [POOLED, PCEN], ids=["log", "pcen"])
def test_predict_takes_every_number_format(config: TaskConfig) -> None:
    model, frontend, waveforms = random_module(config), MelPower(config), tone_batches(0)[0][0]
    reference = predict(model, frontend, waveforms)
    half, integer = (predict(convert(model), frontend, waveforms) for convert in (to_fp16, to_qint8))
    assert half.dtype == integer.dtype == np.float32
    np.testing.assert_allclose(half, reference, rtol=0, atol=FLOAT16_LOGITS)
    assert 0 < np.abs(integer - reference).max() < 0.1 * np.abs(reference).max()
