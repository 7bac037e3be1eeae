"""A readout that is fitted, not trained: how each individual is tuned to a target, and what all of them say together.

Empirical Bayes, in closed form. The signals of an individual in a trial are normal around its *tuning curve*, a sum of
smooth functions of the target under a normal prior; a few labelled trials give its posterior. Individuals are combined
by their evidence: a prediction weighs each by its noise and by how little is known of its curve, and takes out what a
common gain, rotation or offset of the whole population, or noise seen in other trials, explains. Unlabelled trials are
used by expectation maximisation.

Nothing here is learned from the new population by gradient steps. What is learned, on other populations, are a few
numbers: how deep and how smooth tuning is, its time courses, how noise goes with rate, how much noise is shared. All is
differentiable, so that an encoder can learn signals for which this works best. It is equivariant to the order of
individuals, and of calibration trials.

Source: the likelihood is that of Bayesian linear regression with a mixture of prior variances (Bishop, Pattern
Recognition and Machine Learning, §3.3 and §3.5); shared noise enters by the matrix inversion lemma.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from motet.data.batch import Batch
from motet.errors import InputError
from motet.models.eit import Encoding
from motet.settings import Count, Range, Settings, Whole

Reads = Literal["both", "roots", "embeddings"]

N_NOISE_ROUNDS = 2  # of noise and curves in turn
FLAT = 4.0  # log variance of the prior of an individual's mean
LEAST_SIZE = 0.05  # of a root count; below it, an individual counts as silent
N_PARTS = 4  # of the labelled trials, each of which is judged by the others
FEWEST_AROUND = 3  # candidates that make a circle
N_SHARE_ROUNDS, LEAST_SHARE = 20, 1e-4  # of how frequent candidates are
MOST_SAYING = 15.0  # of unlabelled trials, for each labelled one: more of them err together
DOUBT = 5.0  # times firmer the prior of noise is, where trials have no label
STRANGE = 2.0  # times as far from its curve as is usual, a trial loses trust
LEAST_TRUST = 0.3  # with less, a trial counts for nothing


@dataclasses.dataclass(frozen=True)
class TuningSettings(Settings, role="tuning"):
    """What a tuning curve is made of.

    Attributes:
        root_channels: of the root counts of an individual, over the bins of a trial: time courses, learned mixtures of
            cosines that begin as their mean and the slowest ones.
        cosines: that are mixed, from the slowest on.
        embedding_channels: read linearly off an encoder's embeddings of the individual, averaged over the trial; 0 for
            none.
        harmonics: of a tuning curve.
        depths: how many classes of individuals there are, from hardly to strongly tuned.
        rounds: of expectation maximisation, where there are unlabelled trials.
        first_tempering: posteriors of unlabelled trials begin at this power, and end at 1.
        balance: how far, from 0 to 1, unlabelled trials are believed to be of all classes equally, where what labelled
            trials say of them does not speak against it.

    Example:
        >>> import motet
        >>> motet.EITEncoder(tuning=TuningSettings(harmonics=2)).get_params()["tuning__harmonics"]
        2
    """

    root_channels: Count = 3
    cosines: Count = 6
    embedding_channels: Whole = 2
    harmonics: Count = 3
    depths: Count = 3
    rounds: Count = 12
    first_tempering: Annotated[float, Range(above=0, most=1)] = 0.3
    balance: Annotated[float, Range(least=0, most=1)] = 1.0

    def check(self) -> None:
        if self.cosines < self.root_channels:
            raise InputError(
                f"tuning.root_channels is {self.root_channels}, mixtures of {self.cosines} cosines; give "
                "tuning.cosines of as many at least."
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """The values that a target may have, and the functions of it that tuning curves are sums of.

    Attributes:
        functions: at each candidate; the first is constant.
        slopes: their derivatives, by which a rotation of the population moves a curve; 0 where nothing can rotate.
        order: of each function: 0 is the mean, and the prior of a higher order is narrower.
    """

    functions: Float[Tensor, "candidate function"]
    slopes: Float[Tensor, "candidate function"]
    order: Int[Tensor, " function"]

    @classmethod
    def circle(cls, angle: Float[Tensor, " candidate"], n_harmonics: int) -> Candidates:
        """Angles in radians; curves are Fourier series.

        Example:
            >>> Candidates.circle(torch.linspace(0, 6, 8), 2).order.tolist()
            [0, 1, 1, 2, 2]
        """
        order = torch.arange(1, n_harmonics + 1, dtype=torch.float64)
        phase = angle.double()[:, None] * order
        waves = torch.stack((phase.cos(), phase.sin()), -1).flatten(1) * math.sqrt(2)
        slopes = torch.stack((-order * phase.sin(), order * phase.cos()), -1).flatten(1) * math.sqrt(2)
        return cls._of(waves, slopes, order.long().repeat_interleave(2))

    @classmethod
    def categories(cls, n_classes: int) -> Candidates:
        """Classes without a geometry: each has a mean of its own."""
        own = torch.eye(n_classes, dtype=torch.float64) * math.sqrt(2)
        return cls._of(own, torch.zeros_like(own), torch.ones(n_classes, dtype=torch.long))

    @classmethod
    def line(cls, place: Float[Tensor, "candidate dimension"], n_harmonics: int) -> Candidates:
        """Points of a line or a box with sides from 0 to 1; curves are products of cosines."""
        grids = torch.meshgrid(*[torch.arange(n_harmonics + 1)] * place.shape[1], indexing="ij")
        degrees = torch.stack([grid.flatten() for grid in grids], -1)
        order = degrees.sum(-1)
        kept = (order > 0) & (order <= n_harmonics)
        waves = (math.pi * place.double()[:, None] * degrees[kept]).cos() * math.sqrt(2) ** (degrees[kept] > 0)
        waves = waves.prod(-1)
        return cls._of(waves, torch.zeros_like(waves), order[kept])

    @classmethod
    def _of(cls, functions: Tensor, slopes: Tensor, order: Tensor) -> Candidates:
        one = torch.ones_like(functions[:, :1])
        return cls(
            torch.cat((one, functions), 1),
            torch.cat((torch.zeros_like(one), slopes), 1),
            torch.cat((torch.zeros_like(order[:1]), order)),
        )

    def __len__(self) -> int:
        return len(self.functions)

    @property
    def are_evenly_around(self) -> bool:
        """Whether they are three or more, evenly around a circle, each after its neighbour."""
        if len(self) < FEWEST_AROUND or not self.slopes.any():
            return False
        angle = torch.atan2(self.functions[:, 2], self.functions[:, 1])
        turn = angle[0] + 2 * math.pi / len(self) * torch.arange(len(self), dtype=torch.float64)
        return bool(torch.allclose(torch.exp(1j * angle), torch.exp(1j * turn), atol=1e-6))

    def to(self, device: torch.device) -> Candidates:
        """The same on another device."""
        return Candidates(self.functions.to(device), self.slopes.to(device), self.order.to(device))


@dataclasses.dataclass(frozen=True, eq=False)
class Signals:
    """What of some trials is read.

    Attributes:
        values: (trial, individual, channel) float64.
        present: whether the individual was observed in the trial.
        channels: which of the readout's channels these are.
    """

    values: Float[Tensor, "trial individual channel"]
    present: Bool[Tensor, "trial individual"]
    channels: tuple[int, ...]

    def __getitem__(self, trials: Tensor | slice) -> Signals:
        return dataclasses.replace(self, values=self.values[trials], present=self.present[trials])

    def of(self, individuals: Bool[Tensor, " individual"]) -> Signals:
        """Of some individuals."""
        return dataclasses.replace(self, values=self.values[:, individuals], present=self.present[:, individuals])

    def only(self, channels: Sequence[int]) -> Signals:
        """Those of some channels, of which there may be fewer."""
        kept = [place for place, channel in enumerate(self.channels) if channel in channels]
        return dataclasses.replace(
            self, values=self.values[..., kept], channels=tuple(self.channels[place] for place in kept)
        )

    def beside(self, other: Signals) -> Signals:
        """The channels of both, of the same trials and individuals."""
        return dataclasses.replace(
            self, values=torch.cat((self.values, other.values), -1), channels=self.channels + other.channels
        )

    @property
    def rank(self) -> Int[Tensor, " trial"]:
        """Of trials by their size: a way to part them that does not depend on the order in which they are given."""
        return self.values.detach().square().sum((1, 2)).argsort(stable=True).argsort()

    def and_those_of(self, other: Signals) -> Signals:
        """The trials of both."""
        return dataclasses.replace(
            self, values=torch.cat((self.values, other.values)), present=torch.cat((self.present, other.present))
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Tuning:
    """What is known of every individual of a population.

    Attributes:
        mean: the tuning curve, at the candidates.
        variance: of the signals of a trial around it: noise, and what is not known of the curve.
        shared: what moves the signals of all individuals together, one standard deviation of each.
        seen: deviations of calibration trials from their curves, scaled so that their squares add up to the covariance
            that was seen.
        prior_share: of `variance` and `shared` in the covariance, beside what was seen.
    """

    mean: Float[Tensor, "channel individual candidate"]
    variance: Float[Tensor, "channel individual candidate"]
    shared: Float[Tensor, "factor channel individual candidate"]
    seen: Float[Tensor, "trial channel individual"]
    prior_share: Float[Tensor, ""] | float = 1.0

    @property
    def with_prior_noise(self) -> Tuning:
        """The same curves, with nothing of the covariance that was seen."""
        return dataclasses.replace(self, seen=self.seen[:0], prior_share=1.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Likelihood:
    """Of the signals of trials in which certain individuals are present, as constants.

    Attributes:
        individuals: who they are.
        mean: of their signals.
        variance: around it.
        explains: from deviations to what factors explain of them.
        log_det: of the covariance.
        power: of the likelihood.
    """

    individuals: Int[Tensor, " present"]
    mean: Float[Tensor, "signal candidate"]
    variance: Float[Tensor, "signal candidate"]
    explains: Float[Tensor, "candidate factor signal"]
    log_det: Float[Tensor, " candidate"]
    power: float

    def __call__(self, values: Float[Tensor, "trial individual channel"]) -> Float[Tensor, "trial candidate"]:
        """Log-likelihoods of the signals of trials, up to a constant of the trial."""
        away = values.index_select(1, self.individuals).transpose(1, 2).flatten(1)[:, :, None] - self.mean
        explained = torch.einsum("cfs,nsc->ncf", self.explains, away)
        distance = (away.square() / self.variance).sum(1) - explained.square().sum(2)
        return -(distance + self.log_det) / 2 * self.power


class Numbers(nn.Module):
    """A few numbers, float64, which learn faster than weights do and are not drawn to 0.

    Args:
        first: their values before training.
    """

    STRIDE = 10.0  # times the learning rate of weights

    def __init__(self, first: Float[Tensor, "..."]) -> None:
        super().__init__()
        self.shape = first.shape
        self.scaled = nn.Parameter(first.flatten() / self.STRIDE)

    def forward(self) -> Float[Tensor, "..."]:
        return self.scaled.double().view(self.shape) * self.STRIDE


class CurveReadout(nn.Module, abc.ABC):
    """Reads a target off signals that are normal around curves, which it fits to trials that are known or believed.

    Attributes:
        channels: the numbers of the channels that it may read.
        rounds: of expectation maximisation, where there are unlabelled trials.
        first_tempering: posteriors of unlabelled trials begin at this power, and end at 1.
        balance: see `TuningSettings`.
    """

    channels: range
    rounds: int
    first_tempering: float
    balance: float

    @property
    @abc.abstractmethod
    def power(self) -> Float[Tensor, ""] | float:
        """Of likelihoods."""

    @abc.abstractmethod
    def courses(self, n_bins: int) -> Float[Tensor, "channel time"]:
        """The time courses by which root counts over so many bins are summed, float64."""

    @abc.abstractmethod
    def forward(self, signals: Signals, belief: Float[Tensor, "trial candidate"], candidates: Candidates) -> Tuning:
        """Tuning curves of all individuals.

        Args:
            signals: of calibration trials.
            belief: how probable each candidate is in each trial: labelled, one is certain. Trials count by its sum.
            candidates: of the target.
        """

    @abc.abstractmethod
    def judged(
        self,
        labelled: Signals,
        belief: Float[Tensor, "trial candidate"],
        unlabelled: Signals,
        guess: Float[Tensor, "other candidate"],
        candidates: Candidates,
    ) -> tuple[Tuning, Float[Tensor, "other candidate"]]:
        """Curves fitted to labelled trials and to what is believed of others, and the log-likelihood of the others."""

    # ------------------------------------------------------------------ signals

    def signals(
        self,
        root: Float[Tensor, "trial individual time"],
        observed: Bool[Tensor, "trial individual time"],
        embedding: Float[Tensor, "trial individual time both"] | None = None,
    ) -> Signals:
        """What is read of trials with equally many bins.

        Args:
            root: root counts, or signals of like noise.
            observed: bins that are not are taken for the mean of those that are.
            embedding: of each individual alone and among the others, side by side; without, root counts alone are read.
        """
        seen = observed.to(root.dtype)
        n_seen = seen.sum(-1, keepdim=True)
        share = seen / n_seen.clamp(min=1)
        mean = (root * share).sum(-1, keepdim=True)
        filled = torch.where(observed, root, mean).double()
        courses = self.courses(root.shape[-1])
        present = n_seen.squeeze(-1) > 0
        values = filled @ courses.T * present[..., None]
        return Signals(values, present, tuple(self.channels[: len(courses)]))

    def own(self, signals: Signals) -> Signals:
        """Those of its channels."""
        return signals.only(self.channels)

    def part_of(self, signals: Signals, reads: Reads) -> Signals:
        """The signals of root counts, of embeddings, or both; here there are none but of root counts."""
        return signals

    # ------------------------------------------------------------------ likelihood

    def log_likelihood(self, tuning: Tuning, signals: Signals) -> Float[Tensor, "trial candidate"]:
        """Of the signals of trials, each alone, up to a constant of the trial."""
        distance, log_det, _ = self._distances(tuning, signals)
        return -(distance + log_det) / 2 * self.power

    def strangeness(self, tuning: Tuning, signals: Signals) -> Float[Tensor, " trial"]:
        """How far trials are from the nearest candidate: mean squared deviation of their signals, in units of noise."""
        distance, _, n_signals = self._distances(tuning, signals)
        return distance.min(1).values / n_signals.clamp(min=1)

    def usual_strangeness(
        self, labelled: Signals, belief: Float[Tensor, "trial candidate"], candidates: Candidates
    ) -> Float[Tensor, ""]:
        """The median over two or more labelled trials of how strange each is to curves fitted to the rest of them."""
        part = labelled.rank % min(N_PARTS, len(belief))
        each = [
            self.strangeness(self(labelled[part != own], belief[part != own], candidates), labelled[part == own])
            for own in range(int(part.max()) + 1)
        ]
        return torch.cat(each).median()

    def _distances(
        self, tuning: Tuning, signals: Signals
    ) -> tuple[Float[Tensor, "trial candidate"], Float[Tensor, "trial candidate"], Float[Tensor, " trial"]]:
        """Squared distances of trials from candidates, log-determinants, and of how many signals they are."""
        patterns, which = torch.unique(signals.present, dim=0, return_inverse=True)
        distance = signals.values.new_zeros(len(signals.values), tuning.mean.shape[-1])
        log_det = torch.zeros_like(distance)
        for number, present in enumerate(patterns):
            trials = (which == number).nonzero().flatten()
            of_pattern = self._of_pattern(tuning, signals.values[trials][:, present], present)
            distance = distance.index_put((trials,), of_pattern[0])
            log_det = log_det.index_put((trials,), of_pattern[1].expand(len(trials), -1))
        return distance, log_det, signals.present.sum(1).double() * len(signals.channels)

    def _of_pattern(
        self, tuning: Tuning, values: Float[Tensor, "trial observed channel"], present: Bool[Tensor, " individual"]
    ) -> tuple[Float[Tensor, "trial candidate"], Float[Tensor, " candidate"]]:
        """Squared distances and log-determinants, of trials in which the same individuals are present."""
        mean, variance, scaled, root = self._moments(tuning, present)
        away = values.permute(0, 2, 1).flatten(1)[..., None] - mean  # trial, signal, candidate
        explained = torch.linalg.solve_triangular(root, scaled.mT @ away.permute(2, 1, 0), upper=False)
        distance = (away.square() / variance).sum(1) - explained.square().sum(1).T
        return distance, variance.log().sum(0) + 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def _moments(self, tuning: Tuning, present: Bool[Tensor, " individual"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean and variance (signal, candidate) of these individuals, and what moves them together.

        That is, for each candidate: factors over variance (candidate, signal, factor), and the Cholesky factor of
        their products and the unit matrix.
        """
        share = torch.as_tensor(tuning.prior_share)
        mean, variance = tuning.mean[:, present].flatten(0, 1), share * tuning.variance[:, present].flatten(0, 1)
        shared = share.sqrt() * tuning.shared[:, :, present].flatten(1, 2)  # factor, signal, candidate
        seen = tuning.seen[:, :, present].flatten(1)[..., None].expand(-1, -1, mean.shape[-1])
        factors = torch.cat((shared, seen)).permute(2, 1, 0)  # candidate, signal, factor
        scaled = factors / variance.T[..., None]
        inner = factors.mT @ scaled + torch.eye(factors.shape[-1], dtype=factors.dtype, device=factors.device)
        return mean, variance, scaled, torch.linalg.cholesky(inner)

    @torch.no_grad()
    def likelihood(self, tuning: Tuning, present: Bool[Tensor, " individual"] | None = None) -> Likelihood:
        """The likelihood of trials in which these individuals are present; by default all."""
        if present is None:
            present = torch.ones(tuning.mean.shape[1], dtype=torch.bool, device=tuning.mean.device)
        mean, variance, scaled, root = self._moments(tuning, present)
        return Likelihood(
            present.nonzero().flatten(),
            mean,
            variance,
            torch.linalg.solve_triangular(root, scaled.mT, upper=False),
            variance.log().sum(0) + 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1),
            float(self.power),
        )

    # ------------------------------------------------------------------ unlabelled trials

    @torch.no_grad()
    def learn_unlabelled(
        self,
        labelled: Signals,
        belief: Float[Tensor, "trial candidate"],
        unlabelled: Signals,
        candidates: Candidates,
        trust: Float[Tensor, " other"] | None = None,
        likelihood: Float[Tensor, "other candidate"] | None = None,
    ) -> tuple[Tuning, Float[Tensor, "other candidate"]]:
        """Expectation maximisation: what is believed of unlabelled trials, and curves fitted to all, in turn.

        How frequent candidates are among unlabelled trials is taken from what the labelled ones say of them. As far as
        it is probable that all are equally frequent, beliefs are balanced; where that is far from probable, they begin
        with the shares that are likeliest, to the power ½, since few labels overstate differences.

        Args:
            labelled: calibration trials.
            belief: of them.
            unlabelled: other trials.
            candidates: of the target.
            trust: how much each unlabelled trial counts (see `trusted`); by default as much as a labelled one.
            likelihood: what the labelled trials say of the unlabelled ones, by which it is judged how frequent
                candidates are, if not by this readout alone.

        Returns:
            The tuning for trials to come, and the log-likelihood of the unlabelled ones.
        """
        own = self.log_likelihood(self(labelled, belief, candidates), unlabelled)
        trust = torch.ones_like(own[:, 0]) if trust is None else trust
        odds, share = unevenness(own if likelihood is None else likelihood, trust, MOST_SAYING * float(belief.sum()))
        n, far = len(candidates), torch.sigmoid(odds - len(candidates))
        frequency = (1 - far) / n + far * share.sqrt() / share.sqrt().sum()
        balance = self.balance * torch.sigmoid(-odds) * trust.sum() / (trust.sum() + n)
        for step in range(self.rounds):
            power = self.first_tempering + (1 - self.first_tempering) * step / max(1, self.rounds - 1)
            guess = balanced((own * power + frequency.log()).softmax(1), trust, balance)
            tuning, own = self.judged(labelled, belief, unlabelled, guess, candidates)
        return tuning, own


class TuningReadout(CurveReadout):
    """Fits tuning curves to calibration trials, and reads the target off others.

    1. Signals: time courses of the root counts of an individual in a trial, and what an encoder makes of it.
    2. Prior: of the functions a curve is made of, wider for individuals that fire more, and of several depths.
    3. Posterior: curves and noise, in turn, from the trials whose target is known or believed.
    4. Likelihood: of the signals of a trial, for every value that the target may have.

    Args:
        settings: see `TuningSettings`.
        width: of an encoder's embedding; 0 without encoder.
    """

    def __init__(self, settings: TuningSettings, *, width: int = 0) -> None:
        super().__init__()
        s = self.settings = settings
        self.n_read = s.embedding_channels if width else 0
        n_channels, order = s.root_channels + self.n_read, torch.arange(s.harmonics + 1.0)
        self.channels, self.rounds = range(n_channels), s.rounds
        self.first_tempering, self.balance = s.first_tempering, s.balance
        self.time_course = nn.Parameter(torch.eye(s.root_channels, s.cosines))
        self.to_channels = nn.Linear(2 * width, self.n_read) if self.n_read else None
        self.log_variance = Numbers(-1.0 * order - 1.5 * (torch.arange(n_channels) > 0)[:, None])
        self.log_noise = Numbers(torch.full((n_channels,), -1.2))
        self.depth_exponent = Numbers(torch.tensor(0.7))
        self.log_quiet = Numbers(torch.tensor(-1.0))
        self.log_extra = Numbers(torch.tensor(-2.5))
        self.log_depth = Numbers(torch.linspace(-1.2, 1.2, s.depths) if s.depths > 1 else torch.zeros(1))
        self.depth_logit = Numbers(torch.zeros(s.depths))
        self.log_noise_trials = Numbers(torch.tensor(3.0))
        self.log_seen_trials = Numbers(torch.tensor(5.0))
        self.log_shared = Numbers(torch.tensor([-2.5, -2.5, -3.5]))
        self.log_temperature = Numbers(torch.tensor(0.0))

    # ------------------------------------------------------------------ 1. signals

    def signals(
        self,
        root: Float[Tensor, "trial individual time"],
        observed: Bool[Tensor, "trial individual time"],
        embedding: Float[Tensor, "trial individual time both"] | None = None,
    ) -> Signals:
        signals = super().signals(root, observed)
        if self.to_channels is None or embedding is None:
            return signals
        share = observed.to(embedding.dtype)
        share = share / share.sum(-1, keepdim=True).clamp(min=1)
        read = self.to_channels((embedding * share[..., None]).sum(2)).double()
        first = self.settings.root_channels
        of_embedding = Signals(read * signals.present[..., None], signals.present, tuple(self.channels[first:]))
        return signals.beside(of_embedding)

    @property
    def power(self) -> Float[Tensor, ""]:
        return self.log_temperature().exp()

    def courses(self, n_bins: int) -> Float[Tensor, "channel time"]:
        waves = cosines(n_bins, self.time_course.shape[1]).to(self.time_course.device)
        n_channels = min(self.settings.root_channels, n_bins)
        return self.time_course[:n_channels, : len(waves)].double() @ waves

    def read(self, encoding: Encoding | None, batch: Batch, trials: Int[Tensor, " trial"] | None = None) -> Signals:
        """The signals of trials of one recording, of the individuals and bins that any of them has.

        Args:
            encoding: of the batch; None if there is no encoder.
            batch: with root counts, or signals of like noise, as the first feature of its values.
            trials: positions in the batch; by default all.
        """
        trials = torch.arange(len(batch), device=batch.values.device) if trials is None else trials
        observed = batch.observed[trials]
        individuals, n_bins = observed.any(2).any(0), 1 + int(observed.any(1).any(0).nonzero().max())
        embedding = None
        if encoding is not None and self.to_channels is not None:
            both = torch.cat((encoding.individual[trials], encoding.population[trials]), -1)
            embedding = both[:, individuals, :n_bins]
        root = batch.values[trials][:, individuals, :n_bins, 0]
        return self.signals(root, observed[:, individuals, :n_bins], embedding)

    def part_of(self, signals: Signals, reads: Reads) -> Signals:
        """The signals of root counts, of embeddings, or both.

        Raises:
            InputError: if there are no embeddings.
        """
        n_roots, channels = self.settings.root_channels, self.channels
        found = signals.only({"both": channels, "roots": channels[:n_roots], "embeddings": channels[n_roots:]}[reads])
        if not found.channels:
            raise InputError("no embedding is read (tuning.embedding_channels is 0); take reads='roots'.")
        return found

    def roots(self, signals: Signals) -> Signals:
        """The signals without what an encoder made."""
        return self.part_of(signals, "roots")

    # ------------------------------------------------------------------ 2. and 3. prior and posterior

    def forward(
        self,
        signals: Signals,
        belief: Float[Tensor, "trial candidate"],
        candidates: Candidates,
        *,
        doubt: float = 1.0,
    ) -> Tuning:
        """Tuning curves of all individuals.

        Args:
            signals: of calibration trials.
            belief: how probable each candidate is in each trial: labelled, one is certain. Trials count by its sum.
            candidates: of the target.
            doubt: times firmer the prior of noise is than was learned.
        """
        candidates = candidates.to(signals.values.device)
        basis, order = candidates.functions, candidates.order
        channel = list(signals.channels)
        x = signals.values.permute(2, 1, 0)  # channel, individual, trial
        weight = signals.present.double().T[..., None] * belief.double()  # individual, trial, candidate
        count = weight.sum((1, 2))
        at = weight.sum(1)  # individual, candidate

        # Moments of signals and functions over trials
        functions = torch.einsum("ig,gf,gh->ifh", at, basis, basis)
        product = torch.einsum("itg,dit,gf->dif", weight, x, basis)
        square = torch.einsum("itg,dit->di", weight, x.square())

        # 2. Prior
        size = (square[0] / count.clamp(min=1e-9)).clamp(min=LEAST_SIZE**2).log() / 2
        log_variance = self.log_variance()[channel][:, order.clamp(max=self.settings.harmonics)]
        width = log_variance[:, None] + (self.depth_exponent() * size)[:, None]
        width = torch.where(order == 0, FLAT, width + self.log_depth()[:, None, None, None])
        loud = torch.sigmoid(2 * size - self.log_quiet())  # counts are too few to vary where individuals are quiet
        prior_noise = self.log_noise()[channel].exp()[:, None] * loud + self.log_extra().exp()

        # 3. Posterior of curves, of depth and of noise
        precision = torch.diag_embed((-width).exp())
        trust = doubt * self.log_noise_trials().exp()
        noise = prior_noise
        for step in range(N_NOISE_ROUNDS + 1):
            gram = precision + functions / noise[..., None, None]
            inverse = torch.cholesky_inverse(root := torch.linalg.cholesky(gram))
            moment = product / noise[..., None]
            curve = torch.einsum("ldifh,dih->ldif", inverse, moment)
            log_det = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1) + width.sum(-1)
            evidence = ((curve * moment).sum(-1) - log_det).sum(1) / 2
            depth = (evidence + self.depth_logit()[:, None]).softmax(0)[:, None, :, None]
            if step < N_NOISE_ROUNDS:
                second = inverse + curve[..., None] * curve[..., None, :]
                second = (depth[..., None] * second).sum(0)
                left = square - 2 * ((depth * curve).sum(0) * product).sum(-1) + (second * functions).sum((-2, -1))
                noise = (trust * prior_noise + left.clamp(min=0)) / (trust + count)

        mean = (depth * (curve @ basis.T)).sum(0)
        unknown = torch.einsum("gf,ldifh,gh->ldig", basis, inverse, basis)
        variance = (depth * (unknown + (curve @ basis.T - mean).square())).sum(0) + noise[..., None]

        # What moves all together
        slope = (depth * (curve @ candidates.slopes.T)).sum(0)
        offset = torch.zeros_like(mean)
        offset[0] = 1
        shared = torch.stack((mean, slope, offset)) * self.log_shared().exp()[:, None, None, None]
        tuning = Tuning(mean, variance, shared, mean.new_zeros(0, *mean.shape[:2]))
        return self.with_noise_of(tuning, signals, belief)

    def with_noise_of(self, tuning: Tuning, signals: Signals, belief: Float[Tensor, "trial candidate"]) -> Tuning:
        """The same curves, with a covariance drawn towards that of the deviations of these trials from them."""
        belief = belief.double()
        taken = belief.sum(1)
        away = signals.values.permute(0, 2, 1) - torch.einsum("tg,dig->tdi", belief, tuning.mean)
        away = away * signals.present[:, None] * taken.sqrt()[:, None, None]
        trust = self.log_seen_trials().exp()
        return dataclasses.replace(
            tuning, seen=away / (trust + taken.sum()).sqrt(), prior_share=trust / (trust + taken.sum())
        )

    def judged(
        self,
        labelled: Signals,
        belief: Float[Tensor, "trial candidate"],
        unlabelled: Signals,
        guess: Float[Tensor, "other candidate"],
        candidates: Candidates,
    ) -> tuple[Tuning, Float[Tensor, "other candidate"]]:
        """Curves fitted to labelled trials and to what is believed of others, and the log-likelihood of the others.

        A trial is judged by curves that it helped to fit, but not by its own noise: the noise that is taken out
        of one half of the unlabelled trials is that of the labelled ones and of the other half. Its log-likelihood is
        the mean of that and of the one under the noise of the prior. The prior of noise is firmer than it is learned to
        be: trials near what they are believed to be would make noise small, and beliefs certain.
        """
        both, beliefs = labelled.and_those_of(unlabelled), torch.cat((belief, guess))
        tuning = self(both, beliefs, candidates, doubt=DOUBT)
        known, half = torch.ones(len(labelled.values), dtype=torch.bool), unlabelled.rank % 2
        likelihood = torch.zeros_like(guess)
        for part in (0, 1):
            others = torch.cat((known, half != part))
            judge = self.with_noise_of(tuning, both[others], beliefs[others])
            likelihood[half == part] = self.log_likelihood(judge, unlabelled[half == part])
        return tuning, (likelihood + self.log_likelihood(tuning.with_prior_noise, unlabelled)) / 2

    @torch.no_grad()
    def trusted(
        self, labelled: Signals, belief: Float[Tensor, "trial candidate"], others: Signals, candidates: Candidates
    ) -> Float[Tensor, " other"]:
        """How far other trials are to be trusted, from 0 to 1: less if they are strange, as those of another task are.

        What is usual is learned from the labelled trials: how strange each is to curves fitted to the rest of them.
        Individuals that never fire there have no say.
        """
        n_labelled, is_present = len(labelled.values), others.present.any(1)
        fires = labelled.values[..., 0].amax(0) > labelled.values[..., 0].amin(0)
        if n_labelled < 2 or not fires.any():
            return is_present.double()
        labelled, others = labelled.of(fires), others.of(fires)
        usual = self.usual_strangeness(labelled, belief, candidates)
        strange = self.strangeness(self(labelled, belief, candidates), others)
        return trust_of(strange, usual) * is_present


def cosines(n_bins: int, most: int) -> Float[Tensor, "cosine time"]:
    """The slowest cosines of so many bins, float64: orthogonal, and of length 1."""
    time = (torch.arange(n_bins, dtype=torch.float64) + 0.5) / n_bins
    frequency = torch.arange(min(most, n_bins))
    waves = (math.pi * frequency[:, None] * time).cos() * (2.0 - (frequency[:, None] == 0).double()).sqrt()
    return waves / math.sqrt(n_bins)


def balanced(
    belief: Float[Tensor, "trial candidate"], trust: Float[Tensor, " trial"], balance: Float[Tensor, ""] | float
) -> Float[Tensor, "trial candidate"]:
    """Beliefs moved towards equal numbers of trials for every candidate; trials count by how they are trusted."""
    weight = trust[:, None]
    for _ in range(2):
        share = (weight * belief).sum(0) / weight.sum().clamp(min=1e-9)
        belief = belief / share.clamp(min=1e-9) ** balance
        belief = belief / belief.sum(1, keepdim=True)
    return belief * weight


def unevenness(
    likelihood: Float[Tensor, "trial candidate"], trust: Float[Tensor, " trial"], most: float = math.inf
) -> tuple[Float[Tensor, ""], Float[Tensor, " candidate"]]:
    """Log-odds that candidates are not equally frequent (Schwarz's criterion), and how frequent they are then.

    Args:
        likelihood: of trials, as log.
        trust: how much each counts.
        most: trials that are independent evidence: where there are more, each counts for less, since all are read by
            the same curves, and err with them.

    Example:
        >>> likelihood = 9 * torch.eye(4).repeat(10, 1)
        >>> for of in (likelihood, likelihood[::2].repeat(2, 1)):
        ...     odds, share = unevenness(of, torch.ones(40))
        ...     print(round(float(odds)), share.round(decimals=2).tolist())
        -6 [0.25, 0.25, 0.25, 0.25]
        22 [0.5, 0.0, 0.5, 0.0]
    """
    trust = trust * (most / trust.sum()).clamp(max=1)
    n, n_trials, own = likelihood.shape[1], trust.sum().clamp(min=1), likelihood.log_softmax(1)
    share = torch.full_like(likelihood[0], 1 / n)
    for _ in range(N_SHARE_ROUNDS):
        share = (trust[:, None] * (own + share.log()).softmax(1)).sum(0) / n_trials + LEAST_SHARE
    gain = (trust * (own + (n * share).log()).logsumexp(1)).sum()
    return gain - (n - 1) / 2 * n_trials.log(), share / share.sum()


def trust_of(strange: Float[Tensor, " trial"], usual: Float[Tensor, ""]) -> Float[Tensor, " trial"]:
    """How much trials count: 1 up to twice the usual strangeness, then as its -4th power, and 0 beyond 2.7 times it.

    So the sum of squared deviations that a trial adds to the fit, in units of noise, is bounded whatever is in it: by
    twice that of a usual trial. What is no number counts 0.

    Example:
        >>> trust_of(torch.tensor([1.0, 2.5, 3.0, torch.nan]), torch.tensor(1.0)).round(decimals=2)
        tensor([1.0000, 0.4100, 0.0000, 0.0000])
    """
    trust = (STRANGE * usual / strange.clamp(min=1e-12)).pow(4).clamp(max=1)
    return torch.where(trust >= LEAST_TRUST, trust, 0.0)
