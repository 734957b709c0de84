"""pocketsphinx on the scenes of `experiments.stream_eval`, judged and timed as ours."""

import math
import os
import time
from collections.abc import Callable
from importlib import metadata
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.streams.judging import Chosen, judge
from experiments.streams.recipe import SceneRecipe
from experiments.study.environment import environment
from experiments.study.executors import Processes, check_jobs
from experiments.study.lock import locked
from experiments.study.stream_records import PEERS, PeerRecord, write_stream
from kws_jax.checkpoint import load_deployed
from kws_jax.config import SAMPLE_RATE
from kws_jax.data.audio import to_float
from kws_jax.data.corpus import load_corpus
from kws_jax.data.scenes import Scenes
from kws_jax.data.sources import check_word
from kws_jax.detector import DetectorConfig, spaced
from kws_jax.errors import UserError
from kws_jax.evaluation.stream_metrics import Detect, count_errors
from kws_jax.streaming import StreamingKws

CHUNK = 1_280  # samples, 80 ms: a block of ours
FRAME_RATE = 100  # of pocketsphinx, per second
LOOSEST = 1e-50
THRESHOLDS = np.logspace(-50, 25, 151)  # pocketsphinx's default is 1
LOG_BASE, SHIFT, SCORE_OFFSET = 1.0001, 10, 1_500  # of pocketsphinx's scores: a unit is 2**SHIFT steps of LOG_BASE
TIMED_SECONDS = 60


def judge_peer(checkpoints: tuple[Path, ...], scenes: SceneRecipe, out: Path, keyword: str, jobs: int) -> None:
    """Writes the peer's record; see `experiments.stream_peer`."""
    check_jobs(jobs)
    check_word(keyword)
    make_decoder(keyword)
    path = out / PEERS / f"pocketsphinx-{keyword}.json"
    with locked(out):
        record = _judged(checkpoints, scenes, keyword, jobs)
        write_stream(path, record)
    print(f"{path}: {record.quality.test_miss_rate_at_1:.3f}")


def _judged(checkpoints: tuple[Path, ...], scenes: SceneRecipe, keyword: str, jobs: int) -> PeerRecord:
    corpus = load_corpus(scenes.data)
    validation, testing = (scenes.build(corpus, keyword, part) for part in ("validation", "testing"))
    found = [at_threshold(spot_scenes(keyword, part, jobs)) for part in (validation, testing)]
    chosen = Chosen(1, count_errors(found[0], validation.keyword_intervals, validation.hours, THRESHOLDS))
    return PeerRecord(
        engine="pocketsphinx",
        version=metadata.version("pocketsphinx"),
        heard=scenes.heard(corpus, keyword, validation, testing),
        quality=judge(chosen, found[1], testing).quality,
        speed=measure_speed(keyword, checkpoints, testing.waveforms[0, : TIMED_SECONDS * SAMPLE_RATE]),
        **environment(),
    )


def make_decoder(keyword: str) -> Any:
    """Pocketsphinx searching for one word, at the loosest threshold.

    Raises:
        UserError: If it is not installed, or its dictionary lacks the word.
    """
    try:
        from pocketsphinx import Decoder
    except ImportError as error:
        raise UserError("pocketsphinx is not installed: pip install -e '.[benchmark]'") from error
    decoder = Decoder(keyphrase=keyword, kws_threshold=LOOSEST, loglevel="FATAL")
    if decoder.lookup_word(keyword) is None:
        raise UserError(f"pocketsphinx's dictionary has no {keyword!r}")
    return decoder


def spot_scenes(keyword: str, scenes: Scenes, jobs: int) -> list[np.ndarray]:
    """`spot` over every stream."""
    with Processes(min(jobs, len(scenes.waveforms))) as pool:
        found = pool.map(spot, repeat(keyword), scenes.waveforms)
        return list(
            tqdm(found, total=len(scenes.waveforms), desc="pocketsphinx", unit="stream", leave=False, disable=None)
        )


def spot(keyword: str, waveform: np.ndarray) -> np.ndarray:
    """Candidates of one stream of int16 samples: (candidates, 2), end in seconds and score, in order of time."""
    decoder = make_decoder(keyword)
    decoder.start_utt()
    for first in range(0, len(waveform), CHUNK):
        decoder.process_raw(waveform[first : first + CHUNK].tobytes())
    decoder.end_utt()
    found = [
        (segment.end_frame / FRAME_RATE, round(math.log(segment.prob, LOG_BASE)) + SCORE_OFFSET)
        for segment in decoder.seg() or ()
    ]
    return np.array(sorted(found), np.float64).reshape(-1, 2)


def at_threshold(found: list[np.ndarray]) -> Detect:
    """Detections at any threshold, one trigger a refractory time as for ours."""

    def detect(threshold: float) -> list[np.ndarray]:
        least = int(math.log(threshold, LOG_BASE)) >> SHIFT
        times = [candidates[candidates[:, 1] >= least, 0] for candidates in found]
        return [ends[spaced(ends, DetectorConfig().refractory)] for ends in times]

    return detect


def measure_speed(keyword: str, checkpoints: tuple[Path, ...], waveform: np.ndarray) -> dict[str, dict[str, float]]:
    """Both engines on the same audio in the same chunks, on one core, one after the other."""
    with Processes(1) as pool:
        speed = {"pocketsphinx": pool.submit(_time_peer, keyword, waveform).result()}
        for path in checkpoints:
            speed[path.stem] = pool.submit(_time_ours, path, waveform).result()
    return speed


def _time_peer(keyword: str, waveform: np.ndarray) -> dict[str, float]:
    _use_one_core()
    decoder = make_decoder(keyword)
    decoder.start_utt()
    return _time(lambda chunk: decoder.process_raw(chunk.tobytes()), waveform)


def _time_ours(path: Path, waveform: np.ndarray) -> dict[str, float]:
    _use_one_core()
    config, variables, _ = load_deployed(path)
    stream = StreamingKws(variables["params"], config)
    stream.push(to_float(waveform[:CHUNK]))  # compiles
    stream.reset()
    return _time(lambda chunk: stream.push(to_float(chunk)), waveform)


def _time(push: Callable[[np.ndarray], Any], waveform: np.ndarray) -> dict[str, float]:
    """Processor seconds per second of audio, and the median seconds that a chunk takes."""
    walls, start = [], time.process_time()
    for first in range(0, len(waveform), CHUNK):
        began = time.perf_counter()
        push(waveform[first : first + CHUNK])
        walls.append(time.perf_counter() - began)
    spent = time.process_time() - start
    return {"seconds_per_second": spent * SAMPLE_RATE / len(waveform), "median_chunk_seconds": float(np.median(walls))}


def _use_one_core() -> None:
    """JAX makes its threads after this, so they share the core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
