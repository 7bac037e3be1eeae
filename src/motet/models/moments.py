"""A second readout in closed form, whose numbers are moments of other populations: nothing in it is trained.

Signals are the slowest cosines of the root counts of an individual. How far the curve of an individual departs from its
mean, and how strong its noise is, depends on how much it fires, and is taken to be alike in all populations; so is what
a common gain, rotation and offset do to trials. These variances are learned by moments from labelled trials of other
populations. A few trials of a new one then give the posterior of every curve, whose uncertainty is added to the noise.

`TuningReadout` learns its numbers, re-estimates noise and reads fewer channels: the two err in different trials, so
that what both say is better than what either does (decision 21).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motet.models.tuning import FLAT, STRANGE, Candidates, CurveReadout, Signals, Tuning, cosines

N_CHANNELS, N_ORDERS, N_LEVELS = 8, 3, 6
LEAST_LEVEL = 0.05  # added to the mean of an individual's root counts, so that silence has a logarithm
LEAST_DEPTH, LEAST_NOISE = 5e-5, 1e-2
EXTRA_NOISE = 0.1  # variance beyond what was learned, so that rare spikes of quiet individuals weigh no more


class MomentReadout(CurveReadout):
    """Fits curves to calibration trials by variances that are known from other populations.

    Args:
        first_channel: its channels are numbered from here.
    """

    level: Tensor
    depth: Tensor
    noise: Tensor
    change: Tensor
    usual: Tensor
    power = 0.5  # its likelihoods are overconfident: noise of different individuals is not independent
    rounds, first_tempering, balance = 15, 0.2, 1.0

    def __init__(self, first_channel: int) -> None:
        super().__init__()
        self.channels = range(first_channel, first_channel + N_CHANNELS)
        for name, shape in {
            "level": (N_LEVELS,),
            "depth": (N_ORDERS, N_CHANNELS, N_LEVELS),
            "noise": (N_CHANNELS, N_LEVELS),
            "change": (3, 3),
            "usual": (),
        }.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    @property
    def has_learned(self) -> bool:
        """Whether other populations have taught it anything."""
        return bool((self.noise > 0).all())

    def courses(self, n_bins: int) -> Float[Tensor, "channel time"]:
        return cosines(n_bins, N_CHANNELS).to(self.level.device)

    # ------------------------------------------------------------------ other populations

    @torch.no_grad()
    def learn(self, populations: Iterable[tuple[Signals, Float[Tensor, "trial candidate"]]], of: Candidates) -> None:
        """Take the variances from populations of which all trials are labelled.

        Those with one trial of each class teach nothing, nor do individuals that were not observed in each class.

        Args:
            populations: signals, and what is known of them: one is certain.
            of: candidates of the target.
        """
        known = []
        for signals, belief in populations:
            kept = _observed_in_all(signals, belief)
            if kept.any():
                known.append((signals.of(kept), belief))
        if not known:
            return
        found = [self._moments_of(*one, of) for one in known]
        level, depth, noise = (torch.cat(parts, -1) for parts in zip(*found, strict=True))
        order = level.argsort(stable=True)
        groups = [group if len(group) else order[-1:] for group in order.tensor_split(N_LEVELS)]

        def of_groups(each: Tensor) -> Tensor:
            return torch.stack([each[..., group].mean(-1) for group in groups], -1)

        self.level.copy_(of_groups(level))
        self.depth.copy_(of_groups(depth).clamp(min=LEAST_DEPTH))
        self.noise.copy_(of_groups(noise).clamp(min=LEAST_NOISE))
        total = torch.stack([self._changes_of(*one, of) for one in known]).sum(0)
        self.change.copy_(total / sum(len(signals.values) for signals, _ in known))
        self.usual.copy_(torch.cat([self.strangeness(self(*one, of), one[0]) for one in known]).median())

    def _moments_of(
        self, signals: Signals, belief: Float[Tensor, "trial candidate"], of: Candidates
    ) -> tuple[Float[Tensor, " kept"], Float[Tensor, "order channel kept"], Float[Tensor, "channel kept"]]:
        """Log-levels of individuals, and unbiased variances of their curves, by order, and of their noise."""
        seen = belief.sum(0) > 0
        basis, order, belief = _centred(of)[seen], of.order, belief[:, seen]
        weight = signals.present.double().T[..., None] * belief  # individual, trial, candidate
        n, x = weight.sum(1), signals.values.permute(2, 1, 0)  # n: individual, candidate; x: channel, individual, trial
        mean = torch.einsum("itg,dit->dig", weight, x) / n
        left = ((x - torch.einsum("itg,dig->dit", weight, mean)) * signals.present.T).square().sum(-1)
        noise = left / (n.sum(1) - n.shape[1])
        weigh = torch.linalg.pinv(basis)
        excess = torch.einsum("fg,dig->fdi", weigh, mean).square()
        excess = excess - torch.einsum("fg,ig->fi", weigh.square(), 1 / n)[:, None] * noise
        depth = torch.stack([excess[order == o].mean(0) for o in range(1, int(order.max()) + 1)])
        depth = _lengthened(_lengthened(depth, 0, N_ORDERS), 1, N_CHANNELS)
        return _level(signals, belief), depth, _lengthened(noise, 0, N_CHANNELS)

    def _changes_of(
        self, signals: Signals, belief: Float[Tensor, "trial candidate"], of: Candidates
    ) -> Float[Tensor, "3 3"]:
        """Squares of gain, rotation and offset, summed over trials, less what noise makes of them."""
        tuning = self(signals, belief, of)
        direction = _directions(tuning, of, self._curve(signals, belief, of)[0])
        scaled = direction / tuning.variance
        inverse = torch.linalg.pinv(torch.einsum("rdig,sdig->grs", scaled, direction), hermitian=True)
        away = (signals.values.permute(2, 1, 0)[..., None] - tuning.mean[:, :, None]) * signals.present.T[..., None]
        found = torch.einsum("ditg,rdig,grs->tgs", away, scaled, inverse)
        return torch.einsum("tg,tgr,tgs->rs", belief, found, found) - torch.einsum("tg,grs->rs", belief, inverse)

    # ------------------------------------------------------------------ a new population

    @torch.no_grad()
    def knows(self, labelled: Signals, belief: Float[Tensor, "trial candidate"], candidates: Candidates) -> bool:
        """Whether a population is of the kind that it learned from: its trials vary half as much, to twice as much."""
        if len(belief) < 2:  # nothing says that it is not
            return True
        ratio = self.usual_strangeness(labelled, belief, candidates) / self.usual
        return bool(1 / STRANGE <= ratio <= STRANGE)

    def forward(self, signals: Signals, belief: Float[Tensor, "trial candidate"], candidates: Candidates) -> Tuning:
        curve, unknown, noise = self._curve(signals, belief, candidates)
        basis = _centred(candidates)
        mean = curve @ basis.T
        variance = torch.einsum("gf,difh,gh->dig", basis, unknown, basis) + noise[..., None] + EXTRA_NOISE
        tuning = Tuning(mean, variance, mean.new_zeros(0, *mean.shape), mean.new_zeros(0, *mean.shape[:2]))
        values, vectors = torch.linalg.eigh(self.change)
        factor = vectors * values.clamp(min=0).sqrt()
        shared = torch.einsum("rs,rdig->sdig", factor, _directions(tuning, candidates, curve))
        return Tuning(mean, variance, shared, tuning.seen)

    def _curve(
        self, signals: Signals, belief: Float[Tensor, "trial candidate"], candidates: Candidates
    ) -> tuple[
        Float[Tensor, "channel individual function"],
        Float[Tensor, "channel individual function function"],
        Float[Tensor, "channel individual"],
    ]:
        """The posterior of curves, mean and covariance, and the variance of noise."""
        basis, order = _centred(candidates), candidates.order
        x = signals.values.permute(2, 1, 0)  # channel, individual, trial
        depth, noise = self._at(_level(signals, belief), len(x))
        spread = torch.where(order == 0, math.exp(FLAT), depth[(order - 1).clamp(0, N_ORDERS - 1)].permute(1, 2, 0))
        weight = signals.present.double().T[..., None] * belief  # individual, trial, candidate
        functions = torch.einsum("ig,gf,gh->ifh", weight.sum(1), basis, basis)
        unknown = torch.linalg.inv(functions / noise[..., None, None] + torch.diag_embed(1 / spread))
        drive = torch.einsum("itg,dit,gf->dif", weight, x, basis) / noise[..., None]
        return torch.einsum("difh,dih->dif", unknown, drive), unknown, noise

    def _at(
        self, level: Float[Tensor, " individual"], n_channels: int
    ) -> tuple[Float[Tensor, "order channel individual"], Float[Tensor, "channel individual"]]:
        """Variances of curves and noise for individuals of these log-levels, between those that were learned."""
        right = torch.searchsorted(self.level, level).clamp(1, N_LEVELS - 1)
        low, high = self.level[right - 1], self.level[right]
        share = ((level - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)

        def between(of_levels: Tensor) -> Tensor:
            logs = of_levels[..., :n_channels, :].log()
            return (logs[..., right - 1] * (1 - share) + logs[..., right] * share).exp()

        return between(self.depth), between(self.noise)

    @torch.no_grad()
    def judged(
        self,
        labelled: Signals,
        belief: Float[Tensor, "trial candidate"],
        unlabelled: Signals,
        guess: Float[Tensor, "other candidate"],
        candidates: Candidates,
    ) -> tuple[Tuning, Float[Tensor, "other candidate"]]:
        tuning = self(labelled.and_those_of(unlabelled), torch.cat((belief, guess)), candidates)
        return tuning, self.log_likelihood(tuning, unlabelled)


def _centred(candidates: Candidates) -> Float[Tensor, "candidate function"]:
    """The functions that curves are sums of, all but the constant with mean 0 over candidates."""
    constant, others = candidates.functions[:, :1], candidates.functions[:, 1:]
    return torch.cat((constant, others - others.mean(0)), 1)


def _level(signals: Signals, belief: Float[Tensor, "trial candidate"]) -> Float[Tensor, " individual"]:
    """Logarithm of the mean of the first channel."""
    weight = signals.present.double() * belief.sum(1, keepdim=True)
    mean = (weight * signals.values[..., 0]).sum(0) / weight.sum(0).clamp(min=1e-9)
    return (mean.clamp(min=0) + LEAST_LEVEL).log()


def _directions(
    tuning: Tuning, candidates: Candidates, curve: Float[Tensor, "channel individual function"]
) -> Float[Tensor, "3 channel individual candidate"]:
    """Where a greater gain, a rotation and an offset of all individuals take a trial."""
    offset = torch.zeros_like(tuning.mean)
    offset[0] = 1
    return torch.stack((tuning.mean, curve @ candidates.slopes.T, offset))


def _observed_in_all(signals: Signals, belief: Float[Tensor, "trial candidate"]) -> Bool[Tensor, " individual"]:
    """Whether an individual was observed in each class that there is, of two or more, and in one of them twice."""
    n = signals.present.double().T @ belief[:, belief.sum(0) > 0]
    return (n > 0).all(1) & (n.sum(1) > n.shape[1]) & (n.shape[1] > 1)


def _lengthened(x: Tensor, axis: int, n: int) -> Tensor:
    """The first of an axis, of which there are fewer than n or more; the last stands for those that lack."""
    return x.index_select(axis, torch.arange(n).clamp(max=x.shape[axis] - 1))
