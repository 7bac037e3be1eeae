"""The page of `motet benchmark`: an overview, a table and a figure for each cell, and how all was done."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from motet.names import in_markdown, in_path
from motet.report.scores import fraction_curves, score_comparison, score_differences
from motet.statistics import Score, interval_text, markdown, p_text
from motet.tasks.cells import CellTable
from motet.tasks.decode import IGNORANT
from motet.tasks.verbs import command_line
from motet.training.run import environment

WORDS = """
Every method of a table saw the same trials, windows and bins, with the same folds and seeds ({seeds}). Statistics of the input, and all
that is tuned, come from training trials alone; targets of test trials are stripped before a method predicts. Means are over folds and seeds,
with a 95 % interval; differences are paired, against the best rival of the table, with the corrected resampled t-test (Nadeau and
Bengio) and Holm's correction over its rows. Folds in blocks of time are the same for every seed: there, scores are averaged over seeds
first, and rivals learn once. Effect: mean ÷ standard deviation of the paired differences; won–lost: folds.
{chance} Parameters are those of the first fold, seconds the mean of a fold: {machine}.
""".strip()  # noqa: E501


def paragraphs(settings: Any, tables: Sequence[CellTable], folder: str, figures: Collection[str]) -> Iterator[str]:
    """Of the page.

    Args:
        settings: of the benchmark.
        tables: of its cells.
        folder: beside the page, where its figures are.
        figures: their names.
    """
    computer = environment()
    threads = f"{settings.jobs} at a time" if settings.jobs > 1 else f"{computer['threads']} thread(s)"
    machine = f"{computer['gpu'] or 'CPU'}, {threads}, torch {computer['torch']}"
    yield f"# Benchmark: {in_markdown(' '.join(settings.what))}"
    yield f"Made by `{command_line('benchmark', settings, leave_out=('output', 'jobs', 'page'))}`."
    chance = "A model on shuffled targets shows chance." if settings.control else "No model has shuffled targets."
    yield WORDS.format(seeds=", ".join(map(str, settings.seeds)), machine=machine, chance=chance)
    yield overview(tables)
    for name, words in {"overview": "Methods beside the best rival", "learning_curves": "Learning curves"}.items():
        if name in figures:
            yield f"![{words}]({folder}/{name}.png)"
    for table in tables:
        yield f"## {in_markdown(table.cell.name)}"
        yield _protocol(table)
        if table.comparison is not None:
            yield table.comparison.table(with_effects=True)
        if len(table.curve) > 1:
            yield _curve(table)
        if table.failed:
            yield "\n".join(f"Failed, {which}: {in_markdown(why, most=1000)}" for which, why in table.failed.items())


def _protocol(table: CellTable) -> str:
    """What was asked, in words."""
    s, cell = table.jobs[0].settings, table.cell
    folds = f"{s.folds} folds" if s.n_tested == s.folds else f"the last {s.n_tested} of {s.folds} folds"
    said = [f"{cell.recording}: {cell.target}, {table.column.heading}, {folds} by {s.by}"]
    said += [
        f"{name.replace('_', ' ')} {value}"
        for name in ("bins", "window", "gap_seconds")
        if (value := getattr(s, name)) is not None
    ]
    said += [f"stride {s.stride}"] if s.window is not None and s.stride > 1 else []
    said += ["causal models"] if s.model.causal else []
    n_train = f"{max(table.curve):.0f} training trials in a fold" if table.curve else ""
    return in_markdown("; ".join(filter(None, [*said, n_train])), most=1000) + "."


def overview(tables: Sequence[CellTable]) -> str:
    """Models beside the best rival, a row each for every cell."""
    rows = [
        ["cell", "score", "method", "mean [95 %]", "best rival", "difference [95 %]", "p (Holm)", "effect", "won–lost"]
    ]
    for table in tables:
        compared, head = table.comparison, [in_markdown(table.cell.name), table.column.heading]
        if compared is None or not table.models():
            why = "; ".join(table.failed.values()) or "no model gave an answer; see its table"
            rows.append([*head, in_markdown(f"failed: {why}"), *[""] * 6])
            continue
        best, results = compared.best_rival, compared.results()["methods"]
        rival = (
            "" if best is None else f"{table.column.cell(Score(compared.scores[best][compared.main].value))} ({best})"
        )
        for name in table.models():
            row = [*head, in_markdown(name), table.column.cell(compared.scores[name].get(compared.main)), rival]
            if name in compared.differences:
                difference, found = compared.differences[name], results[name]["effect"]
                row.append(f"{difference.mean:+.3f}{interval_text(difference.interval)}")
                row += [p_text(difference.p), "" if found.size is None else f"{found.size:+.2f}"]
                row.append(f"{found.wins}–{found.losses}")
            rows.append([*row, *[""] * (len(rows[0]) - len(row))])
    return markdown(rows)


def _curve(table: CellTable) -> str:
    """Scores against the number of training trials."""
    names = [] if table.comparison is None else [n for n, kind in table.comparison.kinds.items() if kind != "control"]
    head = [f"{table.column.heading} from training trials", *(f"{n:.0f}" for n in table.curve)]
    curve = table.curve.values()
    rows = [[in_markdown(n), *(table.column.cell(one.scores.get(n, {}).get(one.main)) for one in curve)] for n in names]
    return markdown([head, *rows])


def figures(title: str, tables: Sequence[CellTable]) -> Iterator[tuple[str, Figure]]:
    """Differences from the best rivals, the scores of every cell, and learning curves; by name."""
    compared = [(table, table.comparison) for table in tables if table.comparison is not None]
    differences = {
        table.cell.name: {
            name: (found.mean, found.interval, one.kinds[name] == "model") for name, found in one.differences.items()
        }
        for table, one in compared
        if one.differences
    }
    if differences:
        yield "overview", score_differences(differences, title=title)
    for table, one in compared:
        scores = {name: by_name[one.main] for name, by_name in one.scores.items() if one.main in by_name}
        if not scores:
            continue
        chance = {name for name in scores if one.kinds[name] == "control"} or IGNORANT & scores.keys()
        yield (
            in_path(table.cell.name),
            score_comparison(
                {name: np.asarray(score.samples) for name, score in scores.items()},
                table.column.heading,
                rivals={name for name in scores if one.kinds[name] == "rival"} - chance,
                chance=chance,
                intervals={name: score.interval for name, score in scores.items()},
                title=table.cell.name,
            ),
        )
    curves = {table.cell.name: _points(table) for table, _ in compared if len(table.curve) > 1}
    if curves:
        headings = {table.cell.name: table.column.heading for table, _ in compared}
        models = {name for table, _ in compared for name in table.models()}
        yield "learning_curves", fraction_curves(curves, headings, models=models, title=title)


def _points(table: CellTable) -> dict[str, dict[float, tuple[float, tuple[float, float] | None]]]:
    """Mean and interval by method and number of training trials."""
    points: dict[str, dict[float, tuple[float, tuple[float, float] | None]]] = {}
    for n_train, one in table.curve.items():
        for name, scores in one.scores.items():
            if one.main in scores and one.kinds[name] != "control":
                points.setdefault(name, {})[n_train] = scores[one.main].value, scores[one.main].interval
    return points
