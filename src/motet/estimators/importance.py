"""Which individuals a decoder's answers rest on, each beside what chance would give: `EITClassifier.importance`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from motet.data.batch import Batch
from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording, without_targets
from motet.data.windows import Windows
from motet.errors import InputError
from motet.progress import progress_bar
from motet.report.importance import draw_importance
from motet.settings import Count, Seed, check_arguments
from motet.statistics import markdown
from motet.training.learner import Learner
from motet.training.objectives import Target, known_rows

Floats = NDArray[np.float64]
ERROR = 0.05  # how often, of populations that carry nothing, any individual is above chance
FLOOR = 1e-6  # a truth that was held impossible costs no more than this probability
COPIES_BYTES = 1 << 26  # of changed recordings that are predicted at a time
KEPT_FOR_GRADIENTS = 10  # times what reading without them takes, about


@dataclasses.dataclass(frozen=True, eq=False)
class Measure:
    """One way to measure importance.

    Attributes:
        value: (individual,) in the unit of the score.
        chance: (individual,) the level that is exceeded by any of the individuals, if none carries anything, in one
            population of 20: it is corrected for how many there are, since the largest are looked at.
    """

    value: Floats
    chance: Floats

    @property
    def is_above_chance(self) -> NDArray[np.bool_]:
        return self.value > self.chance


@dataclasses.dataclass(frozen=True, eq=False)
class Importance:
    """Which individuals a decoder's answers rest on, in trials whose truth is known and which it has not learned from.

    **Score.** Of classes the mean log-probability of the truth, in nats (no probability counts as less than a
    millionth); of quantities R². Where nothing is observed the answer is ignorance: all classes alike, or the mean of
    the training trials.

    **Permutation** (Breiman, Machine Learning 45, 2001). Values of one individual are exchanged among trials, at random
    and whole (of trials of different length each bin among those that have it), so that it keeps its rates and its
    courses but tells nothing of the trial it stands in; importance is
    how much the score falls, on average over repeats. Chance: if the individual carries nothing about the target that
    the others leave open, its values are as likely in any other trial as in their own, and what the score of a trial
    loses is 0 on average. The level is that of a t-test over trials (windows cut from one trial count as one).

    **Left out.** The individual is not observed; importance is how much the score falls. What does *not* count is that
    the decoder may work worse, or better, with one individual fewer, whoever that is: chance is what leaving it out
    costs where its values are exchanged among trials as above, that is, of a phantom with its own rates. So both
    measures ask the same of chance, and differ in what they compare with.

    **Gradients** (integrated gradients; Sundararajan, Taly & Yan, ICML 2017). How much of what the score gains, on the
    way from every individual at its training mean to what was observed, comes from this individual at this time: the
    values times the gradient of the score, averaged along the straight path. They add up to the whole gain. They are of
    the trained EIT (`learner_`) alone. Chance: values exchanged among trials as above, gradients held fixed, whose mean
    and variance over all orders are known exactly (Hoeffding, Annals of Mathematical Statistics 22, 1951); the level is
    that of a normal distribution. That an individual's own values move its gradients is left out; as log-probabilities
    and R² are concave in the outputs, this makes the level somewhat too strict rather than too lenient.

    An individual whose information others carry too has little permutation and leave-one-out importance, although it
    carries much; its gradients show it if the model reads it.

    Attributes:
        individual_ids: of all arrays, as in the recording.
        score: of the recording as it is.
        unit: "nats" or "R²".
        permutation: see above.
        left_out: see above.
        gradients: see above; summed over time.
        gradients_by_bin: (individual, time); their sum over time is `gradients.value`.
        bin_seconds: width of a bin.
        name: of the recording and what is decoded.
    """

    individual_ids: tuple[str, ...]
    score: float
    unit: str
    permutation: Measure
    left_out: Measure
    gradients: Measure
    gradients_by_bin: Floats
    bin_seconds: float
    name: str

    @property
    def order(self) -> NDArray[np.int64]:
        """Positions of the individuals, the most important by permutation first."""
        return np.argsort(-self.permutation.value, kind="stable")

    def table(self, n: Count = 20) -> str:
        """The `n` most important individuals as Markdown, each measure with its level of chance in brackets."""
        check_arguments(Importance.table, {"n": n})
        measures = {"permutation": self.permutation, "left out": self.left_out, "gradients": self.gradients}
        rows = [["individual", *(f"{name} ({self.unit})" for name in measures)]]
        for place in self.order[:n]:
            cells = [f"{m.value[place]:.3g} ({m.chance[place]:.3g})" for m in measures.values()]
            rows.append([self.individual_ids[place], *cells])
        above = ", ".join(f"{int(m.is_above_chance.sum())} by {name}" for name, m in measures.items())
        return f"{markdown(rows)}\n\nOf {len(self.individual_ids)} individuals above chance: {above}."

    def figure(self, n: Count = 20) -> Figure:
        """Bars of the `n` most important individuals with their levels of chance, and their gradients over time."""
        check_arguments(Importance.figure, {"n": n})
        shown = self.order[:n]
        measures = {"permutation": self.permutation, "left out": self.left_out, "gradients": self.gradients}
        return draw_importance(
            {name: (measure.value[shown], measure.chance[shown]) for name, measure in measures.items()},
            self.gradients_by_bin[shown],
            [self.individual_ids[place] for place in shown],
            unit=self.unit,
            bin_seconds=self.bin_seconds,
            title=self.name,
        )


def importance_of(
    recording: Any,
    target: Target,
    *,
    predict: Callable[[Recording], NDArray[Any]],
    cut: Callable[[PopulationDataset], Windows],
    learner: Learner,
    most_trials: int,
    repeats: Count,
    steps: Count,
    seed: Seed,
) -> Importance:
    """The importance of the individuals of a recording.

    Args:
        recording: with the target.
        target: what is decoded.
        predict: probabilities or quantities of a recording, (trial, …); NaN where nothing is observed.
        cut: trials as the learner reads them.
        learner: what is differentiated.
        most_trials: that are differentiated at a time.
        repeats: of the exchange of each individual.
        steps: of the path, at Gauss–Legendre points.
        seed: of the orders of trials.

    Raises:
        InputError: if there are fewer than two trials, or the target is known nowhere or never differs.
    """
    check_arguments(importance_of, {"repeats": repeats, "steps": steps, "seed": seed})
    if not isinstance(recording, Recording) or recording.n_trials < 2:
        raise InputError(
            f"importance was asked of {recording!r}, and values are exchanged among the trials of a recording; give "
            "one Recording of two trials at least (Recording.windows cuts a long one)."
        )
    truth = _Truth.of(recording, target)
    bare = without_targets(recording)

    # 1. What trials add to the score as they are, with each individual left out, and with it exchanged
    whole = truth.added(predict(bare)[None])[0]
    orders = np.random.default_rng(seed).permuted(
        np.broadcast_to(np.arange(recording.n_trials), (recording.n_individuals, repeats, recording.n_trials)), axis=2
    )
    added = np.empty((recording.n_individuals, 1 + repeats, len(whole)))
    with progress_bar(f"importance of {recording.n_individuals} individuals", added[..., 0].size) as advance:
        for individual, repeat, changed in _changed(bare, orders):
            predicted = predict(changed)
            added[individual, repeat] = truth.added(predicted.reshape(len(individual), -1, *predicted.shape[1:]))
            advance(len(individual), "")

    # 2. Permutation and leave-one-out
    without, lost = added[:, 0].sum(axis=1), whole - added[:, 1:].mean(axis=1)
    fall, n_trials = lost.sum(axis=1), len(whole)
    one = 1 - ERROR / recording.n_individuals
    level = stats.t.ppf(one, n_trials - 1) * lost.std(axis=1, ddof=1) * np.sqrt(n_trials)

    # 3. Gradients
    values, gradient = _path(recording, truth, cut=cut, learner=learner, most_trials=most_trials, steps=steps)
    by_bin, expected, deviation = _attributed(values, gradient)
    gradients = Measure(by_bin.sum(axis=1), expected + stats.norm.ppf(one) * deviation)

    return Importance(
        individual_ids=recording.individual_ids,
        score=truth.most + float(whole.sum()),
        unit="nats" if target.classes else "R²",
        permutation=Measure(fall, level),
        left_out=Measure(whole.sum() - without, (whole.sum() - without) - fall + level),
        gradients=gradients,
        gradients_by_bin=by_bin,
        bin_seconds=recording.bin_seconds,
        name=f"{target.name} of {recording.name}",
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Truth:
    """What answers are scored by.

    Attributes:
        target: what is decoded.
        known: (trial,) or (trial, time) where it is known.
        values: (trial, …) codes of classes, or quantities.
        trial: (trial,) of which whole trial each is, of those with anything known; -1 for others.
        scale: what the sum over all that is known is divided by.
    """

    target: Target
    known: NDArray[np.bool_]
    values: NDArray[Any]
    trial: NDArray[np.int64]
    scale: float

    @classmethod
    def of(cls, recording: Recording, target: Target) -> _Truth:
        values, known = recording.target(target.name), known_rows(recording, target.name)
        if target.classes:
            values = target.codes(values)
            known = known & (values >= 0)
        has_any = known.reshape(len(known), -1).any(axis=1)
        names, codes = np.unique(recording.trial_ids[has_any], return_inverse=True)
        if len(names) < 2:
            raise InputError(
                f"target {target.name!r} is known in {len(names)} trials that were observed, and importance takes two "
                "at least; give trials where it is."
            )
        trial = np.full(len(known), -1)
        trial[has_any] = codes
        if target.classes:
            return cls(target, known, values, trial, float(known.sum()))
        values = values.astype(np.float64)
        scale = float(((values[known] - values[known].mean(axis=0)) ** 2).sum())
        if not scale > 0:
            raise InputError(f"target {target.name!r} never differs, so R² is undefined; give more trials.")
        return cls(target, known, values, trial, scale)

    @property
    def most(self) -> float:
        """The best score that there is."""
        return 0.0 if self.target.classes else 1.0

    def added(self, predicted: NDArray[Any]) -> Floats:
        """(copy, trial) what answers (copy, trial, …) add to the best score, in each whole trial that has any known."""
        answers, truth = predicted.astype(np.float64)[:, self.known], self.values[self.known]
        if self.target.classes:
            answers = np.where(np.isnan(answers), 1 / len(self.target.classes), answers)
            probability = np.take_along_axis(answers, truth[None, :, None], axis=2)[..., 0]
            each = np.log(np.maximum(probability, FLOOR))
        else:
            mean = np.reshape(self.target.mean, self.target.shape)
            off = np.where(np.isnan(answers), mean, answers) - truth
            each = -(off**2).reshape(*off.shape[:2], -1).sum(axis=2)
        trial = self.trial[np.nonzero(self.known)[0]]
        order = np.argsort(trial, kind="stable")
        begins = np.flatnonzero(np.diff(trial[order], prepend=-1))
        return np.asarray(np.add.reduceat(each[:, order], begins, axis=1) / self.scale)

    def gained(self, answers: Tensor, truth: Tensor, counts: Tensor) -> Tensor:
        """What the answers in a batch add to the score, but for a constant; where `counts`."""
        answers, truth = answers[counts], truth[counts]
        if self.target.classes:
            return answers.gather(1, truth[:, None]).clamp(min=FLOOR).log().sum() / self.scale
        return -(answers.double() - truth.double()).square().sum() / self.scale


def _changed(
    recording: Recording, orders: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Recording]]:
    """Copies of a recording with one individual changed each, many at a time as one recording.

    Args:
        recording: without targets.
        orders: (individual, repeat, trial) from which trial an individual's values come.

    Yields:
        (copy,) which individual is changed; (copy,) how: 0 not observed, else the number of the order from 1; and the
        copies, one after another. Exchanged individuals are observed where they were.
    """
    n_individuals, n_orders, n_trials = orders.shape
    individual, repeat = (axis.ravel() for axis in np.indices((n_individuals, 1 + n_orders)))
    n_copies = max(1, COPIES_BYTES // recording.values.nbytes)
    trials, bins = np.arange(n_trials), np.arange(recording.n_bins)
    for first in range(0, len(individual), n_copies):
        who, how = individual[first : first + n_copies], repeat[first : first + n_copies]
        values: Any = np.repeat(recording.values[None], len(who), axis=0)
        observed = np.repeat(recording.observed[None], len(who), axis=0)
        copy, place = np.arange(len(who))[:, None], who[:, None]
        seen = observed[copy, trials, place]
        come_from = _induced(orders[who, np.maximum(how, 1) - 1], seen)
        observed[copy, trials, place] = seen & (how > 0)[:, None, None]
        values[copy, trials, place] = recording.values[come_from, place[..., None], bins]
        yield (
            who,
            how,
            dataclasses.replace(
                recording,
                values=values.reshape(-1, *values.shape[2:]),
                observed=observed.reshape(-1, *observed.shape[2:]),
                trial_ids=np.tile(recording.trial_ids, len(who)),
                trial_start_seconds=np.tile(recording.trial_start_seconds, len(who)),
            ),
        )


def _induced(order: NDArray[np.int64], seen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(copy, trial, time): the trial that a bin's value comes from, of those in which that bin was observed.

    Where it was not in the trial that (copy, trial) `order` leads to, the order is followed on until it was: so the
    values of each bin are exchanged among the trials that have it, each once, and none of them is lost.
    """
    copy, time = np.arange(len(order))[:, None, None], np.arange(seen.shape[2])
    come_from = np.broadcast_to(order[..., None], seen.shape)
    while (lost := seen & ~seen[copy, come_from, time]).any():
        come_from = np.where(lost, order[copy, come_from], come_from)
    return come_from


def _path(
    recording: Recording,
    truth: _Truth,
    *,
    cut: Callable[[PopulationDataset], Windows],
    learner: Learner,
    most_trials: int,
    steps: int,
) -> tuple[Floats, Floats]:
    """(trial, individual, time, feature): values as the learner reads them, and the mean gradient of the score.

    Along the straight path from the mean of the training trials, which is 0; individuals that it does not read have 0.
    """
    name, level = truth.target.name, recording.target_levels[truth.target.name]
    known = truth.known.reshape(*truth.known.shape, *[1] * (truth.values.ndim - truth.known.ndim))
    coded = np.where(known, truth.values, -1 if truth.target.classes else np.nan)
    windows = cut(PopulationDataset(dataclasses.replace(recording, targets={name: coded}, target_levels={name: level})))
    is_asked = _taken(windows) if level == "bin" else None
    n_trials, _, n_bins, n_features = recording.values.shape
    values, gradient = np.zeros((2, n_trials, n_bins, len(windows.dataset.individual_ids), n_features))
    learner.eval()
    device, first = next(learner.parameters()).device, 0
    for batch in windows.dataset.batches(
        lambda *size: KEPT_FOR_GRADIENTS * learner.model.n_bytes(*size), most_trials=most_trials
    ):
        rows = slice(first, first + len(batch))
        counts = _is_known(batch.targets[name], n_leading=truth.known.ndim)
        if is_asked is not None:
            counts &= torch.from_numpy(is_asked[rows, : counts.shape[1]])
        mean = _mean_gradient(learner, batch.to(device), counts.to(device), truth, steps)
        bins = windows.start[rows, None] + np.arange(batch.values.shape[2])
        place = (np.broadcast_to(windows.trial[rows, None], bins.shape)[bins < n_bins], bins[bins < n_bins])
        values[place] = batch.values.numpy().swapaxes(1, 2)[bins < n_bins]
        np.add.at(gradient, place, mean.numpy(force=True).swapaxes(1, 2)[bins < n_bins])
        first += len(batch)
    whole = np.zeros((2, *recording.values.shape))
    whole[:, :, [recording.individual_ids.index(one) for one in windows.dataset.individual_ids]] = np.swapaxes(
        [values, gradient], 2, 3
    )
    return whole[0], whole[1]


def _mean_gradient(learner: Learner, batch: Batch, counts: Tensor, truth: _Truth, steps: int) -> Tensor:
    """(trial, individual, time, feature) gradients of the score by values, averaged along the path."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    mean = torch.zeros_like(batch.values)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        values = (float(point) * batch.values).requires_grad_()
        shown = batch.replace(values=values)
        answers = learner.objective.predict(learner.model(shown), shown)[truth.target.name]
        (gradient,) = torch.autograd.grad(truth.gained(answers, batch.targets[truth.target.name], counts), values)
        mean += float(weight) * gradient
    return mean


def _taken(windows: Windows) -> NDArray[np.bool_]:
    """(window, bin): whether what is read there is what the whole trial has; every bin of a trial once."""
    shape = len(windows.trial), windows.dataset.n_bins
    taken = windows.join(np.arange(float(np.prod(shape))).reshape(shape))
    found = np.zeros(shape, dtype=bool)
    found.ravel()[taken[~np.isnan(taken)].astype(np.int64)] = True
    return found


def _is_known(truth: Tensor, *, n_leading: int) -> Tensor:
    """Over the leading axes: whether codes are not below 0, or no number is NaN."""
    known = ~truth.isnan() if truth.is_floating_point() else truth >= 0
    return known.reshape(*known.shape[:n_leading], -1).all(-1)


def _attributed(values: Floats, gradient: Floats) -> tuple[Floats, Floats, Floats]:
    """What individuals add at each time, (individual, time), and the mean and spread of their sums, by chance.

    Over all orders of the trials that values come from, the sum over trials i of a(i, order(i)) has the mean of all
    a(i, j) times n, and the variance of their doubly centred squares, added up, over n - 1.

    Args:
        values: (trial, individual, time, feature).
        gradient: likewise.
    """
    n_trials, n_individuals = values.shape[:2]
    by_bin = (values * gradient).sum(axis=(0, 3))
    x, g = (array.swapaxes(0, 1).reshape(n_individuals, n_trials, -1) for array in (values, gradient))
    expected = n_trials * (x.mean(axis=1) * g.mean(axis=1)).sum(axis=1)
    squares = [
        _square_of_product(*pair)
        for pair in zip(x - x.mean(1, keepdims=True), g - g.mean(1, keepdims=True), strict=True)
    ]
    return by_bin, expected, np.sqrt(np.asarray(squares) / (n_trials - 1))


def _square_of_product(x: Floats, g: Floats) -> float:
    """The sum of the squares of all products of rows of (trial, number), by the smaller of two ways."""
    if len(x) <= x.shape[1]:
        return float(((x @ g.T) ** 2).sum())
    return float(((x.T @ x) * (g.T @ g)).sum())
