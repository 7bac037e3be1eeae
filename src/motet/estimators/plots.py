"""Figures of a decoder: `decoder.plot.confusion(test)` and others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.embeddings import Places, Stage
from motet.report.decoded import class_probabilities, confusion_matrix, decoded_courses, decoded_trajectories
from motet.report.individuals import draw_states
from motet.report.matches import draw_plane
from motet.settings import Count, Seed, check_arguments
from motet.training.objectives import Target, known_predictions

Trials = Recording | PopulationDataset | Sequence[Recording]


class DecoderPlots:
    """What a trained decoder found, drawn: each method gives a matplotlib figure, and opens no window.

    Args:
        decoder: trained.

    Example:
        >>> from motet.estimators.decoders import EITClassifier
        >>> from motet.systems import simulate
        >>> from motet.training.settings import TrainingSettings
        >>> (animal,) = simulate("population", n_subjects=1, n_trials=40, n_neurons=12)
        >>> decoder = EITClassifier("direction", training=TrainingSettings(max_steps=3)).fit(animal)
        >>> decoder.plot.confusion(animal).axes[0].get_xlabel()
        'predicted class'
    """

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder

    @property
    def _target(self) -> Target:
        target: Target = self._decoder._learned_target(None)
        return target

    def embedding(self, recordings: Trials, *, stage: Stage = "individual") -> Figure:
        """All individuals in a plane, by how the model embeds them in trials of each class.

        Args:
            recordings: of individuals that the model can read.
            stage: "individual", each alone; "population", each among all.

        Raises:
            InputError: if the model cannot read them.
        """
        check_arguments(DecoderPlots.embedding, {"stage": stage})
        target = self._target.name
        places = Places.of(self._decoder, _dataset(recordings).recordings, target)
        return draw_plane(
            getattr(places, stage),
            [recording.name for recording in places.recordings],
            places.preferred,
            places.classes,
            target=places.target or "",
            title=f"embeddings of individuals{' alone' if stage == 'individual' else ' among all'}",
        )

    def confusion(self, test: Trials) -> Figure:
        """Which class was taken for which.

        Args:
            test: trials with the target, which should be others than were learned from.

        Raises:
            InputError: if the target is a quantity, or is known nowhere.
        """
        target = self._target
        if not target.classes:
            raise InputError(f"target {target.name!r} is a quantity, and confusion is of classes; see plot.decoded.")
        truth, prediction = self._known(test)
        classes = np.unique([*truth, *prediction]).tolist()
        return confusion_matrix(truth, prediction, classes, title=target.name)

    def decoded(self, test: Trials, *, n_trials: Count = 6) -> Figure:
        """What was decoded beside the truth.

        A quantity per bin is drawn over time in some trials, from the best decoded to the worst (a velocity of two
        dimensions with its paths); one per trial against the truth; of classes, all probabilities in every trial or
        bin.

        Args:
            test: trials with the target, which should be others than were learned from.
            n_trials: that are followed over time.

        Raises:
            InputError: if the target is known nowhere.
        """
        check_arguments(DecoderPlots.decoded, {"n_trials": n_trials})
        dataset, target = _dataset(test), self._target
        if target.classes:
            return self._probabilities(dataset)
        truth, prediction = self._known(test)
        if target.level != "bin":
            return draw_states({"decoded": prediction.ravel()}, truth.ravel(), target.name, title=target.name)
        decoded = self._decoder.predict(dataset).astype(np.float64)
        true = np.full(decoded.shape, np.nan)
        labels, first = [], 0
        for recording in dataset.recordings:
            goal = recording.targets.get(target.name)
            if goal is not None:
                seen = recording.bin_is_observed.reshape(*recording.bin_is_observed.shape, *[1] * (goal.ndim - 2))
                true[first : first + recording.n_trials, : recording.n_bins] = np.where(seen, goal, np.nan)
            labels += [f"trial {trial}" for trial in recording.trial_ids]
            first += recording.n_trials
        bin_seconds = dataset.recordings[0].bin_seconds
        by = [recording.class_target(target.name) for recording in dataset.recordings]
        if "velocity" in target.name and true.shape[2:] == (2,) and all(by):
            classes = [r.targets[name or ""] for r, name in zip(dataset.recordings, by, strict=True)]
            return decoded_trajectories(decoded, true, np.concatenate(classes), bin_seconds, title=target.name)
        flat = (len(true), true.shape[1], -1)
        return decoded_courses(
            decoded.reshape(flat), true.reshape(flat), labels, bin_seconds, n_trials=n_trials, title=target.name
        )

    def _probabilities(self, dataset: PopulationDataset) -> Figure:
        target = self._target
        probability = self._decoder.predict_proba(dataset)
        truth, found = known_predictions(dataset, target.name, probability)
        return class_probabilities(found, target.codes(truth), target.classes, target=target.name, title=target.name)

    def importance(self, recording: Recording, *, n: Count = 20, repeats: Count = 3, seed: Seed = 0) -> Figure:
        """The most important individuals, beside their levels of chance, and when they matter: see `Importance`.

        Args:
            recording: trials with the target that were not learned from.
            n: individuals that are drawn.
            repeats: of the exchange of each individual.
            seed: of the exchange.

        Raises:
            InputError: as `importance`.
        """
        figure: Figure = self._decoder.importance(recording, repeats=repeats, seed=seed).figure(n)
        return figure

    def _known(self, test: Trials) -> tuple[NDArray[Any], NDArray[Any]]:
        """Truth and prediction, where both are known."""
        dataset, name = _dataset(test), self._target.name
        dataset.target_values(name)
        return known_predictions(dataset, name, self._decoder.predict(dataset))


def _dataset(recordings: Trials) -> PopulationDataset:
    return recordings if isinstance(recordings, PopulationDataset) else PopulationDataset(recordings)
