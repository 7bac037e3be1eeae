"""A linear decoder of other populations, to whose latent space a new one is aligned by the courses of its classes.

In every population the mean courses of classes span a space of few dimensions, found by PCA. The courses of the same
classes are the same moments, so the new population's space is mapped to that of another one, by canonical correlation
analysis (CCA) or by a rotation (Procrustes). A linear discriminant there reads both populations' trials.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from motet.errors import InputError
from motet.rivals.few_shot_classes import (
    Classes,
    Classify,
    ClassRival,
    Population,
    class_means,
    episodes,
    linear_discriminant,
    shots_of,
)
from motet.rivals.method import TransferQuestion
from motet.rivals.tuning import Options, tune

Array = NDArray[np.float64]

DIMENSIONS = (16, 12, 8, 4)  # to try; as many as the courses allow
N_EPISODES = 5  # of each other population, to tune the dimensions


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """Other populations, and how a latent space is best made and aligned between them."""

    populations: Sequence[Population]
    chosen: Options


@dataclasses.dataclass(frozen=True)
class Aligned(ClassRival):
    """A linear discriminant in the latent space of every other population; their log-probabilities are added.

    The number of dimensions is tuned: each of the other populations is decoded from as few trials with the help of the
    rest.

    Attributes:
        by: how latent spaces are aligned.
    """

    learns_before: ClassVar[bool] = True

    by: Literal["cca", "procrustes"] = "cca"

    def taught(self, populations: Sequence[Population], question: TransferQuestion) -> Known:
        if len(populations) < 2:
            return Known(populations, {"dimensions": DIMENSIONS[0]})
        shots = shots_of(question)

        def loss(chosen: Options) -> float:
            errors = []
            for number, (roots, labels) in enumerate(populations):
                known = Known([*populations[:number], *populations[number + 1 :]], chosen)
                classes = Classes.of(np.unique(labels), question.period)
                for is_labelled in episodes(labels, shots, N_EPISODES):
                    classify = self.fitted(known, roots[is_labelled], classes.shares(labels[is_labelled]), classes)
                    found = classify(roots[~is_labelled]).argmax(axis=1)
                    errors.append(np.mean(classes.names[found] != labels[~is_labelled]))
            return float(np.mean(errors))

        return Known(populations, tune({"dimensions": DIMENSIONS}, loss))

    def fitted(self, before: Known, roots: Array, shares: Array, classes: Classes) -> Classify:
        decoders = []
        for other, labels in before.populations:
            known = np.isin(labels, classes.names)
            if len(np.unique(labels[known])) > 1:
                stretched = _stretched(other[known], roots.shape[1])
                their_shares = classes.shares(labels[known])
                decoders.append(self._aligned_to(stretched, their_shares, before.chosen, roots, shares, classes))
        if not decoders:
            raise InputError("no other recording has two of the classes to be decoded; give one that has.")
        return lambda tested: np.sum([decode(tested) for decode in decoders], axis=0)

    def _aligned_to(
        self, other: Array, their_shares: Array, chosen: Options, roots: Array, shares: Array, classes: Classes
    ) -> Classify:
        """The decoder that another population teaches, of as many bins."""
        is_common = their_shares.any(axis=0)
        theirs = _courses(other, their_shares, classes)[is_common]
        ours = _courses(roots, shares, classes)[is_common]
        n_dimensions = min(chosen["dimensions"], theirs[..., 0].size - 1, theirs.shape[-1], ours.shape[-1])
        to_theirs, to_ours = _latent(theirs, n_dimensions), _latent(ours, n_dimensions)
        align = (_by_cca if self.by == "cca" else _by_procrustes)(_rows(to_ours(ours)), _rows(to_theirs(theirs)))

        def read(trials: Array) -> Array:
            return (to_ours(trials) @ align).reshape(len(trials), -1)

        inputs = np.concatenate([to_theirs(other).reshape(len(other), -1), read(roots)])
        discriminant = linear_discriminant(inputs, np.concatenate([their_shares, shares]))
        return lambda tested: discriminant(read(tested))


ALIGNED = (Aligned("aligned-cca"), Aligned("aligned-procrustes", by="procrustes"))


def _stretched(roots: Array, n_bins: int) -> Array:
    """Trials (trial, time, input) with so many bins from their start to their end, read off between neighbours."""
    place = np.linspace(0, roots.shape[1] - 1, n_bins)
    left = np.minimum(place.astype(np.int64), max(roots.shape[1] - 2, 0))
    right, share = np.minimum(left + 1, roots.shape[1] - 1), (place - left)[:, None]
    return roots[:, left] * (1 - share) + roots[:, right] * share


def _courses(roots: Array, shares: Array, classes: Classes) -> Array:
    """(class, time, input) means of classes."""
    return class_means(roots.reshape(len(roots), -1), shares, classes, None).reshape(-1, *roots.shape[1:])


def _rows(courses: Array) -> Array:
    return courses.reshape(-1, courses.shape[-1])


def _latent(courses: Array, n_dimensions: int) -> Callable[[Array], Array]:
    """From (…, input) to (…, dimension): the principal components of courses."""
    centre = _rows(courses).mean(axis=0)
    axes = np.linalg.svd(_rows(courses) - centre, full_matrices=False)[2][:n_dimensions].T
    return lambda roots: (roots - centre) @ axes


def _by_procrustes(ours: Array, theirs: Array) -> Array:
    """(dimension, dimension): the rotation that brings our rows closest to theirs.

    Without a scale: the noise of few trials would make it too small.
    """
    left, _, right = np.linalg.svd(ours.T @ theirs)
    return left @ right


def _by_cca(ours: Array, theirs: Array) -> Array:
    """(dimension, dimension): our canonical variates take the place of theirs."""
    (own, own_scale), (other, other_scale) = np.linalg.qr(ours), np.linalg.qr(theirs)
    left, _, right = np.linalg.svd(own.T @ other)
    return np.linalg.pinv(own_scale) @ left @ right @ other_scale
