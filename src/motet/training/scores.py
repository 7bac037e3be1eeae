"""The scores that a run holds, one row for each section, method and score, whichever verb made it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from motet.errors import InputError

UNKNOWN = math.nan
COLUMNS = (
    *("section", "method", "kind", "score", "is_main", "value", "low", "high", "difference", "difference_low"),
    *("difference_high", "p_holm", "best_rival", "n_train", "n_parameters", "fit_seconds", "predict_seconds"),
)


def score_rows(results: Mapping[str, Any], *, where: str) -> list[dict[str, Any]]:
    """Rows of `COLUMNS`, NaN or "" where something is not known.

    Args:
        results: what results.json or benchmark.json holds.
        where: what it is of, for messages.

    Raises:
        InputError: if these are no results of methods that were compared.

    Example:
        >>> score = {"value": 0.5, "interval": [0.4, 0.6], "samples": []}
        >>> methods = {"lda": {"kind": "rival", "scores": {"accuracy": score}}}
        >>> (row,) = score_rows({"sections": {"": {"best_rival": "lda", "methods": methods}}}, where="this")
        >>> row["method"], row["value"], row["high"], row["difference"]
        ('lda', 0.5, 0.6, nan)
    """
    sections = sections_of(results)
    if sections is None:
        raise InputError(f"{where} holds no scores of methods; give the folder of a finished run that compared some.")
    try:
        return [row for name, section in sections.items() for row in _rows(name, section, _n_train(results))]
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"the results of {where} are damaged ({error!r}); delete them and run again.") from error


def sections_of(results: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Tables of methods by name, as any verb writes them; cells of a benchmark are such. None if there are none."""
    sections = results.get("sections", results.get("cells"))
    if not isinstance(sections, Mapping):
        return None
    return {name: section for name, section in sections.items() if isinstance(section, Mapping)}


def main_score(section: Mapping[str, Any]) -> str:
    """The score by which methods of a section are compared."""
    if "main" in section:
        return str(section["main"])
    first: Mapping[str, Any] = next(iter(section.get("methods", {}).values()), {})
    return next(iter(first.get("scores", {})), "")


def _n_train(results: Mapping[str, Any]) -> float:
    counts = results.get("n_train") or [UNKNOWN]
    return sum(counts) / len(counts) if isinstance(counts, list) else UNKNOWN


def _rows(name: str, section: Mapping[str, Any], n_train: float) -> Iterator[dict[str, Any]]:
    main, best = main_score(section), section.get("best_rival") or ""
    curve = section.get("learning_curve", [])
    most = max((point["n_train"] for point in curve), default=n_train)
    kinds = {}
    for method, about in section.get("methods", {}).items():
        kinds[method] = about["kind"]
        for score, found in about["scores"].items():
            row = {**_row(name, method, about["kind"], score, main, found), "best_rival": best, "n_train": most}
            if score == main and "difference" in about:
                low, high = about.get("difference_interval") or (UNKNOWN, UNKNOWN)
                row |= {"difference": about["difference"], "difference_low": low, "difference_high": high}
                row["p_holm"] = UNKNOWN if about.get("p_holm") is None else about["p_holm"]
            costs = ("n_parameters", "fit_seconds", "predict_seconds")
            yield row | {cost: about.get(cost, UNKNOWN) for cost in costs}
    for point in curve:
        for method, scores in point["scores"].items() if point["n_train"] < most else ():
            for score, found in scores.items():
                row = _row(name, method, kinds.get(method, "model"), score, main, found)
                yield row | {"best_rival": best, "n_train": point["n_train"]}


def _row(section: str, method: str, kind: str, score: str, main: str, found: Mapping[str, Any]) -> dict[str, Any]:
    empty: dict[str, Any] = dict.fromkeys(COLUMNS, UNKNOWN)
    low, high = found.get("interval") or (UNKNOWN, UNKNOWN)
    about = {"section": section, "method": method, "kind": kind, "score": score, "is_main": score == main}
    return {**empty, **about, "value": found["value"], "low": low, "high": high}
