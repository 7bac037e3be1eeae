"""`AdaptedDecoder`: a decoder of a new population, fitted in closed form to a few of its trials."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from motet.data.preprocess import Preprocess
from motet.data.recording import Recording, refuse_other_bins
from motet.errors import InputError
from motet.estimators.exported import Exported, Format, about_file
from motet.estimators.inside import Inside, Prepared, graph_copy, one_recording
from motet.estimators.stream import Stream
from motet.given import is_known
from motet.metrics import accuracy, r2
from motet.models.eit import EIT
from motet.models.moments import MomentReadout
from motet.models.ring import find_ring, placements
from motet.models.tuning import Candidates, CurveReadout, Likelihood, Reads, Signals, Tuning, TuningReadout
from motet.rivals.graphs import FittedGraph, State
from motet.settings import Count, check_arguments
from motet.training.objectives import Target

KEPT = 256  # unlabelled trials
GRID = (24, 9)  # candidates along a side, of a quantity of one dimension, or two
MARGIN = 0.1  # of a side, beyond the labelled trials


@runtime_checkable
class Reading(Protocol):
    """From a recording, whose trials have at most so many bins, to its signals."""

    @property
    def reads(self) -> Reads: ...

    @property
    def preprocess(self) -> Preprocess: ...

    @property
    def model(self) -> EIT | None: ...

    def __call__(self, recording: Recording, n_bins: int) -> Signals: ...


class AdaptedDecoder:
    """Decodes trials of a population that it knows from calibration, and goes on learning from trials without labels.

    Without any label, classes are found up to rotations and reflections of their circle: trials of one class are told
    from those of others, but not which direction it is. Nothing that was seen in other populations says it reliably.
    A few labelled trials do: `encoder.adapt(labelled, unlabelled)`. Two readouts are fitted then, which err in
    different trials; the answer is the product of their likelihoods.

    Attributes:
        classes_: sorted; those of pretraining, and any others among the labelled trials.
        placements_: (placement, class) all ways in which the classes may lie as far as labels say: what is called
            `classes_[i]` may be `placements_[:, i]`. One, if labelled trials are of two classes
            that are not opposite.
        is_identified_: whether that is one way only.
        trust_: (trial,) how much the unlabelled trials count, from 0 to 1 (see `motet.models.tuning.trust_of`); None
            if there are none.

    Args:
        readout: pretrained.
        target: with the classes to decide among.
        candidates: these classes.
        read: the signals of a recording, whose trials have at most so many bins.
        labelled: calibration trials with the target; None if there are none.
        unlabelled: others.
        second: a readout that is asked too, if there are labelled trials and it knows populations like this one; `read`
            reads its signals beside the others.
    """

    def __init__(
        self,
        readout: TuningReadout,
        target: Target,
        candidates: Candidates,
        read: Reading,
        labelled: Recording | None,
        unlabelled: Recording | None = None,
        second: MomentReadout | None = None,
    ) -> None:
        first = labelled or unlabelled
        assert first is not None, "there are trials"
        self.readout = readout
        self.target = target
        self.candidates = candidates
        self._read = read
        self.individual_ids = first.individual_ids
        self.bin_seconds = first.bin_seconds
        self.n_bins = int(first.trial_lengths.max())
        if labelled is not None and not _is_active(labelled).any():
            raise InputError(f"nobody fires in any labelled trial of {labelled.name!r}; give trials with activity.")
        others = None if unlabelled is None else self._learnable(unlabelled)
        if labelled is not None:
            labels = labelled.target(target.name)
            known = _is_known(labels)
            code = torch.from_numpy(self._codes(labels[known]))
            self.labelled = self._signals(labelled.select(trials=known))
        else:
            assert others is not None
            if (n := int(others.present.any(1).sum())) < len(candidates):
                raise InputError(
                    f"there are {n} unlabelled trials and no labelled one; give as many as classes at least, "
                    f"{len(candidates)}, and better ten times as many."
                )
            if readout.own(others).values[0].numel() < 2:
                raise InputError("without labels, a ring is found among two signals at least; give more individuals.")
            self.labelled, code = others[:0], torch.zeros(0, dtype=torch.long)
        self.belief = torch.nn.functional.one_hot(code, len(candidates)).double()
        self.fitted: list[tuple[CurveReadout, Tuning]] = []
        is_alike = second is not None and second.knows(second.own(self.labelled), self.belief, candidates)
        self.second = second if is_alike else None
        ways = placements(len(candidates)) if candidates.are_evenly_around else [range(len(candidates))]
        self.placements_ = self.classes_[[way for way in ways if all(way[c] == c for c in code.tolist())]]
        self._fit(others)
        if self.trust_ is not None and np.median(self.trust_) == 0:
            raise InputError(
                f"{int((self.trust_ == 0).sum())} of {len(self.trust_)} unlabelled trials are far from anything that "
                "the labelled ones lead to expect; give trials of the same task and the same individuals, or none."
            )

    @property
    def classes_(self) -> NDArray[Any]:
        return np.asarray(self.target.classes)

    @property
    def is_identified_(self) -> bool:
        return len(self.placements_) == 1

    def _codes(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """(trial,) which candidate each label is."""
        return np.asarray(self.target.codes(labels))

    def _signals(self, recording: Recording) -> Signals:
        """What is read of trials of this population, of individuals in the order of the labelled ones.

        Raises:
            InputError: if they are of other individuals, of more bins or of others.
        """
        ordered = in_order_of(recording, self.individual_ids, self.bin_seconds)
        if (longest := int(recording.trial_lengths.max())) > self.n_bins:
            raise InputError(
                f"recording {recording.name!r} has {longest} bins, and the labelled trials have {self.n_bins}; give "
                "trials of equally many (Recording.select(bins=…))."
            )
        signals = self._read(ordered, self.n_bins)
        is_number = signals.values.isfinite().all(2).all(1)[:, None]
        values = torch.where(is_number[..., None], signals.values, 0.0)
        return dataclasses.replace(signals, values=values, present=signals.present & is_number)

    def _learnable(self, recording: Recording) -> Signals:
        """What is read of unlabelled trials; in one in which nobody fires, nobody is taken to be recorded."""
        signals = self._signals(recording)
        is_active = torch.from_numpy((recording.observed[..., None] & (recording.values != 0)).any(axis=(1, 2, 3)))[
            :, None
        ]
        values = torch.where(is_active[..., None], signals.values, 0.0)
        return dataclasses.replace(signals, values=values, present=signals.present & is_active)

    @torch.no_grad()
    def _fit(self, unlabelled: Signals | None) -> None:
        readout, candidates, belief, before = self.readout, self.candidates, self.belief, self.fitted
        self.unlabelled, self.trust_, self._log_likelihood = unlabelled, None, None
        readouts = [readout] if self.second is None else [readout, self.second]
        if len(belief):
            self.fitted = [(one, one(one.own(self.labelled), belief, candidates)) for one in readouts]
        if unlabelled is None:
            return
        if not len(belief):
            guess = None if not before else self._likelihood(unlabelled).softmax(1)
            tuning, self._log_likelihood, trust = find_ring(readout, readout.own(unlabelled), candidates, guess)
            self.fitted = [(readout, tuning)]
        else:
            expected = self._likelihood(unlabelled)
            trust = readout.trusted(readout.own(self.labelled), belief, readout.own(unlabelled), candidates)
            learned = [
                one.learn_unlabelled(one.own(self.labelled), belief, one.own(unlabelled), candidates, trust, expected)
                for one in readouts
            ]
            self.fitted = [(one, tuning) for one, (tuning, _) in zip(readouts, learned, strict=True)]
            self._log_likelihood = torch.stack([likelihood for _, likelihood in learned]).sum(0)
        self.trust_ = trust.numpy()

    def _likelihood(self, signals: Signals) -> Float[Tensor, "trial candidate"]:
        """The log-likelihood of trials by all readouts that are fitted, each trial alone."""
        return torch.stack([one.log_likelihood(tuning, one.own(signals)) for one, tuning in self.fitted]).sum(0)

    # ------------------------------------------------------------------ using

    def predict_proba(self, trials: Recording) -> NDArray[np.float64]:
        """(trial, class); each trial is read alone. NaN where nothing is observed."""
        with torch.no_grad():
            signals = self._signals(trials)
            probability = self._likelihood(signals).softmax(1)
        return _known(probability, signals)

    def predict(self, trials: Recording) -> NDArray[Any]:
        """(trial,) the most probable class; unknown where nothing is observed."""
        return self.target.most_probable(self.predict_proba(trials))

    def score(self, trials: Recording) -> float:
        """Accuracy over trials whose target is known."""
        truth = trials.target(self.target.name)
        known = is_known(truth)
        return accuracy(prediction=self.predict(trials)[known], target=truth[known])

    def score_up_to_placement(self, trials: Recording) -> float:
        """Accuracy in the best of the ways in which the classes may lie; `score`, where there is one."""
        truth = trials.target(self.target.name)
        known = is_known(truth)
        code = self.target.codes(self.predict(trials)[known])
        right = (code >= 0) & (self.placements_[:, np.maximum(code, 0)] == truth[known])
        return float(right.mean(axis=1).max())

    def predict_unlabelled(self) -> NDArray[Any]:
        """(trial,) the most probable classes of the unlabelled trials that are kept, which were looked at together."""
        if self.unlabelled is None or self._log_likelihood is None:
            raise InputError("no unlabelled trials were given; use predict.")
        return self.target.most_probable(_known(self._log_likelihood.softmax(1), self.unlabelled))

    def update(self, trials: Recording, *, keep: Count = KEPT) -> AdaptedDecoder:
        """Learn from more unlabelled trials, one or many, together with those before.

        The same as adapting to all of them at once, as long as no more than `keep` came: then the oldest are
        forgotten, so that a stream of any length takes bounded time and memory (a fit to 250 trials of 170
        individuals takes about a second). What an encoder with identity="context" knows individuals by stays as it was.

        Args:
            trials: of the same individuals; targets are not looked at.
            keep: so many unlabelled trials, the most recent ones, are learned from.

        A bad trial can do little, whatever is in it: one that is more than 2.7 times as strange as is usual, by the
        labelled trials, counts for nothing, as does one in which nobody fires; and any other adds no more squared
        deviation than two usual trials (`trust_`; `motet.models.tuning.trust_of`). So nothing is refused here, unlike
        where a decoder is adapted: see whether `trust_` of most trials is 0.

        Raises:
            InputError: if the trials are of other individuals, or longer.
        """
        check_arguments(type(self).update, {"keep": keep})
        more = self._learnable(trials)
        every = more if self.unlabelled is None else self.unlabelled.and_those_of(more)
        self._fit(every[slice(-keep, None)])
        return self

    _grid: NDArray[np.float64] | None = None
    _shape: tuple[int, ...] = ()

    def _inside(self) -> Inside:
        target = self.target
        if self._grid is not None:
            target = Target(target.name, "trial", mean=(0.0,) * self._grid.shape[1], shape=self._shape)
        model = None if self._read.model is None else graph_copy(self._read.model, self.individual_ids)
        graphs = {
            name: TuningGraph(
                preprocess=self._read.preprocess,
                readout=copy.deepcopy(readout).eval().requires_grad_(False),
                tuning=tuning,
                model=model,
                reads=self._read.reads,
                n_bins=self.n_bins,
                grid=self._grid,
            )
            for name, (readout, tuning) in zip(("tuning", "moments"), self.fitted, strict=False)
        }
        reads_counts = self._read.preprocess.settings.transform != "none"
        return Inside.of_rules(graphs, target, self.individual_ids, reads_counts=reads_counts, most_bins=self.n_bins)

    def export(self, path: Path | str, *, format: Format | None = None, step: bool = False) -> Path:
        """Write the decoder, as it is now, to one file that needs no motet; see `EITClassifier.export`.

        The file reads these individuals in their order (`individual_ids`), and trials of `n_bins` bins: what a
        shorter one lacks is not observed. Of a trial in which one of them is never observed its answer is NaN; so it is
        in a step as long as one of them was not yet observed.

        Raises:
            InputError: if a package is missing, the file cannot be written, or a step is asked of embeddings.
        """
        check_arguments(AdaptedDecoder.export, {"format": format, "step": step})
        inside = self._inside()
        about = about_file(
            inside,
            estimator=type(self).__name__,
            bin_seconds=self.bin_seconds,
            preprocessing=self._read.preprocess.settings,
            more={"reads": self._read.reads, "n_bins": self.n_bins, "needs": "every individual observed in some bin"},
        )
        if not step:
            return Exported.of_trials(inside, about, self.n_bins).write(path, format)
        self._check_reads_roots()
        return Exported.of_a_step(inside, about).write(path, format)

    def stream(self) -> Stream:
        """Decode trials while they happen, one bin at a time, with the decoder as it is now; see `Stream`.

        After each bin it says what `predict_proba`, or of a quantity `predict`, says of the trial so far.

        Raises:
            InputError: if the decoder reads embeddings.
        """
        self._check_reads_roots()
        return Stream(self._inside())

    def _check_reads_roots(self) -> None:
        if self._read.model is not None:
            raise InputError(
                f"this decoder reads {self._read.reads!r}, and embeddings are of whole trials; adapt with "
                "reads='roots' to read bin by bin."
            )


class TuningGraph(FittedGraph):
    """A fitted readout as tensor operations; what is said are log-likelihoods of classes, or a quantity.

    Of a trial in which an individual is never observed the answer is NaN; bin by bin in Python, it is that of the
    individuals observed so far.

    Args:
        preprocess: of the encoder.
        readout: pretrained.
        tuning: of the new population.
        model: of the encoder, if its embeddings are read.
        reads: what is read.
        n_bins: of a trial.
        grid: (candidate, dimension) values that are averaged; None for classes.
    """

    def __init__(
        self,
        *,
        preprocess: Preprocess,
        readout: CurveReadout,
        tuning: Tuning,
        model: EIT | None,
        reads: Reads,
        n_bins: int,
        grid: NDArray[np.float64] | None,
    ) -> None:
        super().__init__()
        self.prepare, self.readout, self.embedded = Prepared(preprocess, None), readout, model
        self.reads, self.is_causal = reads, model is None
        self.grid = None if grid is None else torch.from_numpy(grid)
        self.courses = readout.courses(n_bins).T.contiguous()  # (time, channel)
        self.likelihood_of: Callable[[Tensor], Likelihood] = functools.partial(readout.likelihood, tuning)
        self.n_individuals = tuning.mean.shape[1]
        self.everybody = self.latest = readout.likelihood(tuning)

    def forward(self, values: Tensor, observed: Tensor) -> Tensor:
        values, observed = self.prepare(values, observed)
        embedding = None
        if self.embedded is not None:
            encoding = self.embedded(one_recording(values, observed))
            embedding = torch.cat((encoding.individual, encoding.population), -1)
        signals = self.readout.part_of(self.readout.signals(values[..., 0], observed, embedding), self.reads)
        return self._said(self.everybody(signals.values), signals.present.all(1))

    def _said(self, logs: Float[Tensor, "trial candidate"], is_known: Bool[Tensor, " trial"]) -> Tensor:
        found = logs if self.grid is None else logs.softmax(1) @ self.grid
        return torch.where(is_known[:, None], found, torch.nan)

    def start(self) -> State:
        return (torch.zeros(1, self.n_individuals, 2 * self.courses.shape[1] + 2, dtype=torch.float64),)

    def step(self, values: Tensor, observed: Tensor, time: Tensor, state: State) -> tuple[Tensor, State]:
        """Sums of root counts and of time courses over the bins observed are all that signals are made of."""
        values, observed = self.prepare(values, observed)
        root, now = values[:, :, 0].double(), self.courses.index_select(0, time[None])
        each = torch.cat((root * now, now.expand(root.shape[1], -1)[None], root, torch.ones_like(root)), 2)
        sums = state[0] + torch.where(observed, each, 0.0)
        n = now.shape[1]
        counted, seen, total, n_bins = sums[..., :n], sums[..., n:-2], sums[..., -2:-1], sums[..., -1:]
        signals = counted + total / n_bins.clamp(min=1) * (self.courses.sum(0) - seen)
        present = n_bins[..., 0] > 0
        if torch.compiler.is_exporting():
            return self._said(self.everybody(signals), present.all(1)), (sums,)
        who = present[0].nonzero().flatten()
        if not who.equal(self.latest.individuals):
            self.latest = self.likelihood_of(present[0])
        return self._said(self.latest(signals), present.any(1)), (sums,)


class AdaptedQuantity(AdaptedDecoder):
    """Decodes a quantity per trial, such as where a movement ends: the mean of its posterior.

    What is asked is taken to lie between the least and the greatest value of the labelled trials, or not far beyond:
    candidates are a grid, and tuning curves are smooth over it.

    Attributes:
        grid_: (candidate, dimension) the values that are decided among; `predict_proba` says how.

    Args:
        readout: pretrained.
        name: of the target, (trial,) or (trial, dimension).
        read: as of `AdaptedDecoder`.
        labelled: calibration trials with the target; there is no learning from unlabelled ones.

    Raises:
        InputError: for more than two dimensions, or where the labels are all alike.
    """

    def __init__(
        self,
        readout: TuningReadout,
        name: str,
        read: Reading,
        labelled: Recording,
    ) -> None:
        labels = labelled.target(name)
        self._shape = labels.shape[1:]
        known = self._rows(labels[_is_known(labels)])
        if known.shape[1] > len(GRID):
            raise InputError(f"target {name!r} has {known.shape[1]} dimensions; give {len(GRID)} at most.")
        self._low, self._span = known.min(axis=0), np.ptp(known, axis=0)
        if not (self._span > 0).all():
            raise InputError(f"{name!r} of the labelled trials is the same in all; give trials that differ in it.")
        side = (np.arange(GRID[known.shape[1] - 1]) + 0.5) / GRID[known.shape[1] - 1]
        place = np.stack(np.meshgrid(*[side] * known.shape[1], indexing="ij"), axis=-1).reshape(-1, known.shape[1])
        self.grid_ = self._low + self._span * (place - MARGIN) / (1 - 2 * MARGIN)
        self._grid = self.grid_
        candidates = Candidates.line(torch.from_numpy(place), readout.settings.harmonics)
        target = Target(name, "trial", classes=tuple(range(len(place))))
        super().__init__(readout, target, candidates, read, labelled)

    def _rows(self, labels: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(labels, dtype=np.float64).reshape(len(labels), -1)

    def _codes(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        away = (self._rows(labels)[:, None] - self.grid_) / self._span
        return np.asarray((away**2).sum(axis=2).argmin(axis=1))

    def predict(self, trials: Recording) -> NDArray[np.float64]:
        """(trial, …) the mean of the posterior; NaN where nothing is observed."""
        probability = self.predict_proba(trials)
        return np.asarray((probability @ self.grid_).reshape(len(probability), *self._shape))

    def update(self, trials: Recording, *, keep: Count = KEPT) -> AdaptedDecoder:
        """Refused: see above."""
        raise InputError(f"{self.target.name!r} is a quantity, which unlabelled trials do not teach; leave them out.")

    def score(self, trials: Recording) -> float:
        """R² over trials whose target is known."""
        truth = trials.target(self.target.name)
        known = _is_known(truth)
        return r2(prediction=self._rows(self.predict(trials)[known]), target=self._rows(truth[known]))

    def score_up_to_placement(self, trials: Recording) -> float:
        """`score`: a quantity is placed by its labels."""
        return self.score(trials)


def in_order_of(recording: Recording, ids: tuple[str, ...], bin_seconds: float) -> Recording:
    """Trials of a population that was calibrated, with its individuals in that order.

    Raises:
        InputError: if they are of other individuals, or of other bins.
    """
    check_recording(recording)
    refuse_other_bins(recording, bin_seconds, of="the calibration trials")
    if set(recording.individual_ids) != set(ids):
        strange = sorted(set(recording.individual_ids) ^ set(ids))
        raise InputError(
            f"recording {recording.name!r} and the labelled trials differ in individuals, such as {strange[0]!r}; "
            "give trials of the same individuals."
        )
    place = {name: number for number, name in enumerate(recording.individual_ids)}
    return recording.select(individuals=[place[name] for name in ids])


def check_recording(trials: Any) -> None:
    """Refuse what is no recording."""
    if not isinstance(trials, Recording):
        raise InputError(
            f"trials of a new population are {type(trials).__name__}; give a Recording, whose individuals have names: "
            "motet.Recording.from_trials(…)."
        )


def _is_active(recording: Recording) -> NDArray[np.bool_]:
    """(trial,) whether anybody fires."""
    return np.asarray((recording.observed[..., None] & (recording.values != 0)).any(axis=(1, 2, 3)))


def _is_known(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """(trial,) whether the label is, in all its dimensions."""
    return np.asarray(is_known(labels).reshape(len(labels), -1).all(axis=1))


def _known(probability: Tensor, signals: Signals) -> NDArray[np.float64]:
    found = probability.numpy().copy()
    found[~signals.present.any(1).numpy()] = np.nan
    return found
