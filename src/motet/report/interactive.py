"""Figures of the page: pure functions from arrays to a `Plot`, each with the numbers beside it as a table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.metrics import Reliability
from motet.report import style
from motet.report.page import Plot, Table, in_plot, packed
from motet.report.style import CLASS_COLOURS, Bools, Floats, Integers

KIND_COLOURS = {"model": "var(--accent)", "rival": "var(--grey)", "oracle": "var(--k3)", "control": "var(--best)"}
SEQUENTIAL = [[0.0, "var(--paper)"], [1.0, "var(--accent)"]]
DIVERGING = [[0.0, "var(--minus)"], [0.5, "var(--paper)"], [1.0, "var(--plus)"]]
DASHED = {"color": "var(--grey)", "width": 1.5, "dash": "dash"}
TIME = "time in the trial (s)"
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star", "x", "hexagon")
MOST_TRIALS = 400  # of a picture with a column for each
MOST_LINES = 300  # of matches in a plane


def class_colour(number: int, n_classes: int) -> str:
    """Of the page, neighbours alike, as `style.class_colours`."""
    n = len(CLASS_COLOURS)
    return f"var(--k{number * n // max(n_classes, 1)})" if n_classes <= n else f"ramp({number / (n_classes - 1):.3f})"


def number_text(value: float, form: str = ".3f") -> str:
    """A number as people read it; nothing for one that is not known."""
    return "" if np.isnan(value) else f"{value:{form}}".replace("-", "−")


def interval_text(low: float, high: float, form: str = ".3f") -> str:
    """Both ends; nothing if they are not known."""
    return "" if np.isnan(low + high) else f"{number_text(low, form)} to {number_text(high, form)}"


def _line(**more: Any) -> dict[str, Any]:
    return {"type": "scatter", "mode": "lines", **more}


def _dots(**more: Any) -> dict[str, Any]:
    return {"type": "scatter", "mode": "markers", **more}


def _heat(*, says: str, form: str | None = None, **more: Any) -> dict[str, Any]:
    """Shares or probabilities as colours, with a bar that says what they are."""
    bar = {"title": {"text": says, "side": "top"}, "thickness": 10, "len": 0.7} | ({"tickformat": form} if form else {})
    return {"type": "heatmap", "colorscale": SEQUENTIAL, "zmin": 0, "zmax": 1, "colorbar": bar, **more}


def _axis(title: str, **more: Any) -> dict[str, Any]:
    return {"title": {"text": title}, **more}


def _names(names: Sequence[str]) -> dict[str, Any]:
    """Of an axis: names at whole numbers."""
    ticks = {"tickvals": list(range(len(names))), "ticktext": list(names)}
    return {"tickmode": "array", **ticks, "showgrid": False}


def _names_down(names: Sequence[str]) -> dict[str, Any]:
    """Of an axis: names from top to bottom."""
    return {**_names(names), "range": [len(names) - 0.4, -0.6], "fixedrange": True}


def scores(rows: Sequence[Mapping[str, Any]], heading: str, samples: Mapping[str, Sequence[float]]) -> Plot:
    """Every method's score with its interval, and a faint dot for each fold.

    Args:
        rows: of the main score, as `motet.training.scores`, best first.
        heading: what the score is.
        samples: by method.
    """
    values = np.array([row["value"] for row in rows], dtype=np.float64)
    low, high = (np.array([row[end] for row in rows], dtype=np.float64) for end in ("low", "high"))
    place = np.arange(len(rows))
    dots = [(x, at + 0.22) for at, row in enumerate(rows) for x in samples.get(row["method"], ()) if np.isfinite(x)]
    names = [in_plot(row["method"]) for row in rows]
    text = [
        f"{name}: {number_text(value)}<br>95 % {interval_text(*ends)}"
        for name, value, *ends in zip(names, values, low, high, strict=True)
    ]
    colours = [KIND_COLOURS.get(str(row["kind"]), "var(--grey)") for row in rows]
    of_folds = {"x": packed(np.array([x for x, _ in dots]), 5), "y": packed(np.array([y for _, y in dots]), 3)}
    marker = {"size": 10, "color": colours}
    traces = [
        _dots(**of_folds, marker={"size": 5, "color": "var(--faint)@0.55"}, hoverinfo="x"),
        *(_interval(low[at], high[at], int(at), colours[at]) for at in place if np.isfinite(low[at] + high[at])),
        _dots(x=packed(values, 5), y=packed(place), marker=marker, text=text, hoverinfo="text"),
    ]
    return Plot(
        heading,
        f"{heading} of {len(rows)} methods, 95 % intervals; first {rows[0]['method']}: {number_text(values[0])}.",
        traces,
        {
            "showlegend": False,
            "hovermode": "closest",
            "xaxis": _axis(in_plot(heading), range=_room_for([*values, *low, *high, *(x for x, _ in dots)])),
            "yaxis": _names_down(names),
        },
        height=110 + 34 * len(rows),
    )


def differences(rows: Sequence[Mapping[str, Any]], heading: str) -> Plot:
    """How far methods are from the best rival, with intervals."""
    known = [row for row in rows if np.isfinite(row["difference"])]
    names = [in_plot(row["method"]) for row in known]
    rival = known[0]["best_rival"] if known else ""
    reached = [row[end] for row in known for end in ("difference", "difference_low", "difference_high")]
    traces: list[dict[str, Any]] = []
    for at, row in enumerate(known):
        colour = KIND_COLOURS.get(str(row["kind"]), "var(--grey)")
        low, high = row["difference_low"], row["difference_high"]
        said = f"{names[at]}: {row['difference']:+.3f}<br>95 % {interval_text(low, high, '+.3f')}"
        if np.isfinite(row["p_holm"]):
            said += f"<br>p (Holm) {row['p_holm']:.2g}"
        middle, marker = float(row["difference"]), {"size": 10, "color": colour}
        low, high = (low, high) if np.isfinite(low + high) else (middle, middle)
        traces.append(_interval(low, high, at, colour))
        traces.append(_dots(x=[middle], y=[at], marker=marker, text=[said], hoverinfo="text"))
    return Plot(
        f"{heading} minus that of {rival}",
        f"Differences in {heading} from {rival}, the best rival, of {len(known)} methods, with 95 % intervals.",
        traces,
        {
            "showlegend": False,
            "hovermode": "closest",
            "xaxis": _axis(
                f"− {in_plot(rival)} [95 %]", zeroline=True, zerolinewidth=2, range=_room_for([0.0, *reached])
            ),
            "yaxis": _names_down(names),
        },
        height=110 + 34 * len(known),
    )


def _interval(low: float, high: float, at: int, colour: str) -> dict[str, Any]:
    line = {"color": colour, "width": 3}
    return _line(x=[float(low), float(high)], y=[at, at], line=line, hoverinfo="skip")


def _room_for(values: Sequence[float]) -> list[float]:
    """Ends of an axis on which all values that are known stand inside."""
    known = np.asarray(values, dtype=np.float64)
    low, high = np.nanmin(known), np.nanmax(known)
    margin = 0.05 * (high - low) or 0.05
    return [float(low - margin), float(high + margin)]


def confusion(truth: NDArray[Any], prediction: NDArray[Any], classes: Sequence[Any]) -> Plot:
    """Which class was taken for which: counts as text, the share of the true class as colour."""
    counts = np.array([[np.sum((truth == of) & (prediction == taken)) for taken in classes] for of in classes])
    n = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, n, out=np.zeros(counts.shape), where=n > 0)
    names = [in_plot(label) for label in classes]
    hit = float(np.trace(counts) / max(counts.sum(), 1))
    heat = _heat(
        says="share",
        form=".0%",
        z=packed(share, 4),
        text=[[str(one) if one else "" for one in row] for row in counts],
        texttemplate="%{text}" if len(names) <= 24 else "",
        hovertemplate="true %{y}, decoded %{x}: %{text} (%{z:.1%})<extra></extra>",
        xgap=1,
        ygap=1,
    )
    rows = [[str(label), *map(str, row)] for label, row in zip(classes, counts, strict=True)]
    size = int(np.clip(170 + 44 * len(names), 300, 760))
    return Plot(
        f"Confusion: {hit:.3f} of {counts.sum()} right",
        f"Confusion matrix of {len(names)} classes over {counts.sum()} test trials or bins; {hit:.1%} are right.",
        [heat],
        {
            "xaxis": _axis("decoded", **_names(names)),
            "yaxis": _axis("true", **_names(names), autorange="reversed"),
        },
        Table(["true \\ decoded", *map(str, classes)], rows, "trials or bins, true class by decoded class"),
        height=size,
        width=size + 140,
    )


def reliability(probability: Floats, is_right: Bools) -> Plot:
    """How often answers of each confidence are right, by tenths of confidence.

    Args:
        probability: (item,) of what was answered.
        is_right: (item,).
    """
    curve = Reliability.of(probability, is_right)
    n, error, kept = curve.n_entries, curve.error, np.flatnonzero(curve.n_entries)
    sure, right = curve.probability[kept], curve.frequency[kept]
    text = [
        f"{n[at]} answers<br>confidence {s:.2f}<br>right {r:.2f}" for at, s, r in zip(kept, sure, right, strict=True)
    ]
    size = [float(x) for x in np.clip(4 * np.sqrt(n[kept]), 6, 26)]
    found = {"x": packed(sure, 4), "y": packed(right, 4), "text": text, "hoverinfo": "text"}
    look = {"marker": {"size": size, "color": "var(--accent)"}, "line": {"color": "var(--accent)", "width": 2}}
    traces = [
        _line(x=[0, 1], y=[0, 1], line=DASHED, hoverinfo="skip"),
        {"type": "scatter", "mode": "lines+markers", **found, **look},
    ]
    rows = [[f"{s:.2f}", f"{r:.2f}", str(n[at])] for at, s, r in zip(kept, sure, right, strict=True)]
    return Plot(
        f"Confidence: off by {error:.3f} on average",
        f"Share that is right against confidence, over {n.sum()} answers; on average they differ by {error:.3f}.",
        traces,
        {
            "showlegend": False,
            "hovermode": "closest",
            "xaxis": _axis("confidence", range=[-0.02, 1.02]),
            "yaxis": _axis("share right", range=[-0.02, 1.02]),
        },
        Table(["confidence", "share right", "answers"], rows, "by tenths of confidence"),
        height=360,
        width=560,
    )


def probabilities(probability: Floats, truth: Integers, classes: Sequence[Any]) -> Plot:
    """What was thought of each class in every trial, trials sorted by their true class.

    Args:
        probability: (trial, class).
        truth: (trial,) positions among the classes.
        classes: labels.
    """
    n_trials = len(truth)
    kept = np.linspace(0, n_trials - 1, min(n_trials, MOST_TRIALS)).round().astype(int)
    kept = kept[np.lexsort((-probability[kept, truth[kept]], truth[kept]))]
    names = [in_plot(label) for label in classes]
    heat = _heat(says="p", z=packed(probability[kept].T, 3), hovertemplate="%{y}: p %{z:.3f}<extra></extra>")
    marker = {"size": 4, "color": "var(--best)", "symbol": "square-open"}
    places = {"x": packed(np.arange(len(kept))), "y": packed(truth[kept])}
    true = _dots(**places, marker=marker, name="true class", hoverinfo="skip")
    return Plot(
        "Probabilities of all classes in each trial",
        f"Probabilities of {len(names)} classes in {len(kept)} of {n_trials} test trials, sorted by true class.",
        [heat, true],
        {
            "xaxis": _axis(
                "test trials, by true class", showticklabels=False, showgrid=False, range=[-0.5, len(kept) - 0.5]
            ),
            "yaxis": {**_names(names), "range": [-0.5, len(names) - 0.5]},
            "showlegend": True,
        },
        height=int(np.clip(180 + 26 * len(names), 280, 640)),
    )


def courses_decoded(
    true: Floats, decoded: Floats, labels: Sequence[str], seconds: Floats, names: Sequence[str], reach: Floats | None
) -> Plot:
    """True and decoded courses of a few trials, one at a time.

    Args:
        true: (trial, time, dimension), NaN where not known.
        decoded: likewise.
        labels: of the trials.
        seconds: (time,).
        names: of the dimensions.
        reach: (dimension,) of the interval around what was decoded, if known.
    """
    n_dimensions = true.shape[2]
    gap = 0.06 if n_dimensions > 1 else 0.0
    share = (1 - gap * (n_dimensions - 1)) / n_dimensions
    traces: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"hovermode": "x unified", "xaxis": _axis(TIME)}
    choices: dict[str, list[dict[str, Any]]] = {label: [] for label in labels}
    for d, name in enumerate(names):
        axis = "" if d == 0 else str(d + 1)
        bottom = 1 - (d + 1) * share - d * gap
        layout[f"yaxis{axis}"] = _axis(in_plot(name), domain=[max(bottom, 0.0), bottom + share])
        shared = _line(x=packed(seconds, 4), yaxis=f"y{axis}", showlegend=d == 0)
        if reach is not None:
            band = {"line": {"width": 0}, "hoverinfo": "skip", "fillcolor": "var(--accent)@0.18"}
            traces.append({**shared, **band, "showlegend": False})
            traces.append({**shared, **band, "fill": "tonexty", "name": "90 % interval"})
        traces.append({**shared, "name": "true", "line": {"color": "var(--grey)", "width": 4}})
        look = {"mode": "lines+markers", "line": {"color": "var(--accent)", "width": 2}, "marker": {"size": 4}}
        traces.append({**shared, **look, "name": "decoded"})
        for at, label in enumerate(labels):
            if reach is not None:
                choices[label] += [{"y": packed(decoded[at, :, d] + sign * reach[d], 5)} for sign in (-1, 1)]
            choices[label] += [{"y": packed(one[at, :, d], 5)} for one in (true, decoded)]
    if n_dimensions > 1:
        layout["xaxis"]["anchor"] = f"y{n_dimensions}"
    head = ["time (s)", *(f"{side} {name}" for name in names for side in ("true", "decoded"))]
    both = np.stack([true[0], decoded[0]], axis=-1).reshape(len(seconds), -1)
    rows = [[f"{t:g}", *(number_text(x, ".4g") for x in row)] for t, row in zip(seconds, both, strict=True)]
    return Plot(
        "Decoded against true, in test trials",
        f"True and decoded courses of {len(labels)} test trials, from the best to the worst, chosen from a list.",
        traces,
        layout,
        Table(head, rows, f"{labels[0]}"),
        choices,
        "trial",
        height=150 + 190 * n_dimensions,
    )


def scatter_decoded(true: Floats, decoded: Floats, names: Sequence[str]) -> Plot:
    """Decoded against true quantities, one dimension at a time.

    Args:
        true: (item, dimension).
        decoded: likewise.
        names: of the dimensions.
    """
    kept = np.linspace(0, len(true) - 1, min(len(true), style.MOST_POINTS)).round().astype(int)
    choices: dict[str, list[dict[str, Any]]] = {}
    for d, name in enumerate(names):
        ends = [float(true[:, d].min()), float(true[:, d].max())]
        choices[name] = [{"x": ends, "y": ends}, {"x": packed(true[kept, d], 5), "y": packed(decoded[kept, d], 5)}]
    traces = [_line(line=DASHED, hoverinfo="skip"), _dots(marker={"size": 5, "color": "var(--accent)@0.5"})]
    explained = [style.r_squared(true[:, d], decoded[:, d]) for d in range(len(names))]
    rows = [[name, number_text(value)] for name, value in zip(names, explained, strict=True)]
    return Plot(
        "Decoded against true, in all test trials",
        f"Decoded against true values of {len(true)} test trials or bins; R² is {', '.join(row[1] for row in rows)}.",
        traces,
        {"xaxis": _axis("true"), "yaxis": _axis("decoded"), "showlegend": False, "hovermode": "closest"},
        Table(["dimension", "R²"], rows, "of all test trials"),
        choices,
        "dimension",
        height=400,
        width=620,
    )


def class_courses(
    probability: Floats, truth: Integers, labels: Sequence[str], seconds: Floats, classes: Sequence[Any]
) -> Plot:
    """What was thought of each class at each time of a few trials, one trial at a time.

    Args:
        probability: (trial, time, class).
        truth: (trial, time) positions among the classes, -1 where not known.
        labels: of the trials.
        seconds: (time,).
        classes: labels.
    """
    names = [in_plot(label) for label in classes]
    known = np.where(truth < 0, np.nan, truth)
    choices = {
        label: [{"z": packed(probability[at].T, 3)}, {"y": packed(known[at])}] for at, label in enumerate(labels)
    }
    line = {"color": "var(--best)", "width": 2, "shape": "hvh"}
    return Plot(
        "Decoded against true, in test trials",
        f"Probabilities of {len(names)} classes over time in {len(labels)} test trials, chosen from a list.",
        [_heat(says="p", x=packed(seconds, 4)), _line(x=packed(seconds, 4), line=line, name="true class")],
        {"xaxis": _axis(TIME), "yaxis": _names(names), "showlegend": True},
        None,
        choices,
        "trial",
        height=int(np.clip(220 + 26 * len(names), 300, 640)),
    )


def responses(
    mean: Floats,
    error: Floats,
    seconds: Floats,
    individuals: Sequence[str],
    classes: Sequence[Any],
    target: str,
    unit: str,
) -> Plot:
    """Each individual's mean response by class, one at a time.

    Args:
        mean: (class, individual, time).
        error: its standard error.
        seconds: (time,).
        individuals: their ids, in the order of the list.
        classes: labels.
        target: what the classes are of.
        unit: of the responses.
    """
    n = len(classes)
    traces: list[dict[str, Any]] = []
    both_ways = packed(np.concatenate([seconds, seconds[::-1]]), 4)
    for number, label in enumerate(classes):
        colour, name = class_colour(number, n), in_plot(label)
        band = {"fill": "toself", "fillcolor": f"{colour}@0.15", "line": {"width": 0}, "hoverinfo": "skip"}
        traces.append(_line(x=both_ways, **band, showlegend=False, legendgroup=name))
        line = {"color": colour, "width": 2}
        course = {"x": packed(seconds, 4), "line": line, "name": name, "legendgroup": name}
        traces.append({"type": "scatter", "mode": "lines" if len(seconds) > 1 else "markers", **course})
    half = np.nan_to_num(error)
    choices = {}
    for at, individual in enumerate(individuals):
        updates: list[dict[str, Any]] = []
        for number in range(n):
            middle = mean[number, at]
            known = np.isfinite(middle)
            low, high = (np.where(known, middle + s * half[number, at], 0.0) for s in (-1, 1))
            edge = np.concatenate([high, low[::-1]])
            updates += [{"y": packed(edge, 3)}, {"y": packed(middle, 3)}]
        choices[individual] = updates
    peak = np.nan_to_num(np.nanmax(np.where(np.isnan(mean), -np.inf, mean), axis=2), neginf=np.nan)
    rows = [[name, *(number_text(x, ".2f") for x in peak[:, at])] for at, name in enumerate(individuals)]
    return Plot(
        f"Responses of {len(individuals)} individuals by {target}",
        f"Mean course of each of {len(individuals)} individuals by {n} classes of {target}, ± s.e.m., one at a time.",
        traces,
        {
            "hovermode": "x unified",
            "xaxis": _axis(TIME),
            "yaxis": _axis(in_plot(unit)),
            "legend": {"title": {"text": in_plot(target)}},
        },
        Table(["individual", *(f"{target} {label}" for label in classes)], rows, f"largest mean {unit}, by class"),
        choices,
        "individual",
        height=460,
    )


def plane(
    points: Floats,
    explained: Floats,
    individuals: Sequence[str],
    groups: NDArray[Any],
    *,
    recordings: NDArray[Any],
    about: Mapping[str, Sequence[str]],
    group_name: str,
    title: str,
    pairs: Sequence[tuple[int, int]] = (),
) -> Plot:
    """All individuals in a plane, to zoom into; hovering says who it is.

    Args:
        points: (individual, 2).
        explained: (2,) the share of the variance.
        individuals: ids.
        groups: (individual,) by which they are coloured.
        recordings: (individual,) of which each is; they differ in their symbols.
        about: what else is said of each, by name.
        group_name: what groups are.
        title: what is shown.
        pairs: matched individuals, joined by lines that a click on the legend shows.
    """
    text = [
        "<br>".join([in_plot(name), *(f"{in_plot(key)} {in_plot(values[at])}" for key, values in about.items())])
        for at, name in enumerate(individuals)
    ]
    labels, codes = np.unique(groups, return_inverse=True)
    places, which = np.unique(recordings, return_inverse=True)
    traces: list[dict[str, Any]] = []
    for number, label in enumerate(labels):
        member = np.flatnonzero(codes == number)
        symbols = [SYMBOLS[which[at] % len(SYMBOLS)] for at in member] if len(places) > 1 else SYMBOLS[0]
        marker = {"size": 9, "color": class_colour(number, len(labels)), "symbol": symbols, "opacity": 0.85}
        place = {"x": packed(points[member, 0], 5), "y": packed(points[member, 1], 5)}
        said = {"text": [text[one] for one in member], "hoverinfo": "text", "name": in_plot(label)}
        traces.append(_dots(**place, **said, marker=marker))
    if len(pairs):
        ends = points[np.asarray(pairs[:MOST_LINES])]
        lines = np.concatenate([ends, np.full((len(ends), 1, 2), np.nan)], axis=1).reshape(-1, 2)
        line = {"color": "var(--faint)@0.6", "width": 1}
        joined = {"x": packed(lines[:, 0], 5), "y": packed(lines[:, 1], 5), "line": line, "visible": "legendonly"}
        traces.insert(0, _line(**joined, name="declared matches", hoverinfo="skip"))
    rows = [
        [name, str(recordings[at]), *(str(values[at]) for values in about.values()), f"{x:.3g}", f"{y:.3g}"]
        for at, (name, (x, y)) in enumerate(zip(individuals, points, strict=True))
    ]
    head = ["individual", "recording", *about, "PC 1", "PC 2"]
    return Plot(
        title,
        f"{len(individuals)} individuals in the plane of the first two principal components, coloured by {group_name}.",
        traces,
        {
            "hovermode": "closest",
            "dragmode": "pan",
            "legend": {"title": {"text": in_plot(group_name)}},
            "meta": {"zooms": True},
            "xaxis": _axis(f"PC 1 ({explained[0]:.0%})"),
            "yaxis": _axis(f"PC 2 ({explained[1]:.0%})"),
        },
        Table(head, rows, title),
        height=560,
    )


def principal_plane(features: Floats) -> tuple[Floats, Floats]:
    """(individual, 2) places on the first two principal components, and the shares of the variance they hold."""
    centred = features - features.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    points, share = np.zeros((len(features), 2)), np.zeros(2)
    n = min(2, len(size))
    scaled = (left * size)[:, :n]
    points[:, :n] = scaled * np.where(scaled[np.abs(scaled).argmax(axis=0), range(n)] < 0, -1, 1)
    share[:n] = (size**2 / max((size**2).sum(), 1e-300))[:n]
    return points, share


def matches(
    courses: Sequence[tuple[Floats, Floats]],
    labels: Sequence[str],
    seconds: Floats,
    classes: Sequence[Any],
    names: tuple[str, str],
    *,
    target: str,
    unit: str,
) -> Plot:
    """Matched individuals above each other, one pair at a time: mean courses by class.

    Args:
        courses: of each pair two (class, time).
        labels: of the pairs, surest first.
        seconds: (time,).
        classes: labels.
        names: of the two populations.
        target: what the classes are of.
        unit: of the courses.
    """
    n = len(classes)
    traces: list[dict[str, Any]] = []
    for side, axis in ((0, "y"), (1, "y2")):
        for number, label in enumerate(classes):
            line = {"color": class_colour(number, n), "width": 2}
            named = {"name": in_plot(label), "legendgroup": in_plot(label), "showlegend": side == 0}
            traces.append(_line(x=packed(seconds, 4), yaxis=axis, line=line, **named))
    choices = {
        label: [{"y": packed(course, 3)} for side in pair for course in side]
        for label, pair in zip(labels, courses, strict=True)
    }
    return Plot(
        f"Matches of {names[0]} and {names[1]}",
        f"Mean courses by class of {len(labels)} matched pairs, the surest first, chosen from a list.",
        traces,
        {
            "legend": {"title": {"text": in_plot(target)}},
            "xaxis": _axis(TIME, anchor="y2"),
            "yaxis": _axis(in_plot(names[0], 24), domain=[0.54, 1]),
            "yaxis2": _axis(f"{in_plot(names[1], 24)} ({in_plot(unit)})", domain=[0, 0.46]),
        },
        None,
        choices,
        "pair",
        height=520,
    )


def importance(
    measures: Mapping[str, tuple[Floats, Floats]],
    by_bin: Floats,
    individuals: Sequence[str],
    seconds: Floats,
    unit: str,
) -> list[Plot]:
    """What individuals matter by each measure, beside its level of chance; and when.

    Args:
        measures: by name, values and levels of chance, (individual,) each.
        by_bin: (individual, time).
        individuals: ids, the most important first.
        seconds: (time,).
        unit: of all numbers.
    """
    n = min(len(individuals), 40)
    names = [in_plot(one) for one in individuals[:n]]
    choices: dict[str, list[dict[str, Any]]] = {}
    for name, (value, chance) in measures.items():
        colours = ["var(--accent)" if above else "var(--grey)" for above in value[:n] > chance[:n]]
        choices[name] = [{"x": packed(value[:n], 6), "marker": {"color": colours}}, {"x": packed(chance[:n], 6)}]
    place = packed(np.arange(n))
    tick = {"symbol": "line-ns-open", "size": 12, "color": "var(--ink)", "line": {"width": 2}}
    traces: list[dict[str, Any]] = [
        {"type": "bar", "orientation": "h", "y": place, "name": "importance"},
        _dots(y=place, marker=tick, name="level of chance"),
    ]
    head = ["individual", *(f"{name}{end}" for name in measures for end in ("", ", chance"))]
    rows = [
        [one, *(number_text(side[at], ".3g") for pair in measures.values() for side in pair)]
        for at, one in enumerate(individuals)
    ]
    bars = Plot(
        f"The {n} most important of {len(individuals)} individuals",
        f"Importance of {n} individuals beside the level that chance exceeds in one population of 20, by measure.",
        traces,
        {"xaxis": _axis(in_plot(unit)), "yaxis": _names_down(names), "hovermode": "y"},
        Table(head, rows, f"importance ({unit})"),
        choices,
        "measure",
        height=140 + 18 * n,
    )
    most = float(np.abs(by_bin[:n]).max(initial=0)) or 1.0
    heat = {
        "type": "heatmap",
        "x": packed(seconds, 4),
        "y": place,
        "z": packed(by_bin[:n], 6),
        "colorscale": DIVERGING,
        "zmin": -most,
        "zmax": most,
        "colorbar": {"thickness": 10, "len": 0.7},
    }
    layout = {"xaxis": _axis(TIME), "yaxis": _names_down(names)}
    says = f"Integrated gradients of {n} individuals over time."
    return [bars, Plot(f"When they matter: gradients ({unit})", says, [heat], layout, height=140 + 18 * n)]


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    x_name: str,
    y_name: str,
    faint: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]] | None = None,
    intervals: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    is_log: bool = False,
    dots: Collection[str] = (),
) -> Plot:
    """Named lines, each perhaps among faint ones of which it is the mean, or with intervals.

    Args:
        lines: by name, x and y.
        title: what is shown.
        x_name: of the axis.
        y_name: of the axis.
        faint: by name, further x and y.
        intervals: by name, the lower and upper ends.
        is_log: whether x is on a logarithmic scale.
        dots: names whose points are not joined.
    """
    traces: list[dict[str, Any]] = []
    n = max(len(lines), 1)
    dashes = ("solid", "dash", "dot", "dashdot")
    for number, (name, (x, y)) in enumerate(lines.items()):
        colour = class_colour(number * 3 % 8, 8)
        for fx, fy in (faint or {}).get(name, ()):
            line = {"color": f"{colour}@0.35", "width": 1}
            thin = {"x": packed(np.asarray(fx)), "y": packed(np.asarray(fy, dtype=np.float64), 5), "line": line}
            group = {"legendgroup": str(number), "showlegend": False, "hoverinfo": "skip"}
            traces.append(_line(**thin, **group))
        error = {}
        if intervals and name in intervals:
            low, high = (np.asarray(end, dtype=np.float64) for end in intervals[name])
            middle = np.asarray(y, dtype=np.float64)
            ends = {"array": packed(high - middle, 5), "arrayminus": packed(middle - low, 5)}
            error = {"error_y": {"type": "data", "symmetric": False, **ends, "thickness": 1}}
        traces.append(
            {
                "type": "scatter",
                "mode": "markers" if name in dots else "lines+markers" if len(x) < 30 else "lines",
                "x": packed(np.asarray(x)),
                "y": packed(np.asarray(y, dtype=np.float64), 5),
                "name": in_plot(name, 60),
                "legendgroup": str(number),
                "line": {"color": colour, "width": 2.5, "dash": dashes[number // 8 % 4]},
                **error,
            }
        )
    all_x = sorted({float(one) for x, _ in lines.values() for one in x})
    step = -(-len(all_x) // 60) or 1
    shown = all_x[::step]
    cells = {name: dict(zip(map(float, x), y, strict=True)) for name, (x, y) in lines.items()}
    rows = [[f"{at:g}", *(number_text(float(cell.get(at, np.nan))) for cell in cells.values())] for at in shown]
    x_axis = _axis(in_plot(x_name))
    if is_log:
        x_axis |= {"type": "log", "tickmode": "array", "tickvals": all_x, "ticktext": [f"{one:.0f}" for one in all_x]}
    return Plot(
        title,
        f"{title}: {y_name} against {x_name}, {n} lines.",
        traces,
        {"xaxis": x_axis, "yaxis": _axis(in_plot(y_name)), "hovermode": "closest", "showlegend": True},
        Table([x_name, *lines], rows, f"{y_name} by {x_name}"),
        height=380,
    )
