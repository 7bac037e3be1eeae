"""The one contract of all that answers a question: a model, a rival, an oracle, a shuffled control.

A *question* says what is asked of a test population: a target, who interacts with whom, what happens next. A *method*
is fitted to training trials for a question, and its fitted form answers it for trials of which it sees no target. An
*answer* is arrays by name, each over the trials of all recordings in order.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from motet.data.dataset import PopulationDataset
from motet.data.motion import Features
from motet.data.pairs import are_pairs
from motet.data.recording import Level, Recording
from motet.errors import InputError
from motet.matching import Pairing
from motet.models.geometry import Geometry
from motet.training.run import Run

Answer = Mapping[str, NDArray[Any]]
Kind = Literal["model", "rival", "oracle", "control"]
Say = Callable[[float, str], None]
"""Called with how much of the work was done since, as a fraction, and the latest news."""


@dataclasses.dataclass(frozen=True)
class TargetQuestion:
    """What is this target, per trial or per bin? Answered by "prediction", (trial, …) or (trial, time, …).

    Attributes:
        target: its name.
        kind: a "class" or a "quantity".
        level: of the target.
        class_target: a target per trial of one class, which trials are grouped by, such as the direction of a reach.
            Methods may read it in training.
    """

    target: str
    kind: Literal["class", "quantity"]
    level: Level
    class_target: str | None = None

    def read(self, recording: Recording) -> NDArray[Any]:
        """The target of a recording; an `InputError` if it is not of the kind and level that were asked for."""
        goal, level = recording.target(self.target), recording.target_levels[self.target]
        kind = "quantity" if goal.dtype.kind == "f" else "class"
        has_shape = kind == "quantity" or goal.ndim == (1 if level == "trial" else 2)
        if not has_shape or (kind, level) != (self.kind, self.level):
            raise InputError(
                f"target {self.target!r} of recording {recording.name!r} has shape {goal.shape} of {goal.dtype} per "
                f"{level}; one {self.kind} per {self.level} was asked for."
            )
        return goal


@dataclasses.dataclass(frozen=True)
class PairQuestion:
    """Who interacts with whom? Answered by "log_probability", (trial, individual, individual, type); NaN if no pair.

    Attributes:
        target: per pair, the edge type; below 0 where it is not known.
        types: edge types, sorted; the first is none.
        is_directed: whether the two orders of a pair may differ.
        features: what the features of recordings are.
    """

    target: str
    types: tuple[int, ...]
    is_directed: bool
    features: Features

    def read(self, recording: Recording) -> NDArray[np.int64]:
        """(trial, individual, individual) positions among `types`; -1 for no pair, or not known.

        Raises:
            InputError: if the target is no whole number per pair, or holds other types.
        """
        goal, level = recording.target(self.target), recording.target_levels[self.target]
        name = f"target {self.target!r} of recording {recording.name!r}"
        if level != "pair" or goal.dtype.kind not in "biu" or goal.ndim != 3:
            raise InputError(f"{name} has shape {goal.shape} of {goal.dtype}; give one whole number per pair.")
        known = are_pairs(recording.observed) & (goal >= 0)
        if len(strange := np.setdiff1d(goal[known], self.types)):
            raise InputError(f"{name} has edge type {strange[0]}; the model knows {', '.join(map(str, self.types))}.")
        return np.where(known, np.searchsorted(self.types, goal), -1)


@dataclasses.dataclass(frozen=True)
class MotionQuestion:
    """Where do individuals go after the context? Answered by "places", "velocities" and perhaps "couplings".

    As `motet.models.continuation.Forecasted`. Training trials are windows of context and horizon; those of a test are
    contexts alone.

    Attributes:
        geometry: units, and what the features of recordings are.
        n_context: bins of context.
        n_bins: how far to go.
        n_substeps: of integration, per bin.
        shoots: whether forecasts start from a trajectory that is fitted finely to the whole context.
    """

    geometry: Geometry
    n_context: int
    n_bins: int
    n_substeps: int = 8
    shoots: bool = True


@dataclasses.dataclass(frozen=True, eq=False)
class Draw:
    """What a decoder of a new population may learn from, and what it is tested on.

    Attributes:
        labelled: calibration trials with the target; None if there is no label at all.
        unlabelled: trials without it; None if there are none.
        tested: (tested,) positions among the test trials; as many in every draw.
    """

    labelled: Recording | None
    unlabelled: Recording | None
    tested: NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class TransferQuestion:
    """What is this target in a population of which little is known? Answered by "prediction", (draw, tested, …).

    Training trials are of other populations: nobody in them is in the test.

    Attributes:
        goal: the target.
        draws: of calibration trials.
        tests_together: whether the tested trials may be looked at together, as if they were unlabelled; otherwise each
            is answered alone.
        period: classes per turn, where they lie on a circle: class c is at the angle 2πc / period. None for categories.
            Of the goal, or of its `class_target` if the goal is a quantity.
    """

    goal: TargetQuestion
    draws: tuple[Draw, ...]
    tests_together: bool = False
    period: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class MatchQuestion:
    """Who of the first of two recordings is whom in the second? Answered by "score" (a, b), more being more alike.

    An answer may hold too, as `motet.matching.Matches`: "partner", "confidence", "is_declared" (a,), "p_shared" (1,);
    and "claims_role" (1,), whether it claims that partners play one role, not that they are one individual.
    Ids never count: those of the recordings that are shown say nothing, and their individuals are in any order.

    Attributes:
        labels: by the name of a recording, (trial,) the condition of each of its trials, -1 where it has none.
        n_conditions: that there are.
        n_bins: first bins of a trial that are read.
        fdr: the rate of false matches among those that are declared.
        pairing: how partners by distance are chosen.
        seed: of random draws.
    """

    labels: Mapping[str, NDArray[np.int64]]
    n_conditions: int
    n_bins: int
    fdr: float = 0.05
    pairing: Pairing = "nearest"
    seed: int = 0


Question = TargetQuestion | PairQuestion | MotionQuestion | TransferQuestion | MatchQuestion


@runtime_checkable
class Fitted(Protocol):
    """A method that has seen training trials.

    Attributes:
        n_parameters: numbers that were learned.
        about: what else a table or results.json should say, as plain values; "chosen", by option, is what was tuned.
    """

    @property
    def n_parameters(self) -> int: ...

    @property
    def about(self) -> Mapping[str, Any]: ...

    def predict(self, test: PopulationDataset) -> Answer:
        """The answer for trials whose targets are stripped (but for an oracle)."""


class Method(abc.ABC):
    """Something that answers questions.

    Attributes:
        name: the row of a table.
        kind: "model", "rival"; "oracle", which sees the targets of test trials; "control", which shows chance.
        trains: whether it is trained by `motet.training.loop`, perhaps in several processes.
        of: the method whose training it answers from, if it has none of its own.
    """

    name: str
    kind: Kind = "rival"
    trains: ClassVar[bool] = False
    of: Method | None = None

    @abc.abstractmethod
    def fit(
        self, train: PopulationDataset | None, question: Any, *, run: Run | None = None, say: Say | None = None
    ) -> Fitted:
        """Learn from training trials; what is tuned is tuned on them.

        Args:
            train: training trials, with targets; None if it has learned already.
            question: what will be asked.
            run: where a method that trains for long keeps its state, so that it can go on.
            say: called with how far it is.

        Raises:
            InputError: if it cannot learn from them, or does not answer such a question; a rival is then left out.
        """


class Rival(Method):
    """A classical or closed-form method, which stands beside the model in every table.

    A new one says which questions it answers, and learns: two methods, and an entry in `registry.RIVALS`.

    Attributes:
        is_thorough: whether it is asked where all are compared at length, and not in every decoding.
    """

    is_thorough: bool = False

    @abc.abstractmethod
    def answers(self, question: Question) -> bool:
        """Whether it is made for such a question."""

    @abc.abstractmethod
    def learn(self, train: PopulationDataset, question: Any) -> Fitted:
        """As `fit`, of a question that it answers."""

    def fit(
        self, train: PopulationDataset | None, question: Any, *, run: Run | None = None, say: Say | None = None
    ) -> Fitted:
        if not self.answers(question):
            raise InputError(f"{self.name} does not answer {question}; ask one of registry.rivals_of(question).")
        assert train is not None, "a rival learns from training trials"
        try:
            return self.learn(train, question)
        except np.linalg.LinAlgError as error:
            raise InputError(
                f"{self.name} fails on these trials ({error}); give more, or use another rival."
            ) from error


def only_recording(dataset: PopulationDataset, name: str) -> Recording:
    """The recording of a dataset that has one; a rival that knows individuals by position reads no more."""
    if len(dataset.recordings) != 1:
        raise InputError(f"{name} reads one recording, and was given {len(dataset.recordings)}; fit one to each.")
    return dataset.recordings[0]


def by_length(recording: Recording, *, most: int | None = None) -> Iterator[tuple[NDArray[np.int64], Recording]]:
    """Positions of trials of one length, at most so many, and these trials without padding; empty ones are left out."""
    lengths = recording.trial_lengths
    for length in np.unique(lengths[lengths > 0]):
        same = np.flatnonzero(lengths == length)
        for trials in np.split(same, range(most, len(same), most)) if most else [same]:
            yield trials, recording.select(trials=trials, bins=slice(0, int(length)))


def over_trials(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays (trial, …) of several recordings as one; NaN where one is smaller than another."""
    most = np.max([part.shape[1:] for part in parts], axis=0)
    lacking = [[(0, 0), *((0, n) for n in most - part.shape[1:])] for part in parts]
    return np.concatenate(
        [np.pad(part, widths, constant_values=np.nan) for part, widths in zip(parts, lacking, strict=True)]
    )
