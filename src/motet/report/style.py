"""What figures share: one style, whatever the reader's matplotlib settings are; panels, checks, and how to save.

No pyplot, no window, no lasting global state.
"""

from __future__ import annotations

import contextlib
import io
import os
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from numpy.typing import ArrayLike, NDArray

from motet.errors import InputError
from motet.files import atomic_path
from motet.names import shortened, visible

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]
Size = tuple[float, float]

ONE_COLUMN_INCHES, TWO_COLUMNS_INCHES = 3.5, 7.2  # of a journal's page
INK, GREY, PALE, ACCENT, BEST = "#333333", "#8A8A8A", "#EEEEEE", "#0B6FA4", "#CC3311"
# Paul Tol's "muted" colours, which colour-blind readers can tell apart, without the sand that is too pale
# for a line on white. They run around the hues: neighbouring reach directions get neighbouring colours.
CLASS_COLOURS = ("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#CC6677", "#882255", "#AA4499")
MARKERS = "os^DvPX*"  # of methods or groups, in turn
MOST_SHOWN = 32  # letters of a name
MOST_POINTS = 2000  # of a curve or a cloud: more are not seen and make a slow file

_STYLE: dict[str, Any] = {
    "figure.constrained_layout.use": True,
    "font.size": 8,
    "figure.titlesize": 9,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 1.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.3,
    "svg.hashsalt": "motet",
    "text.parse_math": False,  # a name is no formula
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
in_our_style = matplotlib.style.context(["default", _STYLE])


class Drawing(Figure):
    """A figure that a notebook shows as it is, though no pyplot drew it."""

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        with matplotlib.rc_context({"savefig.bbox": None}):  # as large as it was made
            self.savefig(picture, format="png", dpi=150)
        return picture.getvalue()


def class_colours(n_classes: int) -> NDArray[Any]:
    """(class, 4) colours, neighbours alike; beyond eight classes from a ramp that everyone can order."""
    if n_classes > len(CLASS_COLOURS):
        return matplotlib.colormaps["viridis"](np.linspace(0, 0.95, n_classes))
    spread = np.arange(n_classes) * len(CLASS_COLOURS) // max(n_classes, 1)
    return to_rgba_array([CLASS_COLOURS[position] for position in spread])


def group_colours(group: Integers) -> Floats:
    """(…, 4) colour of each label; grey where unknown, below 0, and ink where none is known."""
    classes, codes = np.unique(np.maximum(group, -1), return_inverse=True)
    if classes[-1] < 0:
        return to_rgba_array([INK])[codes.reshape(group.shape)]
    is_unknown = classes[0] < 0
    palette = np.concatenate([to_rgba_array([GREY])[: int(is_unknown)], class_colours(len(classes) - int(is_unknown))])
    return palette[codes.reshape(group.shape)]


def line_styles(n_lines: int) -> list[dict[str, Any]]:
    """Keywords of `Axes.plot` for each of several methods, of which the first matters most.

    Neighbours differ in colour and in dashes; a method's style does not depend on how many follow.
    """
    colours = (ACCENT, *(CLASS_COLOURS[i] for i in (5, 3, 4, 6, 2, 7, 0, 1)))
    dashes: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)))
    return [
        {"color": colours[i % len(colours)], "linestyle": dashes[i % len(dashes)], "linewidth": 1.3 if i else 1.8}
        for i in range(n_lines)
    ]


def titled(figure: Figure, title: str, summary: str = "") -> Figure:
    """The figure, laid out, with the title over the summary, broken into lines, from its left edge."""
    for text in figure.findobj(Text):
        lines = text.get_text().split("\n")
        text.set_text("\n".join(shortened(visible(line)) for line in lines))
    heading = (shortened(visible(title)), textwrap.fill(summary, int(13 * figure.get_figwidth())))
    figure.suptitle("\n".join(filter(None, heading)), x=0.01, horizontalalignment="left")
    # Matplotlib solves the layout anew from the last one at every drawing, each time a little differently.
    with _any_letters():
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def shown(name: Any) -> str:
    """A name as figures show it: on one line, and short."""
    return shortened(visible(str(name)), MOST_SHOWN)


@contextlib.contextmanager
def _any_letters() -> Iterator[None]:
    """Letters that the font lacks are drawn as boxes, without a warning for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def class_legend(figure: Figure | SubFigure, classes: NDArray[Any], *, title: str) -> None:
    """The classes' colours, to the right of the panels."""
    handles = [Line2D([], [], color=colour, linewidth=2) for colour in class_colours(len(classes))]
    legend = figure.legend(handles, [shown(label) for label in classes], loc="outside right upper", title=shown(title))
    legend.set_alignment("left")


def panel_grid(n_panels: int, n_columns: int, *, panel: Size, room: Size, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure of panels of a size in inches and with room around them; places left over are empty."""
    n_rows = -(-n_panels // n_columns)
    figure = Drawing(figsize=(room[0] + panel[0] * n_columns, room[1] + panel[1] * n_rows))
    panels = figure.subplots(n_rows, n_columns, squeeze=False, **shared).reshape(-1)
    for axes in panels[max(n_panels - n_columns, 0) : n_panels]:
        axes.tick_params(labelbottom=True)
    for axes in panels[n_panels:]:
        axes.remove()
    return figure, list(panels[:n_panels])


def write_inside(axes: Axes, text: str) -> None:
    """Why a panel is empty, in its middle."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)


def draw_lines(axes: Axes, lines: Floats, colours: Floats, **look: Any) -> None:
    """Draw (line, point, 2) in (line, 4) colours."""
    axes.add_collection(LineCollection(list(lines), colors=colours.tolist(), **look))


def spread_from_best(badness: ArrayLike, n_shown: int) -> Integers:
    """Positions of at most `n_shown` trials, evenly from the least to the most bad; NaN comes last."""
    order = np.argsort(np.asarray(badness, dtype=np.float64), kind="stable")
    spread = np.linspace(0, len(order) - 1, min(n_shown, len(order))).round().astype(int)
    return order[spread]


def frame_plane(axes: Axes, places: Floats) -> None:
    """Make a square of the plane, with room for all (…, 2) places, and a faint frame in place of axes."""
    known = places[np.isfinite(places).all(axis=-1)]
    if len(known):
        centre, reach = (known.max(axis=0) + known.min(axis=0)) / 2, np.ptp(known, axis=0).max() * 0.56 or 1.0
        axes.set(xlim=(centre[0] - reach, centre[0] + reach), ylim=(centre[1] - reach, centre[1] + reach))
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(PALE)


def share(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """Part ÷ whole, NaN of nothing; of more than one axis, per trial."""
    if part.ndim > 1:
        part, whole = (array.reshape(len(array), -1).sum(axis=1) for array in (part, whole))
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def r_squared(true: Floats, predicted: Floats) -> float:
    """Of (item, …) quantities, weighted by variance; NaN where the truth does not vary."""
    deviation = ((true - true.mean(axis=0)) ** 2).sum()
    return float(1 - ((predicted - true) ** 2).sum() / deviation) if deviation > 0 else np.nan


@in_our_style
def save_figure(figure: Figure, folder: str | os.PathLike[str], name: str) -> tuple[Path, Path]:
    """Write a figure as `name`.png (150 dots per inch) and `name`.svg; gives back both paths.

    A file is replaced whole or not at all. The same arrays give the same bytes: neither file holds a date or a random
    id.

    Raises:
        InputError: if `name` is no bare file name, or the folder cannot be written.
    """
    if not name or Path(name).name != name:
        raise InputError(f"the figure's name is {name!r}; give a file name without folder, such as 'psths'.")
    png, svg = Path(folder) / f"{name}.png", Path(folder) / f"{name}.svg"
    with atomic_path(png) as whole_png, atomic_path(svg) as whole_svg, _any_letters():
        figure.savefig(whole_png, dpi=150, metadata={"Software": None})
        figure.savefig(whole_svg, metadata={"Date": None, "Creator": None})
    return png, svg
