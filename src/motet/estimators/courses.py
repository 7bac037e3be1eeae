"""A quantity per bin of a new population, such as velocity: courses of classes, which the fitted readout decides among.

At every bin the readout reads the class from the bins so far, and the mean courses of the classes, from the labelled
trials, are averaged with its probabilities. All is causal.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from motet.data.dataset import PopulationDataset
from motet.data.preprocess import PreprocessSettings
from motet.data.recording import Recording, without_targets
from motet.estimators.adapted import in_order_of
from motet.estimators.exported import Exported, Format, about_file
from motet.estimators.inside import Inside
from motet.estimators.stream import Stream
from motet.metrics import r2
from motet.models.tuning import Candidates, Signals, Tuning, TuningReadout
from motet.rivals.empirical_bayes import EmpiricalBayes
from motet.rivals.few_shot_classes import Array, Classes, Classify, ClassRival
from motet.rivals.few_shot_courses import START, CourseRival, Decoders, MeanOfCourses
from motet.rivals.graphs import Scores, State, TemplateGraph
from motet.rivals.method import Draw, TargetQuestion, TransferQuestion
from motet.settings import check_arguments
from motet.training.objectives import Target


@dataclasses.dataclass(frozen=True)
class TuningClasses(ClassRival):
    """The fitted readout on root counts, as a decoder of the class from the first bins.

    Attributes:
        readout: pretrained.
    """

    readout: TuningReadout | None = None

    def fitted(self, before: Any, roots: Array, shares: Array, classes: Classes) -> Classify:
        with torch.no_grad():
            tuning = self._readout(self._signals(roots), torch.from_numpy(shares), self._candidates(classes))
        return self._classify(tuning)

    def learned(self, before: Any, roots: Array, shares: Array, classes: Classes, unlabelled: Array) -> Classify:
        if not self.reads_unlabelled or not len(unlabelled):
            return self.fitted(before, roots, shares, classes)
        belief, candidates = torch.from_numpy(shares), self._candidates(classes)
        labelled, others = self._signals(roots), self._signals(unlabelled)
        trust = self._readout.trusted(labelled, belief, others, candidates)
        tuning, _ = self._readout.learn_unlabelled(labelled, belief, others, candidates, trust)
        return self._classify(tuning)

    @property
    def _readout(self) -> TuningReadout:
        assert self.readout is not None
        return self.readout

    def _signals(self, roots: Array) -> Signals:
        """Of √counts (trial, time, individual)."""
        root: Tensor = torch.from_numpy(roots).transpose(1, 2).float()
        with torch.no_grad():
            return self._readout.signals(root, torch.ones_like(root, dtype=torch.bool))

    def _candidates(self, classes: Classes) -> Candidates:
        if classes.angles is None:
            return Candidates.categories(len(classes.names))
        return Candidates.circle(torch.from_numpy(classes.angles), self._readout.settings.harmonics)

    def _classify(self, tuning: Tuning) -> Classify:
        return TunedClassify(self, tuning)


@dataclasses.dataclass(frozen=True, eq=False)
class TunedClassify:
    """The class by tuning curves: from √counts (trial, time, individual) to log-probabilities (trial, class)."""

    classes: TuningClasses
    tuning: Tuning

    def __call__(self, roots: Array) -> Array:
        with torch.no_grad():
            likelihood = self.classes._readout.log_likelihood(self.tuning, self.classes._signals(roots))
        return np.asarray(likelihood.log_softmax(1).numpy())


class TuningScores(Scores):
    """The likelihoods of classes by tuning curves, of each decoder from its own first bins.

    Those of few bins read fewer channels, and know fewer factors; what they lack is 0 here, and says nothing.
    """

    def __init__(self, readout: TuningReadout, decoders: Decoders) -> None:
        super().__init__([n_bins - 1 for n_bins, _ in decoders.steps])
        made = [(readout.courses(n), readout.likelihood(cast(TunedClassify, one).tuning)) for n, one in decoders.steps]
        n_channels, n_bins = made[-1][0].shape
        n_factors = max(one.explains.shape[1] for _, one in made)
        weights, parts = [], []
        for courses, one in made:
            channels = n_channels - len(courses)
            signals, factors = channels * len(one.individuals), n_factors - one.explains.shape[1]
            weights.append(F.pad(courses.detach().T, (0, channels, 0, n_bins + 1 - courses.shape[1])))
            mean, variance = F.pad(one.mean, (0, 0, 0, signals)), F.pad(one.variance, (0, 0, 0, signals), value=1.0)
            parts.append((mean, variance, F.pad(one.explains, (0, signals, 0, factors)), one.log_det))
        self.weights, self.power = torch.stack(weights), made[0][1].power  # (step, time, channel)
        self.mean, self.variance, self.explains, self.log_det = map(torch.stack, zip(*parts, strict=True))
        self.n_individuals = len(made[0][1].individuals)

    def forward(self, roots: Tensor) -> Tensor:
        time = torch.arange(roots.shape[1]).clamp(max=self.weights.shape[1] - 1)
        signals = torch.einsum("nti,stc->nsci", roots, self.weights.index_select(1, time)).flatten(2)
        return self._logs(signals, self.mean, self.variance, self.explains, self.log_det)

    def _logs(
        self,
        signals: Float[Tensor, "trial step signal"],
        mean: Float[Tensor, "step signal class"],
        variance: Float[Tensor, "step signal class"],
        explains: Float[Tensor, "step class factor signal"],
        log_det: Float[Tensor, "step class"],
    ) -> Float[Tensor, "trial step class"]:
        away = signals[..., None] - mean
        explained = torch.einsum("scfi,nsic->nscf", explains, away)
        distance = (away.square() / variance).sum(2) - explained.square().sum(3)
        return -(distance + log_det) / 2 * self.power

    def start(self) -> State:
        return (torch.zeros(1, len(self.steps), self.weights.shape[2], self.n_individuals, dtype=torch.float64),)

    def step(self, now: Tensor, time: Tensor, state: State) -> tuple[Tensor, State]:
        weight = self.weights.index_select(1, time.clamp(max=self.weights.shape[1] - 1)[None])[:, 0]
        sums = state[0] + weight[..., None] * now[0]
        serving = self.serving(time[None])
        parts = [one.index_select(0, serving) for one in (self.mean, self.variance, self.explains, self.log_det)]
        return self._logs(sums.index_select(1, serving).flatten(2), *parts)[:, 0], (sums,)


def courses(name: str, readout: TuningReadout, *, is_corrected: bool = False) -> CourseRival:
    """A decoder of a quantity by courses of the classes that a readout decides among; arguments as `CourseRival`."""
    return CourseRival(name, TuningClasses(name, True, readout), is_corrected, chosen=START)


def mean_of_courses(name: str, readout: TuningReadout) -> MeanOfCourses:
    """Corrected decoders, one of which is decided by the readout and one by empirical Bayes."""
    rule = CourseRival(name, EmpiricalBayes(name, reads_unlabelled=True), is_corrected=True, chosen=START)
    return MeanOfCourses(name, (courses(name, readout, is_corrected=True), rule))


class AdaptedCourses:
    """Decodes a quantity per bin of a population that it knows from calibration; each bin from those up to it.

    Args:
        readout: pretrained.
        quantity: the target, per bin.
        by: the class per trial.
        period: of the classes on a circle; 0 for none.
        labelled: calibration trials with both targets; they may differ in length.
        unlabelled: others.
    """

    def __init__(
        self,
        readout: TuningReadout,
        quantity: str,
        by: str,
        period: float,
        labelled: Recording,
        unlabelled: Recording | None,
    ) -> None:
        self.target = quantity
        self.individual_ids = labelled.individual_ids
        self.bin_seconds = labelled.bin_seconds
        goal = TargetQuestion(quantity, "quantity", "bin", by)
        if unlabelled is not None:
            unlabelled = in_order_of(unlabelled, self.individual_ids, self.bin_seconds)
        draw = Draw(labelled, unlabelled, np.arange(0))
        question = TransferQuestion(goal, (draw,), period=period or None)
        rival, self._readout, self._n_features = courses("tuning", readout), readout, labelled.n_features
        before = rival.known_before(PopulationDataset(labelled), question)
        self._decode = rival.adapted(before, labelled, unlabelled, question)

    def _inside(self) -> Inside:
        fitted, scores = self._decode, TuningScores(self._readout, self._decode.decoders)
        graph = TemplateGraph(fitted.reading, scores, fitted.temperature, fitted.courses)
        n_outputs = fitted.courses.shape[2]
        target = Target(self.target, "bin", mean=(0.0,) * n_outputs, shape=fitted.shape)
        return Inside.of_rules({"courses": graph}, target, self.individual_ids, n_features=self._n_features)

    def export(self, path: Path | str, *, format: Format | None = None, step: bool = False) -> Path:
        """Write the decoder to one file that needs no motet; see `EITClassifier.export`.

        Raises:
            InputError: if a package is missing, or the file cannot be written.
        """
        check_arguments(AdaptedCourses.export, {"format": format, "step": step})
        inside = self._inside()
        about = about_file(
            inside,
            estimator=type(self).__name__,
            bin_seconds=self.bin_seconds,
            preprocessing=PreprocessSettings("sqrt", "none", "none"),
            more={},
        )
        made = Exported.of_a_step(inside, about) if step else Exported.of_trials(inside, about)
        return made.write(path, format)

    def stream(self) -> Stream:
        """Decode trials while they happen, one bin at a time; see `Stream`."""
        return Stream(self._inside())

    def predict(self, trials: Recording) -> NDArray[np.float64]:
        """(trial, time, …) the quantity; NaN where nothing is observed."""
        ordered = in_order_of(trials, self.individual_ids, self.bin_seconds)
        return np.asarray(self._decode(without_targets(ordered)), dtype=np.float64)

    def score(self, trials: Recording) -> float:
        """R² over bins in which the quantity is known."""
        truth = trials.target(self.target)
        known = trials.bin_is_observed & np.isfinite(truth).reshape(*truth.shape[:2], -1).all(-1)
        return r2(prediction=self.predict(trials)[known], target=truth[known])
