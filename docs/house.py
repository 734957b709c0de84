"""Draws house.svg: the rooms of this repository, and who imports whom, from the imports themselves.

python -m docs.house
"""

import io
from graphlib import TopologicalSorter
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch

from tests.test_imports import IMPORTED, MODULES

TARGET = Path(__file__).with_name("house.svg")
STYLE: dict[Any, Any] = {"svg.hashsalt": "kws", "svg.fonttype": "path", "font.size": 7}
# Tints of Okabe and Ito's palette, which the colour-blind can tell apart.
TINTS = {"experiments": "#E8E8E8", "conversion": "#BFE3D6", "torch_ref": "#F7D9BF", "kws_jax": "#C7E0F2"}
WIDTH, HEIGHT = 2.35, 0.94  # of a room, in inches


class Room(NamedTuple):
    """A room: what is said of it, the modules in it, by how their names begin, and where it stands.

    Attributes:
        purpose: In a few words.
        modules: The longest beginning decides.
        x: Column, from the left.
        floor: Row, from the ground; a room imports from lower floors only.
    """

    purpose: str
    modules: tuple[str, ...]
    x: float
    floor: int


GROUND = tuple(f"kws_jax.{name}" for name in ("config", "errors", "files", "array_types", "devices"))
FORMATS = tuple(f"kws_jax.{name}" for name in ("checkpoint", "arrays_folder", "about", "state_dict", "number_formats"))
ROOMS = {
    "commands": Room("what a person runs", ("experiments",), 1.55, 7),
    "report": Room("tables and pictures from records", ("experiments.report",), 0, 6),
    "streams": Room("scenes, thresholds, listening", ("experiments.streams",), 1.55, 6),
    "benchmark": Room("every model by the clock", ("experiments.benchmark",), 3.1, 6),
    "plots": Room("the picture of a stream", ("experiments.plots",), 0, 5),
    "study": Room("settings, runs, records", ("experiments.study",), 1.95, 5),
    "conversion": Room("the bridge: files, parity, runtimes", ("conversion",), 2.8, 4),
    "training": Room("losses, quantization, pruning", ("kws_jax.training",), 0.85, 3),
    "compiled": Room("the stream as C", ("kws_jax.compiled",), 1.85, 3),
    "streaming": Room("init_state, step, scan, flush", ("kws_jax.streaming", "kws_jax.cost"), 2.8, 3),
    "torch_ref": Room("the reference, in PyTorch", ("torch_ref",), 3.75, 3),
    "evaluation": Room("metrics, bootstrap, streams judged", ("kws_jax.evaluation",), 0.65, 2),
    "checkpoints": Room("files, formats, names of weights", FORMATS, 1.62, 2),
    "data": Room("sound, corpora, scenes", ("kws_jax.data",), 3, 2),
    "detector": Room("probabilities to detections", ("kws_jax.detector",), 0, 1),
    "model": Room("samples to logits", ("kws_jax.frontend", "kws_jax.layers", "kws_jax.model"), 1.8, 1),
    "ground": Room("what all know", ("kws_jax", *GROUND), 1.95, 0),
}


def room_of(module: str) -> str:
    """The room that a module is in."""
    begins = {begin: name for name, room in ROOMS.items() for begin in room.modules}
    return begins[max((begin for begin in begins if f"{module}.".startswith(f"{begin}.")), key=len)]


def arrows() -> set[tuple[str, str]]:
    """From each room to those that it imports from, but for what a way over other rooms says already.

    Raises:
        ValueError: If a room imports from its own floor or above.
    """
    reads: dict[str, set[str]] = {name: set() for name in ROOMS}
    for module, names in IMPORTED.items():
        reads[room_of(module)] |= {room_of(name) for name in names & MODULES.keys()} - {room_of(module)}
    for name, others in reads.items():
        if wrong := [other for other in others if ROOMS[other].floor >= ROOMS[name].floor]:
            raise ValueError(f"{name} imports from {wrong[0]}, which is no lower floor: give them other places")
    below: dict[str, set[str]] = {}
    for name in TopologicalSorter(reads).static_order():
        below[name] = reads[name].union(*(below[other] for other in reads[name]))
    return {(n, o) for n, others in reads.items() for o in others if not any(o in below[via] for via in others)}


def draw() -> bytes:
    """The picture; equal imports give equal bytes."""
    with mpl.rc_context(STYLE):
        floors = 1 + max(room.floor for room in ROOMS.values())
        figure = Figure(figsize=(13, 1.5 * floors))
        axes = figure.add_axes((0, 0, 1, 1), xlim=(-0.15, 12.85), ylim=(-0.75, 1.5 * floors - 0.75))
        axes.set_axis_off()
        for start, end in sorted(arrows()):
            (x, y), (to_x, to_y) = (_place(ROOMS[name]) for name in (start, end))
            ends = {"xy": (to_x, to_y + HEIGHT / 2), "xytext": (x, y - HEIGHT / 2)}
            axes.annotate("", **ends, arrowprops={"arrowstyle": "-|>", "color": "0.35", "lw": 0.9}, zorder=1)
        for name, room in ROOMS.items():
            _draw_room(axes, name, room)
        handles = [Patch(fc=tint, ec="0.35", label=package) for package, tint in TINTS.items()]
        what = "an arrow: imports from;\nwhat other arrows say already is left out"
        axes.legend(
            handles=handles,
            title=what,
            loc="upper right",
            frameon=False,
            fontsize=9,
            title_fontsize=8,
            alignment="left",
        )
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _place(room: Room) -> tuple[float, float]:
    return room.x * 2.75 + WIDTH / 2, room.floor * 1.5


def _draw_room(axes: Any, name: str, room: Room) -> None:
    """A box with the room's name, what it is for, and its modules."""
    x, y = _place(room)
    package = room.modules[0].partition(".")[0]
    corner = (x - WIDTH / 2, y - HEIGHT / 2)
    axes.add_patch(
        FancyBboxPatch(corner, WIDTH, HEIGHT, "round,pad=0,rounding_size=0.08", fc=TINTS[package], ec="0.35")
    )
    parts = [
        module.removeprefix(f"{room.modules[0]}.").rpartition(".")[2] for module in MODULES if room_of(module) == name
    ]
    names = fill(", ".join(part for part in sorted(parts) if part not in {"__main__", package, name}), 48)
    axes.text(x, y + 0.34, name, ha="center", va="center", weight="bold", size=9)
    axes.text(x, y + 0.17, room.purpose, ha="center", va="center", size=7.5)
    axes.text(x, y + 0.07, names, ha="center", va="top", size=6, color="0.25")


if __name__ == "__main__":
    TARGET.write_bytes(draw())
