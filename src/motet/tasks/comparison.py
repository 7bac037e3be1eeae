"""Methods beside each other: what was found of each, ranked, compared with the best rival, and as a table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from motet.names import in_markdown
from motet.rivals.method import Kind
from motet.statistics import (
    UNBOUNDED,
    Effect,
    Estimate,
    Interval,
    Score,
    compare_all,
    effect,
    estimate_mean,
    interval_text,
    markdown,
    p_text,
)
from motet.trial_sums import TrialSums

ORDER: tuple[Kind, ...] = ("model", "rival", "oracle", "control")
COMPARED: tuple[Kind, ...] = ("model", "rival")


@dataclasses.dataclass(frozen=True)
class Column:
    """One score, as a table shows it.

    Attributes:
        heading: of the column.
        form: of a number, as Python formats it.
        has_interval: whether its interval stands beside it.
        interval_name: what that is.
        is_error: whether less is better.
        bounds: the least and the most that it can be.
    """

    heading: str
    form: str = ".3f"
    has_interval: bool = False
    interval_name: str = "95 %"
    is_error: bool = False
    bounds: Interval = UNBOUNDED

    def cell(self, score: Score | None) -> str:
        """A score as text; nothing if it is not defined."""
        if score is None or math.isnan(score.value):
            return ""
        return f"{score.value:{self.form}}" + interval_text(score.interval if self.has_interval else None, self.form)


@dataclasses.dataclass(frozen=True)
class Measured:
    """How good an answer is.

    Attributes:
        scores: by the name of their column, as far as they are defined.
        sums: what each trial adds to the score, for intervals where folds are few.
        more: plain values for figures and results.json.
    """

    scores: Mapping[str, Score]
    sums: TrialSums | None = None
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Found:
    """What a method came to on one part.

    Attributes:
        measured: how good its answer is.
        n_parameters: numbers that it learned.
        fit_seconds: that took.
        predict_seconds: that the answer took.
        about: what it says of itself.
    """

    measured: Measured
    n_parameters: int
    fit_seconds: float
    predict_seconds: float
    about: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A method that gave no answer, and why."""

    why: str


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The methods of one section of a table, models first, then rivals from the best, oracles, controls.

    Attributes:
        section: its name.
        heading: above its table; nothing for none.
        columns: the scores by name.
        main: the one that is compared.
        kinds: of the methods.
        scores: of the methods, over all parts of the section.
        found: on the parts.
        best_rival: by the main score; None if there is none.
        differences: of models and rivals from it.
        left_out: methods that gave no answer, and why.
    """

    section: str
    heading: str
    columns: Mapping[str, Column]
    main: str
    kinds: Mapping[str, Kind]
    scores: Mapping[str, Mapping[str, Score]]
    found: Mapping[str, Sequence[Found]]
    best_rival: str | None
    differences: Mapping[str, Estimate]
    left_out: Mapping[str, str]

    @classmethod
    def of(
        cls,
        found: Mapping[str, Sequence[Found | LeftOut]],
        kinds: Mapping[str, Kind],
        *,
        section: str,
        heading: str,
        columns: Mapping[str, Column],
        main: str,
        test_fraction: float | None,
    ) -> Comparison:
        """Rank and compare what was found, by method and part.

        Args:
            found: by method, on the parts of the section.
            kinds: of the methods.
            section: its name.
            heading: above its table.
            columns: the scores by name.
            main: the one that ranks, and is compared.
            test_fraction: where parts are folds, how many of the trials are in one; None if there is one part.
        """
        left_out = {name: one.why for name, parts in found.items() for one in parts if isinstance(one, LeftOut)}
        whole = {
            name: [one for one in parts if isinstance(one, Found)]
            for name, parts in found.items()
            if name not in left_out
        }
        sums = {name: pooled for name, parts in whole.items() if (pooled := _pooled(parts)) is not None}
        scores = {name: _over_parts(parts, columns, sums.get(name), test_fraction) for name, parts in whole.items()}

        def rank(name: str) -> tuple[int, bool, float]:
            value = scores[name][main].value if main in scores[name] else math.nan
            return ORDER.index(kinds[name]), math.isnan(value), value if columns[main].is_error else -value

        ranked = sorted(whole, key=rank)
        samples = {
            name: scores[name][main].samples
            for name in ranked
            if kinds[name] in COMPARED and main in scores[name] and _are_known(scores[name][main].samples)
        }
        best = next((name for name in ranked if kinds[name] == "rival" and main in scores[name]), None)
        return cls(
            section,
            heading,
            columns,
            main,
            {name: kinds[name] for name in ranked},
            {name: scores[name] for name in ranked},
            whole,
            best,
            compare_all(samples, against=best, test_fraction=test_fraction, trials=sums) if best in samples else {},
            left_out,
        )

    def results(self) -> dict[str, Any]:
        """What results.json holds."""
        methods: dict[str, Any] = {}
        for name, kind in self.kinds.items():
            first, difference = self.found[name][0], self.differences.get(name)
            methods[name] = {
                "kind": kind,
                "scores": self.scores[name],
                "n_parameters": first.n_parameters,
                "fit_seconds": self._mean(name, "fit_seconds"),
                "predict_seconds": self._mean(name, "predict_seconds"),
            }
            if difference is not None:
                methods[name]["difference"] = difference.mean
                methods[name]["difference_interval"] = difference.interval
                methods[name]["p_holm"] = difference.p
                methods[name]["effect"] = self._effect(name)
            if fails := self._unconverged(name):
                methods[name]["did_not_converge"] = fails
            if chosen := first.about.get("chosen"):
                methods[name]["chosen"] = chosen
            if first.measured.more:
                methods[name]["more"] = first.measured.more
        about = {name: {"heading": one.heading, "is_error": one.is_error} for name, one in self._shown().items()}
        return {
            "main": self.main,
            "columns": about,
            "best_rival": self.best_rival,
            "methods": methods,
            "left_out": self.left_out,
        }

    def table(self, *, with_effects: bool = False) -> str:
        """Markdown: heading, a row per method, what was chosen, and what is left out.

        Args:
            with_effects: whether effect sizes, and folds won and lost, stand beside the differences.
        """
        head, rows = self._head(with_effects), [self._row(name, with_effects) for name in self.kinds]
        chosen = [
            f"{name}: {', '.join(f'{option} {value}' for option, value in options.items())}"
            for name in self.kinds
            if (options := self.found[name][0].about.get("chosen"))
        ]
        notes = [f"Chosen on training trials: {'; '.join(chosen)}."] if chosen else []
        for name in self.kinds:
            if fails := self._unconverged(name):
                why = in_markdown(" ".join(fails[0].split()), most=300)
                notes.append(f"{name} did not converge on {len(fails)} of {len(self.found[name])} parts: {why}")
        for name, why in self.left_out.items():
            notes.append(f"{name} is left out: {in_markdown(' '.join(why.split()), most=1000)}")
        heading = [f"## {self.heading}"] if self.heading else []
        return "\n\n".join([*heading, markdown([head, *rows]), *(["\n".join(notes)] if notes else [])])

    def _shown(self) -> dict[str, Column]:
        """Columns in which anything stands."""
        defined = {name for scores in self.scores.values() for name in scores}
        return {name: column for name, column in self.columns.items() if name in defined}

    def _effect(self, name: str) -> Effect:
        """Of a method against the best rival; more is better."""
        ours, theirs = (self.scores[one][self.main].samples for one in (name, self.best_rival or ""))
        return (
            effect(scores=theirs, against=ours)
            if self.columns[self.main].is_error
            else effect(scores=ours, against=theirs)
        )

    def _unconverged(self, name: str) -> list[str]:
        """Why it did not converge, for each part on which it did not."""
        return [why for one in self.found[name] if (why := one.about.get("did_not_converge"))]

    def _head(self, with_effects: bool) -> list[str]:
        head = ["method"]
        for name, column in self._shown().items():
            head.append(column.heading + (f" [{column.interval_name}]" if column.has_interval else ""))
            if name == self.main and self.differences:
                head += [f"− {self.best_rival} [95 %]", "p (Holm)", *(["effect", "won–lost"] if with_effects else [])]
        return [*head, "parameters", "fit (s)", "predict (s)"]

    def _row(self, name: str, with_effects: bool) -> list[str]:
        row, difference = [in_markdown(name)], self.differences.get(name)
        for key, column in self._shown().items():
            row.append(column.cell(self.scores[name].get(key)))
            if key == self.main and self.differences:
                text, p = "", ""
                if difference is not None:
                    text = f"{difference.mean:+{column.form}}" + interval_text(difference.interval, column.form)
                    p = p_text(difference.p)
                row += [text, p]
                if with_effects and difference is not None:
                    found = self._effect(name)
                    row += ["" if found.size is None else f"{found.size:+.2f}", f"{found.wins}–{found.losses}"]
                elif with_effects:
                    row += ["", ""]
        seconds = (f"{self._mean(name, cost):.1f}" for cost in ("fit_seconds", "predict_seconds"))
        return [*row, f"{self.found[name][0].n_parameters:,}", *seconds]

    def _mean(self, name: str, cost: str) -> float:
        return float(np.mean([getattr(one, cost) for one in self.found[name]]))


def _over_parts(
    parts: Sequence[Found], columns: Mapping[str, Column], sums: TrialSums | None, test_fraction: float | None
) -> Mapping[str, Score]:
    """Scores as they were measured on the one part, or their mean over folds."""
    if test_fraction is None:
        return parts[0].measured.scores
    scores = {}
    for name in parts[0].measured.scores:
        folds = [part.measured.scores[name].value for part in parts]
        bounds = columns[name].bounds
        estimate = estimate_mean(folds, test_fraction=test_fraction, bounds=bounds, trials=sums)
        scores[name] = Score(estimate.mean, estimate.interval, tuple(folds))
    return scores


def _pooled(parts: Sequence[Found]) -> TrialSums | None:
    """What the trials of all parts add to the score, if that is known of all."""
    sums = [part.measured.sums for part in parts]
    known = [one for one in sums if one is not None]
    if not known or len(known) < len(sums):
        return None
    return TrialSums(known[0].metric, [t for one in known for t in one.trials], [s for one in known for s in one.sums])


def _are_known(samples: Sequence[float]) -> bool:
    return len(samples) > 0 and bool(np.isfinite(samples).all())
