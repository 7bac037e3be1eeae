"""Shooting: a whole trajectory fitted to what was observed, where a fit in one go is too coarse.

The fit of couplings integrates forces along the observed bins. Where individuals come close between two bins, that is
far off, and a forecast inherits the error. Here the equations of motion are integrated finely, backwards from the last
bin of the context, and the last state and the strengths of the strongest pairs are changed until the trajectory passes
through the observations: nonlinear least squares, by Levenberg and Marquardt with slopes from the variational
equations.
"""

from __future__ import annotations

import copy
import dataclasses
import math

import torch
from einops import rearrange
from torch import Tensor

from motet.models.rollout import Observed, Rollout, State, Strength, Values, rolled

# A window grows backwards from the last bins; where velocities are measured, fewer give the last state.
FIRST_BINS, FIRST_BINS_WITH_VELOCITY, GROWTH = 6, 3, 1.5
N_SUBSTEPS, N_FINE_SUBSTEPS = 2, 4  # of integration per bin: for all trials, for those that are hard to fit
N_STEPS = 6  # of the optimiser, for each window
LEAST_GAIN = 0.01  # of a step, as a fraction of what is left: below, a trial is done
STRENGTHS_PER_INDIVIDUAL = 3  # that are fitted, the strongest of a trial
# Standard deviations before shooting: of the logarithm of a strength; of a last state (lengths or radians, per bin).
DOUBT, STATE_DOUBT = 0.3, 1.0
# A longer window is kept if it leaves at most this many times what a shorter one leaves, or this much (lengths or
# radians, root mean square per degree of freedom).
MORE_LEFT, LITTLE = 2.0, 2e-3
MOST_NUMBERS = 2**20  # of slopes of a state, over all trials at once


@dataclasses.dataclass(frozen=True, eq=False)
class _Problem:
    """Trials that are fitted.

    Attributes:
        rollout: whose laws hold.
        seen: states that were measured.
        weight: (trial, individual, time, state) of their squared residuals, 0 or more.
        strength: of each law, before shooting.
        pairs: (trial, strength) which of the flattened pairs have a factor that is fitted.
    """

    rollout: Rollout
    seen: Tensor
    weight: Tensor
    strength: Strength
    pairs: Tensor

    def select(self, trials: Tensor) -> _Problem:
        of_trial = {name: getattr(self, name)[trials] for name in ("seen", "weight", "strength", "pairs")}
        return dataclasses.replace(self, **of_trial)

    def expanded(self, parameters: Tensor) -> tuple[State, Strength]:
        """Last states, and strengths, of (trial, parameter): states, flat, and the logarithms of factors."""
        n = self.strength.shape[1]
        n_states = parameters.shape[1] - self.pairs.shape[1]
        states, factors = parameters[:, :n_states], parameters[:, n_states:]
        of_pair = factors.new_zeros(len(factors), n * n).scatter(1, self.pairs, factors).exp()
        return rearrange(states, "b (i s) -> b i s", i=n), self.strength * rearrange(of_pair, "b (i j) -> b i j 1", i=n)

    def residuals(self, parameters: Tensor, *, n_bins: int, n_substeps: int) -> tuple[Tensor, Tensor]:
        """Weighted differences to what was seen in the last bins, (trial, row), and slopes (trial, row, parameter)."""
        state, strength = self.expanded(parameters)
        n_parameters = parameters.shape[1]
        slopes = torch.eye(state[0].numel(), n_parameters, dtype=state.dtype)
        slopes = rearrange(slopes, "(i s) p -> i (s p)", i=state.shape[1]).expand(len(state), -1, -1)
        both = torch.cat((state, slopes), dim=-1)
        path = rolled(lambda s: -self._change(s, strength), both, n_bins=n_bins - 1, n_substeps=n_substeps)
        path = torch.cat((both[:, :, None], path), dim=2).flip(2)
        n_state = state.shape[2]
        off = path[..., :n_state] - self.seen[:, :, -n_bins:]
        if self.rollout.is_circular:
            off = torch.remainder(off + math.pi, 2 * math.pi) - math.pi
        weight = self.weight[:, :, -n_bins:]
        slopes = rearrange(path[..., n_state:], "b i t (s p) -> b i t s p", s=n_state) * weight[..., None]
        return (off * weight).flatten(1).nan_to_num(1e6, 1e6, -1e6), slopes.flatten(1, 3).nan_to_num(0.0, 0.0, 0.0)

    def _change(self, both: Tensor, strength: Strength) -> Tensor:
        """Of states and their slopes in the parameters, side by side (the variational equations)."""
        r = self.rollout
        n, n_state = both.shape[1], 2 * r.n_dimensions
        state, slopes = both[..., :n_state], rearrange(both[..., n_state:], "b i (s p) -> b i s p", s=n_state)
        pull, slope = r.pulls(state, strength)
        place, motion = slopes.chunk(2, dim=2)
        matrix = rearrange(slope, "b i j d e -> b (i d) (j e)")
        pulled = rearrange(matrix @ place.flatten(1, 2), "b (i d) p -> b i d p", i=n) - slope.sum(2) @ place
        if (n_factors := self.pairs.shape[1]) > 0:
            of_pair = pull.flatten(1, 2).gather(1, self.pairs[..., None].expand(-1, -1, pull.shape[-1]))
            index = (self.pairs // n)[:, None, None].expand(-1, 1, pull.shape[-1], -1)
            by_factor = pull.new_zeros(*pulled.shape[:3], n_factors)
            pulled = torch.cat(
                (pulled[..., :-n_factors], pulled[..., -n_factors:] + by_factor.scatter(1, index, of_pair.mT[:, None])),
                -1,
            )
        total = pull.sum(2)
        then = state[..., r.n_dimensions :]
        if r.is_circular:
            changes, slope_changes = (then + total, 0 * then), (motion + pulled, 0 * motion)
        else:
            changes, slope_changes = (then, total), (motion, pulled)
        return torch.cat((*changes, torch.cat(slope_changes, dim=2).flatten(2)), dim=-1)


@torch.no_grad()
def shoot(
    rollout: Rollout, values: Values, observed: Observed, strength: Strength, *, fits_strength: bool = True
) -> tuple[State, Strength]:
    """The last state, and strengths, of trajectories that pass through observed places; float64.

    The window of bins that a trajectory is fitted to grows backwards, as long as the fit stays good: what happened
    before an encounter that nothing explains does not spoil what came after it.

    Args:
        rollout: whose laws hold.
        values: of the context, as the model reads them.
        observed: of the context.
        strength: of each law, see `Rollout.strength`.
        fits_strength: whether the strongest pairs' strengths are fitted too, each by a factor.
    """
    rollout = copy.deepcopy(rollout).double()
    values, strength = values.double(), strength.double()
    n = strength.shape[1]
    n_pairs = min(STRENGTHS_PER_INDIVIDUAL * n, n * n - n) if fits_strength else 0
    pairs = strength.abs().sum(-1).flatten(1).topk(n_pairs, dim=1).indices
    # Absent individuals bring none: pair 0 is of one individual with itself, which has no pull.
    is_fitted = torch.arange(n_pairs) < STRENGTHS_PER_INDIVIDUAL * observed.any(dim=-1).sum(dim=1, keepdim=True)
    pairs = torch.where(is_fitted, pairs, 0)
    seen, weight = rollout.seen(values)
    weight = observed[..., None] * weight
    start = rollout.start(values, observed, strength).flatten(1)
    parameters = torch.cat((start, start.new_zeros(pairs.shape)), dim=1)
    problem = _Problem(rollout, seen, weight, strength, pairs)
    size = max(1, MOST_NUMBERS // (start.shape[1] * parameters.shape[1]))
    for part in torch.split(torch.arange(len(values)), size):
        parameters[part] = _shot(problem.select(part), parameters[part])
    return problem.expanded(parameters)


def _shot(problem: _Problem, start: Tensor) -> Tensor:
    """Parameters fitted to as long a window as can be."""
    n_bins = problem.seen.shape[2]
    has_velocity = problem.rollout.fit.geometry.motion.features == "position-velocity"
    first = FIRST_BINS_WITH_VELOCITY if has_velocity else FIRST_BINS
    n_stages = max(0, math.ceil(math.log(n_bins / first, GROWTH)))
    lengths = [*(round(first * GROWTH**stage) for stage in range(n_stages)), n_bins]
    noise = torch.full_like(start[:, 0], LITTLE)
    # So few bins say nothing of strengths, but of the last state, and of the noise.
    alone = dataclasses.replace(problem, pairs=problem.pairs[:, :0])
    n_states = start.shape[1] - problem.pairs.shape[1]
    states, least = _fitted(alone, start[:, :n_states], n_bins=min(lengths), n_substeps=N_SUBSTEPS, noise=noise)
    found = torch.cat((states, start[:, n_states:]), dim=1)

    def fit(trials: Tensor, start: Tensor, *, n_bins: int, n_substeps: int) -> Tensor:
        """Fit trials, and keep the fits that are good; which these are."""
        tried, left = _fitted(problem.select(trials), start, n_bins=n_bins, n_substeps=n_substeps, noise=least[trials])
        is_good = left <= (MORE_LEFT * least[trials]).clamp(min=LITTLE)
        found[trials[is_good]] = tried[is_good]
        least[trials[is_good]] = torch.maximum(least[trials], left)[is_good]
        return is_good

    # Most trials can be fitted at once; the others are approached step by step.
    waiting = torch.arange(len(start))
    waiting = waiting[~fit(waiting, start, n_bins=n_bins, n_substeps=N_SUBSTEPS)]
    for length in lengths:
        if len(waiting) == 0:
            break
        waiting = waiting[fit(waiting, found[waiting], n_bins=length, n_substeps=N_FINE_SUBSTEPS)]
    return found


def _fitted(
    problem: _Problem, parameters: Tensor, *, n_bins: int, n_substeps: int, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Parameters fitted to the last bins, and (trial,) what is left: root mean square per degree of freedom."""
    n_factors = problem.pairs.shape[1]
    n_states = parameters.shape[1] - n_factors
    is_factor = torch.arange(parameters.shape[1]) >= n_states
    # Without evidence factors stay near 1, and states where they started.
    hold = (noise.clamp(min=LITTLE / 4)[:, None] / torch.where(is_factor, DOUBT, STATE_DOUBT)).square()
    held = torch.where(is_factor, 0.0, parameters)

    def measured(trials: Tensor, tried: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rest, slopes = problem.select(trials).residuals(tried, n_bins=n_bins, n_substeps=n_substeps)
        return rest, slopes, rest.square().sum(1) + (hold[trials] * (tried - held[trials]).square()).sum(1)

    best, active = parameters.clone(), torch.arange(len(parameters))
    rest, slopes, cost = measured(active, best)
    damping = torch.full_like(cost, 1e-3)
    for _ in range(N_STEPS):
        here = slopes[active]
        gram = here.mT @ here + torch.diag_embed(hold[active])
        gradient = (here.mT @ rest[active, :, None])[..., 0] + hold[active] * (best[active] - held[active])
        damped = damping[active, None] * gram.diagonal(dim1=1, dim2=2) + 1e-12
        tried = best[active] - torch.linalg.solve(gram + torch.diag_embed(damped), gradient)
        tried_rest, tried_slopes, tried_cost = measured(active, tried)
        gain = 1 - tried_cost / cost[active].clamp(min=1e-30)
        is_better = gain > 0
        better = active[is_better]
        best[better], rest[better], slopes[better] = tried[is_better], tried_rest[is_better], tried_slopes[is_better]
        cost[better] = tried_cost[is_better]
        damping[active] *= torch.where(is_better, 0.2, 10.0)
        active = active[~is_better | (gain > LEAST_GAIN)]
        if len(active) == 0:
            break
    is_seen = problem.weight[:, :, -n_bins:] > 0
    n_free = is_seen.sum((1, 2, 3)) - is_seen.any(dim=3).any(dim=2).sum(1) * is_seen.shape[3]
    return best, (rest.square().sum(1) / n_free.clamp(min=1)).sqrt()
