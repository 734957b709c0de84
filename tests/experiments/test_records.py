"""Records on disk: read as they were written, refused where they are none, and one a run whatever the file's name."""

import json
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from experiments.study.environment import commit
from experiments.study.records import (
    RECORD,
    read_record,
    read_records,
    write_record,
)
from experiments.study.scores import SCORES, read_log, read_scores, write_scores
from experiments.study.stream_records import STREAMS, read_peers, read_streams, write_stream
from kws_jax.errors import UserError
from tests.helpers.fake_records import stream_record

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "results"
RUN = read_record(SHIPPED / "runs" / "student_314x-happy-official-0" / RECORD)


def test_records_come_back_as_they_were_written(tmp_path: Path):
    assert len(RUN.training.restarts) > 1
    for run in (RUN, replace(RUN, training=None, validation=None, voices="words")):
        write_record(tmp_path, run)
        assert read_record(tmp_path / RECORD) == run


def test_what_is_no_record_is_one_line(tmp_path: Path):
    with pytest.raises(UserError, match=r"no records in .*: make some with"):
        read_records(tmp_path)
    values = asdict(RUN)
    for wrong in ("{", "[]", json.dumps(values | {"gone": 1}), json.dumps(values | {"cost": {"macs": 1}})):
        (tmp_path / RECORD).write_text(wrong)
        with pytest.raises(UserError, match=rf"{RECORD} is no record of this version .*: delete it") as error:
            read_record(tmp_path / RECORD)
        assert "\n" not in str(error.value)


def test_scores_keep_order_ties_and_who_spoke(tmp_path: Path):
    margins, labels = np.array([0.5, -3.0, 0.5, 7.25]), np.array([0, 0, 1, 1])
    speakers, testing = np.array([40_000, 2, 2, 5]), np.array([True, False, False, True])
    parts = {"held_out": (4, 2), "testing": (2, 1), "validation": (2, 1)}
    counted = {name: replace(RUN.testing, clips=part[0], keyword_clips=part[1]) for name, part in parts.items()}
    run = replace(RUN, **counted)
    path = tmp_path / "runs" / run.name
    path.mkdir(parents=True)
    write_scores(path, margins, labels, speakers, testing)
    for found, expected in zip(read_scores(tmp_path, run), ([1, 0, 1, 2], labels, speakers, testing), strict=True):
        np.testing.assert_array_equal(found, expected)
    (path / SCORES).write_bytes((path / SCORES).read_bytes()[:100])
    with pytest.raises(UserError, match=r"cannot be read .*: run it again"):
        read_scores(tmp_path, run)
    assert read_log(tmp_path, RUN.name) == []


def test_the_shipped_records_are_read():
    streams = read_streams(SHIPPED)
    assert "happy" in {record.heard.keyword for record in streams}
    assert all("carried" in record.modes and record.modes["carried"].points for record in streams)
    assert all(isinstance(record.heard.testing["hours"], float) for record in streams)
    assert [peer.engine for peer in read_peers(SHIPPED)] == ["pocketsphinx"]


def test_a_model_that_was_judged_under_two_paths_counts_once(tmp_path: Path):
    """By setting, keyword and seed; another seed is another run."""
    one = stream_record()
    for name, seed in (("shipped", 0), ("by_path", 0), ("other_seed", 1)):
        write_stream(tmp_path / STREAMS / f"{name}.json", replace(one, seed=seed))
    assert read_streams(tmp_path) == [one, replace(one, seed=1)], "the same as was written"
    (tmp_path / STREAMS / "bad.json").write_text("{}")
    with pytest.raises(UserError, match=r"bad\.json is no record of this version"):
        read_streams(tmp_path)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@pytest.mark.parametrize(
    ("changed", "mark"),
    [("kws_jax/layers.py", "+"), ("new.py", "+"), ("experiments/new.py", "+"), ("README.md", ""), (None, "")],
)
def test_a_commit_says_whether_any_code_has_changed_since(changed: str | None, mark: str, tmp_path: Path):
    """In whatever folder the code is, and new files too; words are no code."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=A", "-c", "user.email=a@b"]
    for name in ("kws_jax/layers.py", "experiments/run.py", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("old = 1\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "All"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
    if changed:
        (tmp_path / changed).write_text("new = 1\n")
    assert commit(tmp_path) == head.stdout.strip() + mark
    assert commit(tmp_path / "nowhere") == "unknown"
