"""How much a trained model suffers as one of its parts loses units, on validation speakers: measured, and drawn."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from experiments.looks import COLOURS, DPI, log_ticks, scientific
from kws_jax.array_types import LogMel, Params
from kws_jax.checkpoint import restore
from kws_jax.config import CrnnConfig
from kws_jax.data import Corpus, load_corpus
from kws_jax.errors import UserError, one_line_errors
from kws_jax.frontend import log_compress
from kws_jax.losses import cross_entropy
from kws_jax.material import cached_mel_power
from kws_jax.metrics import auroc_error
from kws_jax.model import Crnn
from kws_jax.pruning import Masks, full_masks, importance
from kws_jax.sensitivity import sensitivity
from kws_jax.splits import Split, balanced_indices, check_split, split_official

__all__ = ["main", "measure", "read_tables", "sensitivity_figure", "sensitivity_section", "unit_scores"]

SHARES = tuple(number / 8 for number in range(8))
BATCHES, BATCH_SIZE = 32, 128  # balanced training clips that importance is averaged over


def main(checkpoint: Path, data: Path, keyword: str, out: Path, seed: int = 0) -> None:
    """Measures how 1 - AUROC on validation speakers grows as each part loses units, the least important first.

    Args:
        checkpoint: Flax checkpoint of a trained model.
        data: Folder laid out as Speech Commands.
        keyword: The word that the model spots.
        out: JSON file to write; the report draws those in <results>/sensitivity/.
        seed: Of the training clips that tell the units' importance.
    """
    corpus = load_corpus(data)
    split = split_official(corpus)
    check_split(split, corpus.labels(keyword), keyword)
    config, variables = restore(checkpoint)
    table: dict[str, Any] = {
        "model": checkpoint.resolve().parent.name if checkpoint.name == "flax" else checkpoint.name,
        "command": shlex.join(["python", "-m", "experiments.sensitivity", *sys.argv[1:]]),
        "keyword": keyword,
        "corpus": data.resolve().name,
        "fingerprint": corpus.fingerprint,
        "rows": measure(config, variables["params"], corpus, split, keyword, seed),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(table, indent=1) + "\n")
    print(out)


def measure(
    config: CrnnConfig, params: Params, corpus: Corpus, split: Split, keyword: str, seed: int
) -> list[dict[str, Any]]:
    """Rows of `kws_jax.sensitivity`: importance from training clips, errors from validation speakers' clips."""
    labels = corpus.labels(keyword)
    rng = np.random.default_rng(seed)
    drawn = split.training[balanced_indices(labels[split.training], BATCHES * BATCH_SIZE, rng)]
    scores = unit_scores(config, params, _log_mels(config, corpus, drawn), jnp.asarray(labels[drawn]))
    heard = _log_mels(config, corpus, split.validation)

    @jax.jit
    def margins(params: Params) -> Array:
        logits = _logits(config, params, heard)
        return logits[:, 1] - logits[:, 0]

    def error(params: Params) -> float:
        return auroc_error(np.asarray(margins(params)), labels[split.validation])

    return [row._asdict() for row in sensitivity(params, scores, SHARES, error)]


def unit_scores(config: CrnnConfig, params: Params, log_mel: LogMel, labels: Array) -> Masks:
    """Importance of every unit, the mean over batches of clips."""

    def batch_scores(batch: tuple[LogMel, Array]) -> Masks:
        gradient = jax.grad(lambda p: cross_entropy(_logits(config, p, batch[0]), batch[1]))(params)
        return importance(params, gradient, full_masks(config))

    batches = jax.tree.map(lambda x: x.reshape(-1, min(BATCH_SIZE, len(x)), *x.shape[1:]), (log_mel, labels))
    scores: Masks = jax.tree.map(
        lambda score: score.mean(axis=0), jax.jit(lambda b: jax.lax.map(batch_scores, b))(batches)
    )
    return scores


def _logits(config: CrnnConfig, params: Params, log_mel: LogMel) -> Array:
    outputs: Any = Crnn(config).apply({"params": params}, log_mel)
    logits: Array = outputs[0]
    return logits


def _log_mels(config: CrnnConfig, corpus: Corpus, clips: np.ndarray) -> LogMel:
    return log_compress(config.frontend, jnp.asarray(cached_mel_power(config.frontend, corpus.waveforms[clips])))


def read_tables(results: Path) -> list[dict[str, Any]]:
    """What `main` wrote into <results>/sensitivity/, by file name.

    Raises:
        UserError: If a file is none of this command's.
    """
    tables = []
    for path in sorted((results / "sensitivity").glob("*.json")):
        try:
            table = json.loads(path.read_text())
            missing = {"model", "command", "keyword", "corpus", "rows"} - table.keys()
        except (ValueError, AttributeError) as error:
            raise UserError(f"{path} is no table of sensitivities: {error}") from error
        if missing:
            raise UserError(f"{path} is no table of sensitivities: it lacks {', '.join(sorted(missing))}")
        tables.append(table)
    return tables


def sensitivity_section(tables: Sequence[dict[str, Any]], picture: str) -> str:
    """The report's part: Markdown out."""
    text = (
        "A trained model loses units of one part, those that matter least to the loss by its first-order change; the "
        "other parts stay whole and nothing is trained again. The steeper a line, the less its part has to spare."
    )
    commands = "\n".join(table["command"] for table in tables)
    drawn = f"![1 - AUROC over units taken away]({picture})"
    return f"## Sensitivity to pruning\n\n{text}\n\n{drawn}\n\n```sh\n{commands}\n```"


def sensitivity_figure(tables: Sequence[dict[str, Any]]) -> Figure:
    """A panel a model, a line a part: 1 - AUROC over the share of units taken away."""
    columns = min(3, len(tables))
    rows = -(-len(tables) // columns)
    figure = Figure(figsize=(3.6 * columns + 0.8, 3.0 * rows + 0.7), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    smallest = min((row["error"] for table in tables for row in table["rows"] if row["error"] > 0), default=1e-6)
    parts = list(dict.fromkeys(row["part"] for table in tables for row in table["rows"]))
    for axes in panels[len(tables) :]:
        axes.set_visible(False)
    for axes, table in zip(panels, tables, strict=False):
        for index, part in enumerate(parts):
            found = [row for row in table["rows"] if row["part"] == part]
            shares = [row["removed"] / row["units"] for row in found]
            errors = [max(row["error"], smallest / 2) for row in found]
            axes.plot(shares, errors, color=COLOURS[index % len(COLOURS)], marker="os^vDx"[index % 6], markersize=4)
        axes.set(yscale="log")
        axes.set_title(table["model"], fontsize=9)
        log_ticks(axes.yaxis, FuncFormatter(scientific))
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.tick_params(labelsize=8)
        axes.grid(color="0.9")
    figure.legend(panels[0].lines, parts, loc="outside upper center", ncols=len(parts), fontsize=8, frameon=False)
    figure.supxlabel("units taken away, the least important first; nothing is trained again", fontsize=9)
    figure.supylabel("1 - AUROC, validation speakers", fontsize=9)
    return figure


if __name__ == "__main__":
    with one_line_errors():
        tyro.cli(main, description=__doc__)
