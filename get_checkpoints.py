"""Lists, fetches and verifies the trained models, and fetches Speech Commands.

All in one file that needs only Python and tqdm, so that it runs before the project is installed. What the repository
holds is not fetched; what is missing comes from --base-url, else from the repository's own origin.

python get_checkpoints.py [NAME...] [--list | --verify] [--base-url URL] [--to DIR]
python get_checkpoints.py --dataset speech_commands_v0.01 [--to DIR]
"""

import argparse
import difflib
import hashlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

CHECKPOINTS = Path(__file__).resolve().parent / "checkpoints"
GITHUB_FILES = "https://raw.githubusercontent.com"  # where GitHub serves single files
TIMEOUT = 30  # s without a byte
BACKOFF = 2.0  # s before the second and last try
CHUNK = 2**18  # bytes


class FetchError(Exception):
    """What went wrong and what to do about it, in one line."""


@dataclass(frozen=True)
class Entry:
    """One file of a checkpoint; a checkpoint of several files has as many entries with its name.

    Attributes:
        name: What a user asks for: letters, digits, dots, dashes and underscores.
        file: Path below the checkpoints' folder, with forward slashes.
        sha256: Of the file, 64 hexadecimal digits.
        bytes: Size of the file.
        metrics: Numbers worth listing, by name.
    """

    name: str
    file: str
    sha256: str
    bytes: int
    metrics: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses anything that could lead out of the folder."""
        parts = self.file.split("/")
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise FetchError(f"the manifest's name {self.name!r} may hold letters, digits, dots and dashes only")
        if (
            not all(re.fullmatch(r"[\w=+-][\w.=+-]*|\.\w[\w.-]*", part) for part in parts)
            or self.file == "manifest.json"
        ):
            raise FetchError(f"the manifest's path {self.file!r} must stay in its folder: use plain names and slashes")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256) or self.bytes < 0:
            raise FetchError(f"the manifest's entry of {self.file} has no SHA-256 of 64 digits, or a negative size")


@dataclass(frozen=True)
class Archive:
    """A published archive: where it is, its SHA-256, its size and about what it unpacks to, in bytes."""

    url: str
    sha256: str
    bytes: int
    unpacked_bytes: int


# Addresses and sums: torchaudio 2.11, datasets/speechcommands.py. The data: Warden, 2018, CC BY 4.0.
DATASETS = {
    "speech_commands_v0.01": Archive(
        "http://download.tensorflow.org/data/speech_commands_v0.01.tar.gz",
        "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
        1_489_096_277,
        2_200_000_000,
    ),
    "speech_commands_v0.02": Archive(
        "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
        "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
        2_428_923_189,
        3_600_000_000,
    ),
}


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(folder: Path, name: str, file: str, metrics: dict[str, Any]) -> Entry:
    """The manifest's entry of a file that is there."""
    path = folder / file
    return Entry(name, file, sha256(path), path.stat().st_size, metrics)


def write_manifest(folder: Path, entries: Iterable[Entry]) -> None:
    """Writes `manifest.json`, in the order of names and files, all of it or none."""
    ordered = sorted(entries, key=lambda entry: (entry.name, entry.file))
    part = folder / "manifest.json.part"
    part.write_text(json.dumps({"checkpoints": [asdict(entry) for entry in ordered]}, indent=1) + "\n")
    part.replace(folder / "manifest.json")


def read_manifest(folder: Path) -> list[Entry]:
    """The entries of `manifest.json`.

    Raises:
        FetchError: If it is absent or malformed, names a file twice, or points out of the folder.
    """
    path = folder / "manifest.json"
    try:
        entries = [Entry(**entry) for entry in json.loads(path.read_text())["checkpoints"]]
    except FileNotFoundError:
        raise FetchError(f"there is no {path}: clone the repository again, or git checkout -- checkpoints") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FetchError(f"{path} is malformed ({error}): git checkout -- checkpoints/manifest.json") from None
    files = [entry.file for entry in entries]
    if twice := {file for file in files if files.count(file) > 1}:
        raise FetchError(f"{path} names {min(twice)} twice: git checkout -- checkpoints/manifest.json")
    return entries


def download(url: str, target: Path, digest: str, num_bytes: int) -> None:
    """Fetches a URL into a file that appears only when complete and right; resumes what `target`.part holds.

    Args:
        url: http, https or file.
        target: Its folder is made if need be.
        digest: The SHA-256 that it must have.
        num_bytes: The size that it must have.

    Raises:
        FetchError: If two tries fail (the part stays, to be resumed) or the content is wrong (the part goes).
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    for remaining_tries in (1, 0):
        try:
            if not (part.exists() and part.stat().st_size == num_bytes):
                _transfer(url, part, num_bytes)
            break
        except (OSError, http.client.HTTPException) as error:
            code = error.code if isinstance(error, urllib.error.HTTPError) else None
            if code == 416:  # nothing there from where we would go on: the part is of another file
                part.unlink(missing_ok=True)
            if code not in (None, 416) or not remaining_tries:
                kept = f"; {part} is kept: run this again to go on" if part.exists() else ": try again later"
                raise FetchError(f"{url}: {error}{kept}") from None
            time.sleep(BACKOFF)
    _finish(part, target, digest, url)


def _transfer(url: str, part: Path, num_bytes: int) -> None:
    """Appends the rest of the URL to the part, or all of it where the server does not resume."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        if not (response.headers["Content-Range"] or "").startswith(f"bytes {start}-"):
            start = 0
        progress = tqdm(total=num_bytes, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None)
        with part.open("ab" if start else "wb") as file, progress:
            while file.tell() <= num_bytes and (chunk := response.read(CHUNK)):
                file.write(chunk)
                progress.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    announced = response.headers["Content-Length"]
    expected = min(num_bytes, start + int(announced)) if announced else num_bytes
    if part.stat().st_size < expected:
        raise ConnectionError(f"the connection broke after {part.stat().st_size:,} of {num_bytes:,} bytes")


def _finish(part: Path, target: Path, digest: str, source: str) -> None:
    if (found := sha256(part)) != digest:
        part.unlink()
        raise FetchError(
            f"{source} has the wrong SHA-256 {found[:12]}..., not {digest[:12]}...: deleted; run this again"
        )
    part.replace(target)


def state(path: Path, entry: Entry) -> str:
    """Says "present", "missing" or "corrupt" (the size or the SHA-256 is another)."""
    if not path.is_file():
        return "missing"
    return "present" if path.stat().st_size == entry.bytes and sha256(path) == entry.sha256 else "corrupt"


def origin_url(folder: Path) -> str:
    """The address of a folder of this checkout in the repository that it was cloned from.

    Args:
        folder: In a git checkout whose origin is on GitHub, or a folder on this machine with its files checked out.

    Raises:
        FetchError: If the folder is in no checkout, there is no origin, or files cannot be fetched from it.
    """
    try:
        root, origin = _git(folder, "rev-parse", "--show-toplevel"), _git(folder, "config", "remote.origin.url")
        commit, prefix = _git(folder, "rev-parse", "HEAD"), _git(folder, "rev-parse", "--show-prefix").rstrip("/")
    except (OSError, subprocess.CalledProcessError):
        raise FetchError("no origin to fetch from is known to git") from None
    below = urllib.parse.quote(prefix)
    if on_github := re.fullmatch(r"(?:\w+://(?:[^/@]+@)?|[^/@:]+@)github\.com[:/]([^/]+/[^/]+?)(?:\.git)?/?", origin):
        return f"{GITHUB_FILES}/{on_github[1]}/{commit}/{below}"
    local = urllib.request.url2pathname(origin.removeprefix("file://")) if origin.startswith("file://") else origin
    if (found := Path(root, local, prefix).resolve()).is_dir():
        return found.as_uri()
    shown = re.sub(r"//[^/@]*@", "//", origin)  # without a password
    raise FetchError(f"the origin {shown} is neither on GitHub nor a folder with {prefix}/ in it")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def fetch(entry: Entry, folder: Path, base_url: str | None) -> None:
    """Brings one file into the folder: it is there, the repository has it, or the base URL does, or the origin."""
    target, shipped = folder / entry.file, CHECKPOINTS / entry.file
    if (found := state(target, entry)) == "present":
        return
    if state(shipped, entry) == "present":
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        shutil.copyfile(shipped, part)
        _finish(part, target, entry.sha256, str(shipped))
        return
    try:
        base = base_url or origin_url(CHECKPOINTS)
    except FetchError as error:
        remedy = f"give --base-url, or run git checkout -- checkpoints/{entry.file}"
        raise FetchError(f"{entry.name}: {target} is {found}, and {error}: {remedy}") from None
    download(f"{base.rstrip('/')}/{urllib.parse.quote(entry.file)}", target, entry.sha256, entry.bytes)


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a tar of plain files and folders into a folder that appears only when complete.

    Raises:
        FetchError: If a member is a link or a device, or its path leaves the folder, or the archive is damaged.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        made = Path(scratch, "made")
        made.mkdir()
        try:
            with tarfile.open(archive) as tar:
                for member in tqdm(tar, desc=f"unpacking {archive.name}", unit="file", disable=None):
                    if not (member.isfile() or member.isdir()) or PurePosixPath(member.name).is_absolute():
                        raise FetchError(
                            f"{archive} is unsafe, nothing was unpacked: {member.name} is a link, a device or absolute"
                        )
                    tar.extract(member, made, filter="data")
        except tarfile.FilterError as error:
            raise FetchError(f"{archive} is unsafe, nothing was unpacked: {error}") from None
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise FetchError(f"{archive} is damaged ({error}): delete it and run this again") from None
        if folder.exists():
            folder.rmdir()
        made.rename(folder)


def fetch_dataset(name: str, folder: Path, base_url: str | None = None) -> None:
    """Downloads and unpacks one of `DATASETS`; the archive is deleted once its content is in place.

    Args:
        name: Of the data set.
        folder: Where its words shall lie; must be absent or empty.
        base_url: Folder of a mirror, in place of the official address.
    """
    source = DATASETS[name]
    if not hasattr(tarfile, "data_filter"):
        raise FetchError("unpacking safely needs Python 3.11.4 or later")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FetchError(f"{folder} is there already: use it, or name another with --to")
    folder.parent.mkdir(parents=True, exist_ok=True)
    archive = folder.parent / source.url.rsplit("/", 1)[1]
    url = f"{base_url.rstrip('/')}/{archive.name}" if base_url else source.url
    parts = [path for path in (archive, archive.with_name(archive.name + ".part")) if path.exists()]
    needed = source.bytes + source.unpacked_bytes - sum(path.stat().st_size for path in parts)
    if (free := shutil.disk_usage(folder.parent).free) < needed:
        raise FetchError(f"{folder.parent} has {free / 1e9:.1f} GB free and {name} needs {needed / 1e9:.1f}: make room")
    if not (archive.exists() and sha256(archive) == source.sha256):
        download(url, archive, source.sha256, source.bytes)
    unpack(archive, folder)
    archive.unlink()


def _select(entries: Sequence[Entry], names: Sequence[str]) -> list[Entry]:
    known = sorted({entry.name for entry in entries})
    for name in names:
        if name not in known:
            near = ", ".join(difflib.get_close_matches(name, known)) or "see --list"
            raise FetchError(f"no checkpoint is called {name!r}: {near}")
    return [entry for entry in entries if not names or entry.name in names]


def _list(entries: Iterable[Entry], folder: Path) -> None:
    for entry in entries:
        metrics = "  ".join(f"{name} {value}" for name, value in list(entry.metrics.items())[:2])
        print(
            f"{entry.name:<28} {entry.bytes:>9,} bytes  {state(folder / entry.file, entry):<8} {entry.file}  {metrics}"
        )


def _verify(entries: Iterable[Entry], folder: Path) -> None:
    states = {entry.file: state(folder / entry.file, entry) for entry in entries}
    if bad := [str(folder / file) for file, found in states.items() if found == "corrupt"]:
        raise FetchError(f"wrong SHA-256: {', '.join(bad)}: fetch again, without --verify")
    present = sum(found == "present" for found in states.values())
    print(f"{present} of {len(states)} files are here and right")


def _fetch_all(entries: Sequence[Entry], folder: Path, base_url: str | None) -> None:
    failures = []
    for entry in entries:
        try:
            fetch(entry, folder, base_url)
        except FetchError as error:
            failures.append(str(error))
    if failures:
        raise FetchError("\nerror: ".join(failures))
    print(f"{len(entries)} files are in {folder}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="checkpoints, as --list calls them; default: all")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--list", action="store_true", help="say what there is and which of it is here")
    action.add_argument("--verify", action="store_true", help="check the SHA-256 of what is here, fetch nothing")
    parser.add_argument("--base-url", help="http(s):// or file:// address of the files; default: the origin's")
    action.add_argument("--dataset", choices=DATASETS, help="fetch this data set instead")
    parser.add_argument("--to", type=Path, metavar="DIR", help="default: checkpoints/, or data/<data set>")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    options = _parse(arguments)
    try:
        if options.base_url and urllib.parse.urlsplit(options.base_url).scheme not in ("http", "https", "file"):
            raise FetchError(f"--base-url {options.base_url} must begin with http://, https:// or file://")
        if options.dataset:
            folder = options.to or CHECKPOINTS.parent / "data" / options.dataset
            fetch_dataset(options.dataset, folder.resolve(), options.base_url)
            print(f"{options.dataset} is in {folder}")
            return 0
        entries, folder = _select(read_manifest(CHECKPOINTS), options.names), options.to or CHECKPOINTS
        if options.list:
            _list(entries, folder)
        elif options.verify:
            _verify(entries, folder)
        else:
            _fetch_all(entries, folder, options.base_url)
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error}: mend that and run this again", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted: run this again to go on", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
