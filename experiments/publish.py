"""Copies trained checkpoints into checkpoints/ and writes the manifest that get_checkpoints.py verifies."""

import json
import shutil
from pathlib import Path
from typing import Any

import tyro

from experiments.records import Record, model_name, read_records
from get_checkpoints import Entry, describe, write_manifest
from kws_jax import checkpoint
from kws_jax.errors import UserError, one_line_errors

DEFAULT_TARGET = Path(__file__).parents[1] / "checkpoints"


def main(results: tyro.conf.Positional[Path], split: str = "official", seed: int = 0) -> None:
    """Publishes every setting and keyword of one split and seed.

    Args:
        results: Folder with records/ and checkpoints/.
        split: Of the runs.
        seed: Of the runs.
    """
    chosen = [record for record in read_records(results / "records") if (record.split, record.seed) == (split, seed)]
    if not chosen:
        raise UserError(f"no records of the {split} split and seed {seed} in {results}: run the settings first")
    entries = [entry for record in chosen for entry in publish(record, results, DEFAULT_TARGET)]
    write_manifest(DEFAULT_TARGET, entries)
    print(f"{len(chosen)} checkpoints, {sum(entry.bytes for entry in entries):,} bytes in {DEFAULT_TARGET.name}/")


def publish(record: Record, results: Path, target: Path) -> list[Entry]:
    """Copies one run's checkpoint; returns the manifest's entries of its files."""
    name = model_name(record.setting["name"], record.keyword, record.corpus)
    folder = target / name
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(results / record.paths["checkpoint"], folder)
    judged = results / "streams" / f"{record.name}.json"
    if judged.is_file():
        _name_threshold(folder / "flax", json.loads(judged.read_text())["modes"]["carried"])
    metrics = {"auroc_error": record.testing.auroc_error, "thop_macs": record.cost.thop_macs}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [describe(target, name, path.relative_to(target).as_posix(), metrics) for path in files]


def _name_threshold(folder: Path, judged: dict[str, Any]) -> None:
    """Tells a checkpoint the threshold and smoothing that were chosen on validation speakers."""
    if judged["threshold"] is not None:
        about = checkpoint.read_about(folder) | {name: judged[name] for name in ("threshold", "smoothing")}
        (folder / checkpoint.ABOUT_FILE).write_text(json.dumps(about) + "\n")


if __name__ == "__main__":
    with one_line_errors():
        tyro.cli(main, description=__doc__)
