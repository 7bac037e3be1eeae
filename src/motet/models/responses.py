"""How individuals respond: a closed-form rule of what trials tell of an individual, and of how individuals differ.

The *response* of an individual is a course over conditions and time: the log of its rate, for counts, or its mean. It
is a sum of few functions, f = Φ w. What some trials tell of w is kept as a normal likelihood (`Responses`). How
individuals differ is a mixture of normal distributions, the *types* (`ResponsePrior`), learned from the individuals
themselves by EM: no label, no identity. With it everything is in closed form:

- what an individual's response is, with its uncertainty (`posterior`);
- the Bayes factor that two individuals have one response rather than two (`log_bayes_factor`);
- its *shape*, the response without its level and up to its depth (`shapes`), a distribution that other individuals'
  can be compared with.

An order around a circle of the conditions, such as directions, is found out: the prior is learned with and without,
and the likelier is kept.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from motet.data.recording import Recording
from motet.errors import InputError
from motet.matching import Embedding

Floats = NDArray[np.float64]
N_TIMES = 4  # cosines over the trial
N_HARMONICS = 2  # around the circle
N_TYPES = 6
N_ROUNDS = 40  # of EM
N_NEWTON = 6  # steps per round
PSEUDO_INDIVIDUALS = 8.0  # that a type begins with
PSEUDO_COUNTS = 20.0  # of a dispersion
FEWEST_CIRCULAR = 4  # conditions
KNOWN_SHARE = 0.5  # of the mean square of a shape


@dataclasses.dataclass(frozen=True, eq=False)
class Totals:
    """What an individual's trials sum up to.

    Attributes:
        total: (individual, condition, time), summed over the trials of a condition.
        n: (individual, condition, time) trials that were observed.
        spread: (individual,) of counts, variance over mean within a condition and bin, at least 1; of other values the
            variance there.
        are_counts: whether values are counts.
    """

    total: Floats
    n: Floats
    spread: Floats
    are_counts: bool

    @classmethod
    def of(cls, recording: Recording, labels: NDArray[np.int64], n_conditions: int, n_bins: int) -> Totals:
        """Sums over trials.

        Args:
            recording: of one feature.
            labels: (trial,) the condition of each trial; trials below 0 are left out.
            n_conditions: labels are below.
            n_bins: first bins that are read.

        Raises:
            InputError: if there are several features.
        """
        if recording.n_features != 1:
            raise InputError(
                f"recording {recording.name!r} has {recording.n_features} features; responses are of one: give "
                "recordings of spike counts, or embeddings of a run."
            )
        values = recording.values[:, :, :n_bins, 0].astype(np.float64)
        observed = recording.observed[:, :, :n_bins].astype(np.float64)
        is_in = (labels == np.arange(n_conditions)[:, None]).astype(np.float64)
        n, total, squares = (
            np.einsum("ct,tib->icb", is_in, part, optimize=True) for part in (observed, values, values**2)
        )
        mean = total / np.maximum(n, 1)
        within = np.where(n > 1, squares - n * mean**2, 0.0).clip(min=0).sum(axis=(1, 2))
        dof = np.maximum(n - 1, 0)
        are_counts = bool((values >= 0).all() and (values == np.rint(values)).all())
        if are_counts:
            spread = (within + PSEUDO_COUNTS) / ((mean * dof).sum(axis=(1, 2)) + PSEUDO_COUNTS)
            spread = np.maximum(spread, 1.0)
        else:
            typical = within.sum() / max(dof.sum(), 1.0)
            spread = (within + typical) / (dof.sum(axis=(1, 2)) + 1)
            spread = np.maximum(spread, 1e-9 * typical + 1e-300)
        return cls(total, n, spread, are_counts)

    def __len__(self) -> int:
        return len(self.total)


@dataclasses.dataclass(frozen=True, eq=False)
class Basis:
    """Functions of condition and time that responses are sums of.

    Attributes:
        functions: (condition × time, function); condition functions first, times of each inside. The first function is
            constant.
        groups: condition functions that only differ by how conditions are turned or renamed: a prior cannot tell them
            apart.
        n_times: functions of time.
    """

    functions: Floats
    groups: tuple[tuple[int, ...], ...]
    n_times: int

    @classmethod
    def over(cls, n_conditions: int, n_bins: int, *, is_circular: bool) -> Basis:
        """Harmonics around the circle, or all differences between conditions; cosines over time."""
        time = (np.arange(n_bins) + 0.5) / n_bins
        times = np.stack([np.cos(np.pi * k * time) * (1 if k == 0 else 2**0.5) for k in range(min(n_bins, N_TIMES))], 1)
        conditions = [np.ones(n_conditions)]
        groups: list[tuple[int, ...]] = [(0,)]
        if is_circular:
            angle = 2 * np.pi * np.arange(n_conditions) / n_conditions
            for order in range(1, N_HARMONICS + 1):
                waves = [np.cos(order * angle), np.sin(order * angle)][: 1 if 2 * order == n_conditions else 2]
                groups.append(tuple(range(len(conditions), len(conditions) + len(waves))))
                conditions += [wave * (n_conditions / (wave**2).sum()) ** 0.5 for wave in waves]
        elif n_conditions > 1:
            differences = np.linalg.qr(np.column_stack([conditions[0], np.eye(n_conditions)[:, 1:]]))[0][:, 1:]
            conditions += list(differences.T * n_conditions**0.5)
            groups.append(tuple(range(1, n_conditions)))
        functions = np.einsum("kc,tl->ctkl", np.stack(conditions), times)
        return cls(functions.reshape(n_conditions * n_bins, -1), tuple(groups), times.shape[1])

    @property
    def n_functions(self) -> int:
        return self.functions.shape[1]

    @functools.cached_property
    def products(self) -> Floats:
        """(condition × time, function²) of every two functions."""
        products = self.functions[:, :, None] * self.functions[:, None]
        return np.asarray(products.reshape(len(self.functions), -1))

    def alike(self, second_moment: Floats) -> Floats:
        """A covariance (function, function) that is the same however conditions are turned or renamed."""
        n = self.n_times
        blocks = second_moment.reshape(-1, n, second_moment.shape[1] // n, n)
        result = np.zeros_like(blocks)
        for group in self.groups:
            mean = np.mean([blocks[k, :, k] for k in group], axis=0)
            for k in group:
                result[k, :, k] = mean
        return result.reshape(second_moment.shape)

    def centre(self, mean: Floats) -> Floats:
        """A mean (function,) that is: what does not depend on the condition."""
        return np.where(np.arange(len(mean)) < self.n_times, mean, 0.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Responses:
    """A normal likelihood of each individual's response, exp(c - ½ wᵀ Λ w + hᵀ w).

    Attributes:
        precision: (individual, function, function) Λ.
        linear: (individual, function) h.
        constant: (individual,) c, up to what does not depend on the functions.
    """

    precision: Floats
    linear: Floats
    constant: Floats

    def __len__(self) -> int:
        return len(self.linear)

    @classmethod
    def of(
        cls, totals: Totals, basis: Basis, mean: Floats, covariance: Floats, start: Floats | None = None
    ) -> tuple[Responses, Floats]:
        """The likelihood, about the most probable response under a normal prior, and that response.

        Counts are Poisson, tempered by their dispersion; Newton's method finds the most probable response. Other values
        are normal, and their likelihood is exact.
        """
        total, n = (part.reshape(len(totals), -1) for part in (totals.total, totals.n))
        spread = totals.spread[:, None]
        shape = (len(totals), basis.n_functions, basis.n_functions)
        if not totals.are_counts:
            precision = (n / spread @ basis.products).reshape(shape)
            responses = cls(precision, total / spread @ basis.functions, np.zeros(len(totals)))
            return responses, responses.posterior(mean, covariance)[0]
        inverse = np.linalg.inv(covariance)
        if start is None:
            start = np.tile(mean, (len(totals), 1))
            start[:, 0] = np.log((total.sum(axis=1) + 0.5) / np.maximum(n.sum(axis=1), 1))
        w, precision, gradient, log_rate = start, np.zeros(shape), np.zeros_like(start), np.zeros_like(total)
        for step in range(N_NEWTON + 1):
            log_rate = np.clip(w @ basis.functions.T, -12, 8)
            expected = n * np.exp(log_rate) / spread
            precision = (expected @ basis.products).reshape(shape)
            gradient = (total / spread - expected) @ basis.functions
            if step < N_NEWTON:
                change = np.linalg.solve(precision + inverse, (gradient - (w - mean) @ inverse)[..., None])[..., 0]
                size = np.abs(change @ basis.functions.T).max(axis=1, keepdims=True)
                w = w + change * np.minimum(1.0, 2.0 / np.maximum(size, 1e-9))
        curved = np.einsum("ide,ie->id", precision, w)
        constant = (total / spread * log_rate - n * np.exp(log_rate) / spread).sum(axis=1)
        return cls(precision, gradient + curved, constant - ((gradient + curved / 2) * w).sum(axis=1)), w

    def posterior(self, mean: Floats, covariance: Floats) -> tuple[Floats, Floats]:
        """Mean (individual, function) and covariance (individual, function, function) under a normal prior."""
        inverse = np.linalg.inv(covariance)
        posterior = np.linalg.inv(self.precision + inverse)
        return np.einsum("ide,ie->id", posterior, self.linear + inverse @ mean), posterior

    def log_evidence(self, mean: Floats, covariance: Floats) -> Floats:
        """Log of ∫ likelihood × prior, (individual,)."""
        return _log_evidence(self.precision, self.linear, mean, covariance)


@dataclasses.dataclass(frozen=True, eq=False)
class Posterior:
    """What is known of responses.

    Attributes:
        mean: (individual, function).
        covariance: (individual, function, function).
        type: (individual, type) probability.
    """

    mean: Floats
    covariance: Floats
    type: Floats


@dataclasses.dataclass(frozen=True, eq=False)
class ResponsePrior:
    """How individuals of a kind differ in their responses: a mixture of normal distributions, the types.

    Attributes:
        basis: of responses.
        weight: (type,) how frequent.
        mean: (type, function).
        covariance: (type, function, function).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> depth = rng.normal(size=(40, 1, 1))
        >>> rate = np.exp(1 + depth * np.cos(np.pi * np.arange(4) / 2)[:, None] + np.zeros(5))
        >>> total, n = rng.poisson(10 * rate) + 0.0, np.full((40, 4, 5), 10.0)
        >>> prior, (responses,) = ResponsePrior.fit([Totals(total, n, np.ones(40), True)])
        >>> prior.log_bayes_factor(responses, responses).argmax(axis=1).tolist() == list(range(40))
        True
    """

    basis: Basis
    weight: Floats
    mean: Floats
    covariance: Floats

    @property
    def n_parameters(self) -> int:
        """Numbers that were learned: of each type its weight, mean, and a covariance per group of functions."""
        n = self.basis.n_times
        return len(self.weight) * (1 + n + len(self.basis.groups) * n * (n + 1) // 2)

    @classmethod
    def fit(cls, populations: Sequence[Totals]) -> tuple[ResponsePrior, list[Responses]]:
        """Learn from the individuals of all populations; gives their likelihoods too.

        Who is whom between populations is not asked.
        """
        # 1. One normal distribution, with and without an order of the conditions around a circle
        n_conditions, n_bins = populations[0].total.shape[1:]
        kinds = [False, True] if n_conditions >= FEWEST_CIRCULAR else [False]
        fits = [_OneType.fit(populations, Basis.over(n_conditions, n_bins, is_circular=kind)) for kind in kinds]
        one = max(fits, key=lambda fit: fit.log_likelihood)
        basis, d, together = one.basis, one.basis.n_functions, _together(one.responses)

        # 2. Types: scales of it at first, then free
        scales = np.sqrt(np.geomspace(0.05, 2.5, N_TYPES))
        factor = np.where(np.arange(d) == 0, 1.0, scales[:, None])
        covariance = one.covariance * factor[:, :, None] * factor[:, None]
        mean, weight = np.tile(one.mean, (N_TYPES, 1)), np.full(N_TYPES, 1 / N_TYPES)
        least = 0.1 * np.diag(np.diag(one.covariance))
        for _ in range(N_ROUNDS):
            share, _ = _shares(together, weight, mean, covariance)
            weight = (share.sum(axis=0) + 1) / (len(share) + N_TYPES)
            for k in range(N_TYPES):
                w, uncertain = together.posterior(mean[k], covariance[k])
                n = share[:, k].sum() + PSEUDO_INDIVIDUALS
                mean[k] = basis.centre((share[:, k] @ w + PSEUDO_INDIVIDUALS * one.mean) / n)
                apart = w - mean[k]
                moment = (share[:, k, None] * apart).T @ apart + np.einsum("i,ide->de", share[:, k], uncertain)
                covariance[k] = (basis.alike(moment) + PSEUDO_INDIVIDUALS * least) / n
        return cls(basis, weight, mean, covariance), one.responses

    def log_evidence(self, precision: Floats, linear: Floats) -> Floats:
        """Log of ∫ likelihood × prior, (…,) of (…, function, function) and (…, function)."""
        parts = [
            np.log(weight) + _log_evidence(precision, linear, mean, covariance)
            for weight, mean, covariance in zip(self.weight, self.mean, self.covariance, strict=True)
        ]
        return np.asarray(np.logaddexp.reduce(parts, axis=0))

    def log_bayes_factor(self, a: Responses, b: Responses) -> Floats:
        """(a, b): log of how much likelier it is that both have one response than that each has its own."""
        alone = [self.log_evidence(side.precision, side.linear) for side in (a, b)]
        same = [
            self.log_evidence(precision + b.precision, linear + b.linear)
            for precision, linear in zip(a.precision, a.linear, strict=True)
        ]
        return np.stack(same) - alone[0][:, None] - alone[1]

    def posterior(self, responses: Responses) -> Posterior:
        """What is known of responses: the moments of the mixture, and the probability of each type."""
        share, _ = _shares(responses, self.weight, self.mean, self.covariance)
        parts = [responses.posterior(mean, cov) for mean, cov in zip(self.mean, self.covariance, strict=True)]
        w, uncertain = (np.stack(side, axis=1) for side in zip(*parts, strict=True))
        mean = np.einsum("ik,ikd->id", share, w)
        second = np.einsum("ik,ikde->ide", share, uncertain) + np.einsum("ik,ikd,ike->ide", share, w, w)
        return Posterior(mean, second - mean[:, :, None] * mean[:, None], share)

    def shapes(self, responses: Responses) -> Embedding:
        """Responses without their level and up to their depth.

        Both are divided by the root mean square of what is left, so that E |shape|² is 1: an individual whose response
        is not known, or is flat, is a cloud about 0. Known is one whose mean is half of that at least.
        """
        found = self.posterior(responses)
        mean, covariance = found.mean[:, 1:], found.covariance[:, 1:, 1:]
        size = np.sqrt((mean**2).sum(axis=1) + np.trace(covariance, axis1=1, axis2=2))
        mean = mean / size[:, None]
        return Embedding(mean, covariance / size[:, None, None] ** 2, (mean**2).sum(axis=1) >= KNOWN_SHARE)

    def courses(self, responses: Responses, n_bins: int) -> Floats:
        """(individual, condition, time) mean responses."""
        course = self.posterior(responses).mean @ self.basis.functions.T
        return course.reshape(len(course), -1, n_bins)


@dataclasses.dataclass(frozen=True, eq=False)
class _OneType:
    """A prior of one normal distribution, and how likely the individuals are that it was learned from."""

    basis: Basis
    mean: Floats
    covariance: Floats
    responses: list[Responses]
    log_likelihood: float

    @classmethod
    def fit(cls, populations: Sequence[Totals], basis: Basis) -> _OneType:
        """By EM; likelihoods are about the most probable responses."""
        d = basis.n_functions
        mean, covariance = _first_guess(populations, basis)
        modes: list[Floats | None] = [None] * len(populations)
        found: list[Responses] = []
        log_likelihood = -np.inf
        for _ in range(N_ROUNDS // 3):
            pairs = [
                Responses.of(totals, basis, mean, covariance, mode)
                for totals, mode in zip(populations, modes, strict=True)
            ]
            found, modes = [one for one, _ in pairs], [mode for _, mode in pairs]
            together = _together(found)
            log_likelihood = float((together.log_evidence(mean, covariance) + together.constant).sum())
            w, uncertain = together.posterior(mean, covariance)
            mean = basis.centre(w.mean(axis=0))
            covariance = basis.alike((w - mean).T @ (w - mean) + uncertain.sum(axis=0)) / len(w)
            covariance = covariance + 1e-3 * np.trace(covariance) / d * np.eye(d)
        return cls(basis, mean, covariance, found, log_likelihood)


def _first_guess(populations: Sequence[Totals], basis: Basis) -> tuple[Floats, Floats]:
    """A wide prior, about the mean level."""
    total, n = (sum(getattr(one, name).sum() for one in populations) for name in ("total", "n"))
    d = basis.n_functions
    mean = np.zeros(d)
    scale = 1.0
    if populations[0].are_counts:
        mean[0] = np.log((total + 0.5) / max(n, 1))
    else:
        mean[0] = total / max(n, 1)
        means = np.concatenate([(one.total / np.maximum(one.n, 1)).ravel() for one in populations])
        scale = float(np.var(means)) + 1e-300
    covariance = np.eye(d) * 0.1 * scale
    covariance[0, 0] = 3.0 * scale
    return mean, covariance


def _together(parts: Sequence[Responses]) -> Responses:
    return Responses(
        *(np.concatenate([getattr(one, name) for one in parts]) for name in ("precision", "linear", "constant"))
    )


def _shares(responses: Responses, weight: Floats, mean: Floats, covariance: Floats) -> tuple[Floats, float]:
    """(individual, type) probabilities, and the log-likelihood of all."""
    logs = np.stack(
        [np.log(w) + responses.log_evidence(m, c) for w, m, c in zip(weight, mean, covariance, strict=True)], axis=1
    )
    total = np.logaddexp.reduce(logs, axis=1)
    return np.exp(logs - total[:, None]), float(total.sum())


def _log_evidence(precision: Floats, linear: Floats, mean: Floats, covariance: Floats) -> Floats:
    """Log of ∫ exp(-½ wᵀ Λ w + hᵀ w) N(w; mean, covariance) dw, (…,)."""
    inverse = np.linalg.inv(covariance)
    shifted = linear + inverse @ mean
    root = np.linalg.cholesky(precision + inverse)
    solved = np.linalg.solve(root, shifted[..., None])[..., 0]
    log_det = 2 * np.log(np.diagonal(root, axis1=-2, axis2=-1)).sum(axis=-1) + np.linalg.slogdet(covariance)[1]
    return np.asarray(((solved**2).sum(axis=-1) - log_det - mean @ inverse @ mean) / 2)
