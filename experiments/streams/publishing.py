"""From records to checkpoints/: models with their detectors' thresholds, and the manifest."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.streams.recipe import SceneRecipe
from experiments.streams.thresholds import with_thresholds
from experiments.study.environment import ROOT
from experiments.study.lock import locked
from experiments.study.records import MODEL, RUNS, Record, read_records
from kws_jax.checkpoint import SUFFIX, About, describe, rewrite
from kws_jax.data.corpus import load_corpus
from kws_jax.errors import UserError
from kws_jax.files import recover, written

TARGET = ROOT / "checkpoints"
MANIFEST, README = "manifest.json", "README.md"
NAME = re.compile(r"[\w-]{1,200}")
Threshold = Callable[[Path, About], About]


def choose_and_publish(results: Path, scenes: SceneRecipe, split: str, run_seed: int, again: bool, drop: bool) -> None:
    """Publishes the records of one split and seed; see `experiments.publish`."""
    chosen = [record for record in read_records(results) if (record.split, record.seed) == (split, run_seed)]
    if not chosen:
        raise UserError(f"no records of the {split} split and seed {run_seed} in {results}: run the settings first")
    if quick := [record.name for record in chosen if record.quick]:
        raise UserError(f"{quick[0]} only shows that everything works: run it without --quick")
    corpus = load_corpus(scenes.data)
    validation = cache(lambda keyword: scenes.build(corpus, keyword, "validation"))

    def threshold(path: Path, about: About) -> About:
        assert about.keyword is not None
        known = about.operating_points is not None and not again
        return about if known else with_thresholds(path, about, validation(about.keyword))

    publish(chosen, results, TARGET, threshold, drop)
    print(f"{len(chosen)} checkpoints in {TARGET.name}/")


def publish(records: list[Record], results: Path, target: Path, threshold: Threshold, drop: bool = False) -> None:
    """Builds the folder of checkpoints anew.

    Args:
        records: Of the runs whose models are shipped.
        results: Their folder. Where a run's model is not there any more, the shipped one of the same run is kept.
        target: Folder of checkpoints; what stands in its README is kept.
        threshold: From a model's file and what is known of it to the same with a threshold.
        drop: Whether checkpoints of the folder go that no record stands for.

    Raises:
        UserError: If a record has no model, or a name that could lead elsewhere, or a file would be lost, or another
            process writes there. Nothing is touched then.
    """
    places = [_place(record) for record in records]
    if twice := {place for place in places if places.count(place) > 1}:
        raise UserError(f"two runs would be {min(twice)}: publish one of them from a folder of its own")
    with locked(target.parent):
        recover(target)
        shipped = _shipped(target)
        if foreign := _foreign(target, shipped):
            raise UserError(f"{foreign[0]} is of no checkpoint in {MANIFEST}: move it elsewhere")
        if not drop and (gone := sorted({*shipped} - {*places})):
            raise UserError(f"{len(gone)} checkpoints, as {gone[0]}, have no record in {results}: --drop lets them go")
        _write(records, {_place(record): _source(record, results, target) for record in records}, target, threshold)


def _write(records: list[Record], sources: dict[str, Path], target: Path, threshold: Threshold) -> None:
    with written(target) as part:
        entries = []
        for record in tqdm(records, desc="publishing", unit="checkpoint", disable=None):
            source, path = sources[_place(record)], part / _place(record)
            rewrite(source, path, threshold(source, describe(source)[1]))
            entries.append(_entry(record, path))
        manifest = {"checkpoints": sorted(entries, key=lambda entry: entry["file"])}
        (part / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        if (target / README).is_file():
            shutil.copyfile(target / README, part / README)


def _shipped(target: Path) -> list[str]:
    """The files that the folder's manifest names."""
    path = target / MANIFEST
    if not path.is_file():
        return []
    try:
        return [str(entry["file"]) for entry in json.loads(path.read_text())["checkpoints"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error!r}): git checkout -- {path.parent.name}") from error


def _foreign(target: Path, shipped: list[str]) -> list[Path]:
    """Files that the folder's manifest does not know, and that would be lost."""
    known = {target / README, target / MANIFEST, *(target / file for file in shipped)}
    return sorted(path for path in target.rglob("*") if path.is_file() and path not in known)


def _place(record: Record) -> str:
    name, keyword = record.setting["name"], record.keyword
    if not all(map(NAME.fullmatch, (name, keyword, record.name))):
        raise UserError(f"{name!r} of {keyword!r} is no name for a file: it takes letters, digits, _ and -")
    return f"{keyword}/{name}{SUFFIX}"


def _source(record: Record, results: Path, target: Path) -> Path:
    own, shipped = results / RUNS / record.name / MODEL, target / _place(record)
    if own.is_file():
        return own
    if shipped.is_file() and describe(shipped)[1].seed == record.seed:
        return shipped
    raise UserError(f"{record.name} has no model in {own.parent}: run it again")


def _entry(record: Record, path: Path) -> dict[str, Any]:
    about = describe(path)[1]
    return {
        "file": f"{path.parent.name}/{path.name}",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "keyword": record.keyword,
        "setting": record.setting["name"],
        "number_format": about.number_format,
        "macs": record.cost.thop_macs,
        "auroc_error": record.testing.auroc_error,
        "threshold": about.threshold,
        "smoothing": about.smoothing,
        "false_alarms_per_hour": about.false_alarms_per_hour,
        "operating_points": about.operating_points,
    }
