"""The rule inside a decoder: closed-form decoders beside the EIT, and the share of each in the answer.

A careful user would trust shrinkage LDA for directions, a template for velocities. The same rivals that stand in every
table are fitted inside the decoder. What they and the EIT say of training trials that they have not learned from
decides the share of each; so a decoder is what its best part is, or better where parts err on different trials.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls
from scipy.special import log_softmax

from motet import given
from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError, did_you_mean
from motet.plain import from_plain
from motet.rivals.method import Fitted, Rival, TargetQuestion
from motet.rivals.readings import MAY_BE_NEGATIVE
from motet.rivals.registry import RIVALS
from motet.rivals.saved import read, written
from motet.settings import NonNegative, Settings
from motet.training.objectives import Target, TargetKind

Array = NDArray[np.float64]
Said = Literal["both", "rule", "eit"]
"""Who is asked: the rule and the EIT together, or one of them alone."""

EIT_PART = "eit"
AUTO: Mapping[tuple[TargetKind, str], tuple[str, ...]] = {
    ("class", "trial"): ("lda-mean", "kernel-svm"),
    ("class", "bin"): ("lda-mean", "kernel-svm"),
    ("quantity", "trial"): ("ridge", "kernel-ridge"),
    ("quantity", "bin"): ("template-kernel-ridge", "kernel-ridge-time", "ridge"),
}
"""What rule="auto" fits for a target of a kind and level, as far as they can read the recording."""
INSIDE = (
    "lda", "lda-total-counts", "lda-mean", "logistic-regression", "kernel-svm", "kernel-svm-total-counts",
    "ridge", "wiener", "kernel-ridge", "kernel-ridge-time", "template", "template-hard", "template-ridge",
    "template-kernel-ridge",
)  # fmt: skip
"""Rivals that can be a rule: those whose probabilities, or quantities, can be saved with a decoder."""
QUICK = ("lda", "lda-total-counts", "lda-mean")
"""Those that are fitted in milliseconds, by which is found how much surer a rule of more trials is."""
MOST_VOTING = 32  # classes, of which a kernel SVM holds every pair
MOST_BINS = 1_000_000  # of a trial
PULL = 0.01  # to equal shares, where trials are too few to tell


def rules_for(name: str, target: Target) -> tuple[str, ...]:
    """The rivals that are fitted inside, by the setting `rule`.

    Raises:
        InputError: if there is no rival of that name, or it does not decode such a target.
    """
    if name == "none":
        return ()
    if name == "auto":
        names = AUTO.get((target.kind, target.level), ())
        return tuple(one for one in names if one != "kernel-svm" or len(target.classes) <= MOST_VOTING)
    question = TargetQuestion(target.name, target.kind, target.level)
    fitting = [rival.name for rival in RIVALS.values() if rival.answers(question) and rival.name in INSIDE]
    if name not in fitting:
        raise did_you_mean(name, ["auto", "none", *fitting], what=f"rule for a {target.kind} per {target.level}")
    return (name,)


@dataclasses.dataclass(frozen=True, eq=False)
class Rule:
    """Closed-form decoders of the recordings that were learned from.

    Attributes:
        target: what they decode.
        fitted: for each recording, by name of the rival.
        individual_ids: of each recording, in the order that its rivals read.
        usual: (individual, feature) of each recording, what stands where nothing is observed: of a target per trial,
            rivals read all bins of the longest training trial.
        n_bins: of these.
        left_out: rivals that could not learn, and why.
    """

    target: Target
    fitted: tuple[Mapping[str, Fitted], ...]
    individual_ids: tuple[tuple[str, ...], ...]
    usual: tuple[Array, ...]
    n_bins: tuple[int, ...]
    left_out: Mapping[str, str]

    @classmethod
    def fit(cls, train: PopulationDataset, target: Target, names: Sequence[str]) -> Rule:
        """Fit rivals to each recording; one that cannot learn from all of them is left out."""
        left_out: dict[str, str] = {}
        usual = tuple(_usual(recording) for recording in train.recordings)
        n_bins = tuple(int(recording.trial_lengths.max()) for recording in train.recordings)
        fitted: list[dict[str, Fitted]] = [{} for _ in train.recordings]
        for name in names:
            try:
                for place, recording in enumerate(train.recordings):
                    whole = _whole(recording, usual[place], n_bins[place]) if target.level == "trial" else recording
                    fitted[place][name] = _learned(RIVALS[name], whole, target)
            except (InputError, MemoryError) as error:
                left_out[name] = " ".join(str(error).split())
        kept = [{name: one for name, one in of.items() if name not in left_out} for of in fitted]
        return cls(target, tuple(kept), tuple(r.individual_ids for r in train.recordings), usual, n_bins, left_out)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.fitted[0]) if self.fitted else ()

    @property
    def n_parameters(self) -> int:
        return sum(one.n_parameters for of in self.fitted for one in of.values())

    def saved(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Plain values, and the arrays that they name."""
        held, arrays = written({"fitted": tuple(dict(of) for of in self.fitted), "usual": self.usual})
        about = {"individual_ids": self.individual_ids, "n_bins": self.n_bins, "left_out": dict(self.left_out)}
        return {"held": held, **about}, arrays

    @classmethod
    def again(cls, target: Target, plain: Any, arrays: Mapping[str, NDArray[Any]]) -> Rule:
        """What `saved` gave; what does not fit raises."""
        ids = from_plain(tuple[tuple[str, ...], ...], plain["individual_ids"], what="individual_ids")
        left_out = from_plain(dict[str, str], plain["left_out"], what="left_out")
        n_bins = from_plain(tuple[int, ...], plain["n_bins"], what="n_bins")
        held = read(plain["held"], arrays)
        fitted, usual = held["fitted"], held["usual"]
        is_whole = len(fitted) == len(ids) == len(usual) == len(n_bins)
        if not is_whole or not all(isinstance(one, Fitted) for of in fitted for one in of.values()):
            raise ValueError("its rule is of other recordings than it says")
        rule = cls(target, fitted, ids, usual, n_bins, left_out)
        for place in range(len(ids)):
            rule._try(place)
        return rule

    def _try(self, place: int) -> None:
        """Let the rivals of a recording decode a trial in which all is as usual; what does not fit raises."""
        ids, usual, n_bins = self.individual_ids[place], self.usual[place], self.n_bins[place]
        if not 0 < n_bins <= MOST_BINS or usual.ndim != 2 or len(usual) != len(ids) or not np.isfinite(usual).all():
            raise ValueError(f"its rule reads {n_bins} bins of {usual.shape} individuals and features")
        values = np.broadcast_to(usual[:, None], (1, len(ids), n_bins, usual.shape[1]))
        said = self.says(Recording(values, np.ones(values.shape[:3], dtype=bool), ids, {}))
        n_outputs = len(self.target.classes) or math.prod(self.target.shape)
        shape = (1, n_outputs) if self.target.level == "trial" else (1, n_bins, n_outputs)
        if any(one.shape != shape or not np.isfinite(one).all() for one in said.values()):
            raise ValueError("its rule says what is not finite, or of another shape")

    def says(self, recording: Recording) -> dict[str, Array]:
        """What each rival says: (trial[, time], class) log-probabilities, or (trial[, time], dimension) in units.

        Nothing of a recording whose individuals no rival knows.
        """
        place = self._place(recording)
        if place is None:
            return {}
        known = _in_order(recording, self.individual_ids[place])
        if self.target.level == "trial":
            known = _whole(known, self.usual[place], self.n_bins[place])
        return {name: self._coded(one.predict(PopulationDataset(known))) for name, one in self.fitted[place].items()}

    def _place(self, recording: Recording) -> int | None:
        """The recording that was learned from with the same individuals, as far as they are observed."""
        observed = recording.observed.any(axis=(0, 2))
        ids = {recording.individual_ids[place] for place in np.flatnonzero(observed)}
        places = [place for place, known in enumerate(self.individual_ids) if ids and ids <= set(known)]
        return min(places, key=lambda place: len(self.individual_ids[place]), default=None)

    def _coded(self, answer: Mapping[str, NDArray[Any]]) -> Array:
        if not self.target.classes:
            found = answer["prediction"]
            n_lead = found.ndim - len(self.target.shape)
            return np.asarray(found, dtype=np.float64).reshape(*found.shape[:n_lead], -1)
        given_logs = np.asarray(answer["log_probability"], dtype=np.float64)
        logs = np.repeat(given_logs.min(axis=-1, keepdims=True), len(self.target.classes), axis=-1)
        logs[..., answer["classes"].astype(np.int64)] = given_logs  # a class that was never learned is least probable
        return logs


@dataclasses.dataclass(frozen=True)
class Shares(Settings, role="shares"):
    """The share of each part in the answer: of log-probabilities, or of quantities about their mean.

    Attributes:
        both: of every rival, and of the EIT.
        rule: of every rival, without the EIT.
        eit: of the EIT alone.
    """

    both: dict[str, NonNegative]
    rule: dict[str, NonNegative]
    eit: dict[str, NonNegative]

    @classmethod
    def none(cls) -> Shares:
        """The EIT as it is."""
        return cls({EIT_PART: 1.0}, {}, {EIT_PART: 1.0})

    @classmethod
    def fit(cls, said: Mapping[str, Array], truth: NDArray[Any]) -> Shares:
        """Learned from trials that no part has learned from.

        Args:
            said: by part, (row, class) log-probabilities or (row, dimension) quantities in units of their spread.
            truth: (row,) classes, or (row, dimension).
        """
        learn = _of_classes if truth.ndim == 1 else _of_quantities
        return cls(
            learn({name: said[name] for name in said}, truth),
            cls.of_rule(said, truth) if len(said) > 1 else {},
            learn({EIT_PART: said[EIT_PART]}, truth),
        )

    @classmethod
    def of_rule(cls, said: Mapping[str, Array], truth: NDArray[Any]) -> dict[str, float]:
        """Those of rivals alone, as in `fit`."""
        learn = _of_classes if truth.ndim == 1 else _of_quantities
        return learn({name: one for name, one in said.items() if name != EIT_PART}, truth)

    def surer(self, factor: float) -> Shares:
        """The same shares of log-probabilities, so many times as large."""

        def times(shares: Mapping[str, float]) -> dict[str, float]:
            return {name: factor * share for name, share in shares.items()}

        return Shares(times(self.both), times(self.rule), times(self.eit))

    def joined(self, said: Mapping[str, Array], whom: Said, *, are_classes: bool) -> Array:
        """The answer: (…, class) log-probabilities, or (…, dimension)."""
        shares: Mapping[str, float] = getattr(self, whom)
        if not shares.keys() <= said.keys():  # a recording that no rival knows
            shares = self.eit
        total = np.sum([share * said[name] for name, share in shares.items()], axis=0)
        return np.asarray(log_softmax(total, axis=-1) if are_classes else total)


def _of_classes(said: Mapping[str, Array], truth: NDArray[Any]) -> dict[str, float]:
    """Least negative log-likelihood, pulled to equal shares that add up to one.

    Of n trials that are all decoded, one in n + 2 counts as an error to come (Platt 1999): nothing is ever certain.
    """
    logs = np.stack(list(said.values()))
    n_rows, n_classes = logs.shape[1:]
    even, doubt = 1 / len(logs), 1 / (n_rows + 2)
    hoped = np.full((n_rows, n_classes), doubt / n_classes)
    hoped[np.arange(n_rows), truth] += 1 - doubt

    def loss(shares: Array) -> tuple[float, Array]:
        found = log_softmax(np.tensordot(shares, logs, axes=1), axis=1)
        slope = (logs * (np.exp(found) - hoped)).sum(axis=2).mean(axis=1)
        apart = shares - even
        return float(PULL * apart @ apart - (hoped * found).sum(axis=1).mean()), slope + 2 * PULL * apart

    found = minimize(loss, np.full(len(logs), even), jac=True, bounds=[(0, None)] * len(logs), method="L-BFGS-B").x
    return dict(zip(said, map(float, found), strict=True))


def _of_quantities(said: Mapping[str, Array], truth: NDArray[Any]) -> dict[str, float]:
    """Least squares from 0, pulled to equal shares that add up to one."""
    inputs = np.stack([one.ravel() for one in said.values()], axis=1)
    pull = np.sqrt(PULL * len(inputs) / 100) * np.eye(inputs.shape[1])
    even = np.full(inputs.shape[1], 1 / inputs.shape[1])
    found, _ = nnls(np.concatenate([inputs, pull]), np.concatenate([truth.ravel(), pull @ even]))
    return dict(zip(said, map(float, found), strict=True))


# ------------------------------------------------------------------ recordings as rivals read them


def coded(recording: Recording, target: Target) -> Recording:
    """The recording with its target as whole numbers, the places of classes, or in units of its spread."""
    values = recording.targets[target.name]
    if target.classes:
        codes = target.codes(values)
        numbers: NDArray[Any] = np.where(codes >= 0, codes, given.unknown(codes.dtype))
    else:
        numbers = target.standardised(values)
    return dataclasses.replace(
        recording,
        targets={**recording.targets, target.name: numbers},
        target_levels={**recording.target_levels, target.name: target.level},
    )


def _learned(rival: Rival, recording: Recording, target: Target) -> Fitted:
    by = recording.class_target(target.name)
    question = TargetQuestion(target.name, target.kind, target.level, by)
    return rival.fit(PopulationDataset(coded(recording, target)), question)


def _in_order(recording: Recording, ids: tuple[str, ...]) -> Recording:
    """The recording with these individuals in this order; those that it does not have are not observed."""
    if recording.individual_ids == ids:
        return recording
    place = {one: number for number, one in enumerate(recording.individual_ids)}
    found = np.asarray([place.get(one, -1) for one in ids])
    is_there = (found >= 0)[:, None]
    return dataclasses.replace(
        recording,
        values=np.where(is_there[..., None], recording.values[:, found], 0),
        observed=recording.observed[:, found] & is_there,
        individual_ids=ids,
        targets={},
        target_levels={},
    )


def _usual(recording: Recording) -> Array:
    """(individual, feature) what a value usually is; of counts and rates, whose roots are read, by their roots."""
    values = recording.values.astype(np.float64)
    are_rates = bool(values.min() >= 0)
    n_observed = np.maximum(recording.observed.sum(axis=(0, 2)), 1)[:, None]
    mean = ((np.sqrt(values) if are_rates else values) * recording.observed[..., None]).sum(axis=(0, 2)) / n_observed
    return np.asarray(mean**2 if are_rates else mean)


def _whole(recording: Recording, usual: Array, n_bins: int) -> Recording:
    """The recording with as many bins in every trial, all observed: what was not is as usual."""
    shape = (recording.n_trials, recording.n_individuals, n_bins)
    values = np.broadcast_to(usual[:, None], (*shape, recording.n_features)).copy()
    n_read = min(n_bins, recording.n_bins)
    seen = recording.observed[:, :, :n_read, None]
    values[:, :, :n_read] = np.where(seen, recording.values[:, :, :n_read], values[:, :, :n_read])
    of_trials = {name: target for name, target in recording.targets.items() if recording.target_levels[name] == "trial"}
    return dataclasses.replace(
        recording,
        values=values,
        observed=np.ones(shape, dtype=bool),
        targets=of_trials,
        target_levels=dict.fromkeys(of_trials, "trial"),
    )


def _told_its_sign(recording: Recording) -> Recording:
    """The recording, of which all parts are read as the whole would be: as counts, or as what may be negative."""
    if not (recording.values[recording.observed] < 0).any():
        return recording
    return dataclasses.replace(recording, metadata={**recording.metadata, MAY_BE_NEGATIVE: True})


def said_of_left_out(
    train: PopulationDataset, target: Target, names: Sequence[str], part: NDArray[np.int64]
) -> list[dict[str, Array]]:
    """What rivals say of trials that they have not learned from: for each recording, as `Rule.says`.

    Args:
        train: trials.
        target: what is decoded.
        names: of rivals.
        part: (trial,) of each trial of the dataset. Trials of a part are decoded by rivals of all others; those below 0
            teach, and are not decoded (NaN).
    """
    found: list[dict[str, Array]] = [{} for _ in train.recordings]
    train = train.map(_told_its_sign)
    for number in np.unique(part[part >= 0]):
        rule = Rule.fit(train.select(part != number), target, names)
        for place, recording in enumerate(train.recordings):
            rows = part[train.recording_index == place] == number
            if not rows.any():
                continue
            for name, said in rule.says(recording.select(trials=rows)).items():
                lead = said.shape[1:]
                whole = found[place].setdefault(name, np.full((recording.n_trials, *lead), np.nan))
                whole[rows] = said
    return found
