"""Tries a candidate on validation speakers: a setting with changes, and a line of errors. Test speakers are not asked.

The line goes to OUT/search.jsonl. What the candidate learns from must have run into the same OUT; its own weights stay
there too, so that a candidate that has been tried is not trained again. Changes come after the setting's name, as in

    python -m experiments.search student_314x --model.gru-hidden 6 --recipe.epochs 600 --restarts 4 --data DIR ...
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from tyro.conf import Positional

from kws_jax.command import command
from kws_jax.data.sources import NO_SOURCES, SceneSources
from kws_jax.files import written


@dataclass(frozen=True)
class Search:
    """What is tried, and on what.

    Attributes:
        setting: Name of the setting to start from.
        data: Folder laid out as Speech Commands; without it, a corpus spoken by synthetic voices.
        keywords: The words to spot; "sheila" on the synthetic corpus.
        seeds: Of the training.
        sources: Of running speech and noise, where the setting trains on them.
        out: Output folder of `experiments.run`.
    """

    setting: Positional[str]
    data: Path | None = None
    keywords: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    sources: tyro.conf.OmitArgPrefixes[SceneSources] = NO_SOURCES
    out: Path = Path("out")


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains a candidate for every keyword and seed and adds a line to OUT/search.jsonl."""
    search, changes = tyro.cli(Search, description=__doc__, args=arguments, return_unknown_args=True)
    # Seconds to import, which --help does not need.
    from experiments.study.candidates import changed, measured_errors
    from experiments.study.lock import locked
    from experiments.study.settings import with_needs
    from experiments.study.task import check_seeds, find_source, make_task

    candidate = changed(with_needs([search.setting])[-1], changes)
    check_seeds(search.seeds)
    with locked(search.out):
        source = find_source(search.data, search.keywords, search.sources, search.out)
        corpus = source.load()
        tasks = [
            make_task(source, corpus, word, "official", seed, search.out)
            for word in source.keywords
            for seed in search.seeds
        ]
        line = {"setting": search.setting, "changes": changes, "keywords": source.keywords, "seeds": search.seeds}
        line |= measured_errors(candidate, tasks)
        path = search.out / "search.jsonl"
        before = path.read_text() if path.is_file() else ""
        with written(path) as part:
            part.write_text(f"{before}{json.dumps(line)}\n")
    print(json.dumps(line))


if __name__ == "__main__":
    with command():
        main(sys.argv[1:])
