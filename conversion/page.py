"""Writes checkpoints as a page that listens: one HTML file, with the models' C in it as WebAssembly."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kws_jax.checkpoint import About, load_deployed, packed_bytes
from kws_jax.compiled.source import c_source
from kws_jax.compiled.stream import said_of
from kws_jax.config import CrnnConfig
from kws_jax.errors import UserError
from kws_jax.files import written
from kws_jax.state_dict import from_variables

__all__ = ["rendered", "webassembly", "write_page"]

SOURCES = Path(__file__).parent / "page"
REMEDY = "install clang and lld, version 14 or newer (Debian: apt-get install clang lld)"
# Small code: one frame at a time, and copies are instructions and no library's.
FLAGS = (
    *("--target=wasm32", "-std=c99", "-Os", "-DKWS_LANES=1", "-mbulk-memory", "-fvisibility=hidden", "-nostdlib"),
    *("-Wl,--no-entry", "-Wl,--export-dynamic", "-Wl,--strip-all", "-Wl,--stack-first", "-Wl,-z,stack-size=1048576"),
)


def write_page(checkpoints: Sequence[Path], target: Path) -> None:
    """Writes one page for all checkpoints, of which it offers the choice; packed integers are read in place.

    Args:
        checkpoints: Shipped files, or folders of one's own.
        target: The file to write.

    Raises:
        UserError: If there is no such checkpoint, no C for its model, no compiler, or the file is no page's.
    """
    if not checkpoints:
        raise UserError("no checkpoint: name one or more, and then the file to write")
    if target.is_dir():
        raise UserError(f"{target} is a folder: name a file, such as {target / 'page.html'}")
    if target.suffix not in (".html", ".htm"):  # the last checkpoint, perhaps, where the page's name was forgotten
        raise UserError(f"{target} is to be written, and is no .html: name the page after the checkpoints")
    models = [_model(path) for path in checkpoints]
    words = Counter(model["keyword"] for model in models)
    for model, path in zip(models, checkpoints, strict=True):
        model["name"] = model["keyword"] if words[model["keyword"]] == 1 else f"{model['keyword']}: {path.stem}"
    with written(target) as part:
        part.write_text(rendered(models), encoding="utf-8")


def rendered(models: list[dict[str, Any]]) -> str:
    """The page of these models, which it holds as JSON."""
    words = dict.fromkeys(model["keyword"] for model in models)
    parts = {
        "TITLE": html.escape(f"Listening for {', '.join(words)}"),
        "STYLE": _source("page.css"),
        # A script ends at its end tag, even within a string.
        "MODELS": json.dumps(models).replace("<", "\\u003c"),
        "SCRIPT": _source("sound.js") + _source("page.js"),
    }
    return re.sub("@([A-Z]+)@", lambda found: parts[found[1]].strip(), _source("page.html"))


def _source(name: str) -> str:
    return (SOURCES / name).read_text(encoding="utf-8")


def webassembly(sources: dict[str, str]) -> bytes:
    """A model's kws.c and kws.h, compiled with what a page calls.

    Raises:
        UserError: If there is no clang, or none that writes WebAssembly.
    """
    if not shutil.which("clang"):
        raise UserError(f"no clang: {REMEDY}")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in sources.items():
            Path(folder, name).write_text(text, encoding="utf-8")
        command = ["clang", *FLAGS, f"-I{folder}", f"-I{SOURCES}", str(SOURCES / "page.c"), "-o", f"{folder}/kws.wasm"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, errors="replace")
        except (OSError, subprocess.CalledProcessError) as error:
            raise UserError(f"clang writes no WebAssembly ({said_of(error)}): {REMEDY}") from error
        return Path(folder, "kws.wasm").read_bytes()


def _model(path: Path) -> dict[str, Any]:
    """What the page knows of a checkpoint."""
    config, variables, about = load_deployed(path)
    try:
        sources = c_source(config, from_variables(variables, config), about, path.name, packed_bytes(path))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    points, chosen = _points(config, about)
    origin = f"Model: {about.setting or path.name}"
    if path.is_file():
        content = path.read_bytes()
        origin += f", a file of {len(content):,} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}"
    return {
        "keyword": about.keyword or "the keyword",
        "origin": origin,
        "mels": config.frontend.num_mels,
        "lowest": config.frontend.f_min,
        "highest": config.frontend.top_frequency,
        "hop": config.frontend.hop_length,
        "block": config.block_size,
        "refractorySteps": about.detector(config).refractory_steps,
        "points": points,
        "point": chosen,
        "wasm": base64.b64encode(webassembly(sources)).decode(),
    }


def _points(config: CrnnConfig, about: About) -> tuple[list[dict[str, Any]], int]:
    """The thresholds that a checkpoint offers, and the number of its own among them."""
    own, rate = about.detector(config).threshold, about.false_alarms_per_hour
    thresholds = {f"{float(name):g}": threshold for name, threshold in (about.operating_points or {}).items()}
    name = None if rate is None or about.threshold is None else f"{rate:g}"
    if name is None or thresholds.get(name) != own:
        thresholds = {name or "": own} | {other: thresholds[other] for other in thresholds if other != name}
    points = [
        {
            "name": f"about {name} an hour" if name else f"unknown, threshold {threshold:g}",
            "meaning": _meaning(name, about, threshold),
            "level": float(about.detector(config, threshold).level),
        }
        for name, threshold in thresholds.items()
    ]
    return points, list(thresholds).index(name or "")


def _meaning(rate: str, about: About, threshold: float) -> str:
    """What a threshold stands for; without a rate nobody knows."""
    begin = f"The word is heard where its probability rises over the threshold, {threshold:g}, at most once a second."
    if not rate:
        own = "is the checkpoint's own" if about.threshold is not None else "is a guess, since the checkpoint has none"
        return f"{begin} It {own}; how often it misfires is not known."
    heard = "hours" if about.validation_hours is None else f"{about.validation_hours:g} h"
    alarms = "alarm" if rate == "1" else "alarms"
    where = f"{heard} of validation speakers' words, speech and noise, glued into scenes"
    return f"{begin} That stands for about {rate} false {alarms} an hour on {where}; your room is another."
