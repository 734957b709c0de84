"""Whether a model that synthetic voices helped to train hears the keyword, or only that a voice is synthetic."""

import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tyro.conf import Positional

from conversion.files import read_module
from experiments.judging import margins_of
from experiments.markdown import count, error, table
from experiments.records import read_records
from experiments.task import Task, find_source, make_task
from kws_jax.data import load_corpus
from kws_jax.errors import UserError, one_line_errors
from kws_jax.metrics import auroc_error

__all__ = ["FILE", "main", "measure", "voices_section"]

FILE = "voices.json"  # in the results
CAUGHT = 0.95  # share of the test voices' keyword clips that the threshold catches
TEXT = f"""\
## Synthetic voices for a keyword that few have said

Of some words there are too few clips by people to train on, and none by test speakers. `--voices` adds clips by
espeak-ng's voices, each a speaker of its own who trains, validates or tests by the data set's rule; the clips of other
words are people's. With "keyword" the voices say the keyword alone: a model could then learn to hear a synthetic voice
instead of a word. With "words" they say other words too, some that sound like the keyword, and those train as any word
does. The table tells what came of it, on test speakers:

- **1 - AUROC**: clips of the keyword by test voices against other words by people.
- **Alarms**: other words above the threshold that catches {CAUGHT:.0%} of the test voices' keyword clips, by people and
  by test voices. A model that hears the word and not the voice has as few of the one as of the other.
- **Voice above person**: how often a test voice's other word outranks a person's: one half where voices do not matter.
- **People's keyword clips**: those of speakers who were not trained on (all are validation speakers where the data has
  none by test speakers), how many of them the same threshold catches, and how many of the other words by people in
  the same part of the split outrank each."""


def main(results: Positional[Path], data: Path) -> None:
    """Checks every model in the results that synthetic voices helped to train; writes <results>/voices.json.

    Args:
        results: Folder with records/ and checkpoints/.
        data: The folder of real clips that they were trained on.
    """
    records = [record for record in read_records(results / "records") if record.corpus.endswith(" by voices")]
    if not records:
        raise UserError(f"no record in {results} is of a run with --voices")
    rows = []
    for keyword in sorted({record.keyword for record in records}):
        source = find_source(data, (keyword,), None, results, "words")  # whatever they were trained with
        assert source.voices is not None
        task = make_task(source, source.load(), keyword, "official", 0, results)
        voices = np.unique(load_corpus(source.voices).speakers)
        for record in [record for record in records if (record.keyword, record.split) == (keyword, "official")]:
            _, model = read_module(results / record.paths["checkpoint"] / "model.safetensors")
            measured = measure(task, margins_of(model, task, task.split.held_out), voices)
            names = {"setting": record.setting["name"], "keyword": keyword, "seed": record.seed}
            rows.append({**names, "corpus": record.corpus, **measured})
    command = shlex.join(["python", "-m", "experiments.voices_check", *sys.argv[1:]])
    (results / FILE).write_text(json.dumps({"command": command, "rows": rows}, indent=1) + "\n")
    print(results / FILE)


def measure(task: Task, margins: np.ndarray, voices: np.ndarray) -> dict[str, Any]:
    """What one model makes of people and of synthetic voices whom it was not trained on.

    Args:
        task: Whose corpus holds clips of the keyword and of other words by both.
        margins: The model's, of the clips of `task.split.held_out`.
        voices: Ids of the speakers that are synthetic.
    """
    held_out = task.split.held_out
    words, speakers = task.corpus.words[held_out], task.corpus.speakers[held_out]
    keyword, testing = task.labels[held_out] == 1, np.isin(held_out, task.split.testing)
    voice = np.isin(speakers, voices)
    hits = testing & voice & keyword
    by_people, by_voices = testing & ~voice & ~keyword, testing & voice & ~keyword
    threshold = np.sort(margins[hits])[hits.sum() - math.ceil(CAUGHT * hits.sum())]
    alarms = {
        word: float((margins[by_voices & (words == word)] >= threshold).mean()) for word in np.unique(words[by_voices])
    }
    real = []
    for clip in np.flatnonzero(keyword & ~voice):
        rivals = margins[~keyword & ~voice & (testing == testing[clip])]
        real.append(
            {
                "clip": str(task.corpus.names[held_out[clip]]),
                "part": "testing" if testing[clip] else "validation",
                "outranked_by": int((rivals >= margins[clip]).sum()),
                "others": len(rivals),
                "caught": bool(margins[clip] >= threshold),
            }
        )
    return {
        "test_voices": len(np.unique(speakers[hits])),
        "keyword_clips_by_voices": int(hits.sum()),
        "other_clips_by_people": int(by_people.sum()),
        "other_clips_by_voices": int(by_voices.sum()),
        "auroc_error": _misordered(margins[hits], margins[by_people]),
        "threshold": float(threshold),
        "alarms_by_people": float((margins[by_people] >= threshold).mean()),
        "alarms_by_voices": float((margins[by_voices] >= threshold).mean()),
        "alarms_by_word": dict(sorted(alarms.items(), key=lambda item: (-item[1], item[0]))),
        "voice_above_person": 1 - _misordered(margins[by_voices], margins[by_people]),
        "keyword_clips_by_people": real,
    }


def _misordered(high: np.ndarray, low: np.ndarray) -> float:
    """How often one that should be low is above one that should be high."""
    labels = np.repeat([1, 0], [len(high), len(low)])
    return auroc_error(np.concatenate([high, low]), labels)


def voices_section(path: Path) -> str:
    """The report's part, from the file that `main` wrote; empty without it.

    Raises:
        UserError: If the file is not that command's.
    """
    if not path.is_file():
        return ""
    try:
        measured = json.loads(path.read_text())
        rows, command = [_line(row) for row in measured["rows"]], measured["command"]
        sizes = "\n".join(dict.fromkeys(map(_sizes, measured["rows"])))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no file of experiments.voices_check ({error!r}): measure again") from error
    columns = ["setting", "seed", "trained on", "1 - AUROC", "alarms: people", "voices", "most by voices"]
    columns += ["voice above person", "people's keyword clips caught", "outranked by"]
    return f"{TEXT}\n\n{sizes}\n\n{table(columns, rows)}\n\n```sh\n{command}\n```"


def _line(row: Mapping[str, Any]) -> list[str]:
    real: Sequence[Mapping[str, Any]] = row["keyword_clips_by_people"]
    worst = [f"{word} {share:.0%}" for word, share in list(row["alarms_by_word"].items())[:3] if share]
    return [
        f"{row['setting']} {row['keyword']}",
        str(row["seed"]),
        row["corpus"],
        error(row["auroc_error"]),
        f"{row['alarms_by_people']:.2%}",
        f"{row['alarms_by_voices']:.2%}",
        ", ".join(worst) or "none",
        f"{row['voice_above_person']:.2f}",
        f"{sum(clip['caught'] for clip in real)} of {len(real)}",
        ", ".join(f"{count(clip['outranked_by'])} of {count(clip['others'])}" for clip in real),
    ]


def _sizes(row: Mapping[str, Any]) -> str:
    return (
        f'"{row["keyword"]}": {row["keyword_clips_by_voices"]} clips of it and {row["other_clips_by_voices"]} of other '
        f"words by {row['test_voices']} test voices, {count(row['other_clips_by_people'])} of other words by people."
    )


if __name__ == "__main__":
    with one_line_errors():
        tyro.cli(main, description=__doc__)
