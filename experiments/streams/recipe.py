"""What scenes are heard, and how checkpoints are judged on them, as command lines say it."""

from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from experiments.study.stream_records import Heard
from kws_jax.config import SAMPLE_RATE
from kws_jax.data.sources import SceneSources
from kws_jax.errors import check_ranges

if TYPE_CHECKING:
    from kws_jax.data.corpus import Corpus
    from kws_jax.data.scenes import Scenes


@dataclass(frozen=True)
class SceneRecipe:
    """What scenes are glued from, and how.

    Attributes:
        data: Folder laid out as Speech Commands.
        sources: Of running speech and noise.
        hours: Of audio, for validation and for test speakers each.
        minutes_per_stream: The state is carried for so long.
        seed: Of the glueing.
    """

    data: Path
    sources: tyro.conf.OmitArgPrefixes[SceneSources]
    hours: float = 3.0
    minutes_per_stream: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(self, hours=(1e-3, 1e3), minutes_per_stream=(1e-2, 6e4), seed=(0, 2**32 - 1))

    def build(self, corpus: "Corpus", keyword: str, part: str) -> "Scenes":
        """Scenes of validation or testing speakers."""
        # Not above: --help comes here, and needs neither.
        from kws_jax.data.scenes import build_scenes, gather
        from kws_jax.data.splits import split_official

        material = gather(corpus, keyword, split_official(corpus), part, self.sources)
        return build_scenes(material, self.hours, self.minutes_per_stream, self.seed)

    def differs(self, heard: Heard, keyword: str) -> str:
        """In what another record's scenes are not these, as far as can be told without the clips; else nothing."""
        streams = max(1, round(self.hours * 60 / self.minutes_per_stream))
        hours = streams * round(self.minutes_per_stream * 60 * SAMPLE_RATE) / SAMPLE_RATE / 3600
        asked = {"keyword": keyword, "seed": self.seed, "streams": streams, "hours": round(hours, 9)} | self._names()
        parts = {name: heard.testing[name] for name in ("streams", "hours")}
        known = asdict(heard) | parts | {"hours": round(parts["hours"], 9)}
        return ", ".join(f"{name} {known[name]} and not {asked[name]}" for name in asked if known[name] != asked[name])

    def _names(self) -> dict[str, Any]:
        """Of what is heard; not where it lies, which is another place on every machine."""
        return {
            "corpus": self.data.resolve().name,
            "speech": tuple(folder.resolve().name for folder in self.sources.speech),
            "noise": tuple(folder.resolve().name for folder in self.sources.noise),
            "transcripts": self.sources.transcripts.name if self.sources.transcripts else None,
        }

    def heard(self, corpus: "Corpus", keyword: str, validation: "Scenes", testing: "Scenes") -> Heard:
        """What was heard, for a record."""
        return Heard(
            keyword=keyword,
            fingerprint=corpus.fingerprint,
            seed=self.seed,
            **self._names(),
            validation=_describe(validation),
            testing=_describe(testing),
        )


def _describe(scenes: "Scenes") -> dict[str, Any]:
    speakers = list(chain(*scenes.keyword_speakers))
    return {
        "hours": scenes.hours,
        "streams": len(scenes.snrs),
        "keywords": len(speakers),
        "keyword_speakers": len(set(speakers)),
        "snrs": scenes.snrs,
        "events": scenes.events,
    }


@dataclass(frozen=True)
class Judgement:
    """How checkpoints are judged.

    Attributes:
        scenes: What is heard.
        sliding: Judge a sliding window too, and compare with it; a dozen times the work.
    """

    scenes: tyro.conf.OmitArgPrefixes[SceneRecipe]
    sliding: bool = False
