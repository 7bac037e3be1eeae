"""`AdaptedDecoder`: a decoder of a new population, fitted in closed form to a few of its trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from motet.data.recording import Recording
from motet.errors import InputError
from motet.given import is_known
from motet.metrics import accuracy
from motet.models.tuning import Candidates, Signals, TuningReadout
from motet.training.objectives import Target

LEAST_TRUST = 0.3  # of the median unlabelled trial


class AdaptedDecoder:
    """Decodes trials of a population that it knows from calibration.

    Attributes:
        classes_: sorted; those of pretraining, and any others among the labelled trials.
        trust_: (trial,) how far the unlabelled trials were trusted, from 0 to 1; None if there were none.

    Args:
        readout: pretrained.
        target: with the classes to decide among.
        candidates: these classes.
        read: the signals of a recording, whose trials have at most so many bins.
        labelled: calibration trials with the target.
        unlabelled: others.
    """

    def __init__(
        self,
        readout: TuningReadout,
        target: Target,
        candidates: Candidates,
        read: Callable[[Recording, int], Signals],
        labelled: Recording,
        unlabelled: Recording | None = None,
    ) -> None:
        self.readout = readout
        self.target = target
        self.candidates = candidates
        self._read = read
        self.individual_ids = labelled.individual_ids
        self.n_bins = int(labelled.trial_lengths.max())
        labels = labelled.target(target.name)
        known = is_known(labels)
        code = torch.from_numpy(target.codes(labels[known]))
        self.labelled = self._signals(labelled.select(trials=known))
        self.belief = torch.nn.functional.one_hot(code, len(candidates)).double()
        self._fit(None if unlabelled is None else self._signals(unlabelled))

    @property
    def classes_(self) -> NDArray[Any]:
        return np.asarray(self.target.classes)

    def _signals(self, recording: Recording) -> Signals:
        """What is read of trials of this population, of individuals in the order of the labelled ones.

        Raises:
            InputError: if they are of other individuals, or of more bins.
        """
        if set(recording.individual_ids) != set(self.individual_ids):
            strange = sorted(set(recording.individual_ids) ^ set(self.individual_ids))
            raise InputError(
                f"recording {recording.name!r} and the labelled trials differ in individuals, such as {strange[0]!r}; "
                "give trials of the same individuals."
            )
        if (longest := int(recording.trial_lengths.max())) > self.n_bins:
            raise InputError(
                f"recording {recording.name!r} has {longest} bins, and the labelled trials have {self.n_bins}; give "
                "trials of equally many (Recording.select(bins=…))."
            )
        place = {name: number for number, name in enumerate(recording.individual_ids)}
        ordered = recording.select(individuals=[place[name] for name in self.individual_ids])
        return self._read(ordered, self.n_bins)

    def _fit(self, unlabelled: Signals | None) -> None:
        readout, candidates = self.readout, self.candidates
        if unlabelled is None:
            with torch.no_grad():
                self.tuning = readout(self.labelled, self.belief, candidates)
            self._log_likelihood = self.trust_ = None
        else:
            trust = readout.trusted(self.labelled, self.belief, unlabelled, candidates)
            if float(trust.median()) < LEAST_TRUST:
                raise InputError(
                    f"{int((trust < LEAST_TRUST).sum())} of {len(trust)} unlabelled trials are far from anything that "
                    "the labelled ones lead to expect; give trials of the same task and the same individuals, or none."
                )
            self.tuning, self._log_likelihood = readout.learn_unlabelled(
                self.labelled, self.belief, unlabelled, candidates, trust
            )
            self.trust_ = trust.numpy()
        self.unlabelled = unlabelled

    # ------------------------------------------------------------------ using

    def predict_proba(self, trials: Recording) -> NDArray[np.float64]:
        """(trial, class); each trial is read alone. NaN where nothing is observed."""
        with torch.no_grad():
            signals = self._signals(trials)
            probability = self.readout.log_likelihood(self.tuning, signals).softmax(1)
        return _known(probability, signals)

    def predict(self, trials: Recording) -> NDArray[Any]:
        """(trial,) the most probable class; unknown where nothing is observed."""
        return self.target.most_probable(self.predict_proba(trials))

    def score(self, trials: Recording) -> float:
        """Accuracy over trials whose target is known."""
        truth = trials.target(self.target.name)
        known = is_known(truth)
        return accuracy(prediction=self.predict(trials)[known], target=truth[known])

    def predict_unlabelled(self) -> NDArray[Any]:
        """(trial,) the most probable classes of the unlabelled trials, which were looked at together."""
        if self.unlabelled is None or self._log_likelihood is None:
            raise InputError("no unlabelled trials were given; use predict.")
        return self.target.most_probable(_known(self._log_likelihood.softmax(1), self.unlabelled))

    def update(self, trials: Recording) -> AdaptedDecoder:
        """Learn from more unlabelled trials, together with all before.

        A trial that is far from anything known is hardly trusted (`trust_`), so that a bad one cannot do much.
        """
        more = self._signals(trials)
        self._fit(more if self.unlabelled is None else self.unlabelled.and_those_of(more))
        return self


def _known(probability: Tensor, signals: Signals) -> NDArray[np.float64]:
    found = probability.numpy().copy()
    found[~signals.present.any(1).numpy()] = np.nan
    return found
