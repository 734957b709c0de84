"""Labels of points in a plot, placed so that they cover neither each other nor the points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.text import Annotation

__all__ = ["Label", "place_labels"]

ANGLES = np.radians([0, 180, 90, 270, 30, 150, 330, 210, 60, 120, 300, 240])
DISTANCES = (3, 9, 16, 26, 38, 52, 70)  # points, from the marker's edge to the label
LEADER_FROM = 8  # points: a label farther away than this gets a line to its point
PASSES = 4
MARGIN = 2  # pixels around a label
# Of a square point that is covered, by what it is that is covered; a point of distance costs 1.
LABEL_WEIGHT, MARKER_WEIGHT, OBSTACLE_WEIGHT, OUTSIDE_WEIGHT, CROSSING_WEIGHT = 20, 5, 1, 50, 20

Boxes = Float[np.ndarray, "boxes 4"]  # left, bottom, right, top in pixels


@dataclass(frozen=True)
class Label:
    """A point and its name.

    Attributes:
        x: In data units.
        y: In data units.
        text: What to write.
        radius: Of the point's marker, in points.
        bold: Whether the text is bold.
    """

    x: float
    y: float
    text: str
    radius: float = 4
    bold: bool = False


def place_labels(axes: Axes, labels: Sequence[Label], obstacles: Boxes, size: float = 8) -> list[Annotation]:
    """Writes the labels, each at the candidate place around its point that covers least.

    Labels are placed one after the other from left to right, then again with all others known. The axes' limits and
    layout must be final.

    Args:
        axes: Where the points are.
        labels: Points with their names.
        obstacles: Boxes that labels should rather not cover.
        size: Of the font, in points.
    """
    texts = [_write(axes, label, size) for label in labels]
    centres = axes.transData.transform([(label.x, label.y) for label in labels])
    radii = np.array([label.radius for label in labels])[:, None] * axes.figure.dpi / 72
    markers = np.concatenate([centres - radii, centres + radii], axis=1)
    places = [_places(*point) for point in zip(texts, centres, radii[:, 0], strict=True)]
    fixed = [_fixed_costs(axes, boxes, markers, obstacles) for boxes in places]
    chosen: dict[int, int] = {}
    for _ in range(PASSES):
        for i in np.lexsort(centres.T[::-1]).tolist():
            others = np.array([places[j][chosen[j]] for j in chosen if j != i]).reshape(-1, 4)
            costs = fixed[i] + _costs_of_others(axes, centres[i], places[i], others)
            chosen[i] = int(np.argmin(costs))
    for i, text in enumerate(texts):
        has_leader = np.repeat(DISTANCES, len(ANGLES))[chosen[i]] > LEADER_FROM
        _move(axes, text, centres[i], places[i][chosen[i]], labels[i].radius if has_leader else None)
    return texts


def _write(axes: Axes, label: Label, size: float) -> Annotation:
    weight = "bold" if label.bold else "normal"
    place: dict[str, Any] = {
        "xy": (label.x, label.y),
        "xytext": (0, 0),
        "textcoords": "offset points",
        "ha": "center",
        "va": "center",
    }
    text = axes.annotate(label.text, **place, fontsize=size, fontweight=weight, zorder=5)
    text.set_in_layout(False)
    return text


def _places(text: Annotation, centre: Float[np.ndarray, "2"], radius: float) -> Boxes:
    """Where a label may stand: at every distance, the nearest first, in all directions."""
    extent = text.get_window_extent()
    half = np.array([extent.width, extent.height]) / 2 + MARGIN
    directions = np.tile(np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1), (len(DISTANCES), 1))
    distances = radius + np.repeat(DISTANCES, len(ANGLES))[:, None] * text.figure.dpi / 72
    # The end of a ray touches the middle of the box's side, or the corner, that faces the point.
    middles = centre + directions * distances + np.where(np.abs(directions) > 0.3, np.sign(directions), 0) * half
    return np.concatenate([middles - half, middles + half], axis=1)


def _fixed_costs(axes: Axes, places: Boxes, markers: Boxes, obstacles: Boxes) -> Float[np.ndarray, "places"]:
    """Costs of a label's places, whatever the other labels do."""
    sizes = (places[:, 2:] - places[:, :2]).prod(axis=1)
    outside = sizes - _covered(places, np.array([axes.bbox.padded(-MARGIN).extents]))
    covered = MARKER_WEIGHT * _covered(places, markers) + OBSTACLE_WEIGHT * _covered(places, obstacles)
    square_points = (72 / axes.figure.dpi) ** 2
    return (covered + OUTSIDE_WEIGHT * outside) * square_points + np.repeat(DISTANCES, len(ANGLES))


def _costs_of_others(
    axes: Axes, centre: Float[np.ndarray, "2"], places: Boxes, labels: Boxes
) -> Float[np.ndarray, "places"]:
    """Costs of covering other labels, and of leading the line to the point across them."""
    ends = np.clip(centre, places[:, :2], places[:, 2:])
    leaders = centre + np.linspace(0, 1, 12)[:, None, None, None] * (ends - centre)[:, None]
    crossed = np.all((leaders > labels[:, :2]) & (leaders < labels[:, 2:]), axis=3).sum(axis=(0, 2))
    return LABEL_WEIGHT * _covered(places, labels) * (72 / axes.figure.dpi) ** 2 + CROSSING_WEIGHT * crossed


def _covered(boxes: Boxes, others: Boxes) -> Float[np.ndarray, "boxes"]:
    """Area of each box that lies in others."""
    sides = np.minimum(boxes[:, None, 2:], others[:, 2:]) - np.maximum(boxes[:, None, :2], others[:, :2])
    return np.maximum(sides, 0).prod(axis=2).sum(axis=1)


def _move(
    axes: Axes, text: Annotation, centre: Float[np.ndarray, "2"], box: Float[np.ndarray, "4"], leader: float | None
) -> None:
    """Puts a label into its box, with a line to the edge of its marker of radius `leader`, if it needs one."""
    points = 72 / axes.figure.dpi
    text.set_position(tuple(((box[:2] + box[2:]) / 2 - centre) * points))
    if leader is not None:
        end = tuple((np.clip(centre, box[:2], box[2:]) - centre) * points)
        style = {"arrowstyle": "-", "color": "0.4", "linewidth": 0.6, "shrinkA": 0, "shrinkB": leader}
        axes.annotate("", text.xy, end, textcoords="offset points", arrowprops=style, zorder=4).set_in_layout(False)
