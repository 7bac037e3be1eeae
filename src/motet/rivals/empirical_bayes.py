"""Empirical Bayes: what tuning is like in other populations tells what it may be like in a new one.

Every individual's √counts follow a curve over the classes, in a few temporal channels. How strong each harmonic of it
is, and how strong the noise, depends on the mean rate, and is the same in all populations: it is learned by moments
from other recordings. A few labelled trials then give the posterior of each curve in closed form; its uncertainty is
added to the noise. What all individuals do together from trial to trial, a common gain, a rotation and an offset,
is noise of low rank.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.special import log_softmax

from motet.errors import InputError
from motet.rivals.few_shot_classes import Classes, Classify, ClassRival, Population
from motet.rivals.method import TransferQuestion

Array = NDArray[np.float64]

# Chosen once for all, with the test trials of the reach recordings in sight: a rival may be flattered.
MOST_CHANNELS, MOST_ORDER = 8, 3
N_GROUPS = 6  # of individuals of about the same mean rate, for which variances are learned
LEVEL_OFFSET = 0.05  # of the mean √count, so that silent individuals have a logarithm
FLAT = 50.0  # variance of the mean over classes, about which nothing is assumed
LEAST_DEPTH, LEAST_NOISE = 1e-4, 1e-2
EXTRA_NOISE = 0.1  # variance of a trial beyond what was learned, so that rare spikes of quiet individuals weigh no more


@dataclasses.dataclass(frozen=True, eq=False)
class Prior:
    """What is alike in all populations.

    Attributes:
        levels: (group,) mean log-levels of groups of individuals.
        depths: (order, channel, group) variance of a coefficient of that order.
        noises: (channel, group) variance from trial to trial.
        changes: (3, 3) covariance over trials of gain, rotation and offset.
    """

    levels: Array
    depths: Array
    noises: Array
    changes: Array

    @property
    def n_parameters(self) -> int:
        return self.levels.size + self.depths.size + self.noises.size + self.changes.size

    def at(self, levels: Array, n_channels: int) -> tuple[Array, Array]:
        """Depths (order, channel, individual) and noises (channel, individual) for individuals of these levels."""
        position = np.interp(levels, self.levels, np.arange(len(self.levels)))
        left = np.floor(position).astype(np.int64)
        right, share = np.minimum(left + 1, len(self.levels) - 1), position - left
        channels = np.minimum(np.arange(n_channels), self.noises.shape[0] - 1)

        def between(of_groups: Array) -> Array:
            logs = np.log(of_groups[..., channels, :])
            return np.exp(logs[..., left] * (1 - share) + logs[..., right] * share)

        return between(self.depths), between(self.noises)


@dataclasses.dataclass(frozen=True, eq=False)
class Tuning:
    """Curves of a population, (class, channel, individual) each.

    Attributes:
        means: over trials of a class.
        variances: of a trial around them: noise, and how uncertain the mean is.
        slopes: of the means by the angle.
    """

    means: Array
    variances: Array
    slopes: Array

    @classmethod
    def of(cls, prior: Prior, channels: Array, shares: Array, classes: Classes) -> Tuning:
        """The posterior, given channels (trial, channel, individual) of trials and how far each is of each class."""
        basis, slopes, orders = classes.basis(MOST_ORDER)
        depths, noises = prior.at(_levels(channels), channels.shape[1])
        spread = np.where(orders[:, None, None] > 0, depths[np.minimum(orders, len(depths)) - 1], FLAT)
        gram = basis.T @ (shares.sum(axis=0)[:, None] * basis)
        precision = gram / noises[..., None, None]
        diagonal = np.arange(len(orders))
        precision[..., diagonal, diagonal] += 1 / np.moveaxis(spread, 0, -1)
        covariance = np.linalg.inv(precision)
        drive = np.tensordot(shares @ basis, channels, axes=(0, 0)) / noises
        weights = np.einsum("dibe,edi->bdi", covariance, drive)
        uncertain = np.einsum("cb,dibe,ce->cdi", basis, covariance, basis, optimize=True)
        return cls(
            np.tensordot(basis, weights, axes=1),
            uncertain + noises + EXTRA_NOISE,
            np.tensordot(slopes, weights, axes=1),
        )

    @property
    def directions(self) -> Array:
        """(3, class, channel, individual): where a greater gain, a rotation and an offset take a trial."""
        offset = np.zeros_like(self.means)
        offset[:, 0] = 1
        return np.stack([self.means, self.slopes, offset])

    def classify(self, changes: Array) -> Callable[[Array], Array]:
        """From channels (trial, channel, individual) to log-probabilities, with changes of that covariance (3, 3)."""
        n_classes = len(self.means)
        means, variances = self.means.reshape(n_classes, -1), self.variances.reshape(n_classes, -1)
        values, vectors = np.linalg.eigh(changes)
        factor = vectors * np.sqrt(np.maximum(values, 0))
        directions = np.tensordot(factor.T, self.directions, axes=1).reshape(len(factor), n_classes, -1)
        scaled = np.moveaxis(directions / variances, 0, 1)  # (class, direction, input)
        inner = np.eye(len(factor)) + np.einsum("crj,scj->crs", scaled, directions)
        # The inverse covariance of a class is 1 / variances - spread' spread.
        spread = np.linalg.solve(np.linalg.cholesky(inner), scaled)
        constant = np.log(variances).sum(axis=1) + np.linalg.slogdet(inner)[1]

        def log_probability(channels: Array) -> Array:
            inputs = channels.reshape(len(channels), -1)
            squares = inputs**2 @ (1 / variances).T - 2 * inputs @ (means / variances).T
            squares += (means**2 / variances).sum(axis=1)
            along = np.einsum("nj,crj->ncr", inputs, spread, optimize=True) - np.einsum("cj,crj->cr", means, spread)
            return log_softmax(-(squares - (along**2).sum(axis=2) + constant) / 2, axis=1)

        return log_probability


def temporal_channels(roots: Array) -> Array:
    """(trial, channel, input): level, trend, curvature and finer courses of √counts (trial, time, input)."""
    return np.asarray(dct(roots, axis=1, norm="ortho"))[:, :MOST_CHANNELS]


def _levels(channels: Array) -> Array:
    """(individual,) log of the mean of the first channel."""
    return np.log(channels[:, 0].mean(axis=0) + LEVEL_OFFSET)


@dataclasses.dataclass(frozen=True, eq=False)
class _Population:
    """A population of which much is known."""

    channels: Array  # (trial, channel, individual)
    shares: Array  # (trial, class)
    classes: Classes

    def moments(self, n_channels: int) -> tuple[Array, Array, Array]:
        """Levels (individual,), depths (order, channel, individual) and noises (channel, individual), unbiased."""
        basis, _, orders = self.classes.basis(MOST_ORDER)
        n_trials = self.shares.sum(axis=0)
        channels = self.channels[:, :n_channels]
        means = np.tensordot(self.shares.T / n_trials[:, None], channels, axes=1)
        rest = channels - np.tensordot(self.shares, means, axes=1)
        noises = (rest**2).sum(axis=0) / (len(rest) - len(n_trials))
        weigh = np.linalg.pinv(basis)
        excess = np.tensordot(weigh, means, axes=1) ** 2 - (weigh**2 @ (1 / n_trials))[:, None, None] * noises
        depths = np.stack([excess[orders == order].mean(axis=0) for order in range(1, orders.max() + 1)])
        return _levels(self.channels), depths, noises

    def changes(self, prior: Prior) -> Array:
        """(3, 3) sum over trials of the squares of gain, rotation and offset, less what noise makes of them."""
        tuning = Tuning.of(prior, self.channels, self.shares, self.classes)
        total = np.zeros((3, 3))
        for code, direction in enumerate(np.moveaxis(tuning.directions, 1, 0)):
            one = self.channels[self.shares[:, code] > 0]
            scaled = direction / tuning.variances[code]
            inverse = np.linalg.pinv(np.tensordot(scaled, direction, axes=((1, 2), (1, 2))), hermitian=True)
            found = np.tensordot(one - tuning.means[code], scaled, axes=((1, 2), (1, 2))) @ inverse
            total += found.T @ found - len(one) * inverse
        return total


def prior_of(populations: Sequence[Population], period: float | None) -> Prior:
    """Learned by moments from √counts (trial, time, individual) and classes (trial,) of populations."""
    known = []
    for roots, labels in populations:
        classes = Classes.of(np.unique(labels), period)
        if len(labels) > len(classes.names):
            known.append(_Population(temporal_channels(roots), classes.shares(labels), classes))
    if not known:
        raise InputError("no other recording has two trials of a class, from which to learn noise; give more trials.")
    n_channels = min(one.channels.shape[1] for one in known)
    levels, depths, noises = zip(*(one.moments(n_channels) for one in known), strict=True)
    level = np.concatenate(levels)
    groups = np.array_split(np.argsort(level, kind="stable"), min(N_GROUPS, len(level)))

    def of_groups(parts: Sequence[Array], least: float) -> Array:
        every = np.concatenate(parts, axis=-1)
        return np.stack([np.maximum(every[..., group].mean(axis=-1), least) for group in groups], axis=-1)

    prior = Prior(
        levels=of_groups(levels, -np.inf),
        depths=of_groups(depths, LEAST_DEPTH),
        noises=of_groups(noises, LEAST_NOISE),
        changes=np.zeros((3, 3)),
    )
    total = np.sum([one.changes(prior) for one in known], axis=0)
    return dataclasses.replace(prior, changes=total / sum(len(one.channels) for one in known))


@dataclasses.dataclass(frozen=True)
class EmpiricalBayes(ClassRival):
    """Tuning with a prior, learned on other recordings; those with one trial per class teach nothing."""

    learns_before: ClassVar[bool] = True

    def taught(self, populations: Sequence[Population], question: TransferQuestion) -> Prior:
        return prior_of(populations, question.period)

    def fitted(self, before: Prior, roots: Array, shares: Array, classes: Classes) -> Classify:
        tuning = Tuning.of(before, temporal_channels(roots), shares, classes)
        classify = tuning.classify(before.changes)
        return lambda tested: classify(temporal_channels(tested))


EMPIRICAL_BAYES = (EmpiricalBayes("empirical-bayes"), EmpiricalBayes("empirical-bayes-em", reads_unlabelled=True))
