"""Classes on a circle, found without any label: what is then known, is known up to rotations and reflections of it.

1. First guess: the angle of a trial in the plane of the two leading principal components of all signals, without what
   a common gain and offset explain; evened out.
2. Ring: expectation maximisation with candidates that are finer than the classes, so that no class is split between
   two. Beliefs are tempered to be as wide as a class, so that neither the number of individuals nor noise matters.
3. Classes: where on the ring most trials lie; then expectation maximisation with the classes themselves.
4. Placement: by convention.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from motet.models.tuning import Candidates, Signals, Tuning, TuningReadout, balanced, trust_of

FINE = 3  # candidates of the ring for each class
ROUNDS = 12
FIRST_WIDTH = 3.0  # of beliefs, in classes; the last is 1
CONCENTRATION = 4.0  # of beliefs around a guess
LEAST_SPREAD = 0.3  # of a root count: individuals that are nearly silent have no say in the first guess
BALANCE = 0.5  # how far trials are believed to be of all classes equally: no label says anything of it
N_BISECTIONS = 30


@torch.no_grad()
def find_ring(
    readout: TuningReadout,
    signals: Signals,
    candidates: Candidates,
    before: Float[Tensor, "trial candidate"] | None = None,
) -> tuple[Tuning, Float[Tensor, "trial candidate"], Float[Tensor, " trial"]]:
    """Curves of a population of which no trial has a label.

    Args:
        readout: what is fitted.
        signals: of unlabelled trials, about as many of each class.
        candidates: classes evenly around a circle, in its order.
        before: what was believed of the trials, which the placement agrees with best; by default the first trial that
            counts is of the first class, and the next that is neither of it nor opposite on the side of the second.

    Returns:
        Tuning; log-likelihood of the trials; and how much each counts (see `trust_of`): less if it is strange beside
        the others.
    """
    n = len(candidates)

    def step(belief: Tensor, among: Candidates) -> tuple[Tuning, Tensor, Tensor]:
        none, no_belief = signals[:0], belief[:0]
        tuning, likelihood = readout.judged(none, no_belief, signals, belief, among)
        return tuning, likelihood, _trusted(readout.strangeness(tuning.with_prior_noise, signals), signals)

    # 1. First guess
    phase, trust = _first_guess(signals)
    belief = _around(phase, FINE * n) * trust[:, None]

    # 2. Ring
    ring = Candidates.circle(_angles(FINE * n), readout.settings.harmonics)
    for round in range(ROUNDS):
        _, likelihood, trust = step(belief, ring)
        belief = balanced(_as_wide(likelihood, FINE * FIRST_WIDTH ** (1 - round / (ROUNDS - 1))), trust, BALANCE)

    # 3. Classes
    phase = (belief * torch.exp(1j * _angles(FINE * n))).sum(1).angle()
    phase = phase - (trust * torch.exp(1j * n * phase)).sum().angle() / n
    belief = _around(phase, n) * trust[:, None]
    for _ in range(readout.settings.rounds):
        _, likelihood, trust = step(belief, candidates)
        belief = balanced(likelihood.softmax(1), trust, BALANCE)

    # 4. Placement
    ways = torch.tensor(placements(n))
    if before is None:
        way = ways[_by_convention(likelihood.argmax(1)[trust > 0], n)]
    else:
        way = ways[torch.stack([(before * belief[:, way]).sum() for way in ways]).argmax()]
    belief = belief[:, way]
    return step(belief, candidates)


def placements(n_classes: int) -> list[list[int]]:
    """All rotations and reflections of classes evenly around a circle: which class each becomes."""
    return [
        [(turn + way * place) % n_classes for place in range(n_classes)] for way in (1, -1) for turn in range(n_classes)
    ]


def _first_guess(signals: Signals) -> tuple[Float[Tensor, " trial"], Float[Tensor, " trial"]]:
    """Angles in the plane in which trials differ most, beside a common gain and offset; and how much trials count."""
    present = signals.present[..., None].double()
    n_seen = present.sum(0).clamp(min=1)
    mean = (signals.values * present).sum(0) / n_seen
    offset = torch.zeros_like(mean)
    offset[:, 0] = 1
    common = torch.linalg.qr(torch.stack((mean.flatten(), offset.flatten()), 1))[0]
    away = ((signals.values - mean) * present).flatten(1)
    away = (away - away @ common @ common.T).view(signals.values.shape)
    away = (away / ((away.square().sum(0) / n_seen).sqrt() + LEAST_SPREAD)).flatten(1)
    trust = _trusted(away.square().mean(1), signals)
    leading = torch.linalg.svd(away * trust[:, None], full_matrices=False)[0]
    rank = torch.atan2(leading[:, 1], leading[:, 0]).argsort().argsort()
    return 2 * math.pi * rank / len(rank), trust


def _trusted(strange: Float[Tensor, " trial"], signals: Signals) -> Float[Tensor, " trial"]:
    """What is usual, the median trial says."""
    is_present = signals.present.any(1)
    return trust_of(strange, strange[is_present].median()) * is_present


def _angles(n: int) -> Float[Tensor, " candidate"]:
    return 2 * math.pi / n * torch.arange(n, dtype=torch.float64)


def _around(phase: Float[Tensor, " trial"], n: int) -> Float[Tensor, "trial candidate"]:
    return (CONCENTRATION * (phase[:, None] - _angles(n)).cos()).softmax(1)


def _as_wide(likelihood: Float[Tensor, "trial candidate"], width: float) -> Float[Tensor, "trial candidate"]:
    """Beliefs at the power at which their mean entropy is that of so many equally probable candidates."""
    low, high = -12.0, 12.0
    for _ in range(N_BISECTIONS):
        power = (low + high) / 2
        belief = (likelihood * math.exp(power)).softmax(1)
        is_wide = -torch.xlogy(belief, belief).sum(1).mean() > math.log(width)
        low, high = (power, high) if is_wide else (low, power)
    return belief


def _by_convention(classes: Int[Tensor, " trial"], n: int) -> int:
    """Which of the placements turns the first of these classes to 0, and the next to a side of it to less than half."""
    first = int(classes[0])
    beside = (classes - first) % n
    beside = beside[(beside != 0) & (2 * beside != n)]
    return first + n * (len(beside) > 0 and 2 * int(beside[0]) > n)
