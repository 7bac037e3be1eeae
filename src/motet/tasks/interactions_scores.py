"""How well graphs and states are recovered: the scores of one method on one recording, and tables of several."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from motet import metrics
from motet.data.pairs import are_pairs
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.interactions import EITInteractions
from motet.models.partition import assign_groups, assign_groups_of_sizes
from motet.names import in_markdown
from motet.statistics import compare_table, estimate_mean, interval_text, markdown, p_text

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]

N_BLOCKS = 10  # of trials, whose scattering gives the interval of a score
MOST_INDIVIDUALS_OF_SIZES = 12  # up to here all groups of given sizes can be tried
# A score → its column, and digits after the point.
COLUMNS = {
    "auroc": ("AUROC", 3),
    "average_precision": ("AP", 3),
    "edge_accuracy": ("edges right", 3),
    "log_loss": ("log-loss", 3),
    "calibration_error": ("ECE", 3),
    "adjusted_rand": ("ARI", 3),
    "groups_right": ("groups right", 3),
    "groups_right_sizes_given": ("… sizes given", 3),
}
# The least and the most that a score can be.
BOUNDS = dict.fromkeys(COLUMNS, (0.0, 1.0)) | {
    "log_loss": (0.0, math.inf),
    "adjusted_rand": (-1.0, 1.0),
    "r2": (-math.inf, 1.0),
    "median_error": (0.0, math.inf),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """What is known of who interacts in a recording.

    Attributes:
        types: (trial, individual, individual) int, the edge type as its position among those that the model knows; -1
            where there is no pair, or it is not known.
        counted: (trial, individual, individual) bool, the known pairs, each once unless the two orders are two pairs.
        groups: (trial, individual) int, who belongs together, if in every trial everybody interacts with all of their
            group and nobody else; -1 for absent individuals.
        blocks: positions of trials; those of one trial id are in one block.
    """

    types: Integers
    counted: Bools
    groups: Integers | None
    blocks: tuple[Integers, ...]

    @classmethod
    def of(cls, recording: Recording, target: str, types: Sequence[int], *, is_directed: bool) -> Truth:
        """Read it off a recording.

        Raises:
            InputError: if the recording lacks the target, no pair of it is known, or it has other edge types.
        """
        name = f"target {target!r} of recording {recording.name!r}"
        given = recording.target(target)
        if recording.target_levels[target] != "pair" or given.dtype.kind not in "biu" or given.ndim != 3:
            raise InputError(f"{name} has shape {given.shape} of {given.dtype}; give one whole number per pair.")
        pairs = are_pairs(recording.observed)
        known = pairs & (given >= 0)
        if not known.any():
            raise InputError(f"{name} is not known of any pair; recover it with motet interactions recover.")
        if len(strange := np.setdiff1d(given[known], types)):
            raise InputError(f"{name} has edge type {strange[0]}; the model knows {', '.join(map(str, types))}.")
        position = np.where(known, np.searchsorted(types, given), -1)
        is_symmetric = np.array_equal(position, position.swapaxes(1, 2))
        is_grouped = len(types) == 2 and is_symmetric and np.array_equal(known, pairs)
        trial_ids = np.asarray(recording.trial_ids)
        ids = np.unique(trial_ids)
        return cls(
            types=position,
            counted=metrics.known_pairs(position, are_directed=is_directed or not is_symmetric),
            groups=_groups(position > 0, np.asarray(recording.observed.any(axis=2))) if is_grouped else None,
            blocks=tuple(
                np.flatnonzero(np.isin(trial_ids, part)) for part in np.array_split(ids, min(N_BLOCKS, len(ids)))
            ),
        )

    @property
    def is_edge(self) -> Integers:
        """(trial, individual, individual) 1 for an edge of any type, 0 for none, -1 where unknown."""
        return np.minimum(self.types, 1)


@dataclasses.dataclass(frozen=True)
class Score:
    """One score of one method.

    Attributes:
        value: over all trials.
        interval: 95 %, from how its values scatter over blocks of trials; None if it is not defined in each, or the
            blocks are too few or all alike.
        blocks: its values there; none if it is not defined in each.
    """

    value: float
    interval: tuple[float, float] | None
    blocks: tuple[float, ...]


def truth_of(recording: Recording, recovery: EITInteractions) -> Truth:
    """The truth of a recording, as a model's predictions are scored."""
    return Truth.of(recording, recovery.target, recovery.types_.tolist(), is_directed=recovery.objective.is_directed)


def edge_log_odds(log_probability: Floats) -> Floats:
    """(…,) log-odds of an edge, whatever its type, from (…, type) log-probabilities; the first type is none."""
    return np.asarray(logsumexp(log_probability[..., 1:], axis=-1) - log_probability[..., 0])


def edge_probability(log_probability: Floats) -> Floats:
    """(…,) probability of an edge, whatever its type, from (…, type) log-probabilities; the first type is none."""
    return np.asarray(np.exp(logsumexp(log_probability[..., 1:], axis=-1)).clip(0, 1))


def score_graph(log_probability: Floats, truth: Truth) -> dict[str, Score]:
    """The scores of `COLUMNS` that are defined; of groups, neither number nor size is given but where it is said.

    Args:
        log_probability: (trial, individual, individual, type).
        truth: of the same pairs.
    """
    log_odds, probability = edge_log_odds(log_probability), edge_probability(log_probability)
    found, with_sizes = None, None
    if truth.groups is not None:
        found = assign_groups(log_odds, truth.groups >= 0)
        sizes = np.sort((truth.groups[:, :, None] == np.arange(truth.groups.shape[1])).sum(axis=1), axis=1)
        is_one_shape = (truth.groups >= 0).all() and (sizes == sizes[0]).all()
        if is_one_shape and truth.groups.shape[1] <= MOST_INDIVIDUALS_OF_SIZES:
            with_sizes = assign_groups_of_sizes(log_odds, sizes[0][sizes[0] > 0].tolist())

    def measure(trials: Integers) -> dict[str, float]:
        counted, types = truth.counted[trials], truth.types[trials][truth.counted[trials]]
        scores: dict[str, float] = {}
        if len(types):
            of_type, is_edge = log_probability[trials][counted], types > 0
            scores["edge_accuracy"] = float((of_type.argmax(axis=-1) == types).mean())
            scores["log_loss"] = float(-np.take_along_axis(of_type, types[:, None], axis=1).mean())
            if is_edge.any() and not is_edge.all():
                odds, likely = log_odds[trials][counted], probability[trials][counted]
                scores["auroc"] = metrics.auroc(prediction=odds, target=is_edge)
                scores["average_precision"] = metrics.average_precision(prediction=odds, target=is_edge)
                scores["calibration_error"] = metrics.expected_calibration_error(prediction=likely, target=is_edge)
        if truth.groups is not None and found is not None:
            groups = truth.groups[trials]
            enough = (groups >= 0).sum(axis=1) >= 2
            if enough.any():
                of_groups = {"prediction": found[trials][enough], "target": groups[enough]}
                scores["adjusted_rand"] = metrics.adjusted_rand(**of_groups)
                scores["groups_right"] = metrics.partition_accuracy(**of_groups)
                if with_sizes is not None:
                    of_groups["prediction"] = with_sizes[trials][enough]
                    scores["groups_right_sizes_given"] = metrics.partition_accuracy(**of_groups)
        return scores

    return _scored(measure, truth.blocks)


def score_state(prediction: Floats, target: Floats, blocks: Sequence[Integers]) -> dict[str, Score]:
    """R² and median absolute error of (trial, individual) quantities where both are known."""
    known = np.isfinite(target) & np.isfinite(prediction)

    def measure(trials: Integers) -> dict[str, float]:
        chosen = known[trials]
        true, predicted = target[trials][chosen], prediction[trials][chosen]
        if len(true) < 2 or np.ptp(true) == 0:
            return {}
        return {
            "r2": metrics.r2(prediction=predicted, target=true, observed=np.ones(len(true), dtype=bool)),
            "median_error": float(np.median(np.abs(predicted - true))),
        }

    return _scored(measure, blocks)


def with_other_truth(truth: Truth, rng: np.random.Generator) -> Truth:
    """The truth of each trial with its individuals in another order: what a score is worth by chance."""
    present = (truth.types >= 0).any(axis=2)
    places = np.arange(present.shape[1])
    order = np.argsort(np.where(present, places, np.inf), axis=1, kind="stable")
    drawn = np.argsort(np.where(present, rng.random(present.shape), np.inf), axis=1, kind="stable")
    source = np.empty_like(order)
    np.put_along_axis(source, order, drawn, axis=1)
    trial = np.arange(len(source))[:, None]

    def dealt(pairs: NDArray[Any]) -> NDArray[Any]:
        return pairs[trial[..., None], source[:, :, None], source[:, None]]

    return dataclasses.replace(
        truth,
        types=dealt(truth.types),
        counted=dealt(truth.counted),
        groups=None if truth.groups is None else truth.groups[trial, source],
    )


def graph_table(
    methods: Mapping[str, Mapping[str, Any]], *, best_rival: str | None = None, left_out: Mapping[str, str]
) -> str:
    """A Markdown table, one row per method; AUROC also as the difference from the best rival on the same trials.

    Args:
        methods: by name, in order: "scores" (see `score_graph`); and, but for a control, which is not compared,
            "n_parameters", "fit_seconds" and perhaps "read_seconds".
        best_rival: the method to compare with.
        left_out: methods that are not in the table, and why.
    """
    scores = {name: found["scores"] for name, found in methods.items()}
    columns = [key for key in COLUMNS if any(key in found for found in scores.values())]
    compared = {name: found.get("auroc") for name, found in scores.items() if "n_parameters" in methods[name]}
    differences = _differences(compared, best_rival)
    costs = {
        "parameters": ("n_parameters", ",d"),
        "fit (s)": ("fit_seconds", ".1f"),
        "read (s)": ("read_seconds", ".1f"),
    }
    head = ["method"]
    for key in columns:
        head.append(COLUMNS[key][0] + (" [95 %]" if key == "auroc" else ""))
        head += [f"− {best_rival} [95 %]", "p (Holm)"] if key == "auroc" and differences else []
    rows = [[*head, *costs]]
    for name, found in methods.items():
        cells = [name]
        for key in columns:
            score, digits = found["scores"].get(key), COLUMNS[key][1]
            cells.append(_cell(score, digits, with_interval=key == "auroc"))
            cells += differences.get(name, ["", ""]) if key == "auroc" and differences else []
        rows.append(cells + [_number(found.get(key), form) for key, form in costs.values()])
    notes = [f"{name} is left out: {in_markdown(' '.join(why.split()), most=1000)}" for name, why in left_out.items()]
    return "\n".join([markdown(rows), *([""] if notes else []), *notes])


def state_table(states: Mapping[str, Mapping[str, Mapping[str, Score]]]) -> str:
    """A Markdown table of state → method → scores (see `score_state`)."""
    rows = [["state", "method", "R² [95 %]", "median abs. error"]]
    for state, methods in states.items():
        for method, scores in methods.items():
            r2, error = scores.get("r2"), scores.get("median_error")
            rows.append(
                [in_markdown(state), method, _cell(r2, 3, with_interval=True), _cell(error, 4, with_interval=False)]
            )
    return markdown(rows)


def ranked(methods: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The methods that have an AUROC, the highest first."""
    known = {name: about["scores"]["auroc"].value for name, about in methods.items() if "auroc" in about["scores"]}
    return sorted(known, key=lambda name: -known[name])


def _groups(is_edge: Bools, present: Bools) -> Integers | None:
    """Labels of groups, if edges join exactly the members of groups."""
    n = present.shape[1]
    same = (is_edge | np.eye(n, dtype=bool)) & present[:, :, None] & present[:, None]
    label = np.where(present, same.argmax(axis=2), -1)
    both = present[:, :, None] & present[:, None]
    return label if np.array_equal(same, both & (label[:, :, None] == label[:, None])) else None


def _scored(measure: Callable[[Integers], dict[str, float]], blocks: Sequence[Integers]) -> dict[str, Score]:
    whole = measure(np.sort(np.concatenate(blocks)))
    parts = [measure(block) for block in blocks]
    scores = {}
    for name, value in whole.items():
        values = tuple(part[name] for part in parts if name in part)
        interval = None
        if len(values) == len(parts):
            over_blocks = estimate_mean(values, test_fraction=None).interval
            if over_blocks is not None:
                half, (least, most) = (over_blocks[1] - over_blocks[0]) / 2, BOUNDS.get(name, (-math.inf, math.inf))
                interval = max(value - half, least), min(value + half, most)
        scores[name] = Score(value, interval, values if len(values) == len(parts) else ())
    return scores


def _differences(scores: Mapping[str, Score | None], against: str | None) -> dict[str, list[str]]:
    """Cells of the paired difference from a method, and its p; of methods that are defined on all blocks."""
    defined = {name: score.blocks for name, score in scores.items() if score is not None and score.blocks}
    if against not in defined or len(defined) < 2:
        return {}
    cells = {}
    for row in compare_table(defined, against=against, test_fraction=None):
        if row.difference is not None:
            difference = f"{row.difference:+.3f}" + interval_text(row.difference_interval)
            cells[row.method] = [difference, p_text(row.p_holm)]
    return cells


def _cell(score: Score | None, digits: int, *, with_interval: bool) -> str:
    if score is None:
        return ""
    return f"{score.value:.{digits}f}" + interval_text(score.interval if with_interval else None, f".{digits}f")


def _number(value: float | None, form: str) -> str:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else f"{value:{form}}"
