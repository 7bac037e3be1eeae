"""Fitted rivals as tensor operations: what a rule inside a decoder is where it is exported, or reads bin by bin.

A fitted rival reads recordings; its graph reads two tensors, gives the same numbers, and holds no name. `forward` reads
whole trials. `step` reads the next bin of one trial and gives what `forward` says of the trial so far; what it must
remember are tensors that it takes and gives back, so that one step can be exported too.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from torch import Tensor, nn

from motet.errors import InputError
from motet.rivals.classifiers import MeanOfDiscriminants
from motet.rivals.decoders import FittedDecoder
from motet.rivals.discriminant import ShrinkageLDA
from motet.rivals.gaussians import GaussianSum
from motet.rivals.kernel_svm import KernelSVM, pairs
from motet.rivals.method import Fitted
from motet.rivals.readings import Reading, Roots, lagged_rows
from motet.rivals.ridge import Linear
from motet.rivals.templates import FittedTemplate, Template

LEAST = float(np.finfo(np.float64).tiny)  # a probability
LEAST_LOG = float(np.log(LEAST))
State = tuple[Tensor, ...]

# ------------------------------------------------------------------ models of rows


class ClassModel(nn.Module, abc.ABC):
    """From rows (…, input) to log-probabilities (…, class) of the classes that were learned."""

    def __init__(self, classes: NDArray[Any]) -> None:
        super().__init__()
        self.classes = tuple(map(int, classes))


class LinearClasses(ClassModel):
    """Discriminants and logistic regression: a softmax of linear scores; of two classes, one score."""

    weights: Tensor
    offset: Tensor

    def __init__(self, weights: NDArray[Any], offset: NDArray[Any], classes: NDArray[Any]) -> None:
        super().__init__(classes)
        self.register_buffer("weights", _double(weights))
        self.register_buffer("offset", _double(offset))

    def forward(self, rows: Float[Tensor, "*row input"]) -> Float[Tensor, "*row known"]:
        score = F.linear(rows, self.weights, self.offset)
        if score.shape[-1] > 1:
            return score.log_softmax(-1).clamp(min=LEAST_LOG)
        second = score.sigmoid()
        return torch.cat((1 - second, second), -1).clamp(min=LEAST).log()


class MeanOfClasses(ClassModel):
    """The mean of the log-probabilities of bins and of their total."""

    def __init__(self, model: MeanOfDiscriminants) -> None:
        super().__init__(model.classes_)
        of_bins, of_totals = model._models
        self.of_bins, self.of_totals = _discriminant(of_bins), _discriminant(of_totals)
        self.n_inputs, self.is_rooted = model.reading.n_inputs, model.reading.is_rooted

    def forward(self, rows: Float[Tensor, "*row input"]) -> Float[Tensor, "*row known"]:
        bins = rows.view(*rows.shape[:-1], rows.shape[-1] // self.n_inputs, self.n_inputs)
        total = bins.square().sum(-2).sqrt() if self.is_rooted else bins.sum(-2)
        logs = torch.stack((self.of_bins(rows), self.of_totals(total))).mean(0)
        return logs.log_softmax(-1).clamp(min=LEAST_LOG)


class VotesOfPairs(ClassModel):
    """A kernel SVM: the log-probability of a class falls with every vote against it."""

    is_of: Tensor

    def __init__(self, model: KernelSVM) -> None:
        super().__init__(model.classes_)
        self.decisions, self.sharpness = KernelMap(model.decisions), model.sharpness
        first, second = pairs(len(self.classes))
        is_of = np.zeros((2, len(first), len(self.classes)))
        is_of[0, np.arange(len(first)), first] = is_of[1, np.arange(len(first)), second] = 1
        self.register_buffer("is_of", _double(is_of))

    def forward(self, rows: Float[Tensor, "*row input"]) -> Float[Tensor, "*row known"]:
        decided = self.sharpness * self.decisions(rows)
        votes = F.logsigmoid(decided) @ self.is_of[0] + F.logsigmoid(-decided) @ self.is_of[1]
        return votes.log_softmax(-1).clamp(min=LEAST_LOG)


class LinearMap(nn.Module):
    """Ridge regression: a linear map of the first inputs."""

    weights: Tensor
    offset: Tensor

    def __init__(self, model: Linear) -> None:
        super().__init__()
        self.register_buffer("weights", _double(model.weights.T))
        self.register_buffer("offset", _double(model.offset))

    def forward(self, rows: Float[Tensor, "*row input"]) -> Float[Tensor, "*row output"]:
        return F.linear(rows[..., : self.weights.shape[1]], self.weights, self.offset)


class KernelMap(nn.Module):
    """A weighted sum of Gaussians: kernel ridge regression, and what a kernel SVM decides."""

    stretch: Tensor
    centres: Tensor
    sizes: Tensor
    dual: Tensor
    offset: Tensor

    def __init__(self, model: GaussianSum) -> None:
        super().__init__()
        for name in ("stretch", "offset"):
            self.register_buffer(name, _double(getattr(model, name)))
        self.register_buffer("dual", _double(model.dual.T))
        self.register_buffer("centres", _double(model.centres.T))
        self.register_buffer("sizes", _double((model.centres**2).sum(axis=1)))

    def forward(self, rows: Float[Tensor, "*row input"]) -> Float[Tensor, "*row output"]:
        x = rows * self.stretch
        return self.of_squares(2 * x @ self.centres - x.square().sum(-1, keepdim=True) - self.sizes)

    def of_squares(self, negative: Float[Tensor, "*row centre"]) -> Float[Tensor, "*row output"]:
        """From the negative squares of the distances of stretched rows from the centres."""
        return F.linear(negative.clamp(max=0).exp(), self.dual, self.offset)


def model_graph(model: Any) -> nn.Module:
    """The graph of a model of rows.

    Raises:
        InputError: if there is none for it.
    """
    match model:
        case ShrinkageLDA():
            return _discriminant(model)
        case MeanOfDiscriminants():
            return MeanOfClasses(model)
        case Pipeline() if isinstance(model[-1], LogisticRegression):
            basis, last = model[0].basis_, model[-1]
            weights = last.coef_ * basis[0, 0] if basis.shape == (1, 1) else last.coef_ @ basis.T
            return LinearClasses(weights, last.intercept_, last.classes_)
        case KernelSVM():
            return VotesOfPairs(model)
        case Linear():
            return LinearMap(model)
        case GaussianSum():
            return KernelMap(model)
    raise InputError(
        f"a {type(model).__name__} cannot be written as tensor operations; choose another rule, or 'none'."
    )


def _discriminant(model: ShrinkageLDA) -> LinearClasses:
    return LinearClasses(model.coef_, model.intercept_, model.classes_)


def _double(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float64))


# ------------------------------------------------------------------ fitted rivals


class FittedGraph(nn.Module, abc.ABC):
    """A fitted rival as tensor operations.

    What a trial's bins say is (trial, class) or (trial, dimension); of a target per bin with an axis of time behind
    that of trials. Values are float64, 0 where not observed; individuals are in the order that the rival reads.

    Attributes:
        is_causal: whether an answer rests on no later bin.
    """

    is_causal: bool = True

    @abc.abstractmethod
    def forward(
        self,
        values: Float[Tensor, "trial individual time feature"],
        observed: Bool[Tensor, "trial individual time"],
    ) -> Float[Tensor, "trial *answer"]: ...

    @abc.abstractmethod
    def start(self) -> State:
        """What is remembered before a trial."""

    @abc.abstractmethod
    def step(
        self,
        values: Float[Tensor, "1 individual 1 feature"],
        observed: Bool[Tensor, "1 individual 1"],
        time: Int[Tensor, ""],
        state: State,
    ) -> tuple[Float[Tensor, "1 answer"], State]:
        """What is said of a trial after its next bin, which is at that time, and what is then remembered."""


class BinGraph(FittedGraph):
    """A model of bins and those around them."""

    def __init__(self, fitted: FittedDecoder, model: nn.Module) -> None:
        super().__init__()
        reading = fitted.reading
        self.roots, self.model = Roots(reading), model
        self.lags, self.reads_time = reading.lags, reading.reads_time
        self.is_causal = min(self.lags) >= 0
        self.by_bin = by_bin(model, self.lags, reading.n_inputs)

    def forward(self, values: Tensor, observed: Tensor) -> Tensor:
        return self.model(self.rows(self.roots(values, observed)))

    def rows(self, roots: Float[Tensor, "trial time input"]) -> Float[Tensor, "trial time row"]:
        return lagged_rows(roots, self.lags, reads_time=self.reads_time)

    def start(self) -> State:
        return self.by_bin.start()

    def step(self, values: Tensor, observed: Tensor, time: Tensor, state: State) -> tuple[Tensor, State]:
        now = self.roots(values, observed)[:, 0]
        more = time.to(now.dtype).view(1, 1) if self.reads_time else now[:, :0]
        return self.by_bin.step(now, more, state)


class TrialGraph(FittedGraph):
    """A model of all bins of a trial, of which those that are not observed are as usual.

    Args:
        usual: (individual, feature).
    """

    expected: Tensor
    usual: Tensor
    bins: Tensor

    def __init__(self, fitted: FittedDecoder, model: nn.Module, usual: NDArray[np.float64]) -> None:
        super().__init__()
        self.roots, self.model = Roots(fitted.reading), model
        self.n_bins, self.pools_bins = fitted.reading.n_bins, fitted.reading.pools_bins
        self.register_buffer("usual", _double(usual)[None, :, None])
        self.register_buffer("bins", torch.arange(self.n_bins)[:, None])
        self.register_buffer("expected", self.roots.of_known(self.usual))

    def forward(self, values: Tensor, observed: Tensor) -> Tensor:
        last = values.shape[2] - 1
        bins = torch.arange(self.n_bins, device=values.device)
        there = bins.clamp(max=last)
        seen = observed.index_select(2, there) & (bins <= last)
        return self._read(self._known(values.index_select(2, there), seen))

    def _known(self, values: Tensor, seen: Tensor) -> Tensor:
        return self.roots.of_known(torch.where(seen[..., None], values, self.usual))

    def _read(self, bins: Tensor) -> Tensor:
        return self.model(self.roots.total(bins) if self.pools_bins else bins.flatten(1))

    def start(self) -> State:
        return (self.expected.expand(-1, self.n_bins, -1).clone(),)

    def step(self, values: Tensor, observed: Tensor, time: Tensor, state: State) -> tuple[Tensor, State]:
        bins = torch.where(self.bins == time, self._known(values, observed), state[0])
        return self._read(bins), (bins,)


class Scores(nn.Module, abc.ABC):
    """Decoders of the class from the first bins, each of which serves until the next.

    Attributes:
        steps: the bins at which there is one; the first is 0.
    """

    steps: Int[Tensor, " step"]
    places: Int[Tensor, " time"]

    def __init__(self, steps: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("steps", torch.tensor(steps))
        by_then = (self.steps <= torch.arange(max(steps) + 1)[:, None]).sum(1)
        self.register_buffer("places", by_then - 1)

    def serving(self, time: Int[Tensor, " time"]) -> Int[Tensor, " time"]:
        """Which decoder serves at a time: the last that was made by then."""
        return self.places.index_select(0, time.clamp(max=len(self.places) - 1))

    @abc.abstractmethod
    def forward(self, roots: Float[Tensor, "trial time input"]) -> Float[Tensor, "trial step class"]:
        """What each says; of one that was made after the end of the trials it is void."""

    @abc.abstractmethod
    def start(self) -> State: ...

    @abc.abstractmethod
    def step(
        self, now: Float[Tensor, "1 input"], time: Int[Tensor, ""], state: State
    ) -> tuple[Float[Tensor, "1 class"], State]:
        """What the one that serves says after the next bin."""


class DiscriminantScores(Scores):
    """Shrinkage LDA on the roots of totals so far; a class that one does not know has the score −∞."""

    weights: Tensor
    offsets: Tensor

    def __init__(self, template: Template, roots: Roots) -> None:
        super().__init__([step for step, _ in template.decoders])
        self.roots = roots
        n_classes, n_inputs = len(template.courses), template.decoders[0][1].coef_.shape[1]
        weights = np.zeros((len(self.steps), n_inputs, n_classes))
        offsets = np.full((len(self.steps), n_classes), -np.inf)
        for place, (_, lda) in enumerate(template.decoders):
            weights[place][:, lda.classes_] = lda.coef_.T
            offsets[place, lda.classes_] = lda.intercept_
        self.register_buffer("weights", _double(weights))
        self.register_buffer("offsets", _double(offsets))

    def forward(self, roots: Tensor) -> Tensor:
        so_far = self.roots.so_far(roots).index_select(1, self.steps.clamp(max=roots.shape[1] - 1))
        return torch.einsum("nsi,sic->nsc", so_far, self.weights) + self.offsets

    def start(self) -> State:
        return torch.zeros(1, self.roots.n_inputs, dtype=torch.float64), self.offsets[:1].clone()

    def step(self, now: Tensor, time: Tensor, state: State) -> tuple[Tensor, State]:
        total, score = state
        total = total + (now.square() if self.roots.is_rooted else now)
        serving = self.serving(time[None])
        so_far = total.sqrt() if self.roots.is_rooted else total
        fresh = torch.addmm(self.offsets.index_select(0, serving), so_far, self.weights.index_select(0, serving)[0])
        score = torch.where(self.steps.index_select(0, serving) == time, fresh, score)
        return score, (total, score)


class TemplateGraph(FittedGraph):
    """Mean courses of classes, by how probable these are so far, and what corrects them.

    Args:
        reading: how inputs are read.
        scores: how probable classes are.
        temperature: by which log-probabilities are multiplied.
        courses: (class, time, output).
        correction: what adds to the courses, if anything.
    """

    courses: Tensor
    correction: nn.Module | None
    by_bin: RowsByBin | None

    def __init__(
        self, reading: Reading, scores: Scores, temperature: float, courses: NDArray[np.float64], correction: Any = None
    ) -> None:
        super().__init__()
        self.roots, self.scores, self.temperature, self.lags = Roots(reading), scores, temperature, reading.lags
        self.correction = None if correction is None else model_graph(correction)
        self.by_bin = None if self.correction is None else by_bin(self.correction, self.lags, reading.n_inputs)
        self.register_buffer("courses", _double(courses.swapaxes(0, 1)))

    def forward(self, values: Tensor, observed: Tensor) -> Tensor:
        roots = self.roots(values, observed)
        time = torch.arange(roots.shape[1], device=roots.device)
        score = self.scores(roots).index_select(1, self.scores.serving(time))
        found = torch.einsum("ntc,tco->nto", self._belief(score), self._course(time))
        if self.correction is None:
            return found
        rows = lagged_rows(roots, self.lags, reads_time=True)
        return found + self.correction(torch.cat((rows[..., :-1], found, rows[..., -1:]), -1))

    def _belief(self, score: Tensor) -> Tensor:
        return (self.temperature * score).softmax(-1)  # what normalises scores is the same for all classes

    def _course(self, time: Int[Tensor, " time"]) -> Float[Tensor, "time known output"]:
        return self.courses.index_select(0, time.clamp(max=len(self.courses) - 1))

    def start(self) -> State:
        return *self.scores.start(), *(() if self.by_bin is None else self.by_bin.start())

    def step(self, values: Tensor, observed: Tensor, time: Tensor, state: State) -> tuple[Tensor, State]:
        now, n_scores = self.roots(values, observed)[:, 0], len(state) - (self.by_bin is not None)
        score, remembered = self.scores.step(now, time, state[:n_scores])
        found = self._belief(score) @ self._course(time[None])[0]
        if self.by_bin is None:
            return found, remembered
        more, past = self.by_bin.step(now, torch.cat((found, time.to(now.dtype).view(1, 1)), 1), state[n_scores:])
        return found + more, (*remembered, *past)


class RowsByBin(nn.Module):
    """A model of rows of a bin and those before it, read bin by bin: what is remembered are these bins.

    Args:
        model: of rows.
        lags: from a row's bin to those that are side by side in it.
        n_inputs: of a bin.
    """

    def __init__(self, model: nn.Module, lags: Sequence[int], n_inputs: int) -> None:
        super().__init__()
        self.model, self.lags, self.n_inputs, self.n_before = model, lags, n_inputs, max(lags)

    def start(self) -> State:
        return (torch.zeros(self.n_before, self.n_inputs, dtype=torch.float64),)

    def step(
        self, now: Float[Tensor, "1 input"], more: Float[Tensor, "1 more"], state: State
    ) -> tuple[Float[Tensor, "1 output"], State]:
        """What the model says of the next bin, and of what else comes last in its row."""
        bins = torch.cat((state[0], now))
        row = torch.cat([*(bins[self.n_before - lag] for lag in self.lags), more[0]])
        return self.model(row[None]), (bins[1:],)


class Near(nn.Module):
    """Rows of bins of a trial, read bin by bin, against those of training: minus the squares of their distances.

    The bins of training rows are shared: one is before, at and after another. So a bin x is multiplied with every bin b
    of training once, and 2 x·b − |x|² is what is remembered. Models that learned from the same rows share one of these,
    and then it is found once for all of them.

    Args:
        rows: of training.
        lags: from a row's bin to those that are side by side in it.
    """

    def __init__(self, rows: Float[Tensor, "row lagged"], lags: Sequence[int]) -> None:
        super().__init__()
        self.rows, self.lags, n_before = rows, tuple(lags), max(lags)
        bins, place = torch.unique(rows.reshape(len(rows) * len(lags), -1), dim=0, return_inverse=True)
        first = len(bins) * torch.tensor([[n_before - lag] for lag in lags])
        self.places = (place.view(-1, len(lags)).T + first).flatten()  # (lag × row,)
        self.twice, self.sizes = 2 * bins.T.contiguous(), rows.square().sum(1)
        self.nothing = torch.zeros(n_before, len(bins), dtype=torch.float64)
        self._latest: tuple[Tensor, Tensor, tuple[Tensor, Tensor]] | None = None

    def is_like(self, other: Near) -> bool:
        """Whether the other one has the same rows."""
        return self.lags == other.lags and self.rows.shape == other.rows.shape and self.rows.allclose(other.rows)

    def forward(
        self, now: Float[Tensor, "1 input"], before: Float[Tensor, "before bin"]
    ) -> tuple[Float[Tensor, " row"], Float[Tensor, "before bin"]]:
        """How near the next bin with those before it is to each row, and what is then remembered."""
        if torch.compiler.is_exporting():
            return self._found(now, before)
        if self._latest is None or self._latest[0] is not before or not self._latest[1].equal(now):
            self._latest = before, now, self._found(now, before)
        return self._latest[2]

    def _found(self, now: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        bins = torch.cat((before, torch.addmm(-now.square().sum(1, keepdim=True), now, self.twice)))
        return bins.flatten().index_select(0, self.places).view(len(self.lags), -1).sum(0) - self.sizes, bins[1:]


class KernelByBin(RowsByBin):
    """The same of a sum of Gaussians around such rows."""

    model: KernelMap

    def __init__(self, model: KernelMap, lags: Sequence[int], n_inputs: int) -> None:
        super().__init__(model, lags, n_inputs)
        n_lagged = len(lags) * n_inputs
        self.near = Near((model.centres[:n_lagged] / model.stretch[:n_lagged, None]).T, lags)
        self.scale = float(model.stretch[0]) ** 2  # all that is in bins has the same
        self.more, self.more_stretch = model.centres[n_lagged:], model.stretch[n_lagged:, None]

    def start(self) -> State:
        return (self.near.nothing,)

    def step(self, now: Tensor, more: Tensor, state: State) -> tuple[Tensor, State]:
        near, past = self.near(now, state[0])
        rest = more.mT * self.more_stretch - self.more
        return self.model.of_squares((self.scale * near - rest.square().sum(0))[None]), (past,)


def by_bin(model: nn.Module, lags: Sequence[int], n_inputs: int) -> RowsByBin:
    """A model of rows, read bin by bin."""
    if isinstance(model, KernelMap):
        return KernelByBin(model, lags, n_inputs)
    return RowsByBin(model, lags, n_inputs)


def share(graphs: Sequence[nn.Module]) -> None:
    """Let graphs that compare rows with the same ones of training do it once."""
    known: list[Near] = []
    for graph in graphs:
        by_bin = getattr(graph, "by_bin", None)
        if isinstance(by_bin, KernelByBin):
            by_bin.near = next((one for one in known if one.is_like(by_bin.near)), by_bin.near)
            known.append(by_bin.near)


def graph_of(fitted: Fitted, usual: NDArray[np.float64]) -> FittedGraph:
    """A fitted rival as tensor operations.

    Args:
        fitted: one that may be a rule inside a decoder.
        usual: (individual, feature) what stands where nothing is observed, if it reads whole trials.

    Raises:
        InputError: if it cannot be written so.
    """
    if isinstance(fitted, FittedTemplate):
        scores = DiscriminantScores(fitted.template, Roots(fitted.reading))
        temperature = float(fitted.chosen["temperature"])
        return TemplateGraph(fitted.reading, scores, temperature, fitted.template.courses, fitted.correction)
    if not isinstance(fitted, FittedDecoder):
        raise InputError(f"a {type(fitted).__name__} cannot be written as tensor operations; choose another rule.")
    model = model_graph(fitted.model)
    return TrialGraph(fitted, model, usual) if fitted.reading.level == "trial" else BinGraph(fitted, model)


class Coded(nn.Module):
    """What a rival says of the classes that it learned, as log-probabilities of all classes of a target.

    One that it never learned is as improbable as the least probable one.
    """

    place: Tensor

    def __init__(self, classes: Sequence[int], n_classes: int) -> None:
        super().__init__()
        known = list(classes)
        place = [known.index(code) if code in known else len(known) for code in range(n_classes)]
        self.register_buffer("place", torch.tensor(place))
        self.is_whole = known == list(range(n_classes))

    def forward(self, logs: Float[Tensor, "*row known"]) -> Float[Tensor, "*row class"]:
        if self.is_whole:
            return logs
        return torch.cat((logs, logs.amin(-1, keepdim=True)), -1).index_select(-1, self.place)
