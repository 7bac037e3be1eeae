"""How well graphs, groups and states are recovered: the scores of one answer on one recording."""

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
from motet.models.partition import assign_groups, assign_groups_of_sizes
from motet.rivals.method import PairQuestion
from motet.statistics import Score, blocks_of, blockwise
from motet.tasks.comparison import Column

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]

MOST_INDIVIDUALS_OF_SIZES = 12  # up to here all groups of given sizes can be tried
SHARE = (0.0, 1.0)
COLUMNS = {
    "auroc": Column("AUROC", has_interval=True, bounds=SHARE),
    "average_precision": Column("AP", bounds=SHARE),
    "edge_accuracy": Column("edges right", bounds=SHARE),
    "log_loss": Column("log-loss", is_error=True, bounds=(0.0, math.inf)),
    "calibration_error": Column("ECE", is_error=True, bounds=SHARE),
    "adjusted_rand": Column("ARI", bounds=(-1.0, 1.0)),
    "groups_right": Column("groups right", bounds=SHARE),
    "groups_right_sizes_given": Column("… sizes given", bounds=SHARE),
}


def state_columns(states: Sequence[str]) -> dict[str, Column]:
    """The columns of hidden states."""
    columns = {}
    for name in states:
        columns[f"{name} r2"] = Column(f"R² of {name}", has_interval=True, bounds=(-math.inf, 1.0))
        columns[f"{name} error"] = Column(f"median error of {name}", ".4f", is_error=True, bounds=(0.0, math.inf))
    return columns


@dataclasses.dataclass(frozen=True, eq=False)
class GraphTruth:
    """What is known of who interacts in a recording.

    Attributes:
        types: (trial, individual, individual) int, the edge type as its position among those that were asked for; -1
            where there is no pair, or it is not known.
        counted: (trial, individual, individual) bool, the known pairs, each once unless the two orders are two pairs.
        groups: (trial, individual) int, who belongs together, if in every trial everybody interacts with all of their
            group and nobody else; -1 for absent individuals.
        states: (trial, individual) quantities by name, NaN where they are not known.
        blocks: positions of trials; those of one trial id are in one block.
    """

    types: Integers
    counted: Bools
    groups: Integers | None
    states: Mapping[str, Floats]
    blocks: tuple[Integers, ...]

    @classmethod
    def of(cls, recording: Recording, question: PairQuestion, *, states: Sequence[str] = ()) -> GraphTruth:
        """Read it off a recording.

        Raises:
            InputError: if the recording lacks the target, no pair of it is known, or it has other edge types.
        """
        q = question
        types = q.read(recording)
        known = types >= 0
        if not known.any():
            raise InputError(
                f"target {q.target!r} of recording {recording.name!r} is not known of any pair; recover it with motet "
                "interactions recover."
            )
        is_symmetric = np.array_equal(types, types.swapaxes(1, 2))
        is_grouped = len(q.types) == 2 and is_symmetric and np.array_equal(known, are_pairs(recording.observed))
        known_states = {n: recording.targets[n].astype(np.float64) for n in states if n in recording.targets}
        return cls(
            types=types,
            counted=metrics.known_pairs(types, are_directed=q.is_directed or not is_symmetric),
            groups=_groups(types > 0, np.asarray(recording.observed.any(axis=2))) if is_grouped else None,
            states={n: values for n, values in known_states.items() if np.isfinite(values).any()},
            blocks=tuple(blocks_of(recording.trial_ids)),
        )

    @property
    def is_edge(self) -> Integers:
        """(trial, individual, individual) 1 for an edge of any type, 0 for none, -1 where unknown."""
        return np.minimum(self.types, 1)


def edge_log_odds(log_probability: Floats) -> Floats:
    """(…,) log-odds of an edge, whatever its type, from (…, type) log-probabilities; the first type is none."""
    return np.asarray(logsumexp(log_probability[..., 1:], axis=-1) - log_probability[..., 0])


def edge_probability(log_probability: Floats) -> Floats:
    """(…,) probability of an edge, whatever its type, from (…, type) log-probabilities; the first type is none."""
    return np.asarray(np.exp(logsumexp(log_probability[..., 1:], axis=-1)).clip(0, 1))


def score_graph(log_probability: Floats, truth: GraphTruth) -> dict[str, Score]:
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

    return _over_blocks(measure, truth, COLUMNS)


def score_state(name: str, prediction: Floats, truth: GraphTruth) -> dict[str, Score]:
    """R² and median absolute error of a state, (trial, individual), where both are known."""
    target = truth.states[name]
    known = np.isfinite(target) & np.isfinite(prediction)

    def measure(trials: Integers) -> dict[str, float]:
        chosen = known[trials]
        true, predicted = target[trials][chosen], prediction[trials][chosen]
        if len(true) < 2 or np.ptp(true) == 0:
            return {}
        r2 = metrics.r2(prediction=predicted, target=true)
        return {f"{name} r2": r2, f"{name} error": float(np.median(np.abs(predicted - true)))}

    return _over_blocks(measure, truth, state_columns([name]))


def _over_blocks(
    measure: Callable[[Integers], dict[str, float]], truth: GraphTruth, columns: Mapping[str, Column]
) -> dict[str, Score]:
    """Scores of all trials, with intervals from how they scatter over blocks."""
    parts = [measure(block) for block in truth.blocks]
    whole = measure(np.sort(np.concatenate(truth.blocks)))
    return {
        name: blockwise(value, [part.get(name, math.nan) for part in parts], bounds=columns[name].bounds)
        for name, value in whole.items()
    }


def _groups(is_edge: Bools, present: Bools) -> Integers | None:
    """Labels of groups, if edges join exactly the members of groups."""
    n = present.shape[1]
    same = (is_edge | np.eye(n, dtype=bool)) & present[:, :, None] & present[:, None]
    label = np.where(present, same.argmax(axis=2), -1)
    both = present[:, :, None] & present[:, None]
    return label if np.array_equal(same, both & (label[:, :, None] == label[:, None])) else None
