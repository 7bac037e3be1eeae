"""Report: what a run found as one page, or what two runs found side by side.

Whatever a run holds is shown: a tab is a function from the run to what stands in it, nothing for a run that has none.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import io
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.embeddings import Places
from motet.estimators.importance import Importance
from motet.files import write_text
from motet.names import in_path
from motet.plain import as_plain
from motet.progress import progress_bar
from motet.report import interactive, page
from motet.report.neurons import classes_of_trials, informative_individuals, mean_courses
from motet.report.page import Block, Picture, Plot, Tab, Table, Words
from motet.report.style import spread_from_best
from motet.settings import Settings
from motet.statistics import p_text
from motet.tasks.align import Align, Matched, Pair
from motet.tasks.decode import Decode
from motet.tasks.evaluate import Evaluation, Part, Task
from motet.tasks.models import FittedModel
from motet.tasks.outcome import Written
from motet.tasks.predict import load_estimator
from motet.tasks.shown import Decoding, Known, Shown
from motet.training.run import Run
from motet.training.scores import main_score, sections_of

MOST_FOLLOWED = 12  # trials that are followed over time
MOST_INDIVIDUALS = 300  # whose responses are shown, the most informative first
MOST_MATCHES = 60  # of two populations
MOST_RIVALS = 5  # in a figure of curves
MOST_BINS = 1000  # of a trial whose classes are followed
PICTURES_BYTES = 2_500_000
MAIN_COLUMNS = ("low", "difference", "difference_low", "p_holm")  # beside the score that is compared, if known


@dataclasses.dataclass(frozen=True)
class ReportSettings(Settings):
    """Which runs to show, and how.

    Attributes:
        runs: folders of finished runs: one, or two to be seen side by side.
        output: the HTML file to write; by default "report.html" in the run, or "report-<second run>.html" in the first.
        importance: whether to find which individuals the answers of a decoding rest on, if that is not known yet: the
            model of the first fold is trained again, and asked about its test trials.
    """

    positionals: ClassVar = ("runs",)

    runs: tuple[str, ...]
    output: str | None = None
    importance: bool = False

    def check(self) -> None:
        if not 1 <= len(self.runs) <= 2:
            raise InputError(f"{len(self.runs)} runs were given; give one, or two to be seen side by side.")

    @property
    def file(self) -> Path:
        if self.output is not None:
            return Path(self.output)
        first, *others = map(Path, self.runs)
        return first / ("-".join(["report", *(in_path(other.name) for other in others)]) + ".html")


def report(settings: ReportSettings) -> Written:
    """Write one HTML file of what a run found, that needs nothing else: figures to zoom into, tables, settings.

    Raises:
        InputError: if a folder holds no finished run, or plotly is not installed.
    """
    shown = [Shown(Run(folder), wants_importance=settings.importance) for folder in settings.runs]
    tabs = []
    with progress_bar("report", len(TABS) * len(shown)) as advance:
        for name, made in TABS.items():
            columns = []
            for one in shown:
                columns.append(made(one))
                advance(1, name)
            if any(columns):
                tabs.append(Tab(name, columns))
    if len(shown) == 2:
        tabs.insert(0, Tab("Beside each other", [[_beside(*shown), _other_settings(*shown)]]))
    text = page.page(
        " and ".join(one.name for one in shown), [one.summary for one in shown], tabs, [one.name for one in shown]
    )
    write_text(settings.file, text)
    return Written((settings.file,), tuple(note for one in shown for note in one.notes))


# ------------------------------------------------------------------ tabs


def _scores(shown: Shown) -> list[Block]:
    """Every table of methods, with figures of the score that they are compared by."""
    blocks: list[Block] = []
    for name, section in (sections_of(shown.results) or {}).items():
        rows = [row for row in shown.whole if row["section"] == name]
        main = [row for row in rows if row["is_main"] and np.isfinite(row["value"])]
        if not rows:
            continue
        label = f"{name}: " if name else ""
        if main:
            heading = shown.heading(main[0])
            samples = {m: one["scores"][main_score(section)]["samples"] for m, one in section["methods"].items()
                       if main_score(section) in one["scores"]}  # fmt: skip
            plot = interactive.scores(main, heading, samples)
            blocks.append(dataclasses.replace(plot, title=f"{label}{heading}"))
            if any(np.isfinite(row["difference"]) for row in main):
                plot = interactive.differences(main, heading)
                blocks.append(dataclasses.replace(plot, title=f"{label}{plot.title}"))
        blocks.append(_table_of(shown, name, rows))
        left_out = section.get("left_out") or {}
        blocks += [Words(f"{method} is left out: {why}") for method, why in left_out.items()]
    for one in shown.evaluations:
        more = _scores(one)
        blocks += [Words(f"Evaluated as {one.name}:"), *more] if more else []
    if not blocks and (shown.run.folder / "table.md").exists():
        blocks += _of_markdown(shown.run.read_table())
    return blocks


def _of_markdown(text: str) -> Iterator[Block]:
    """Tables and lines as a verb wrote them."""
    for is_table, lines in itertools.groupby(text.splitlines(), key=lambda line: line.startswith("|")):
        if not is_table:
            yield from (Words(line.lstrip("# ")) for line in lines if line.strip())
            continue
        head, _, *rows = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in lines)
        yield Table(head, rows)


def _table_of(shown: Shown, section: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """All scores of a section, a row per method."""
    names = list(dict.fromkeys(row["score"] for row in rows))
    by_method: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by_method.setdefault(row["method"], {})[row["score"]] = row
    known = {name: any(np.isfinite(row[name]) for row in rows if row["is_main"]) for name in MAIN_COLUMNS}
    head = ["method", "kind"]
    for name in names:
        first = next(row for row in rows if row["score"] == name)
        head.append(shown.heading(first))
        if first["is_main"]:
            words = {"low": "95 %", "difference": f"− {first['best_rival']}", "difference_low": "95 %"}
            head += [words.get(column, "p (Holm)") for column in MAIN_COLUMNS if known[column]]
    cells = []
    for method, scores in by_method.items():
        any_row = next(iter(scores.values()))
        line = [method, str(any_row["kind"])]
        for name in names:
            is_main = any(row["is_main"] for row in rows if row["score"] == name)
            row = scores.get(name, dict.fromkeys(("value", "high", "difference_high", *MAIN_COLUMNS), math.nan))
            line.append(interactive.number_text(row["value"]))
            said = {
                "low": interactive.interval_text(row["low"], row["high"]),
                "difference": interactive.number_text(row["difference"], "+.3f"),
                "difference_low": interactive.interval_text(row["difference_low"], row["difference_high"], "+.3f"),
                "p_holm": "" if math.isnan(row["p_holm"]) else p_text(row["p_holm"]),
            }
            line += [said[column] for column in MAIN_COLUMNS if is_main and known[column]]
        costs = (f"{any_row['n_parameters']:,.0f}", *(f"{any_row[c]:.1f}" for c in ("fit_seconds", "predict_seconds")))
        cells.append([*line, *("" if cost == "nan" else cost for cost in costs)])
    return Table(
        [*head, "parameters", "fit (s)", "predict (s)"], cells, f"All methods{f', {section}' if section else ''}"
    )


def _confusion(shown: Shown) -> list[Block]:
    decoding = shown.decoding
    if decoding is None or decoding.task.is_quantity:
        return []
    truth, prediction = decoding.known("prediction")
    classes = np.unique([*truth, *prediction]).tolist()
    blocks: list[Block] = [interactive.confusion(truth, prediction, classes)]
    if all("log_probability" in answer for _, answer in decoding.answers):
        _, logs = decoding.known("log_probability")
        blocks.append(interactive.reliability(np.exp(logs.max(axis=1)), truth == prediction))
    return blocks


def _decoded(shown: Shown) -> list[Block]:
    decoding = shown.decoding
    if decoding is None:
        return []
    task = decoding.task
    level = task.question.level
    if not task.is_quantity and level == "trial":
        return _class_probabilities(decoding)
    if level == "trial":
        truth, found = (side.reshape(len(side), -1) for side in decoding.known("prediction"))
        return [interactive.scatter_decoded(truth, found, _dimensions(task.settings.target, truth.shape[1]))]
    labels, truths, answers = decoding.followed()
    longest = max(len(truth) for truth, _ in truths)
    seconds = (np.arange(longest) + 0.5) * task.dataset.recordings[0].bin_seconds
    if not task.is_quantity:
        return _class_courses(decoding, labels, truths, answers, seconds)
    true, found = np.full((2, len(labels), longest, int(np.prod(truths[0][0].shape[1:]))), np.nan)
    for row, ((truth, known), answer) in enumerate(zip(truths, answers, strict=True)):
        true[row, : len(truth)] = np.where(known[:, None], truth.reshape(len(truth), -1), np.nan)
        found[row, : len(truth)] = answer["prediction"][: len(truth)].reshape(len(truth), -1)
    found = np.where(np.isnan(true), np.nan, found)
    error = np.sqrt(np.nanmean((true - found) ** 2, axis=(1, 2)))
    kept = spread_from_best(error, MOST_FOLLOWED)
    reaches = [answer["reach"] for _, answer in decoding.answers if "reach" in answer]
    names = _dimensions(task.settings.target, true.shape[2])
    several = {labels[at] for at in kept if labels.count(labels[at]) > 1}
    shown_as = [f"{labels[at]}{f' ({at})' if labels[at] in several else ''}: error {error[at]:.3g}" for at in kept]
    reach = np.mean(reaches, axis=0) if len(reaches) == len(decoding.answers) else None
    plot = interactive.courses_decoded(true[kept], found[kept], shown_as, seconds, names, reach)
    whole = ~np.isnan(true).any(axis=2)
    return [plot, interactive.scatter_decoded(true[whole], found[whole], names)]


def _dimensions(target: str, n: int) -> list[str]:
    return [target] if n == 1 else [f"{target}[{d}]" for d in range(n)]


def _class_probabilities(decoding: Decoding) -> list[Block]:
    classes = decoding.classes
    if classes is None:
        return []
    truth, logs = decoding.known("log_probability")
    codes = np.searchsorted(classes, truth).clip(max=len(classes) - 1)
    is_among = classes[codes] == truth
    return [interactive.probabilities(np.exp(logs)[is_among], codes[is_among], classes.tolist())]


def _class_courses(
    decoding: Decoding,
    labels: list[str],
    truths: list[Known],
    answers: list[Mapping[str, NDArray[Any]]],
    seconds: NDArray[np.floating[Any]],
) -> list[Block]:
    classes = decoding.classes
    if classes is None:
        return []
    n_trials, n_bins = len(labels), min(len(seconds), MOST_BINS)
    probability, codes = np.full((n_trials, n_bins, len(classes)), np.nan), np.full((n_trials, n_bins), -1)
    for row, ((truth, known), answer) in enumerate(zip(truths, answers, strict=True)):
        n = min(len(truth), n_bins)
        probability[row, :n] = np.exp(answer["log_probability"][:n])
        found = np.searchsorted(classes, truth[:n]).clip(max=len(classes) - 1)
        codes[row, :n] = np.where(known[:n] & (classes[found] == truth[:n]), found, -1)
    thought = np.take_along_axis(probability, codes.clip(min=0)[..., None], axis=2)[..., 0]
    kept = spread_from_best(-np.nanmean(np.where(codes >= 0, thought, np.nan), axis=1), MOST_FOLLOWED)
    names = [f"{labels[at]} ({at})" for at in kept]
    return [interactive.class_courses(probability[kept], codes[kept], names, seconds[:n_bins], classes.tolist())]


def _responses(shown: Shown) -> list[Block]:
    blocks: list[Block] = []
    for recording in shown.recordings:
        target = recording.class_target(shown.settings.get("target") or "")
        if target is None or recording.n_features != 1:
            continue
        classes, codes = classes_of_trials(recording, target)
        if len(classes) > 24 or (codes >= 0).sum() < 2:
            continue
        values = recording.values[..., 0].astype(np.float64)
        are_counts = bool((values[recording.observed] >= 0).all())
        n_shown = min(recording.n_individuals, MOST_INDIVIDUALS)
        order = informative_individuals(recording, target, n_shown) if are_counts else np.arange(n_shown)
        scale = recording.bin_seconds if are_counts else 1.0
        mean, error = mean_courses(values[:, order] / scale, recording.observed[:, order], codes)
        longest = int(np.isfinite(mean).any(axis=(0, 1)).sum())
        plot = interactive.responses(
            mean[..., :longest],
            error[..., :longest],
            (np.arange(longest) + 0.5) * recording.bin_seconds,
            [recording.individual_ids[at] for at in order],
            classes.tolist(),
            target,
            "firing rate (Hz)" if are_counts else "mean value",
        )
        blocks.append(dataclasses.replace(plot, title=f"{recording.name}: {plot.title}"))
    return blocks


def _individuals(shown: Shown) -> list[Block]:
    """Where individuals lie: by the shapes of their responses in an alignment, by embeddings of a decoder."""
    if shown.alignment is not None:
        return [_plane_of_shapes(shown.alignment, shown.run)]
    if not isinstance(shown.task, Decode) or not shown.run.has_tensors("weights"):
        return []
    try:
        estimator = load_estimator(shown.run)
    except InputError as error:
        shown.notes.append(f"embeddings of {shown.name} are not shown: {error}")
        return []
    places = Places.of(estimator, shown.recordings, shown.task.settings.target)
    read, by = places.recordings, places.target
    names = np.concatenate([np.full(recording.n_individuals, recording.name) for recording in read])
    preferred = places.classes[np.concatenate(places.preferred)]
    about = {**({} if by is None else {f"preferred {by}": preferred.tolist()}), **_said_of_individuals(read)}
    blocks: list[Block] = []
    stages = {"individual": "Each individual alone: embeddings", "population": "Each individual among all: embeddings"}
    for stage, title in stages.items():
        points, explained = interactive.principal_plane(np.concatenate(getattr(places, stage)))
        blocks.append(
            interactive.plane(
                points,
                explained,
                [name for recording in read for name in recording.individual_ids],
                names if by is None else preferred,
                recordings=names,
                about=about,
                group_name="recording" if by is None else f"preferred {by}",
                title=f"{title} by {by} and time" if by else f"{title} over time",
            )
        )
    return blocks


def _said_of_individuals(recordings: Sequence[Recording]) -> dict[str, list[str]]:
    """What is known of every individual of all recordings, by name: mean value, and targets that say what they are."""
    means = [
        np.where(r.observed, r.values[..., 0], 0).sum(axis=(0, 2)) / np.maximum(r.observed.sum(axis=(0, 2)), 1)
        for r in recordings
    ]
    said = {"mean": [f"{value:.3g}" for value in np.concatenate(means)]}
    for name, level in recordings[0].target_levels.items():
        kinds = [r.targets[name] for r in recordings if name in r.targets]
        if level == "individual" and len(kinds) == len(recordings) and all(kind.ndim == 2 for kind in kinds):
            said[name] = [str(value) for kind in kinds for value in kind[0]]
    return said


def _plane_of_shapes(task: Align, run: Run) -> Plot:
    everybody = task.everybody
    shapes = np.concatenate([one.mean for one in everybody.shapes])
    points, explained = interactive.principal_plane(shapes.reshape(len(shapes), -1))
    names = np.concatenate([np.full(r.n_individuals, r.name) for r in everybody.recordings])
    ids = [name for recording in everybody.recordings for name in recording.individual_ids]
    place = {(recording, one): at for at, (recording, one) in enumerate(zip(names, ids, strict=True))}
    preferred = task.classes[everybody.preferred]
    about = {"response type": everybody.types.tolist(), **_said_of_individuals(everybody.recordings)}
    if task.target is not None:
        about = {f"preferred {task.target}": preferred.tolist(), **about}
    pairs = [
        (place[part.a.name, a], place[part.b.name, b])
        for part, m in _matched(task, run)
        for a, b in zip(*(side[m.is_declared] for side in m.ids), strict=True)
    ]
    return interactive.plane(
        points,
        explained,
        ids,
        preferred if task.target is not None else everybody.types,
        recordings=names,
        about=about,
        group_name=f"preferred {task.target}" if task.target is not None else "response type",
        title="Shapes of responses of all individuals",
        pairs=pairs,
    )


def _matched(task: Align, run: Run) -> Iterator[tuple[Pair, Matched]]:
    """Matches of every two recordings; of one recording alone those of its first halves."""
    evaluation = Evaluation(task, run, task.parts())
    for part in [part for part in task.parts() if not part.are_halves] or task.parts()[:1]:
        yield part, task.matches(evaluation, part)


def _matches(shown: Shown) -> list[Block]:
    task = shown.alignment
    if task is None:
        return []
    blocks: list[Block] = []
    for part, m in _matched(task, shown.run):
        rows = [
            [str(a), str(b), f"{sure:.3f}", "yes" if declared else "no"]
            for a, b, sure, declared in zip(*m.ids, m.confidence, m.is_declared, strict=True)
        ]
        if rows:
            courses = list(zip(*(side[:MOST_MATCHES] for side in m.courses), strict=True))
            labels = [
                f"{a} ~ {b}: {sure:.2f}{'' if declared else ', not declared'}"
                for a, b, sure, declared in zip(*m.ids, m.confidence, m.is_declared, strict=True)
            ][:MOST_MATCHES]
            seconds = (np.arange(task.n_bins) + 0.5) * part.a.bin_seconds
            names = {"target": task.target or "", "unit": "mean per bin"}
            blocks.append(interactive.matches(courses, labels, seconds, task.classes.tolist(), part.names, **names))
        head = [*(f"individual of {name}" for name in part.names), "confidence", "declared"]
        blocks.append(Table(head, rows, f"{len(rows)} matches, surest first"))
    return blocks


def _importance(shown: Shown) -> list[Block]:
    kept = shown.run.part("importance")
    if not kept.has_results and shown.wants_importance:
        decoding = shown.decoding
        if decoding is None:
            shown.notes.append(f"importance is of decodings, and {shown.name} is none whose recordings are there.")
            return []
        kept.write_results(as_plain(_importance_of(decoding)))
    if not kept.has_results:
        return []
    found = kept.read_results()
    try:
        measures = {
            name: (
                np.asarray(found[key]["value"], dtype=np.float64),
                np.asarray(found[key]["chance"], dtype=np.float64),
            )
            for name, key in {"permutation": "permutation", "left out": "left_out", "gradients": "gradients"}.items()
        }
        order = np.argsort(-measures["permutation"][0], kind="stable")
        by_bin = np.asarray(found["gradients_by_bin"], dtype=np.float64)[order]
        ids = [str(found["individual_ids"][at]) for at in order]
        seconds = (np.arange(by_bin.shape[1]) + 0.5) * float(found["bin_seconds"])
        sorted_ = {name: (value[order], chance[order]) for name, (value, chance) in measures.items()}
        return list(interactive.importance(sorted_, by_bin, ids, seconds, str(found["unit"])))
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{kept.folder}/results.json is damaged ({error!r}); delete it and run again.") from error


def _importance_of(decoding: Decoding) -> Importance:
    """Of the model of the first fold, trained again, in its test trials."""
    task: Task = decoding.task
    part: Part = decoding.parts[0]
    assert part.test is not None
    model = task.methods(part)[0]
    with progress_bar("model of the first fold", 1) as advance:
        fitted = model.fit(part.train, task.question_of(part), say=advance)
    assert isinstance(fitted, FittedModel)
    return fitted.estimator.importance(part.test.recordings[0])


def _search(shown: Shown) -> list[Block]:
    """What a sweep tried."""
    tries = shown.results.get("tries")
    if not isinstance(tries, list) or not tries:
        return []
    heading = f"{shown.results.get('score', 'score')}, inner folds"
    scores = np.array([one["score"] for one in tries], dtype=np.float64)
    order = list(range(len(scores)))
    lines = {"tries": (order, scores.tolist()), "best so far": (order, np.fmax.accumulate(scores).tolist())}
    plot = interactive.curves(lines, title="Scores of tries", x_name="try", y_name=heading, dots=("tries",))
    blocks: list[Block] = [plot]
    importance = shown.results.get("importance") or {}
    if importance:
        rows = [[name, f"{share:.0%}"] for name, share in importance.items()]
        blocks.append(Table(["setting", "share of the variance of scores"], rows, "what is behind the scores"))
    names = list(dict.fromkeys(name for one in tries for name in one["values"]))
    ranked = sorted(tries, key=lambda one: (math.isnan(one["score"]), -one["score"]))
    cells = [
        [
            "given" if one["number"] < 0 else str(one["number"] + 1),
            interactive.number_text(one["score"]),
            *(_word(one["values"].get(name)) for name in names),
            str(one.get("why", "")),
        ]
        for one in ranked
    ]
    return [*blocks, Table(["try", heading, *names, "failed"], cells, "all tries, the best first")]


def _training(shown: Shown) -> list[Block]:
    """How training went, and what more trials are worth."""
    blocks: list[Block] = []
    for name in sections_of(shown.results) or {}:
        rows = [row for row in shown.rows if row["section"] == name and row["is_main"] and row["kind"] != "control"]
        if len({row["n_train"] for row in rows if np.isfinite(row["n_train"])}) > 1:
            blocks.append(_learning_curves(name, rows, shown.heading(rows[0])))
    histories = _histories(shown.run)
    for column, title in {"loss": "Loss by epoch", "score": "Score of the validation part by epoch"}.items():
        plot = _history_plot(histories, column, title)
        if plot is not None:
            blocks.append(plot)
    return blocks


def _learning_curves(section: str, rows: Sequence[Mapping[str, Any]], heading: str) -> Plot:
    most = max(row["n_train"] for row in rows)
    best = sorted((row for row in rows if row["n_train"] == most), key=lambda row: -row["value"])
    rivals = [row["method"] for row in best if row["kind"] != "model"][:MOST_RIVALS]
    names = [*(row["method"] for row in best if row["kind"] == "model"), *rivals]
    lines, intervals = {}, {}
    for name in names:
        points = sorted((row for row in rows if row["method"] == name), key=lambda row: float(row["n_train"]))
        x = [row["n_train"] for row in points]
        lines[name] = x, [row["value"] for row in points]
        intervals[name] = [row["low"] for row in points], [row["high"] for row in points]
    title = f"{section}: {heading} from more and more training trials"
    return interactive.curves(
        lines, title=title, x_name="training trials", y_name=heading, intervals=intervals, is_log=True
    )


def _histories(run: Run) -> dict[str, list[dict[str, NDArray[np.float64]]]]:
    """Columns of every history.csv, by what learned: the run's own model, and the models of parts."""
    found: dict[str, list[dict[str, NDArray[np.float64]]]] = {}
    for path in sorted(run.folder.rglob("history.csv"))[:200]:
        inside = path.relative_to(run.folder).parts
        if inside[0] in ("evaluations", "cells", "tries"):
            continue
        name = "model of all trials" if len(inside) == 1 else "models of folds"
        if len(inside) > 1 and "shuffled" in path.parent.name:
            name += ", shuffled targets"
        with contextlib.suppress(OSError, ValueError, KeyError):
            rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
            columns = {key: np.array([float(row[key] or "nan") for row in rows]) for key in (rows[0] if rows else ())}
            if "epoch" in columns:
                found.setdefault(name, []).append(columns)
    return found


def _history_plot(
    histories: Mapping[str, Sequence[Mapping[str, NDArray[np.float64]]]], column: str, title: str
) -> Plot | None:
    lines, faint = {}, {}
    for name, folds in histories.items():
        for part in ("train", "validation"):
            key = f"{part}_{column}"
            known = [fold for fold in folds if key in fold and np.isfinite(fold[key]).any()]
            if not known:
                continue
            shared = functools.reduce(np.intersect1d, [fold["epoch"] for fold in known])
            mean = np.mean([fold[key][np.isin(fold["epoch"], shared)] for fold in known], axis=0)
            label = f"{name}, {'training' if part == 'train' else part}"
            lines[label] = shared.tolist(), mean.tolist()
            faint[label] = [(fold["epoch"].tolist(), fold[key].tolist()) for fold in known] if len(known) > 1 else []
    if not lines:
        return None
    return interactive.curves(lines, title=title, x_name="epoch", y_name=column, faint=faint)


def _pictures(shown: Shown) -> list[Block]:
    """Figures as the verb drew them, the smaller file of each, as far as there is room."""
    blocks: list[Block] = []
    room = PICTURES_BYTES
    folders = [(shown.run.figures, "")]
    folders += [(one.run.figures, f"{one.name}: ") for one in shown.evaluations]
    for folder, prefix in folders:
        for png in sorted(folder.glob("*.png")) if folder.is_dir() else ():
            files = [path for path in (png, png.with_suffix(".svg")) if path.is_file()]
            smallest = min(files, key=lambda path: path.stat().st_size)
            room -= smallest.stat().st_size
            if room < 0:
                blocks.append(Words(f"{prefix}{png.stem}: see {png}"))
                continue
            blocks.append(Picture(smallest, f"{prefix}{png.stem.replace('_', ' ')}"))
    return blocks


def _settings(shown: Shown) -> list[Block]:
    """What was asked for, of what, what computed it, and the command that does it again."""
    blocks: list[Block] = []
    if shown.command:
        blocks += [Words("This does it again:"), Words(shown.command, is_code=True)]
    if shown.settings:
        rows = [[name, value] for name, value in _dotted(shown.settings)]
        blocks.append(Table(["setting", "value"], rows, "what was asked for"))
    inputs = [[role, one] for role, digests in shown.run.read_inputs().items() for one in digests]
    if inputs:
        blocks.append(Table(["input", "digest"], inputs, "what was read"))
    if (shown.run.folder / "environment.json").exists():
        rows = [[name, value] for name, value in _dotted(shown.run.read_environment())]
        blocks.append(Table(["what", "version"], rows, "what computed it"))
    blocks += [Words(note) for note in shown.notes]
    return blocks


def _dotted(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _word(value)


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_word, value))
    return (
        {None: "–", True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool | None) else str(value)
    )


TABS: Mapping[str, Callable[[Shown], list[Block]]] = {
    "Scores": _scores,
    "Search": _search,
    "Confusion": _confusion,
    "Decoded": _decoded,
    "Responses": _responses,
    "Individuals": _individuals,
    "Matches": _matches,
    "Importance": _importance,
    "Learning": _training,
    "Figures": _pictures,
    "Settings": _settings,
}


# ------------------------------------------------------------------ two runs


def _beside(first: Shown, second: Shown) -> Table:
    """The scores by which methods are compared, of both runs."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for at, shown in enumerate((first, second)):
        for row in shown.whole:
            if row["is_main"]:
                key = row["section"], row["method"], shown.heading(row)
                ends = interactive.interval_text(row["low"], row["high"])
                text = interactive.number_text(row["value"]) + (f" [{ends}]" if ends else "")
                rows.setdefault(key, ["", ""])[at] = text
    cells = [[method, section, score, *both] for (section, method, score), both in rows.items()]
    return Table(["method", "table", "score", first.name, second.name], cells, "scores of both runs")


def _other_settings(first: Shown, second: Shown) -> Table:
    """Settings that differ."""
    a, b = (dict(_dotted(shown.settings)) for shown in (first, second))
    rows = [[name, a.get(name, ""), b.get(name, "")] for name in {**a, **b} if a.get(name) != b.get(name)]
    return Table(["setting", first.name, second.name], rows, "settings that differ")
