from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kws_jax.data.corpus import Corpus
from kws_jax.data.splits import Split, balanced_indices, check_split, speaker_percentage, split_official, split_random
from kws_jax.errors import UserError

# From validation_list.txt and testing_list.txt of the published v0.01 archive.
PUBLISHED_VALIDATION = ("541120c7", "c5e3817f", "2e0d80f7", "1a9afd33", "90804775", "d55aa56c", "1bc45db9", "b7a6f709")
PUBLISHED_TESTING = ("964e8cfd", "27c30960", "8c7f81df", "e41a903b", "0c40e715", "af405b69", "2aa787cf", "ad6a46f1")


def make_corpus(names: list[str]) -> Corpus:
    return Corpus(
        waveforms=np.zeros((len(names), 1), np.int16),
        words=np.array([name.split("/")[0] for name in names]),
        speakers=np.array([Path(name).stem.split("_nohash_")[0] for name in names]),
        names=np.array(names),
        background=(),
        fingerprint="",
        unreadable=(),
    )


def test_published_speakers_fall_into_their_published_parts() -> None:
    assert all(speaker_percentage(speaker) < 10 for speaker in PUBLISHED_VALIDATION)
    assert all(10 <= speaker_percentage(speaker) < 20 for speaker in PUBLISHED_TESTING)
    assert speaker_percentage("bb05582b") == pytest.approx(18.1326786)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 200)), min_size=1, unique=True))
def test_official_split_is_a_partition_by_speaker(clips: list[tuple[str, int]]) -> None:
    corpus = make_corpus(sorted(f"{word}/{speaker}_nohash_0.wav" for word, speaker in clips))
    split = split_official(corpus)
    for index, speaker in enumerate(corpus.speakers):
        percentage = speaker_percentage(speaker)
        part = split.validation if percentage < 10 else split.testing if percentage < 20 else split.training
        assert index in part
    everything = np.concatenate([split.training, split.validation, split.testing])
    assert sorted(everything) == list(range(len(clips)))
    np.testing.assert_array_equal(split.held_out, np.sort(np.concatenate([split.validation, split.testing])))


@given(st.integers(1, 300), st.integers(0, 2**32))
def test_random_split_is_80_20(num_clips: int, seed: int) -> None:
    corpus = make_corpus([f"a/{clip}_nohash_0.wav" for clip in range(num_clips)])
    split = split_random(corpus, seed)
    assert len(split.training) == num_clips * 8 // 10
    assert len(split.validation) == 0
    assert sorted([*split.training, *split.testing]) == list(range(num_clips))
    assert (np.diff(split.training) > 0).all()
    again = split_random(corpus, seed)
    np.testing.assert_array_equal(split.testing, again.testing)
    np.testing.assert_array_equal(split.held_out, split.testing)
    assert num_clips < 50 or split.testing.tolist() != split_random(corpus, seed + 1).testing.tolist()


def test_check_split_names_part_and_remedy() -> None:
    labels = np.array([1, 0, 1, 0, 1, 0], np.int32)
    parts = np.arange(6).reshape(3, 2)
    check_split(Split("official", *parts), labels, "yes")
    check_split(Split("random", parts[0], parts[1, :0], parts[2]), labels, "yes")
    with pytest.raises(UserError, match=r"no clip of 'yes' for testing: .* more speakers, or the random split"):
        check_split(Split("official", parts[0], parts[1], parts[2, 1:]), labels, "yes")
    with pytest.raises(UserError, match="no clip of 'yes' for validation"):
        check_split(Split("official", parts[0], parts[1, :0], parts[2]), labels, "yes")
    with pytest.raises(UserError, match=r"random split has no clip of 'yes' for training: .* more clips"):
        check_split(Split("random", parts[0, 1:], parts[1, :0], parts[2]), labels, "yes")
    with pytest.raises(UserError, match="only 'yes' for training: add folders"):
        check_split(Split("official", parts[0, :1], parts[1], parts[2]), labels, "yes")


def test_balanced_indices_draw_classes_and_clips_evenly() -> None:
    labels = np.array([0] * 8 + [1] * 2, np.int32)
    num_draws = 160_000
    draws = balanced_indices(labels, num_draws, np.random.default_rng(0))
    assert draws.dtype == np.int64
    expected = num_draws * np.array([1 / 16] * 8 + [1 / 4] * 2)
    z_scores = (np.bincount(draws, minlength=10) - expected) / np.sqrt(expected)
    assert np.abs(z_scores).max() < 5
    np.testing.assert_array_equal(draws, balanced_indices(labels, num_draws, np.random.default_rng(0)))


@pytest.mark.parametrize(("exponent", "shares"), [(1.0, (9, 1)), (0.5, (3, 1)), (0.0, (1, 1))])
def test_words_are_drawn_by_a_power_of_their_clips(exponent: float, shares: tuple[int, int]) -> None:
    labels = np.array([0] * 10 + [1] * 4, np.int32)
    words = np.array(["often"] * 9 + ["seldom"] + ["keyword"] * 4)
    draws = balanced_indices(labels, num_draws := 160_000, np.random.default_rng(0), words, exponent)
    often, seldom = num_draws / 2 * np.array(shares) / sum(shares)
    expected = np.array([often / 9] * 9 + [seldom] + [num_draws / 8] * 4)
    z_scores = (np.bincount(draws, minlength=14) - expected) / np.sqrt(expected)
    assert np.abs(z_scores).max() < 5
    if exponent == 1.0:
        np.testing.assert_array_equal(draws, balanced_indices(labels, num_draws, np.random.default_rng(0)))
