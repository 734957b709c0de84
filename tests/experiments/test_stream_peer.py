"""One pass of the peer at the loosest threshold is a pass at every threshold; it is counted as ours is."""

import math
import sys

import numpy as np
import pytest

from experiments.streams import peer
from experiments.streams.peer import at_threshold, make_decoder, spot
from kws_jax.data.audio import read_audio, to_pcm
from kws_jax.errors import UserError
from tests.helpers.models import noise


def test_thresholds_filter_and_triggers_are_a_second_apart():
    unit = 2**peer.SHIFT * math.log10(peer.LOG_BASE)  # decades of the threshold
    decades = {1.0: -30, 1.5: -10, 2.2: 10, 9.0: -40}
    candidates = np.array([(end, round(decade / unit)) for end, decade in decades.items()])
    for threshold, expected in (
        (1e-45, [1.0, 2.2, 9.0]),
        (1e-35, [1.0, 2.2]),
        (1e-20, [1.5]),
        (1.0, [2.2]),
        (1e15, []),
    ):
        (found,) = at_threshold([candidates])(threshold)
        assert found.tolist() == expected


def test_a_stream_without_candidates_has_no_detections():
    assert at_threshold([np.zeros((0, 2))])(1.0)[0].size == 0


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[benchmark\]'"):
        make_decoder("happy")


def test_an_unknown_word_is_one_line():
    pytest.importorskip("pocketsphinx")
    with pytest.raises(UserError, match="no 'happyx'"):
        make_decoder("happyx")


def test_one_pass_is_a_pass_at_every_threshold(real_data):
    pocketsphinx = pytest.importorskip("pocketsphinx")
    clips = [to_pcm(read_audio(path)) for path in sorted((real_data / "happy").glob("*"))[:8]]
    track = np.concatenate([part for clip in clips for part in (clip, to_pcm(noise(0, 1, 8_000, 0.01)[0]))])
    candidates = [spot("happy", track)]
    for threshold in (1e-20, 1e-5, 1.0):
        decoder = pocketsphinx.Decoder(keyphrase="happy", kws_threshold=threshold, loglevel="FATAL")
        decoder.start_utt()
        for first in range(0, len(track), peer.CHUNK):
            decoder.process_raw(track[first : first + peer.CHUNK].tobytes())
        decoder.end_utt()
        ends = np.sort([segment.end_frame / peer.FRAME_RATE for segment in decoder.seg() or ()])
        kept = ends[peer.spaced(ends, 1.0)]
        np.testing.assert_array_equal(at_threshold(candidates)(threshold)[0], kept)
        assert kept.size or threshold == 1.0
