"""Kills what writes, twenty times each at moments drawn by a seed, and counts how often all that is there is whole.

In a process of its own, which imports all and starts nothing: what is killed are forks of it.

    python -m tests.helpers.killing training|publishing|saving|fetching FOLDER
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

import get_checkpoints
from experiments.streams.publishing import publish
from experiments.study import training as study_training
from experiments.study.records import MODEL, RECORD, Record, read_record
from experiments.study.scaling import resolved
from experiments.study.settings import BY_NAME
from experiments.study.sweep import Job, SweepContext, run_job
from experiments.study.task import find_source
from kws_jax.checkpoint import About, describe, load, rewrite, save
from kws_jax.data.sources import NO_SOURCES
from kws_jax.files import recover, written
from kws_jax.state_dict import to_variables
from tests.helpers.fake_records import record
from tests.helpers.tiny_corpus import write_tone_corpus

KILLS = 20
LONG = 3600.0
SHIPPED = Path(__file__).parents[2] / "checkpoints" / "happy"
Work = Callable[[], object]


def forked(work: Work, seconds: float = LONG) -> tuple[bool, float]:
    """Does work in a fork that is killed after so long; says whether it came to its end, and after how long."""
    start, child = time.monotonic(), os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    while (passed := time.monotonic() - start) < seconds:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            if status:
                raise RuntimeError("work that was not killed has failed")
            return True, passed
        time.sleep(min(2e-3, seconds - passed))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return not os.WIFSIGNALED(status), passed


def kill(work: Callable[[int], object], whole: Callable[[int], object]) -> dict[str, int]:
    """Kills the work of round after round, until there are enough; a round that goes through makes the next begin.

    Args:
        work: Of a round.
        whole: Sees after a kill in that round whether all is well.
    """
    rng, found, number = random.Random(0), {"kills": 0, "whole": 0}, 1
    _, usual = forked(partial(work, 0))
    while found["kills"] < KILLS:
        ended, passed = forked(partial(work, number), rng.uniform(0, usual))
        usual = min(usual, passed) if ended else usual  # what is compiled or cached by now is quicker
        found["kills"] += not ended
        forked(partial(whole, number))
        found["whole"] += not ended
        number += ended
    forked(partial(work, number))
    forked(partial(whole, number))
    return found


def training(root: Path) -> dict[str, int]:
    """A PyTorch and a JAX run of a sweep, each round in a folder of its own, to the weights of round 0."""
    for module in (study_training.jax_resume, study_training.torch_resume):
        module.Resume = partial(module.Resume, interval=0.0)  # type: ignore[misc]
    source = find_source(write_tone_corpus(root / "corpus"), ("up",), NO_SOURCES, root)
    settings = [replace(resolved(BY_NAME[name], 186, quick=True), restarts=1) for name in ("base", "student_314x")]
    jobs = [Job(replace(it, recipe=replace(it.recipe, epochs=6)), "up", 0) for it in settings]

    def work(number: int) -> None:
        context = SweepContext(source, "official", root / str(number), quick=True)
        for job in jobs:
            if not (context.folder(job) / RECORD).exists():
                run_job(context, job)

    def whole(number: int) -> None:
        for path in (root / str(number)).rglob(MODEL):
            made, first = (load_file(root / name / path.relative_to(root / str(number))) for name in (str(number), "0"))
            assert made.keys() == first.keys()
            assert all(np.array_equal(made[name], first[name]) for name in first), "other weights"
        for path in (root / str(number)).rglob(RECORD):
            assert read_record(path).quick

    return kill(work, whole)


def _bytes(tree: object) -> bytes:
    import jax

    return b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree))


def publishing(root: Path) -> dict[str, int]:
    """Checkpoints published over those of the round before: the old ones or the new ones, and all right."""
    target, records = root / "checkpoints", list[Record]()
    for name in ("student_314x_int5", "student_157x_int5", "student_314x", "student_21x"):
        records.append(record(name=name))
        (folder := root / "results" / "runs" / records[-1].name).mkdir(parents=True)
        os.link(SHIPPED / f"{name}.safetensors", folder / MODEL)

    def work(number: int) -> None:
        publish(records, root / "results", target, lambda path, about: replace(about, seed=0, threshold=_share(number)))

    def whole(number: int) -> None:
        recover(target)  # as the next publishing does
        models = get_checkpoints.read_manifest(target)
        assert {get_checkpoints.state(target / file, model) for file, model in models.items()} == {"here"}
        assert {model["threshold"] for model in models.values()} in ({_share(number)}, {_share(number - 1)})
        assert len(models) == len(records)

    return kill(work, whole)


def _share(number: int) -> float:
    return round(number / 1_000, 3)


def saving(root: Path) -> dict[str, int]:
    """A checkpoint's folder, a shipped file and a JSON file, each written over what was there."""

    source = SHIPPED / "student_314x.safetensors"
    config, tensors = describe(source)[0], load_file(source)

    def variables(number: int) -> dict[str, Any]:
        return to_variables({name: tensor + number for name, tensor in tensors.items()}, config)

    def work(number: int) -> None:
        save(root / "folder", config, variables(number), About("up", seed=number))
        rewrite(source, root / "file.safetensors", About("up", seed=number))
        with written(root / "file.json") as part:
            part.write_text(json.dumps([number] * 10_000))

    def whole(number: int) -> None:
        recover(root / "folder")
        folder, file = load(root / "folder"), describe(root / "file.safetensors")[1]
        assert {folder.about.seed, file.seed} <= {number, number - 1}
        assert _bytes(folder.variables) == _bytes(variables(folder.about.seed or 0))
        assert load_file(root / "file.safetensors").keys() == tensors.keys()
        assert json.loads((root / "file.json").read_text()) in ([number] * 10_000, [number - 1] * 10_000)

    return kill(work, whole)


def fetching(root: Path) -> dict[str, int]:
    """Files fetched into an empty folder, a new one a round: absent, or right."""
    base, models = root / "base", dict[str, dict[str, str]]()
    for name in "abc":
        path = base / "up" / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content := os.urandom(1 << 24))
        models[f"up/{path.name}"] = {"sha256": hashlib.sha256(content).hexdigest()}

    def work(number: int) -> None:
        get_checkpoints.fetch_models(models, root / str(number), base.as_uri())

    def whole(number: int) -> None:
        there = [path for path in (root / str(number)).rglob("*") if path.is_file() and path.suffix != ".part"]
        assert {get_checkpoints.state(path, models[f"up/{path.name}"]) for path in there} <= {"here"}

    return kill(work, whole)


if __name__ == "__main__":
    kinds = {function.__name__: function for function in (training, publishing, saving, fetching)}
    print(json.dumps(kinds[sys.argv[1]](Path(sys.argv[2]))))
