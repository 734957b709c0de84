"""Writes a model as C99: one file and its header, which need no library, and a small program that listens."""

import hashlib
import json
import math
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kws_jax.checkpoint import About, load_deployed, packed_bytes
from kws_jax.config import POWER_RANGE, SAMPLE_RATE, CrnnConfig
from kws_jax.errors import UserError
from kws_jax.files import written
from kws_jax.frontend import mel_corners
from kws_jax.layers import PCEN_FLOOR, PCEN_GAIN, PCEN_SCALE
from kws_jax.number_formats import places
from kws_jax.state_dict import from_variables

__all__ = ["c_source", "write_c"]

BODIES = Path(__file__).parent / "c"
COPIED = ("listen.c", "Makefile", "README.md")
MOST_LANES = 8  # frames side by side: as many floats as most machines take at once
LARGEST_PRIME = 31  # of half a window: a transform by longer sums would be slow and inexact


def write_c(checkpoint: Path, folder: Path, command: str, as_stored: bool = False) -> None:
    """Writes a checkpoint's stream and detector as C: kws.c, kws.h, listen.c, a Makefile and a README.

    Args:
        checkpoint: A shipped file, or a folder of one's own.
        folder: To write; one that is there already is replaced if it holds nothing else.
        command: That asked for it, for the file's first lines.
        as_stored: Read packed integers in place, where the checkpoint has them, in place of float32 weights.

    Raises:
        UserError: If there is no such checkpoint, no C for its model, no packed weights, or another folder in the way.
    """
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else {"a file"} if folder.exists() else set()
    foreign = there - {"kws.c", "kws.h", "listen", *COPIED} or (there if "kws.c" not in there else set())
    if foreign:
        raise UserError(f"{folder} is there already and holds {min(foreign)}: name an empty folder, or a new one")
    config, variables, about = load_deployed(checkpoint)
    packed = packed_bytes(checkpoint) if as_stored else None
    if as_stored and packed is None:
        formats = "int8, int5 or int4"
        raise UserError(
            f"{checkpoint} stores its weights as {about.number_format}: only {formats} can be read in place"
        )
    digest = f"sha256 {hashlib.sha256(checkpoint.read_bytes()).hexdigest()}" if checkpoint.is_file() else "a folder"
    origin = f"Written by `{command}`\n   from {checkpoint.name} ({digest})"
    files = c_source(config, from_variables(variables, config), about, origin, packed)
    with written(folder) as part:
        part.mkdir()
        for name, text in files.items():
            (part / name).write_text(text, encoding="utf-8")
        for name in COPIED:
            shutil.copyfile(BODIES / name, part / name)


def c_source(
    config: CrnnConfig, state: dict[str, np.ndarray], about: About, origin: str, packed: bytes | None = None
) -> dict[str, str]:
    """The text of kws.c and kws.h.

    Args:
        config: Model, without batch normalisation.
        state: Its weights, under the names of `kws_jax.state_dict`.
        about: What its detector needs to know.
        origin: Where it comes from.
        packed: Its weights as a shipped file packs them, to be read in place.

    Raises:
        UserError: If there is no C for such a model.
    """
    _check(config, state)
    origin = origin.replace("*/", "* /").encode(errors="replace").decode()
    notice = f"/* {origin}.\n\n   SPDX-License-Identifier: MIT; Copyright (c) 2026 The kws-jax authors. */\n\n"
    sizes = {"KWS_" + name: value for name, value in _sizes(config, about, packed is not None).items()}
    defines = "\n".join(f"#define {name} {value}" for name, value in sizes.items())
    stored = _floats(config, state) if packed is None else _packed(config, about.number_format, packed)
    weights = "\n".join([*_tables(config, state), *stored])
    header, body = ((BODIES / name).read_text(encoding="utf-8") for name in ("kws.h", "kws.c"))
    return {"kws.h": notice + header.replace("@SIZES@", defines), "kws.c": notice + body.replace("@WEIGHTS@", weights)}


def _check(config: CrnnConfig, state: dict[str, np.ndarray]) -> None:
    window, half = config.frontend.window_length, config.frontend.window_length // 2
    if window % 4 or max(_radices(half), default=2) > LARGEST_PRIME:
        raise UserError(
            f"no C for windows of {window} samples: give a multiple of 4 with no prime factor above {LARGEST_PRIME}"
        )
    if config.num_classes != 2:
        raise UserError(f"no C for {config.num_classes} classes: it spots one keyword")
    if wrong := [key for key, tensor in state.items() if not np.isfinite(tensor).all()]:
        raise UserError(f"no C for {wrong[0]}: a weight is not finite")


def _sizes(config: CrnnConfig, about: About, is_packed: bool) -> dict[str, Any]:
    """What the C calls the configuration's numbers, without their prefix."""
    frontend, pool, detector = config.frontend, config.pool, about.detector(config)
    rate = about.false_alarms_per_hour
    meaning = "" if rate is None or about.threshold is None else f", about {rate:g} false alarms an hour"
    radices = _radices(frontend.window_length // 2)
    kinds = ["ODD" if radix % 2 else str(radix) for radix in radices]
    later = [f"PASS_{kind}(pass_{kind.lower()}, float)" for kind in sorted(set(kinds[1:]))]
    passes = [f"PASS(pass_{kind.lower()}, {radix})" for kind, radix in zip(kinds[1:], radices[1:], strict=True)]
    layers = [f"LAYER({i}, {'KWS_HIDDEN' if i else 'KWS_CHANNELS * KWS_CONV_MELS'})" for i in range(config.gru_layers)]
    return {
        "SAMPLE_RATE": SAMPLE_RATE,
        "WINDOW": frontend.window_length,
        "HOP": frontend.hop_length,
        "MELS": frontend.num_mels,
        "STEP_FRAMES": config.stride_frames,
        "MOST_LANES": math.gcd(MOST_LANES, config.stride_frames, frontend.window_length),
        "PCEN": int(config.has_pcen),
        "PCEN_SCALE": _float(PCEN_SCALE),
        "PCEN_FLOOR": _float(PCEN_FLOOR),
        "PCEN_GAIN": _float(PCEN_GAIN),
        "LEAST_POWER": _float(POWER_RANGE[0]),
        "MOST_POWER": _float(POWER_RANGE[1]),
        "POOL_MELS": pool[0],
        "POOL_FRAMES": pool[1],
        "POOLED_MELS": frontend.num_mels // pool[0],
        "CHANNELS": config.conv_channels,
        "KERNEL_MELS": config.kernel_size[0],
        "KERNEL_FRAMES": config.kernel_size[1],
        "STRIDE_MELS": config.stride[0],
        "STRIDE_FRAMES": config.stride[1],
        "CONV_MELS": config.conv_mels,
        "RELU": int(config.relu),
        "HIDDEN": config.gru_hidden,
        "GRU_LAYERS": config.gru_layers,
        "LAYERS": " ".join(layers),
        "ATTENTION_WIDTH": config.attention_width,
        "ATTENTION_STEPS": config.max_window_length,
        "PACKED": int(is_packed),
        "THRESHOLD": _float(detector.level),
        "SMOOTHING": detector.smoothing,
        "REFRACTORY_STEPS": detector.refractory_steps,
        "KEYWORD": _text(about.keyword or "the keyword"),
        "KEYWORD_IN_JSON": _text(json.dumps(about.keyword or "the keyword")),
        "MEANING": _text(meaning),
        "PASS_KINDS": " ".join([f"PASS_{kinds[0]}(first_pass, lanes)", *later]),
        "PASSES": " ".join([f"FIRST_PASS({radices[0]})", *passes]),
    }


def _radices(length: int) -> list[int]:
    """Factors of a length, fours before the others."""
    found = []
    for radix in (4, 2, *range(3, length + 1, 2)):
        while length % radix == 0:
            found.append(radix)
            length //= radix
    return found


def _tables(config: CrnnConfig, state: dict[str, np.ndarray]) -> Iterator[str]:
    """What follows from the configuration, and PCEN's parameters as its formula has them."""
    window, mels = config.frontend.window_length, config.frontend.num_mels
    yield _array("sines", np.sin(2 * np.pi * np.arange(window * 5 // 4) / window))
    corners = mel_corners(config.frontend)
    frequencies = np.linspace(0, SAMPLE_RATE / 2, config.frontend.num_bins)
    # Bins of a segment lie between two corners, from the lower one on.
    starts = np.searchsorted(frequencies, corners)
    bins = np.arange(starts[0], starts[-1])
    segment = np.searchsorted(starts, bins, side="right") - 1
    rise = (frequencies[bins] - corners[segment]) / np.diff(corners)[segment]
    yield f"#define KWS_FIRST_BIN {starts[0]}"
    yield _array("rise", rise if len(rise) else np.zeros(1))
    yield _integers("int16_t", "corners", starts[1 : mels + 2].tolist())
    if config.has_pcen:
        smoothing, root, bias = (state[f"pcen.{name}"].astype(np.float64) for name in ("smoothing", "root", "bias"))
        root = 1 / (1 + np.exp(-root))
        yield _array("pcen_smoothing", 1 / (1 + np.exp(-smoothing)))
        yield _array("pcen_root", root)
        yield _array("pcen_bias", np.exp(bias))
        yield _array("pcen_rest", np.exp(root * bias))


def _floats(config: CrnnConfig, state: dict[str, np.ndarray]) -> Iterator[str]:
    """Weights as float32, matrices with a row an input, so that a step's sums lie side by side."""
    for key, name in _names(config).items():
        tensor = state[key]
        matrix = tensor.reshape(len(tensor), -1).T if tensor.ndim > 1 else tensor
        yield _array(name, matrix)
    yield from _macros("")


def _packed(config: CrnnConfig, number_format: str, packed: bytes) -> Iterator[str]:
    """The bytes as they are stored, and where each tensor lies in them."""
    yield _integers("uint8_t", "packed", [*packed, 0])  # the last integer is read with the byte after it
    where, _ = places(config, number_format)
    for key, name in _names(config).items():
        place = where[key]
        yield f"static const tensor {name} = {{{place.bit}, {place.scale}, {place.groups}, {place.width}}};"
    yield from _macros("&")


def _names(config: CrnnConfig) -> dict[str, str]:
    """Names of the tensors in C, by their keys."""
    names = {"conv.0.weight": "conv_weight", "conv.0.bias": "conv_bias"}
    for layer in range(config.gru_layers):
        for side, short in (("input", "ih"), ("hidden", "hh")):
            for kind in ("weight", "bias"):
                names[f"gru.{kind}_{short}_l{layer}"] = f"gru_{side}_{kind}_{layer}"
    for number, name in ((0, "attention"), (2, "score")):
        names |= {f"attention.energy.{number}.{kind}": f"{name}_{kind}" for kind in ("weight", "bias")}
    return names | {f"classifier.{kind}": f"classifier_{kind}" for kind in ("weight", "bias")}


def _macros(prefix: str) -> Iterator[str]:
    for side in ("input", "hidden"):
        for kind in ("weight", "bias"):
            yield f"#define GRU_{side.upper()}_{kind.upper()}(i) {prefix}gru_{side}_{kind}_##i"
    for name in ("attention", "score"):
        for kind in ("weight", "bias"):
            yield f"#define {name.upper()}_{kind.upper()} {prefix}{name}_{kind}"


def _array(name: str, values: np.ndarray) -> str:
    return _lines("float", name, map(_float, values.ravel().tolist()), values.size)


def _integers(kind: str, name: str, values: list[int]) -> str:
    return _lines(kind, name, map(str, values), len(values))


def _lines(kind: str, name: str, texts: Iterable[str], count: int) -> str:
    listed = list(texts)
    rows = ("    " + ", ".join(listed[start : start + 12]) for start in range(0, count, 12))
    return f"static const {kind} {name}[{count}] = {{\n" + ",\n".join(rows) + "\n};"


def _text(text: str) -> str:
    """A string of C, in UTF-8, whatever the text holds."""
    plain = set(map(chr, range(32, 127))) - set('"\\?')
    return '"' + "".join(chr(byte) if chr(byte) in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'


def _float(value: float | np.floating) -> str:
    """A float32 number, exactly."""
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if set(text) & set(".e") else f"{text}.0f"
