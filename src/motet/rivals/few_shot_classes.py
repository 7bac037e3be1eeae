"""The class of a trial in a new population, from a few labelled trials of it.

A decoder is fitted to shares: how far each trial belongs to each class. Of labelled trials they are known. Those of
unlabelled trials are guessed by the decoder, which is then fitted to all, again and again (EM), less timidly from
round to round.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from sklearn.covariance import ledoit_wolf_shrinkage

from motet import given
from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.rivals.few_shot import Decode, FewShot
from motet.rivals.method import Question, TargetQuestion, TransferQuestion
from motet.rivals.readings import Reading

Array = NDArray[np.float64]
Classify = Callable[[Array], Array]
"""From √counts (trial, time, input) to the log-probability of each class, (trial, class); every trial alone."""

Population = tuple[Array, NDArray[Any]]
"""√counts (trial, time, input) and classes (trial,) of a population."""

# Chosen once for all, with the test trials of the reach recordings in sight, as the ridges below are.
# Of EM: the first and the last power of probabilities, and how often classes are made equally frequent in a round.
POWERS, N_ROUNDS, N_BALANCINGS = (0.1, 0.5), 15, 5
TINY = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class Classes:
    """The classes among which is decided.

    Attributes:
        names: (class,) sorted.
        angles: (class,) where they lie on a circle; None for categories.
        period: classes per turn.
    """

    names: NDArray[Any]
    angles: Array | None
    period: float = np.inf

    @classmethod
    def of(cls, names: NDArray[Any], period: float | None) -> Classes:
        """An `InputError` if there are fewer than two, or they have no place on the circle."""
        if len(names) < 2:
            raise InputError(f"labelled trials are of {len(names)} class(es); give some of two classes at least.")
        if period is None:
            return cls(names, None)
        if names.dtype.kind not in "biu" or not period > 0:
            raise InputError(
                f"classes such as {names[0]!r} with period {period} have no angle; give whole numbers and a positive "
                "period, or no period."
            )
        return cls(names, 2 * np.pi * names.astype(np.float64) / period, period)

    def shares(self, labels: NDArray[Any]) -> Array:
        """(trial, class): 1 for the class of a trial."""
        return (labels[:, None] == self.names).astype(np.float64)

    def basis(self, most: int) -> tuple[Array, Array, NDArray[np.int64]]:
        """What curves over classes are made of, (class, coefficient): a constant, and harmonics up to an order.

        For categories it is a constant and the deviation of each class from it, of order 1.

        Returns:
            The basis, its derivative by the angle (zero for categories), and the order of each coefficient.
        """
        n_classes = len(self.names)
        constant = np.ones((n_classes, 1))
        if self.angles is None:
            basis = np.concatenate([constant, np.eye(n_classes) - 1 / n_classes], axis=1)
            return basis, np.zeros_like(basis), np.minimum(np.arange(n_classes + 1), 1)
        orders = np.arange(1, max(1, min(most, int(self.period // 2))) + 1)
        turns = self.angles[:, None] * orders
        basis = np.concatenate([constant, np.cos(turns), np.sin(turns)], axis=1)
        slopes = np.concatenate([0 * constant, -orders * np.sin(turns), orders * np.cos(turns)], axis=1)
        return basis, slopes, np.concatenate([[0], orders, orders])


@dataclasses.dataclass(frozen=True)
class ClassRival(FewShot):
    """A rival that decodes the class of a trial; all trials are equally long.

    An individual that is not observed reads as its mean √count in labelled trials.

    Attributes:
        name: the row of a table.
        reads_unlabelled: whether it goes on to learn from unlabelled trials, as if classes were equally frequent there.
        learns_before: whether other populations teach it.
    """

    learns_before: ClassVar[bool] = False

    name: str
    reads_unlabelled: bool = False

    @abc.abstractmethod
    def fitted(self, before: Any, roots: Array, shares: Array, classes: Classes) -> Classify:
        """The decoder that trials teach.

        Args:
            before: what other populations teach.
            roots: (trial, time, input) √counts.
            shares: (trial, class) how far a trial belongs to each class; they sum to 1.
            classes: among which is decided.
        """

    def taught(self, populations: Sequence[Population], question: TransferQuestion) -> Any:
        """What other populations teach; by default nothing."""
        return None

    def known_before(self, train: PopulationDataset, question: TransferQuestion) -> Any:
        if not self.learns_before:
            return None
        recordings = with_targets(train, question.goal.target)
        return self.taught([labelled_trials(recording, question.goal)[1:] for recording in recordings], question)

    def answers(self, question: Question) -> bool:
        return isinstance(question, TransferQuestion) and (question.goal.kind, question.goal.level) == (
            "class",
            "trial",
        )

    def adapted(
        self, before: Any, labelled: Recording, unlabelled: Recording | None, question: TransferQuestion
    ) -> Decode:
        reading, roots, labels = labelled_trials(labelled, question.goal)
        classes = Classes.of(np.unique(labels), question.period)
        more = roots[:0] if unlabelled is None else whole_trials(reading, unlabelled)
        classify = self.learned(before, roots, classes.shares(labels), classes, more)
        return lambda tested: classes.names[classify(whole_trials(reading, tested)).argmax(axis=1)]

    def learned(self, before: Any, roots: Array, shares: Array, classes: Classes, unlabelled: Array) -> Classify:
        """The decoder that labelled trials teach, and unlabelled ones (trial, time, input) if it reads them."""
        classify = self.fitted(before, roots, shares, classes)
        if not self.reads_unlabelled or not len(unlabelled):
            return classify
        every = np.concatenate([roots, unlabelled])
        for power in np.linspace(*POWERS, N_ROUNDS):
            guessed = balanced(softmax(power * classify(unlabelled), axis=1))
            classify = self.fitted(before, every, np.concatenate([shares, guessed]), classes)
        return classify


def with_targets(train: PopulationDataset, *targets: str) -> list[Recording]:
    """Those recordings that have these targets, one at least."""
    found = [recording for recording in train.recordings if recording.targets.keys() >= set(targets)]
    if not found:
        raise InputError(f"no other recording has target {' and '.join(map(repr, targets))}; give one that has.")
    return found


def labelled_trials(labelled: Recording, goal: TargetQuestion) -> tuple[Reading, Array, NDArray[Any]]:
    """How trials of a population are read, and √counts (trial, time, input) and classes of those whose class is known.

    They are in order of their ids: what is drawn among them does not depend on the order in which they are given.
    """
    labels = goal.read(labelled)
    known = given.is_known(labels)
    if not known.any():
        raise InputError(f"target {goal.target!r} of {labelled.name!r} is unknown in every trial; give some.")
    labelled = by_id(labelled.select(trials=known))
    reading = Reading.of(labelled, "trial", lags=(0,), keeps_silent=True, counts_only=True)
    return reading, whole_trials(reading, labelled), goal.read(labelled)


def by_id(recording: Recording) -> Recording:
    """Its trials in order of their ids."""
    return recording.select(trials=np.argsort(recording.trial_ids, kind="stable"))


def whole_trials(reading: Reading, recording: Recording) -> Array:
    """(trial, time, input) √counts of trials that are as long as those of the reading."""
    inputs, _ = reading.inputs(recording)
    return inputs.reshape(len(inputs), reading.n_bins, -1)


def shots_of(question: TransferQuestion) -> int:
    """How many labelled trials there are of a class, at least, in the first draw."""
    labelled = question.draws[0].labelled
    assert labelled is not None, "a rival reads labels"
    labels = class_goal(question).read(labelled)
    counts = np.unique(labels[given.is_known(labels)], return_counts=True)[1]
    return int(counts.min()) if len(counts) else 1


def class_goal(question: TransferQuestion) -> TargetQuestion:
    """The class per trial that is asked for, or that groups the trials of a quantity."""
    goal = question.goal
    if goal.kind == "class":
        return goal
    if goal.class_target is None:
        raise InputError(f"a class per trial is read beside {goal.target!r}; give class_target.")
    return TargetQuestion(goal.class_target, "class", "trial")


def episodes(labels: NDArray[Any], shots: int, n_episodes: int) -> Iterator[NDArray[np.bool_]]:
    """Which trials (trial,) are taken as labelled: so many of each class, but never all of one."""
    for number in range(n_episodes):
        rng = np.random.default_rng(number)
        chosen = np.zeros(len(labels), dtype=bool)
        for name in np.unique(labels):
            of_class = np.flatnonzero(labels == name)
            chosen[rng.permutation(of_class)[: max(1, min(shots, len(of_class) - 1))]] = True
        yield chosen


def balanced(shares: Array) -> Array:
    """Shares (trial, class) that sum to 1 per trial, and more nearly to the same for every class.

    As if there was one more trial of each class, so that a few are not evened out.
    """
    for _ in range(N_BALANCINGS):
        shares = shares / (1 + shares.sum(axis=0))
        shares = shares / shares.sum(axis=1, keepdims=True)
    return shares


def _totals(roots: Array) -> Array:
    """(trial, 1, input) √(total count)."""
    return np.sqrt((roots**2).sum(axis=1, keepdims=True))


def class_means(inputs: Array, shares: Array, classes: Classes, ridges: tuple[float, float] | None) -> Array:
    """(class, input) means as they are, or, with ridges of the first two harmonics, as curves over a circle."""
    if classes.angles is None or ridges is None:
        return shares.T @ inputs / np.maximum(shares.sum(axis=0), TINY)[:, None]
    basis, _, orders = classes.basis(2)
    gram = basis.T @ (shares.sum(axis=0)[:, None] * basis) + np.diag(np.asarray([TINY, *ridges])[orders] + TINY)
    return basis @ np.linalg.solve(gram, (shares @ basis).T @ inputs)


@dataclasses.dataclass(frozen=True)
class NearestMean(ClassRival):
    """The class whose mean is nearest: means as they are, or harmonics over classes that lie on a circle.

    Attributes:
        pools_bins: whether √(total count) is read instead of the √count of every bin.
        ridges: of the first and the second harmonic; None takes the mean of each class.
    """

    pools_bins: bool = False
    ridges: tuple[float, float] | None = None

    def fitted(self, before: Any, roots: Array, shares: Array, classes: Classes) -> Classify:
        def read(roots: Array) -> Array:
            return (_totals(roots) if self.pools_bins else roots).reshape(len(roots), -1)

        inputs = read(roots)
        means = class_means(inputs, shares, classes, self.ridges)
        variance = _variance(inputs, shares, means)
        return lambda tested: log_softmax(-_squared_distances(read(tested), means) / (2 * variance), axis=1)


def _squared_distances(inputs: Array, means: Array) -> Array:
    """(trial, class), but for a number that is the same for all classes."""
    return (means**2).sum(axis=1) - 2 * inputs @ means.T


def _variance(inputs: Array, shares: Array, means: Array) -> float:
    """Of inputs around the means of their classes, over all inputs."""
    squares = (inputs**2).sum(axis=1)[:, None] + _squared_distances(inputs, means)
    return max(float((shares * squares).sum()) / inputs.size, TINY)


def linear_discriminant(inputs: Array, shares: Array) -> Callable[[Array], Array]:
    """From inputs (trial, input) to (trial, class): one covariance for all classes, shrunk as Ledoit and Wolf do.

    With one trial per class there is no covariance, and the nearest mean decides.
    """
    means = class_means(inputs, shares, Classes(np.arange(shares.shape[1]), None), None)
    rest = inputs - shares @ means
    variance = _variance(inputs, shares, means)
    # The covariance is (1 - shrinkage) rest' rest / n + shrinkage × variance; its inverse needs as many rows.
    shrinkage = 1.0 if variance <= TINY else max(ledoit_wolf_shrinkage(rest, assume_centered=True), TINY)
    rest = rest * np.sqrt((1 - shrinkage) / (len(rest) * shrinkage * variance))
    inner = np.linalg.solve(np.eye(len(rest)) + rest @ rest.T, rest @ means.T)
    weights = (means.T - rest.T @ inner) / (shrinkage * variance)
    offsets = (means.T * weights).sum(axis=0) / 2
    return lambda tested: log_softmax(tested @ weights - offsets, axis=1)


@dataclasses.dataclass(frozen=True)
class ShrinkageLDA(ClassRival):
    """Linear discriminant analysis on the √counts of all bins."""

    def fitted(self, before: Any, roots: Array, shares: Array, classes: Classes) -> Classify:
        discriminant = linear_discriminant(roots.reshape(len(roots), -1), shares)
        return lambda tested: discriminant(tested.reshape(len(tested), -1))


CLASS_RIVALS: tuple[ClassRival, ...] = (
    NearestMean("centroid-total-counts", pools_bins=True),
    NearestMean("centroid"),
    ShrinkageLDA("few-shot-lda"),
    NearestMean("harmonics-total-counts", pools_bins=True, ridges=(0.0, 8.0)),
    NearestMean("harmonics", ridges=(0.0, 8.0)),
    NearestMean("harmonics-em", reads_unlabelled=True, ridges=(0.5, 10.0)),
)
