"""Lists, fetches and verifies the trained models, and fetches Speech Commands.

python get_checkpoints.py [NAME...] [--list | --verify] [--base-url URL] [--to DIR]
python get_checkpoints.py --dataset speech_commands_v0.02 [--to DIR]

A NAME is happy/student_21x, a keyword (happy) or a setting (student_21x); without one, all are meant. What is missing
comes from --base-url, else from where the repository was cloned. A file appears once its SHA-256 is right, a data set
once it is unpacked whole. A download that breaks off is not resumed: the next run begins it anew.
"""

import argparse
import difflib
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kws_jax.command import command
from kws_jax.errors import UserError, printable
from kws_jax.files import check_writable, remove, written

CHECKPOINTS = Path(__file__).resolve().parent / "checkpoints"
GITHUB_FILES = "https://raw.githubusercontent.com"  # where GitHub serves single files
# SHA-256 of the archive; bytes of it and its content together. Sums and address: torchaudio 2.11, speechcommands.py.
# The data: Warden: Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, 2018; CC BY 4.0.
TENSORFLOW = "http://download.tensorflow.org/data"
DATASETS = {
    "speech_commands_v0.01": ("743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d", 3_700_000_000),
    "speech_commands_v0.02": ("af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58", 6_100_000_000),
}

LISTED = ("bytes", "number_format", "macs", "auroc_error", "threshold", "false_alarms_per_hour")
SHOWN = (*LISTED, "operating_points")
SUFFIX = ".safetensors"
Models = dict[str, dict[str, Any]]  # by file: its SHA-256, and what else is known of the model


def state(path: Path, model: dict[str, Any]) -> str:
    """Says "here", "missing" or "wrong" of a model's file."""
    return "missing" if not path.is_file() else "here" if _sha256(path) == model["sha256"] else "wrong"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> Models:
    """What `manifest.json` says; a UserError if it is absent or malformed, or points out of the folder."""
    path = folder / "manifest.json"
    try:
        listed = json.loads(path.read_text())["checkpoints"]
        models = {model["file"]: model for model in listed}
        if not models or len(models) < len(listed):
            raise ValueError("it lists nothing, or a file twice")
        for file, model in models.items():
            if odd := [name for name in LISTED if not isinstance(model[name], str | int | float | None)]:
                raise ValueError(f"{file} has no {odd[0]} that is one")
            if not (re.fullmatch(rf"[\w-]+/[\w-]+\{SUFFIX}", file) and re.fullmatch(r"[\da-f]{64}", model["sha256"])):
                raise ValueError(f"{file!r} is no KEYWORD/SETTING.safetensors with a SHA-256")
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is absent or malformed ({error!r}): git checkout -- checkpoints") from None
    return models


def select(models: Models, names: Sequence[str]) -> Models:
    """The models that the names mean, all without a name; a UserError if a name means none."""
    words = {file: {file.removesuffix(SUFFIX), *file.removesuffix(SUFFIX).split("/")} for file in models}
    known = set().union(*words.values())
    if unknown := [name for name in names if name not in known]:
        near = ", ".join(difflib.get_close_matches(unknown[0], known)) or "see --list"
        raise UserError(f"no checkpoint is called {unknown[0]!r}: {near}")
    return {file: model for file, model in models.items() if not names or words[file] & {*names}}


def download(url: str, target: Path, sha256: str, progress: bool = False) -> None:
    """Fetches http://, https:// or file:// into a file that appears when it is right, unless it is there already.

    Raises:
        UserError: If it cannot be had, or not be written.
    """
    if target.is_file() and _sha256(target) == sha256:
        return
    check_writable(target)
    with written(target) as part:
        try:
            _fetch(url, part, progress)
        except (OSError, ValueError) as error:  # the second, of what is no address, or no HTTP
            raise UserError(
                f"{printable(url)} cannot be fetched ({error}): try later, or give another --base-url"
            ) from None
        if _sha256(part) != sha256:
            raise UserError(f"{printable(url)} has a wrong SHA-256: run this again, or give another --base-url")


def _fetch(url: str, target: Path, progress: bool) -> None:
    import pooch  # half a second to import, which --list does not need

    if url.startswith("file:"):
        urllib.request.urlretrieve(url, target)
    else:
        pooch.HTTPDownloader(progressbar=progress, timeout=30)(url, str(target), None)


def origin_url() -> str:
    """Where this commit's checkpoints are on GitHub, or in the folder that was cloned; a UserError if in neither."""
    commands = (["git", "config", "remote.origin.url"], ["git", "rev-parse", "HEAD"])
    asked = (subprocess.run(words, cwd=CHECKPOINTS, capture_output=True, text=True) for words in commands)
    origin, commit = (answer.stdout.strip() for answer in asked)
    if on_github := re.fullmatch(r"(?:\w+://)?(?:[^/@]+@)?github\.com[:/]([^/]+/[^/]+?)(?:\.git)?/?", origin):
        return f"{GITHUB_FILES}/{on_github[1]}/{commit}/checkpoints"
    if origin and (folder := CHECKPOINTS.parent / origin.removeprefix("file://") / "checkpoints").is_dir():
        return folder.resolve().as_uri()
    raise UserError("no origin to fetch from is known: give --base-url, or run git checkout -- checkpoints")


def fetch_models(models: Models, folder: Path, base_url: str | None) -> None:
    """Brings the files into the folder: from the repository's own checkpoints, else from the base URL or the origin."""
    from tqdm import tqdm

    wanted = {file: model for file, model in models.items() if state(folder / file, model) != "here"}
    for file, model in tqdm(wanted.items(), unit="file", disable=None):
        base = CHECKPOINTS.as_uri() if state(CHECKPOINTS / file, model) == "here" else base_url or origin_url()
        download(f"{base.rstrip('/')}/{file}", folder / file, model["sha256"])


def _plain(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """Tarfile's data filter, but links are refused too, and absolute paths instead of made relative."""
    if not (member.isfile() or member.isdir()) or member.name.startswith("/"):
        raise tarfile.FilterError(f"{member.name!r} is absolute, a link or a device")
    return tarfile.data_filter(member, folder)


def fetch_dataset(name: str, folder: Path, base_url: str | None) -> None:
    """Downloads and unpacks a data set into a folder that must be absent or empty, and stays so on a UserError."""
    from tqdm import tqdm

    sha256, needed = DATASETS[name]
    if not hasattr(tarfile, "data_filter"):
        raise UserError("unpacking safely needs Python 3.11.4 or later")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already: use it, or name another with --to")
    check_writable(folder, folder=True)
    there = next(place for place in folder.parents if place.exists())
    if (free := shutil.disk_usage(there).free) < needed:
        raise UserError(f"{folder.parent} has {free / 1e9:.1f} GB free and {name} needs {needed / 1e9:.1f}: make room")
    archive = folder.parent / f"{name}.tar.gz"
    download(f"{(base_url or TENSORFLOW).rstrip('/')}/{archive.name}", archive, sha256, progress=True)
    with written(folder) as part:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(part, tqdm(tar, unit="file", disable=None), filter=_plain)
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise UserError(f"{archive} is unsafe or damaged, nothing was unpacked: {error}") from None
    remove(archive)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; exits with status 1 and a line for each thing that is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="as --list calls it, or a keyword, or a setting")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--list", action="store_true", help="say what there is and which of it is here")
    action.add_argument("--verify", action="store_true", help="fail unless all of it is here and right; fetch nothing")
    action.add_argument("--dataset", choices=DATASETS, help="fetch this data set instead")
    parser.add_argument("--base-url", help="http(s):// or file:// address of a folder with the files")
    parser.add_argument("--to", type=Path, metavar="DIR", help="default: checkpoints/, or data/<data set>")
    with command():
        _run(parser.parse_args(arguments))


def _run(options: argparse.Namespace) -> None:
    if options.dataset:
        folder = options.to or CHECKPOINTS.parent / "data" / options.dataset
        return fetch_dataset(options.dataset, folder.resolve(), options.base_url)
    folder, models = options.to or CHECKPOINTS, select(read_manifest(CHECKPOINTS), options.names)
    if not (options.list or options.verify):
        fetch_models(models, folder, options.base_url)
    states = {file: state(folder / file, model) for file, model in models.items()}
    if options.list:
        facts = {
            file: "  ".join(f"{key} {printable(str(model.get(key)))}" for key in SHOWN)
            for file, model in models.items()
        }
        return print("\n".join(f"{file.removesuffix(SUFFIX):<34}{states[file]:<9}{facts[file]}" for file in models))
    if bad := [f"{folder / file} is {found}" for file, found in states.items() if found != "here"]:
        print("\n".join(f"error: {line}" for line in bad), file=sys.stderr)
        raise UserError(f"{len(bad)} of {len(states)} files are not here or not right: run this without --verify")
    print(f"{len(states)} files are here and right")


if __name__ == "__main__":
    main()
