"""Fetching: resumed, verified, never half a file, never outside the folder."""

import hashlib
import http.server
import io
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import get_checkpoints
from get_checkpoints import DATASETS, Archive, FetchError, describe, download, read_manifest, unpack, write_manifest

CONTENT = bytes(range(256)) * 4096  # 1 MiB
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT at every path.

    Attributes:
        ranges: Whether it honours Range.
        drops: How many of the next answers break off after a quarter of the content.
        sent: Bytes of content sent so far.
        paths: What was asked for.
    """

    ranges = True
    drops = 0
    sent = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        if self.path.endswith("absent"):
            return self.send_error(404)
        start = int(self.headers["Range"][len("bytes=") : -1]) if self.server.ranges and self.headers["Range"] else 0
        if start >= len(CONTENT):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        body = CONTENT[start:]
        if self.server.drops:
            self.server.drops -= 1
            body = body[: len(CONTENT) // 4]
        self.server.sent += len(body)
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(get_checkpoints, "BACKOFF", 0)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def shipped(tmp_path, monkeypatch) -> Path:
    """A repository's checkpoints: two models of one file each."""
    folder = tmp_path / "checkpoints"
    (folder / "flax").mkdir(parents=True)
    (folder / "flax" / "teacher.bin").write_bytes(CONTENT)
    (folder / "student.bin").write_bytes(CONTENT[:1000])
    write_manifest(
        folder,
        [
            describe(folder, "teacher", "flax/teacher.bin", {"auroc": 0.5}),
            describe(folder, "student", "student.bin", {"auroc": 0.25}),
        ],
    )
    monkeypatch.setattr(get_checkpoints, "CHECKPOINTS", folder)
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def fetch(url: str, target: Path) -> None:
    download(url, target, DIGEST, len(CONTENT))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_dropped_connection_is_resumed_where_the_server_can(server, tmp_path, ranges):
    server.ranges, server.drops = ranges, 1
    fetch(server.url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert files(tmp_path) == {"file"}
    assert server.sent == len(CONTENT) + (0 if ranges else len(CONTENT) // 4)


def test_a_second_drop_keeps_the_part_for_the_next_run(server, tmp_path):
    server.drops = 2
    with pytest.raises(FetchError, match="run this again to go on") as error:
        fetch(server.url, tmp_path / "file")
    assert "\n" not in str(error.value)
    assert files(tmp_path) == {"file.part"}
    fetch(server.url, tmp_path / "file")
    assert files(tmp_path) == {"file"}
    assert server.sent == len(CONTENT)


def test_a_complete_part_is_not_fetched_again(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    fetch(server.url, tmp_path / "file")
    assert server.sent == 0
    assert files(tmp_path) == {"file"}


def test_a_part_longer_than_the_file_is_fetched_anew(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT + b"more")
    fetch(server.url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_wrong_content_is_deleted_and_the_old_file_stays(server, tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    for digest, num_bytes in (("0" * 64, len(CONTENT)), (DIGEST, 1000)):
        with pytest.raises(FetchError, match="wrong SHA-256"):
            download(server.url, tmp_path / "file", digest, num_bytes)
    assert files(tmp_path) == {"file"}
    assert (tmp_path / "file").read_bytes() == b"old"


def test_an_absent_address_is_one_line(server, tmp_path):
    for url in (f"{server.url}/absent", (tmp_path / "absent").as_uri()):
        with pytest.raises(FetchError, match="absent") as error:
            fetch(url, tmp_path / "file")
        assert "\n" not in str(error.value)
    assert not files(tmp_path)


def test_commands_work_offline_with_what_the_repository_holds(shipped, tmp_path, capsys):
    main = get_checkpoints.main
    assert main([]) == main(["--verify"]) == main(["--list"]) == 0
    assert "auroc 0.25" in capsys.readouterr().out
    assert main(["teacher", "--to", str(tmp_path / "copy")]) == 0
    assert files(tmp_path / "copy") == {"flax/teacher.bin"}


def test_a_missing_file_names_the_remedy_and_a_base_url_mends_it(shipped, tmp_path, capsys):
    mirror = tmp_path / "mirror"
    shipped.rename(mirror)
    shipped.mkdir()
    (mirror / "manifest.json").rename(shipped / "manifest.json")
    assert get_checkpoints.main(["student"]) == 1
    assert "git checkout -- checkpoints/student.bin" in capsys.readouterr().err
    assert get_checkpoints.main(["--base-url", mirror.as_uri()]) == 0
    assert files(shipped) == {"manifest.json", "student.bin", "flax/teacher.bin"}


def git(folder: Path, *arguments: str) -> str:
    me = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    done = subprocess.run(["git", *me, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def cloned(shipped, tmp_path, monkeypatch) -> Path:
    """The checkpoints of a clone of the repository, in which a file is missing."""
    for arguments in (("init",), ("add", "."), ("commit", "-m", "models")):
        git(tmp_path, *arguments)
    git(tmp_path, "clone", str(tmp_path), str(tmp_path / "clone"))
    folder = tmp_path / "clone" / "checkpoints"
    (folder / "flax" / "teacher.bin").unlink()
    monkeypatch.setattr(get_checkpoints, "CHECKPOINTS", folder)
    return folder


@pytest.mark.parametrize("kind", ["path", "file", "relative"])
def test_a_missing_file_comes_from_the_folder_that_was_cloned(cloned, tmp_path, kind):
    address = {"path": str(tmp_path), "file": tmp_path.as_uri(), "relative": ".."}[kind]
    git(cloned, "remote", "set-url", "origin", address)
    assert get_checkpoints.main([]) == 0
    assert (cloned / "flax" / "teacher.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "address",
    [
        "https://github.com/owner/a.project",
        "https://github.com/owner/a.project.git",
        "https://me:secret@github.com/owner/a.project.git/",
        "git@github.com:owner/a.project.git",
        "ssh://git@github.com/owner/a.project.git",
    ],
)
def test_a_missing_file_comes_from_the_commit_on_github(cloned, server, address, monkeypatch):
    monkeypatch.setattr(get_checkpoints, "GITHUB_FILES", server.url)
    git(cloned, "remote", "set-url", "origin", address)
    assert get_checkpoints.main(["teacher"]) == 0
    assert server.paths == [f"/owner/a.project/{git(cloned, 'rev-parse', 'HEAD')}/checkpoints/flax/teacher.bin"]
    assert (cloned / "flax" / "teacher.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "address", [None, "https://me:secret@example.org/a/b", "git@example.org:a/b.git", "https://github.com.evil.org/a/b"]
)
def test_without_an_origin_to_fetch_from_the_base_url_is_named(cloned, address, capsys):
    git(cloned, "remote", *(("set-url", "origin", address) if address else ("remove", "origin")))
    assert get_checkpoints.main([]) == 1
    error = capsys.readouterr().err
    assert "give --base-url" in error
    assert error.count("\n") == 1
    assert "secret" not in error
    assert files(cloned) == {"manifest.json", "student.bin"}


def test_a_bare_origin_has_no_files_to_fetch(cloned, tmp_path, capsys):
    git(tmp_path, "clone", "--bare", str(tmp_path), str(tmp_path / "bare.git"))
    git(cloned, "remote", "set-url", "origin", str(tmp_path / "bare.git"))
    assert get_checkpoints.main([]) == 1
    assert "give --base-url" in capsys.readouterr().err


def test_a_corrupt_file_is_named_and_mended_over_http(shipped, server, capsys):
    (shipped / "flax" / "teacher.bin").write_bytes(b"\0" * len(CONTENT))
    assert get_checkpoints.main(["--verify"]) == 1
    assert "teacher.bin" in capsys.readouterr().err
    assert get_checkpoints.main(["--list"]) == 0
    assert "corrupt" in capsys.readouterr().out
    assert get_checkpoints.main(["--base-url", server.url]) == 0
    assert get_checkpoints.main(["--verify"]) == 0


def test_unknown_names_and_addresses_are_refused(shipped, capsys):
    assert get_checkpoints.main(["teecher"]) == 1
    assert "teacher" in capsys.readouterr().err
    assert get_checkpoints.main(["--base-url", "ftp://x"]) == 1
    assert "https://" in capsys.readouterr().err


@pytest.mark.parametrize(
    "file", ["../x", "/etc/x", "a/../../x", "a\\\\..\\\\x", "", ".", "C:x", "manifest.json", "a//b"]
)
def test_a_manifest_cannot_point_out_of_its_folder(shipped, file):
    text = (shipped / "manifest.json").read_text().replace("student.bin", file)
    (shipped / "manifest.json").write_text(text)
    with pytest.raises(FetchError, match="must stay in its folder"):
        read_manifest(shipped)


@pytest.mark.parametrize("text", ["", "[]", '{"checkpoints": [{"name": 1}]}'])
def test_a_malformed_manifest_is_one_line(shipped, text):
    (shipped / "manifest.json").write_text(text)
    with pytest.raises(FetchError, match="malformed"):
        read_manifest(shipped)


def tar_of(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            member.size = 4 if member.isfile() else 0
            tar.addfile(member, io.BytesIO(b"evil"))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "evil",
    [
        member("../x"),
        member("a/../../x"),
        member("/tmp/x"),
        member("link", tarfile.SYMTYPE, "../.."),
        member("link", tarfile.LNKTYPE, "../x"),
        member("pipe", tarfile.FIFOTYPE),
        member("device", tarfile.CHRTYPE),
    ],
)
def test_a_malicious_archive_unpacks_nothing(evil, tmp_path):
    archive = tar_of(tmp_path / "evil.tar.gz", member("yes/a.wav"), evil, member("link/x"))
    with pytest.raises(FetchError, match="unsafe"):
        unpack(archive, tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.tar.gz"]


def test_a_truncated_archive_unpacks_nothing(tmp_path):
    archive = tar_of(tmp_path / "half.tar.gz", *(member(f"yes/{n}.wav") for n in range(50)))
    archive.write_bytes(archive.read_bytes()[:300])
    with pytest.raises(FetchError, match="damaged"):
        unpack(archive, tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["half.tar.gz"]


@pytest.fixture
def mirror(tmp_path, monkeypatch) -> str:
    """Address of a folder that holds a small archive under a published name."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    archive = tar_of(folder / "speech_commands_v0.01.tar.gz", member("./yes/a_nohash_0.wav"), member("LICENSE"))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    small = Archive(DATASETS["speech_commands_v0.01"].url, digest, archive.stat().st_size, 8)
    monkeypatch.setitem(DATASETS, "speech_commands_v0.01", small)
    return folder.as_uri()


def test_a_dataset_is_unpacked_whole_and_once(mirror, tmp_path, capsys):
    arguments = ["--dataset", "speech_commands_v0.01", "--to", str(tmp_path / "data" / "v1"), "--base-url", mirror]
    assert get_checkpoints.main(arguments) == 0
    assert files(tmp_path / "data") == {"v1/yes/a_nohash_0.wav", "v1/LICENSE"}
    assert get_checkpoints.main(arguments) == 1
    assert "is there already" in capsys.readouterr().err


def test_too_little_room_is_said_before_the_download(mirror, tmp_path, monkeypatch):
    small = DATASETS["speech_commands_v0.01"]
    monkeypatch.setitem(DATASETS, "speech_commands_v0.01", Archive(small.url, small.sha256, small.bytes, 10**18))
    with pytest.raises(FetchError, match="make room"):
        get_checkpoints.fetch_dataset("speech_commands_v0.01", tmp_path / "data", mirror)
    assert files(tmp_path) == {"mirror/speech_commands_v0.01.tar.gz"}
