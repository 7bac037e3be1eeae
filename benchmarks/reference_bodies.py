"""The released EIT on bodies in the plane: which of all ways to part them into systems is it?

One class per way: 3 for four bodies in pairs, 10 for six in triples. A rival on the published tasks and nothing more:
with other bodies, or other sizes of systems, it cannot be used at all.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from motet.data.recording import Recording
from motet.errors import InputError
from motet.metrics import partition_accuracy
from motet.models.reference import EITReference
from motet.rivals.reference import train_reference

PUBLISHED_LEARNING_RATE, BATCH_TRIALS, DROPOUT = 1e-4, 64, 0.5
PUBLISHED_SIZES = {4: (16, 1), 6: (24, 2)}  # bodies → width, depth
MOST_INDIVIDUALS = 8  # whose orders are gone through one by one
SCORED_TRIALS = 250  # at a time


class Partitions:
    """All ways to part individuals into systems of given sizes, by number: the classes of the released head.

    Args:
        system: the system of each individual, in any one of these ways.

    Attributes:
        systems: (class, individual) the system of each individual.

    Raises:
        InputError: if there are more individuals than the released head can have classes for.

    Example:
        >>> ways = Partitions([0, 0, 1, 1])
        >>> len(ways)
        3
        >>> ways.classes(torch.tensor([[7, 7, 2, 2], [2, 2, 7, 7], [0, 1, 0, 1]])).tolist()
        [2, 2, 1]
    """

    def __init__(self, system: Sequence[int]) -> None:
        if not 2 <= len(system) <= MOST_INDIVIDUALS:
            raise InputError(
                f"there are {len(system)} individuals; the released EIT has a class for every way to part them, so "
                f"give from 2 to {MOST_INDIVIDUALS}, or use EITInteractions, which takes any number."
            )
        orders = torch.tensor(sorted(set(itertools.permutations(system))))
        codes, first = np.unique(_code(orders).numpy(), return_index=True)
        self._codes, self.systems = torch.from_numpy(codes), orders[torch.from_numpy(first)]

    def __len__(self) -> int:
        return len(self.systems)

    def classes(self, system: Int[Tensor, "trial individual"]) -> Int[Tensor, " trial"]:
        """The number of the way in which each trial is parted.

        Args:
            system: the system of each individual; what the systems are called does not matter.

        Raises:
            InputError: if a trial has other individuals or systems of other sizes.
        """
        if system.shape[1] == self.systems.shape[1]:
            code = _code(system)
            found = torch.searchsorted(self._codes, code).clamp(max=len(self) - 1)
            if bool((self._codes[found] == code).all()):
                return found
        raise InputError(
            f"a trial has other individuals or sizes of systems than {self.systems[0].tolist()} shows; the released "
            "EIT has classes for one composition only: give trials alike, or use EITInteractions, which takes any."
        )


def _code(system: Int[Tensor, "trial individual"]) -> Int[Tensor, " trial"]:
    """One bit per pair: whether the two are of one system."""
    first, second = torch.triu_indices(system.shape[1], system.shape[1], offset=1)
    return ((system[:, first] == system[:, second]) * 2 ** torch.arange(len(first))).sum(dim=1)


@dataclasses.dataclass(frozen=True)
class BodiesPoint:
    """How good the model was at one moment of its training.

    Attributes:
        n_epochs: each showed every training trial once, its bodies in a new order. The release counts one where it has
            shown all orders: 24 of four bodies, 720 of six.
        seconds: of training, without scoring.
        accuracy: fraction of test trials whose systems are all right: the class of the largest log-probability, mean
            over bins.
        bin_accuracy: fraction of single bins whose class is right, which is what the release reports.
    """

    n_epochs: int
    seconds: float
    accuracy: float
    bin_accuracy: float


@dataclasses.dataclass(frozen=True)
class BodiesRun:
    """One training of the released EIT on bodies.

    Attributes:
        learning_rate: of Adam.
        seed: of weights and training.
        n_parameters: with the idle feed-forward of the interaction transformer, as released.
        points: from the first to the last.
    """

    learning_rate: float
    seed: int
    n_parameters: int
    points: tuple[BodiesPoint, ...]

    @property
    def accuracy(self) -> float:
        """At the end of the training; not the best on the way, which would be chosen on test trials."""
        return self.points[-1].accuracy

    def accuracy_at(self, seconds: float) -> float:
        """After so many seconds of training, between the nearest two points."""
        return float(np.interp(seconds, [p.seconds for p in self.points], [p.accuracy for p in self.points]))


def reference_for_bodies(n_individuals: int, n_classes: int, *, seed: int = 0) -> EITReference:
    """The released EIT for bodies in the plane: it reads positions (x, y).

    Four bodies: width 16, one layer each; six: width 24, two. Attention alone in the interaction transformer, which
    drops out half; the projections do not drop out.

    Raises:
        InputError: for another number of bodies.

    Example:
        >>> reference_for_bodies(4, 3)(torch.zeros(5, 10, 4, 2)).population.shape
        torch.Size([5, 10, 3])
    """
    if n_individuals not in PUBLISHED_SIZES:
        raise InputError(f"there are {n_individuals} bodies; the EIT was released for 4 and for 6 of them.")
    width, depth = PUBLISHED_SIZES[n_individuals]
    return EITReference(
        n_individuals,
        n_classes,
        width=width,
        depth=depth,
        dropout=DROPOUT,
        head_dropout=0.0,
        n_features=2,
        attention_alone=True,
        seed=seed,
    )


def train_reference_bodies(
    train: Recording,
    test: Recording,
    *,
    seconds: float = math.inf,
    n_epochs: int | None = None,
    learning_rate: float = PUBLISHED_LEARNING_RATE,
    individual_weight: float = 0.5,
    seed: int = 0,
    n_points: int = 20,
) -> BodiesRun:
    """Train the released EIT to tell which bodies belong together, and score it on the way.

    Every batch draws an order of the bodies per trial, and the class follows from it; test trials have one random order
    each. Positions are read as they are. The seconds are those of the clock: set the threads of torch before.

    Args:
        train: positions of bodies, with the target "system" per individual.
        test: the same bodies in other trials.
        seconds: of training; it ends with the epoch in which they are over.
        n_epochs: at most; one of these two must be given.
        learning_rate: of Adam; as published by default.
        individual_weight: of the cross-entropy of the individual head. The released many-body scripts leave it out (0);
            the paper and the other scripts have ½.
        seed: of weights, orders and dropout, and of the orders of test trials.
        n_points: how often the test trials are scored, at equal distances.

    Raises:
        InputError: if neither seconds nor n_epochs is given, a bin is not observed, there are other than 4 or 6 bodies
            in the plane, or systems differ in size from trial to trial.

    Example:
        >>> from motet.systems import simulate
        >>> train, test = (simulate("gravity", protocol="published", n_trials=20, seed=seed)[0] for seed in (0, 1))
        >>> [point.n_epochs for point in train_reference_bodies(train, test, n_epochs=4, n_points=2).points]
        [2, 4]
    """
    if n_epochs is None and math.isinf(seconds):
        raise InputError("the training has no end; give seconds, or n_epochs.")
    if n_points < 1:
        raise InputError(f"n_points is {n_points}; give 1 or more.")
    most_epochs = sys.maxsize if n_epochs is None else n_epochs
    positions, system = _read(train)
    ways = Partitions(system[0].tolist())
    test_positions, test_system = _read(test)
    ways.classes(test_system)  # refuse other sizes before training
    test_positions, test_system = permuted_bodies(test_positions, test_system, torch.Generator().manual_seed(seed))
    model = reference_for_bodies(positions.shape[2], len(ways), seed=seed)
    points: list[BodiesPoint] = []

    def reorder(values: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        values, moved = permuted_bodies(values, ways.systems[labels], generator)
        return values, ways.classes(moved)

    def score(epoch: int, spent: float, model: EITReference) -> None:
        if max(spent / seconds, epoch / most_epochs) * n_points >= len(points) + 1:
            points.append(BodiesPoint(epoch, spent, *_accuracies(model, ways, test_positions, test_system)))

    train_reference(
        model,
        positions,
        ways.classes(system),
        n_epochs=most_epochs,
        max_seconds=seconds,
        seed=seed,
        batch_size=BATCH_TRIALS,
        learning_rate=learning_rate,
        individual_weight=individual_weight,
        augment=reorder,
        on_epoch=score,
    )
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    return BodiesRun(learning_rate, seed, n_parameters, tuple(points))


def permuted_bodies(
    positions: Float[Tensor, "trial time individual feature"],
    system: Int[Tensor, "trial individual"],
    generator: torch.Generator,
) -> tuple[Float[Tensor, "trial time individual feature"], Int[Tensor, "trial individual"]]:
    """The bodies of every trial in a random order, all orders at equal odds, and their systems with them."""
    order = torch.rand(system.shape, generator=generator).argsort(dim=1)
    return positions.take_along_dim(order[:, None, :, None], dim=2), system.gather(1, order)


def _accuracies(model: EITReference, ways: Partitions, positions: Tensor, system: Tensor) -> tuple[float, float]:
    """Of trials and of single bins."""
    with torch.no_grad():
        log_p = torch.cat([model(part).population.log_softmax(-1) for part in torch.split(positions, SCORED_TRIALS)])
    found = ways.systems[log_p.mean(dim=1).argmax(dim=-1)]
    of_bins = (log_p.argmax(dim=-1) == ways.classes(system)[:, None]).double().mean()
    return partition_accuracy(prediction=found.numpy(), target=system.numpy()), float(of_bins)


def _read(
    recording: Recording,
) -> tuple[Float[Tensor, "trial time individual feature"], Int[Tensor, "trial individual"]]:
    """Positions and systems as the released EIT reads them."""
    name, system = f"recording {recording.name!r}", recording.target("system")
    if not recording.observed.all() or recording.n_features != 2:
        raise InputError(
            f"{name} has gaps, or not two features; the released EIT takes positions (x, y), all observed."
        )
    if recording.target_levels["system"] != "individual" or system.dtype.kind not in "iu" or system.min() < 0:
        raise InputError(f"target 'system' of {name} is not a whole number from 0 for every individual; give that.")
    values = torch.from_numpy(recording.values).float()
    values = rearrange(values, "trial individual time feature -> trial time individual feature").contiguous()
    return values, torch.from_numpy(np.array(system, dtype=np.int64))
