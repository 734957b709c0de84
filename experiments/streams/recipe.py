"""What scenes are heard, and how checkpoints are judged on them, as command lines say it."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from experiments.study.stream_records import Heard
from kws_jax.data.sources import SceneSources

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

    def build(self, corpus: "Corpus", keyword: str, part: str) -> "Scenes":
        """Scenes of validation or testing speakers."""
        # Not above: --help comes here, and needs neither.
        from kws_jax.data.scenes import build_scenes, gather
        from kws_jax.data.splits import split_official

        material = gather(corpus, keyword, split_official(corpus), part, self.sources)
        return build_scenes(material, self.hours, self.minutes_per_stream, self.seed)

    def heard(self, corpus: "Corpus", keyword: str, validation: "Scenes", testing: "Scenes") -> Heard:
        """What was heard, for a record."""
        return Heard(
            keyword=keyword,
            corpus=self.data.resolve().name,
            fingerprint=corpus.fingerprint,
            speech=tuple(folder.resolve().name for folder in self.sources.speech),
            noise=tuple(folder.resolve().name for folder in self.sources.noise),
            transcripts=self.sources.transcripts.name if self.sources.transcripts else None,
            seed=self.seed,
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
