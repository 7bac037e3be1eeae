"""A page for people: one HTML file with figures to zoom into, each beside its numbers as a table; nothing is loaded.

Whatever users named stands in it as text: HTML is made by `tag`, which escapes all that is no `Html`, figures are JSON
in which no `<` stands, and the browser is told to run these scripts, known by their digests, and no others.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import html
import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.errors import lacking_extra
from motet.names import shortened, visible
from motet.plain import as_plain

MOST_ROWS = 500  # of a table in the page
KINDS = ("bar", "heatmap")  # of traces, beside "scatter", which plotly.js always has
_NAME = r"[\w$]+"  # in its script
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; base-uri 'none'; "
    "form-action 'none'; script-src {digests}"
)


class Html(str):
    """Text that is HTML already; other text is escaped."""

    __slots__ = ()


def tag(name: str, /, *content: Html | str, **attributes: str | int | bool | None) -> Html:
    """An element; what is no `Html` is escaped. In names of attributes `_` stands for `-`, and at the end for nothing.

    Example:
        >>> tag("p", "a < b", tag("br"), class_="note", hidden=True, title='"')
        '<p class="note" hidden title="&quot;">a &lt; b<br></p>'
    """
    words = [name]
    for key, value in attributes.items():
        key = key.removesuffix("_").replace("_", "-")
        if value is True:
            words.append(key)
        elif value is not None and value is not False:
            words.append(f'{key}="{_escaped(str(value))}"')
    inside = "".join(one if isinstance(one, Html) else _escaped(one) for one in content)
    return Html(f"<{' '.join(words)}>" if name in ("br", "img", "meta") else f"<{' '.join(words)}>{inside}</{name}>")


def _escaped(text: str) -> str:
    return html.escape(visible(text) if not text.isprintable() and "\n" not in text else text, quote=True)


def in_plot(name: Any, most: int = 40) -> str:
    """A name as figures of the page show it: their text may have marks such as <b>, and a name has none."""
    return html.escape(shortened(visible(str(name)), most), quote=False)


def packed(array: Any, digits: int | None = None) -> dict[str, str]:
    """An array of numbers as plotly.js reads it, in 4 bytes each or fewer; NaN is a gap.

    Args:
        array: of numbers.
        digits: decimal places that matter; fewer of them compress and read as well.

    Example:
        >>> packed(np.arange(6).reshape(2, 3))
        {'dtype': 'i1', 'bdata': 'AAECAwQF', 'shape': '2, 3'}
    """
    numbers: NDArray[Any] = np.asarray(array)
    if numbers.dtype.kind == "f" and digits is not None:
        numbers = np.round(numbers, digits)
    kind = "f4"
    if numbers.dtype.kind in "biu":
        reach = int(np.abs(numbers.astype(np.int64)).max(initial=0))
        kind = "i1" if reach < 1 << 7 else "i2" if reach < 1 << 15 else "i4"
    data = base64.b64encode(np.ascontiguousarray(numbers, dtype=f"<{kind}").tobytes()).decode()
    shape = {} if numbers.ndim == 1 else {"shape": ", ".join(map(str, numbers.shape))}
    return {"dtype": kind, "bdata": data, **shape}


@dataclasses.dataclass(frozen=True)
class Table:
    """Numbers to be read.

    Attributes:
        head: of the columns.
        rows: cells of text; the first of each row names it.
        name: what it shows.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    name: str = ""

    def html(self) -> Html:
        rows = self.rows[:MOST_ROWS]
        head = tag("tr", *(tag("th", one, scope="col") for one in self.head))
        body = [
            tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:]))
            for row in rows
            if len(row)
        ]
        left = len(self.rows) - len(rows)
        more = tag("p", f"… and {left} more rows.", class_="note") if left else Html("")
        table = tag("table", tag("caption", self.name), tag("thead", head), tag("tbody", *body))
        kind = "scroll wide" if len(self.head) > 4 else "scroll"
        return tag("div", table, more, class_=kind, tabindex=0, role="region", aria_label=self.name or "table")


@dataclasses.dataclass(frozen=True)
class Plot:
    """A figure to zoom into.

    Colours are those of the page: "var(--ink)", "var(--k3)", with "@0.2" behind it for what is seen through, and
    "ramp(0.5)" for a place on a scale. Text in traces is `in_plot`.

    Attributes:
        title: what it shows.
        says: what a reader who does not see it should know.
        traces: of plotly.js, of `KINDS` and "scatter".
        layout: of plotly.js; colours of axes and text are the page's.
        table: the numbers.
        choices: label → for each trace what it has instead; one of them is shown at a time, chosen from a list.
        chosen: what is chosen, such as "individual".
        height: in pixels.
        width: at most, in pixels; 0 for all there is.
    """

    title: str
    says: str
    traces: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    table: Table | None = None
    choices: Mapping[str, Sequence[Mapping[str, Any]]] = dataclasses.field(default_factory=dict)
    chosen: str = ""
    height: int = 420
    width: int = 0


@dataclasses.dataclass(frozen=True)
class Words:
    """A paragraph, or what a terminal shows."""

    text: str
    is_code: bool = False


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure as it was drawn, a PNG or SVG."""

    path: Path
    title: str

    def html(self) -> Html:
        kind = "svg+xml" if self.path.suffix == ".svg" else "png"
        data = base64.b64encode(self.path.read_bytes()).decode()
        image = tag("img", src=f"data:image/{kind};base64,{data}", alt=f"Figure: {self.title}", loading="lazy")
        return tag("figure", image, tag("figcaption", self.title))


Block = Plot | Table | Words | Picture


@dataclasses.dataclass(frozen=True)
class Tab:
    """What is shown at a time.

    Attributes:
        name: of the tab.
        columns: what stands side by side: that of each run, empty where one has nothing to show; or one, of all runs.
    """

    name: str
    columns: Sequence[Sequence[Block]]


def page(title: str, summaries: Sequence[str], tabs: Sequence[Tab], runs: Sequence[str]) -> str:
    """The whole HTML file.

    Args:
        title: of the page.
        summaries: a sentence of each run.
        tabs: at least one.
        runs: what the columns of tabs are called.

    Raises:
        InputError: if plotly, whose script draws the figures, is not installed.
    """
    style, script = (
        resources.files("motet.report").joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js")
    )
    drawing = _plotly_script()
    plots: list[Plot] = []
    panels = [_panel(number, tab, runs, plots) for number, tab in enumerate(tabs)]
    figures = json.dumps([_figure(plot) for plot in plots], allow_nan=False, separators=(",", ":"), default=as_plain)
    digests = " ".join(f"'sha256-{_sha256(one)}'" for one in (drawing, script))
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY.format(digests=digests)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(style)),
        tag("noscript", tag("style", Html(".panel[hidden]{display:block}[role=tablist],.plot,#theme{display:none}"))),
    ]
    theme = tag("button", "dark", id="theme", type="button", aria_pressed="false")
    body = [
        tag("header", tag("div", tag("h1", title), *(tag("p", one) for one in summaries)), theme),
        tag("div", *(_tab(number, tab) for number, tab in enumerate(tabs)), role="tablist", aria_label="What is shown"),
        tag("main", *panels),
        tag("noscript", tag("p", "Figures need JavaScript; every number stands in the tables.", class_="note")),
        tag("script", Html(figures.replace("<", "\\u003c")), type="application/json", id="figures"),
        tag("script", Html(drawing)),
        tag("script", Html(script)),
    ]
    whole = tag("html", tag("head", *head), tag("body", *body), lang="en")
    return f"<!doctype html>\n{whole}\n"


def _tab(number: int, tab: Tab) -> Html:
    is_first = number == 0
    return tag(
        "button",
        tab.name,
        type="button",
        role="tab",
        id=f"tab-{number}",
        aria_controls=f"panel-{number}",
        aria_selected="true" if is_first else "false",
        tabindex=0 if is_first else -1,
    )


def _panel(number: int, tab: Tab, runs: Sequence[str], plots: list[Plot]) -> Html:
    columns = []
    for name, blocks in zip(runs, tab.columns, strict=False):
        heading = [tag("h3", name)] if len(tab.columns) > 1 else []
        shown = [_block(block, plots) for block in blocks] or [tag("p", "nothing of this kind", class_="note")]
        columns.append(tag("section", *heading, *shown))
    return tag(
        "div",
        tag("h2", tab.name),
        tag("div", *columns, class_="runs"),
        role="tabpanel",
        id=f"panel-{number}",
        aria_labelledby=f"tab-{number}",
        class_="panel",
        hidden=number > 0,
    )


def _block(block: Block, plots: list[Plot]) -> Html:
    if isinstance(block, Words):
        return tag("pre", block.text, tabindex=0) if block.is_code else tag("p", block.text)
    if not isinstance(block, Plot):
        return block.html()
    number = len(plots)
    plots.append(block)
    size = f"height:{block.height}px" + (f";max-width:{block.width}px" if block.width else "")
    parts = [tag("figcaption", block.title)]
    if block.choices:
        options = [tag("option", label, value=place) for place, label in enumerate(block.choices)]
        choice = tag("select", *options, id=f"choice-{number}", data_plot=number)
        parts.append(tag("label", f"{block.chosen} ", choice, for_=f"choice-{number}"))
    parts.append(tag("div", class_="plot", id=f"plot-{number}", style=size, role="img", aria_label=block.says))
    if block.table is not None:
        parts.append(tag("details", tag("summary", "as a table"), block.table.html()))
    return tag("figure", *parts, class_="small" if block.width else None)


def _figure(plot: Plot) -> dict[str, Any]:
    choices = [list(traces) for traces in plot.choices.values()]
    return {"traces": list(plot.traces), "layout": dict(plot.layout), "choices": choices}


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@functools.cache
def _plotly_script() -> str:
    if importlib.util.find_spec("plotly") is None:
        raise lacking_extra("report", "a report draws its figures with plotly")
    text = resources.files("plotly").joinpath("package_data", "plotly.min.js").read_text("utf-8")
    return _with_kinds_alone(text).replace("</script", "<\\/script")


def _with_kinds_alone(script: str) -> str:
    """plotly.js that begins with what is drawn here, and not with maps and globes, which takes twice as long.

    It ends with a list of the kinds of traces, each a call, `register([bar(),box(),…])`. One that is not built so is
    left as it is.
    """
    start = script.rfind(".register([")
    listed = re.compile(rf"\.register\(\[({_NAME}\(\)(?:,{_NAME}\(\))*)\]\)").match(script, max(start, 0))
    if listed is None:
        return script
    calls = [_call_of(kind, script) for kind in KINDS]
    if not {*calls} <= {*listed[1].split(",")}:
        return script
    return f"{script[:start]}.register([{','.join(calls)}]){script[listed.end() :]}"


def _call_of(kind: str, script: str) -> str:
    """The call that gives a kind of trace: of the module that hands on the one that describes it."""
    described = _module_before(script, script.find(f'moduleType:"trace",name:"{kind}"'))
    return f"{_module_before(script, script.find(f'.exports={described}()'))}()"


def _module_before(script: str, place: int) -> str:
    """What the last module that begins before a place is called: `name=wrap((exports,module)=>{…`."""
    names = re.findall(
        rf"({_NAME})={_NAME}\(\({_NAME}(?:,{_NAME})?\)=>\{{", script[max(place - 2000, 0) : max(place, 0)]
    )
    return names[-1] if names else ""
