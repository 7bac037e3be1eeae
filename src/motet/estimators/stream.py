"""A decoder that reads a trial as it happens, one bin at a time: `decoder.stream()`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from motet import given
from motet.errors import InputError
from motet.estimators.inside import Answer, Inside, logs
from motet.estimators.rule import EIT_PART
from motet.models.eit import EIT
from motet.models.step import HARDLY, Past, Room, Steps
from motet.rivals.graphs import State, share
from motet.training.committee import Committee
from motet.training.objectives import Joint, Supervised

Array = NDArray[np.float64]
Memory = dict[str, State]


class StepGraph(nn.Module):
    """A decoder that reads a trial bin by bin, as tensor operations.

    1. Rules: what each says of the trial so far.
    2. EITs: what they say of this bin; of a target per trial, of all bins so far, by their votes.
    3. Answer: both by their shares; NaN where nothing is observed.

    Args:
        inside: what answers.
    """

    def __init__(self, inside: Inside) -> None:
        super().__init__()
        self.target, self.answer = inside.target, Answer(inside)
        self.prepare, self.of_rule = inside.prepare, inside.of_rule
        self.rules = nn.ModuleDict(dict(inside.rules))
        share([rule.fitted for rule in inside.rules.values()])
        self.steps = _steps(inside) if EIT_PART in inside.shares else None

    def start(self) -> Memory:
        """What is remembered before a trial, beside the past of EITs."""
        memory = {name: cast(Any, rule).fitted.start() for name, rule in self.rules.items()}
        if self.target.level == "trial":
            memory["anybody"] = (torch.tensor(False),)
            if self.steps is not None:
                n_outputs = len(self.target.classes) or int(np.prod(self.target.shape))
                none = torch.zeros(self.steps.n_members, 2, n_outputs)
                memory["votes"] = (none, none[..., :1] + HARDLY)
        return memory

    def forward(
        self,
        values: Float[Tensor, "individual feature"],
        observed: Bool[Tensor, " individual"],
        time: Int[Tensor, ""],
        pasts: Sequence[tuple[int, Past]],
        memory: Memory,
    ) -> Tensor:
        """Read the bin at a time, of values that are 0 where not observed.

        Pasts are of the windows that the bin is in, each with the bin in which it began; the first one answers. They,
        and `memory`, then remember this bin too.
        """
        values, observed = values.view(1, len(values), 1, -1), observed.view(1, -1, 1)

        # 1. Rules
        said: dict[str, Tensor] = {}
        if self.of_rule is not None:
            known, seen = self.of_rule(values, observed)
            for name, rule in self.rules.items():
                found, memory[name] = cast(Any, rule).fitted.step(known, seen, time, memory[name])
                said[name] = cast(Any, rule).coded(found)[0]

        # 2. EITs
        prepared, seen = (values, observed) if self.prepare is None else self.prepare(values, observed)
        is_observed = is_now = seen.any()
        if "anybody" in memory:
            is_observed = is_now | memory["anybody"][0]
            memory["anybody"] = (is_observed,)
        if self.steps is not None:
            bin_, of_whom = prepared.flatten(0, 2), seen.flatten()
            read = [self.steps(bin_, of_whom, time - begun, past) for begun, past in pasts]
            output = read[0]
            if "votes" in memory:
                output, memory["votes"] = voted(output, is_now, memory["votes"])
            said[EIT_PART] = self._together(output)

        # 3. Answer
        return self.answer(said, is_observed)

    def _together(self, output: Float[Tensor, "member 2 output"]) -> Float[Tensor, " output"]:
        """Both heads of every member: the mean of quantities, in units, or of logarithms of probabilities."""
        if not self.target.classes:
            return output.double().mean((0, 1))
        return logs(output.mean((0, 1)).softmax(-1))  # what normalises each is the same for all classes


def _steps(inside: Inside) -> Steps:
    """The EITs of a decoder and their readouts."""
    learner: Any = inside.learner
    members: list[Any] = list(learner.members) if isinstance(learner, Committee) else [learner]
    heads = [cast(Supervised, cast(Joint, member.objective).parts[0]) for member in members]
    places = None if inside.prepare is None else inside.prepare.places
    assert places is not None, "individuals are named"
    return Steps(
        [cast(EIT, member.model) for member in members],
        [(head.individual_readout, head.population_readout) for head in heads],
        len(places),
    )


def voted(
    output: Float[Tensor, "member 2 output_and_weight"], is_observed: Bool[Tensor, ""], votes: State
) -> tuple[Float[Tensor, "member 2 output"], State]:
    """The mean of the outputs so far, by a softmax of their weights, and what is remembered for the next one.

    Args:
        output: of this bin, its weight last.
        is_observed: whether anybody is in this bin.
        votes: the mean before, and the logarithm of the sum of its weights.
    """
    mean, before = votes
    score = torch.where(is_observed, output[..., -1:], HARDLY)
    weight = torch.logaddexp(before, score)
    mean = torch.lerp(mean, output[..., :-1], (score - weight).exp())
    return mean, (mean, weight)


class Stream:
    """Decodes a trial while it happens: after every bin, what `predict` says of the trial so far.

    Of a target per bin that is the answer for this bin; of a target per trial, the answer for the trial if it ended
    now. Both equal those of the decoder, offline, but for rounding (a few units of float32). A trial longer than
    `objective.window_bins` is read in the windows that it is read in offline, were it to end now.

    Made by `decoder.stream()`; one stream is of one trial at a time.

    Attributes:
        classes: of the answer's numbers; empty for a quantity.
        individual_ids: who is given, in this order.
        n_bins: read since the trial began.

    Example:
        >>> import motet
        >>> trials = motet.simulate("population", n_subjects=1, n_trials=40, n_neurons=8)[0]
        >>> causal = motet.EITSettings(causal=True)
        >>> decoder = motet.EITClassifier("direction", model=causal, training=motet.TrainingSettings(max_steps=2))
        >>> stream = decoder.fit(trials).stream()
        >>> stream.reset()
        >>> for counts in trials.values[0].swapaxes(0, 1):  # (individual, feature) in every bin
        ...     answer = stream.step(counts)
        >>> bool(abs(answer - decoder.predict_proba(trials)[0]).max() < 1e-6)
        True
    """

    def __init__(self, inside: Inside) -> None:
        assert inside.individual_ids is not None, "individuals are named"
        self.individual_ids = inside.individual_ids
        self.classes: NDArray[Any] = np.asarray(inside.target.classes)
        self._inside, self._graph = inside, StepGraph(inside).eval()
        self._pasts: list[tuple[int, Room]] = []
        self._spare: list[Room] = []
        self.reset()

    def reset(self) -> None:
        """Begin a new trial."""
        self.n_bins = 0
        self._spare += [past for _, past in self._pasts]
        self._pasts, self._memory = [], self._graph.start()

    @torch.inference_mode()
    def step(self, values: ArrayLike | None) -> NDArray[Any]:
        """Read the next bin, and say what is known by now.

        Args:
            values: (individual,) or (individual, feature), raw, as they were recorded; NaN or masked for an individual
                that is missing, None for a bin that is. A silent individual is 0, which is something else.

        Returns:
            (class,) probabilities, or the quantity in its shape; NaN where nothing is observed.

        Raises:
            InputError: for another number of individuals or features, values that cannot be, or a bin too many; it is
                then not read.
        """
        if self._inside.most_bins == self.n_bins:
            raise InputError(
                f"trials of this decoder have {self.n_bins} bins at most, as those that taught it; reset() begins a "
                "new one."
            )
        x, seen = self._given(values)
        if self._graph.steps is not None:
            self._begin_windows(self._graph.steps)
        time = torch.tensor(self.n_bins)
        answer = self._graph(torch.from_numpy(x), torch.from_numpy(seen), time, self._pasts, self._memory)
        self.n_bins += 1
        return np.asarray(answer.numpy())

    def _begin_windows(self, steps: Steps) -> None:
        """Begin the window that begins in this bin, and leave the one that ended before it."""
        length = self._inside.longest
        step = 1 if length is None else length - 2 * (length // 8)
        if not self._pasts or (length is not None and self.n_bins % step == 0):
            past = self._spare.pop() if self._spare else Room(steps.start())
            past.forget()
            self._pasts.append((self.n_bins, past))
        if length is not None and self.n_bins - self._pasts[0][0] >= length:
            self._spare.append(self._pasts.pop(0)[1])

    def _given(self, values: ArrayLike | None) -> tuple[Array, NDArray[np.bool_]]:
        """(individual, feature) values, 0 where not observed, and (individual,) who is."""
        shape = (len(self.individual_ids), self._inside.n_features)
        if values is None:
            return np.zeros(shape), np.zeros(shape[0], dtype=bool)
        if type(values) is np.ndarray and values.dtype.kind in "biuf":  # as they come, bin after bin
            x = values.astype(np.float64)
        else:
            x = given.numbers(values, what="the values of a bin")
        if x.shape not in (shape, shape[:1] if shape[1] == 1 else shape):
            raise InputError(
                f"a bin has values of shape {x.shape}; give {shape[0]} individuals with {shape[1]} features, in the "
                "order of individual_ids, or None for a bin that is missing."
            )
        x = x.reshape(shape)
        seen: NDArray[np.bool_] = np.ones(shape[0], dtype=bool)
        total = x.sum()
        if not math.isfinite(total):
            seen = np.asarray(~np.isnan(x).any(axis=1))
            x = np.where(seen[:, None], x, 0.0)
            total = x.sum()
        if not math.isfinite(total) or (self._inside.reads_counts and x.min() < 0):
            raise InputError(
                f"a bin has values from {x.min():g} to {x.max():g}; give finite ones"
                f"{', and counts or rates are not negative' if self._inside.reads_counts else ''}."
            )
        return x, seen


def refuse_what_waits(inside: Inside, *, is_causal: bool) -> None:
    """Refuse a decoder whose answers rest on bins to come.

    Raises:
        InputError: saying how to fit one whose answers do not.
    """
    if EIT_PART in inside.shares and not is_causal:
        raise InputError(
            "this decoder reads bins to come (model.causal is False), and a stream has none; fit a causal one: "
            "model=EITSettings(causal=True), or motet decode … --model.causal true."
        )
    waiting = [name for name, rule in inside.rules.items() if not rule.fitted.is_causal]
    if waiting:
        raise InputError(
            f"the rule {waiting[0]!r} reads bins to come, and a stream has none; fit with rule='none', or give "
            "whom='eit'."
        )
    if inside.individual_ids is None:
        raise InputError("this decoder reads any individuals; say who is given: individual_ids=….")
