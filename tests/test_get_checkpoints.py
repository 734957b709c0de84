"""Fetching: verified, never half a file, never outside the folder, and a failure is a line and an exit status."""

import hashlib
import io
import json
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import get_checkpoints
from get_checkpoints import main, origin_url
from kws_jax.errors import UserError

CONTENT = {"happy/base": b"base", "happy/student": b"student", "bed/base": b"other"}
FILE, V1 = tarfile.REGTYPE, "speech_commands_v0.01"


@pytest.fixture
def web(tmp_path) -> Iterator[str]:
    """Address of a server of tmp_path."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def write(folder: Path, file: str, content: bytes) -> None:
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(content)


@pytest.fixture
def shipped(tmp_path, monkeypatch) -> Path:
    """A repository's checkpoints: three models."""
    folder, models = tmp_path / "repository" / "checkpoints", []
    for name, content in CONTENT.items():
        write(folder, f"{name}.safetensors", content)
        facts = dict.fromkeys(get_checkpoints.LISTED, 7)
        models.append({"file": f"{name}.safetensors", "sha256": hashlib.sha256(content).hexdigest()} | facts)
    write(folder, "manifest.json", json.dumps({"checkpoints": models}).encode())
    monkeypatch.setattr(get_checkpoints, "CHECKPOINTS", folder)
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def failure(*arguments: str) -> str:
    with pytest.raises(SystemExit, match=r"^error: ") as caught:
        main(arguments)
    return str(caught.value)


NAMED = {
    "": "happy/base happy/student bed/base",
    "happy": "happy/base happy/student",
    "base": "happy/base bed/base",
    "bed/base student": "bed/base happy/student",
}


@pytest.mark.parametrize(("names", "expected"), NAMED.items())
def test_names_are_models_keywords_and_settings(shipped, tmp_path, names, expected):
    main([*names.split(), "--to", str(tmp_path / "copy")])
    assert files(tmp_path / "copy") == {f"{name}.safetensors" for name in expected.split()}
    assert "happy/student" in failure("happy/studnt")


def test_verify_fails_unless_all_is_here_and_right(shipped, capsys):
    main(["--verify"])
    main(["--list"])
    assert "3 files are here and right\nhappy/base " in capsys.readouterr().out
    (shipped / "happy/base.safetensors").unlink()
    (shipped / "bed/base.safetensors").write_bytes(b"wrong")
    main(["student", "--verify"])
    assert failure("--verify") == "error: 2 of 3 files are not here or not right: run this without --verify"
    missing, wrong = capsys.readouterr().err.splitlines()
    assert missing.endswith("happy/base.safetensors is missing")
    assert wrong.endswith("bed/base.safetensors is wrong")


def test_a_base_url_mends_what_is_missing_or_wrong(shipped, web, tmp_path):
    main(["--to", str(tmp_path / "mirror")])
    (shipped / "happy/base.safetensors").unlink()
    write(shipped, "bed/base.safetensors", b"wrong")
    main(["--base-url", f"{web}/mirror/"])
    assert {name: (shipped / f"{name}.safetensors").read_bytes() for name in CONTENT} == CONTENT


def test_what_cannot_be_fetched_is_one_line_and_leaves_nothing(shipped, web, tmp_path):
    write(tmp_path, "mirror/bed/base.safetensors", b"wrong")
    (shipped / "bed/base.safetensors").unlink()
    before = files(shipped)
    for url, said in ((f"{web}/mirror", "wrong SHA-256"), ("http://127.0.0.1:9", "cannot be fetched")):
        found = failure("--base-url", url)
        assert said in found
        assert "\n" not in found
        assert files(shipped) == before


def clone(folder: Path, origin: str) -> str:
    """Makes the folder a repository with an origin and a commit, which is returned."""
    git = ["git", "-C", str(folder), "-c", "user.name=me", "-c", "user.email=me@example.org"]
    for words in (["init"], ["remote", "add", "origin", origin], ["commit", "--allow-empty", "-m", "a"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    return subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()


@pytest.mark.parametrize(
    "origin", ["https://me:secret@github.com/me/a.b.git/", "git@github.com:me/a.b", "../repository"]
)
def test_what_is_missing_comes_from_the_commit_that_was_cloned(shipped, origin):
    commit = clone(shipped, origin)
    on_github = f"https://raw.githubusercontent.com/me/a.b/{commit}/checkpoints"
    assert origin_url() == (shipped.as_uri() if origin == "../repository" else on_github)


@pytest.mark.parametrize("origin", ["https://me:secret@example.org/a/b", "https://github.com.evil.org/a/b", "absent"])
def test_without_an_origin_to_fetch_from_the_base_url_is_named(shipped, origin):
    clone(shipped, origin)
    with pytest.raises(UserError, match="give --base-url") as error:
        origin_url()
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("file", ["../x", "/etc/x", "a/../../x", "a\\..\\x", "", "C:x", "a//b"])
def test_a_manifest_cannot_point_out_of_its_folder(shipped, file):
    model = {"file": f"{file}.safetensors", "sha256": "0" * 64}
    write(shipped, "manifest.json", json.dumps({"checkpoints": [model]}).encode())
    assert "malformed" in failure("--verify")


def fetch(folder: Path, monkeypatch, members: list, cut: int | None = None, needed: int = 8) -> None:
    """Packs members, cuts the archive, and fetches it into folder/data/v1 as if it were the published one."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "yes/a.wav", 4 * (kind == FILE)
            tar.addfile(info, io.BytesIO(b"data"))
    write(folder, f"mirror/{V1}.tar.gz", archive := content.getvalue()[:cut])
    monkeypatch.setitem(get_checkpoints.DATASETS, V1, (hashlib.sha256(archive).hexdigest(), needed))
    main(["--dataset", V1, "--to", str(folder / "data" / "v1"), "--base-url", (folder / "mirror").as_uri()])


LINKS_AND_DEVICES = [("yes/x", kind) for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)]


@pytest.mark.parametrize("evil", [("../x", FILE), ("a/../../x", FILE), ("/tmp/x", FILE), *LINKS_AND_DEVICES, None])
def test_a_malicious_or_damaged_archive_unpacks_nothing(tmp_path, monkeypatch, evil):
    with pytest.raises(SystemExit, match="unsafe or damaged"):
        fetch(tmp_path, monkeypatch, [("yes/a.wav", FILE), evil or ("yes/b.wav", FILE)], cut=None if evil else 60)
    assert [path.name for path in (tmp_path / "data").iterdir()] == [f"{V1}.tar.gz"]


def test_a_dataset_is_unpacked_whole_and_once_where_there_is_room(tmp_path, monkeypatch):
    members = [("./yes", tarfile.DIRTYPE), ("./yes/a.wav", FILE), ("LICENSE", FILE)]
    with pytest.raises(SystemExit, match="make room"):
        fetch(tmp_path, monkeypatch, members, needed=10**18)
    fetch(tmp_path, monkeypatch, members)
    assert files(tmp_path / "data") == {"v1/yes/a.wav", "v1/LICENSE"}
    with pytest.raises(SystemExit, match="is there already"):
        fetch(tmp_path, monkeypatch, members)
