"""What is killed while it writes leaves all whole, and the next run goes through: twenty kills each, and two at once.

With KWS_KILLS=FILE, the counts go into that file: {"kills": {"training": {"kills": 20, "whole": 20}, ...}}.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from experiments.study.json_files import write_json

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["training", "publishing", "saving", "fetching"])
def test_after_every_kill_all_is_whole(kind: str, tmp_path: Path):
    words = [sys.executable, "-m", "tests.helpers.killing", kind, str(tmp_path)]
    quiet = {"TQDM_DISABLE": "1", "KWS_CACHE": str(tmp_path / "cache")}
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **quiet})
    assert run.returncode == 0, run.stderr[-2_000:]
    found = json.loads(run.stdout.splitlines()[-1])
    if counts := os.environ.get("KWS_KILLS"):
        path = Path(counts)
        known = json.loads(path.read_text())["kills"] if path.is_file() else {}
        write_json(path, {"kills": known | {kind: found}})
    assert found == {"kills": 20, "whole": 20}


@pytest.mark.slow
def test_of_two_runs_at_once_one_works_and_one_says_so(tone_corpus: Path, tmp_path: Path):
    """Whichever was later; what the other makes is whole."""
    words = [sys.executable, "-m", "experiments.run", "base", "--data", str(tone_corpus), "--keywords", "up", "--quick"]
    words += ["--out", str(tmp_path / "out"), "--jobs", "1"]
    both = [subprocess.Popen(words, cwd=ROOT, stdout=-1, stderr=-1, text=True) for _ in range(2)]
    said: list[str] = ["", ""]

    def hear(at: int) -> None:
        said[at] = both[at].communicate(timeout=400)[1]

    threads = [threading.Thread(target=hear, args=(at,)) for at in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = [process.returncode for process in both]
    assert sorted(codes) == [0, 1]
    refused = said[codes.index(1)].splitlines()
    assert refused == [f"error: another run is writing into {tmp_path / 'out'}: wait for it, or name another folder"]
    assert len(list((tmp_path / "out" / "runs").glob("*/record.json"))) == 1
    assert not (tmp_path / "out" / ".lock").exists()
