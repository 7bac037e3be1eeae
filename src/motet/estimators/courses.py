"""A quantity per bin of a new population, such as velocity: courses of classes, which the fitted readout decides among.

At every bin the readout reads the class from the bins so far, and the mean courses of the classes, from the labelled
trials, are averaged with its probabilities. All is causal.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording, without_targets
from motet.estimators.adapted import in_order_of
from motet.metrics import r2
from motet.models.tuning import Candidates, Signals, Tuning, TuningReadout
from motet.rivals.few_shot_classes import Array, Classes, Classify, ClassRival
from motet.rivals.few_shot_courses import CourseRival
from motet.rivals.method import Draw, TargetQuestion, TransferQuestion


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
        def classify(roots: Array) -> Array:
            with torch.no_grad():
                likelihood = self._readout.log_likelihood(tuning, self._signals(roots))
            return np.asarray(likelihood.log_softmax(1).numpy())

        return classify


def courses(
    name: str, readout: TuningReadout, *, reads_unlabelled: bool = True, is_corrected: bool = False
) -> CourseRival:
    """Decoders of a quantity by courses of the classes that a readout decides among; arguments as `CourseRival`."""
    return CourseRival(name, TuningClasses(name, reads_unlabelled, readout), is_corrected)


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
        rival = courses("tuning", readout)
        before = rival.known_before(PopulationDataset(labelled), question)
        self._decode = rival.adapted(before, labelled, unlabelled, question)

    def predict(self, trials: Recording) -> NDArray[np.float64]:
        """(trial, time, …) the quantity; NaN where nothing is observed."""
        ordered = in_order_of(trials, self.individual_ids, self.bin_seconds)
        return np.asarray(self._decode(without_targets(ordered)), dtype=np.float64)

    def score(self, trials: Recording) -> float:
        """R² over bins in which the quantity is known."""
        truth = trials.target(self.target)
        known = trials.bin_is_observed & np.isfinite(truth).reshape(*truth.shape[:2], -1).all(-1)
        return r2(prediction=self.predict(trials)[known], target=truth[known])
