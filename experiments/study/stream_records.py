"""Records of detectors on hours of continuous audio: RESULTS/streams/NAME.json, and RESULTS/streams_peer/NAME.json."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from experiments.study.json_files import json_files_in, read_json, write_json

STREAMS, PEERS = "streams", "streams_peer"
LIMITS = (0.2, 0.5, 1.0, 2.0)  # of operating points, in false alarms an hour
IN_USE = (0.5, 1.0)  # the limits of a detector in use: the first that a threshold reaches
Ends = tuple[float, float]


class Curve(TypedDict):
    """Of test speakers, by threshold."""

    false_alarms_per_hour: list[float]
    miss_rate: list[float]


class Work(TypedDict):
    """Multiply-accumulates a second."""

    model: float
    frontend: float


class ByMode(TypedDict):
    """Work in both modes."""

    carried: Work
    sliding: Work


class Spoken(TypedDict):
    """Of scenes, what was heard."""

    hours: float
    streams: int
    keywords: NotRequired[int]
    keyword_speakers: NotRequired[int]
    snrs: NotRequired[list[float | None]]
    events: NotRequired[dict[str, int]]


class Timed(TypedDict):
    """Of an engine, what it takes."""

    seconds_per_second: float
    median_chunk_seconds: float


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold that validation speakers chose, and what it is worth to test speakers; intervals are at 95 %.

    Attributes:
        limit: Of false alarms an hour on validation speakers. Of 3 hours, 0.2 allows none: a threshold above everything
            that was heard but the word, which true rates up to 1.2 an hour give one time in forty.
        threshold: With the fewest misses within the limit; None where none is, and then nothing is detected.
        miss_rate: On test speakers.
        miss_rate_interval: Keywords' speakers resampled.
        false_alarms_per_hour: On test speakers.
        false_alarms_interval: Exact for a Poisson count.
        latency: Median time from the word's end to its detection, in seconds.
        latency_90: Its 90th percentile.
    """

    limit: float
    threshold: float | None
    miss_rate: float
    miss_rate_interval: Ends
    false_alarms_per_hour: float
    false_alarms_interval: Ends
    latency: float | None
    latency_90: float | None


@dataclass(frozen=True)
class StreamQuality:
    """One way of running a detector, judged; intervals are (low, high) at 95 %.

    Attributes:
        smoothing: Steps, chosen on validation speakers.
        points: By ascending limit.
        validation_miss_rate_at_1: On validation speakers' own curve, at 1 false alarm an hour.
        test_miss_rate_at_1: On test speakers' own curve; a comparison of curves, not of a threshold in use.
        test_miss_rate_at_half: The same at 0.5.
        miss_rate_at_60: The same at 60: a floor, what is missed although nearly anything wakes the detector.
        test_miss_rate_at_1_interval: Streams resampled.
        test_miss_rate_at_half_interval: The same at 0.5.
        by_snr: Keywords missed and spoken at 1 on test speakers' own curve, by dB of signal over noise or "clean".
        curve: Of test speakers: false alarms per hour and miss rate, by threshold.
    """

    smoothing: int
    points: tuple[OperatingPoint, ...]
    validation_miss_rate_at_1: float
    test_miss_rate_at_1: float
    test_miss_rate_at_half: float
    miss_rate_at_60: float
    test_miss_rate_at_1_interval: Ends
    test_miss_rate_at_half_interval: Ends
    by_snr: dict[str, tuple[int, int]]
    curve: Annotated[dict[str, list[float]], Curve]

    def __post_init__(self) -> None:
        if missing := set(IN_USE) - {point.limit for point in self.points}:
            raise ValueError(f"there is no operating point at {min(missing)} false alarms an hour")
        if len({len(values) for values in self.curve.values()}) > 1:
            raise ValueError("the curve has more of one rate than of the other")

    @property
    def in_use(self) -> OperatingPoint:
        """The first point of IN_USE that has a threshold; where none has, one that detects nothing."""
        by_limit = {point.limit: point for point in self.points}
        used = [by_limit[limit] for limit in IN_USE]
        return next((point for point in used if point.threshold is not None), used[0])


@dataclass(frozen=True)
class Heard:
    """What was heard: the same audio for all that is compared.

    Attributes:
        keyword: The word to spot.
        corpus: The data folder's name.
        fingerprint: Of the corpus.
        speech: The names of the folders of running speech.
        noise: Of those of noise, beside the corpus's own.
        transcripts: The file by which utterances that hold the keyword were left out; None where none were.
        seed: Of the glueing.
        validation: Hours, streams, keywords, their speakers, signal-to-noise ratios and events of validation speakers.
        testing: The same of test speakers.
    """

    keyword: str
    corpus: str
    fingerprint: str
    speech: tuple[str, ...]
    noise: tuple[str, ...]
    transcripts: str | None
    seed: int
    validation: Annotated[dict[str, Any], Spoken]
    testing: Annotated[dict[str, Any], Spoken]

    def __post_init__(self) -> None:
        if min(self.validation["hours"], self.testing["hours"]) <= 0:
            raise ValueError("scenes of no hours have no rate of false alarms")


class Modes(TypedDict):
    """By the way that a detector runs."""

    carried: StreamQuality
    sliding: NotRequired[StreamQuality]


@dataclass(frozen=True)
class StreamRecord:
    """A setting's model on scenes.

    Attributes:
        setting: Of the study; of a model of one's own, its file's name.
        seed: Of its training.
        heard: The scenes.
        modes: "carried" and, where it was asked for, "sliding", judged.
        carried_minus_sliding: Misses at one false alarm an hour: estimate, low, high.
        sounds: Triggers of the detector in use, with a carried state, in ten minutes of each kind of sound.
        levels: By dB that test speakers' clean streams are louder: points that the detector in use misses more.
        macs_per_second: Of model and front end, by mode, run or not.
        state_bytes: What a stream remembers.
        algorithmic_latency: How late a step comes, in seconds.
        commit: Of the code.
        versions: Of Python and the packages that matter.
        device: Processor and its cores.
    """

    setting: str
    seed: int | None
    heard: Heard
    modes: Annotated[dict[str, StreamQuality], Modes]
    carried_minus_sliding: tuple[float, float, float] | None
    sounds: dict[str, int]
    levels: dict[str, float]
    macs_per_second: Annotated[dict[str, dict[str, float]], ByMode]
    state_bytes: int
    algorithmic_latency: float
    commit: str
    versions: dict[str, str]
    device: str

    def __post_init__(self) -> None:
        if min(min(work.values()) for work in self.macs_per_second.values()) <= 0:
            raise ValueError(f"nothing is free: {self.macs_per_second}")


@dataclass(frozen=True)
class PeerRecord:
    """Another engine on the same scenes.

    Attributes:
        engine: Its name.
        version: Its version.
        heard: The scenes.
        quality: Judged at thresholds of its own.
        speed: By engine or checkpoint: "seconds_per_second" of the processor, and "median_chunk_seconds".
        commit: Of the code.
        versions: Of Python and the packages that matter.
        device: Processor and its cores.
    """

    engine: str
    version: str
    heard: Heard
    quality: StreamQuality
    speed: Annotated[dict[str, dict[str, float]], dict[str, Timed]]
    commit: str
    versions: dict[str, str]
    device: str


def write_stream(path: Path, record: StreamRecord | PeerRecord) -> None:
    """Writes a record in one piece."""
    write_json(path, asdict(record))


def read_streams(results: Path) -> list[StreamRecord]:
    """All records of our detectors, by name; one a setting, keyword and seed.

    Raises:
        UserError: If a file is no record of this version.
    """
    records = [read_json(path, StreamRecord) for path in json_files_in(results / STREAMS)]
    return list({(record.setting, record.heard.keyword, record.seed): record for record in records}.values())


def read_peers(results: Path) -> list[PeerRecord]:
    """All records of other engines, by name.

    Raises:
        UserError: If a file is no record of this version.
    """
    return [read_json(path, PeerRecord) for path in json_files_in(results / PEERS)]
