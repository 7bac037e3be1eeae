"""Rolling motion forward: where individuals go, given how strongly each follows each other one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import one_hot

from motet.data.gaps import bridged
from motet.models.coupling import CouplingFit
from motet.models.geometry import phase_difference

Strength = Float[Tensor, "trial individual individual law"]
State = Float[Tensor, "trial individual state"]
Values = Float[Tensor, "trial individual time feature"]
Observed = Bool[Tensor, "trial individual time"]

NUDGE = 1e-6  # of a distance, for the slope of a force; in float64
MOST_GRADIENT = 10.0  # of a trial, in gradients of the median trial
LAW_SHARPNESS = 30.0  # a logit moves as far in a step of training as any weight: alone, too little to choose a law


class Rollout(nn.Module):
    """Continues a trial under the laws of force, and the strengths of all pairs, that were fitted to its context.

    1. Choose: each law explains the motion alone; the forecast follows the one that has forecast best in training,
       where every trial follows one that is drawn, so that all of them learn.
    2. Start: what remains of the positions after the forces is free motion, fitted by least squares to the whole
       context, so that noise is averaged out; on the circle likewise the phase and the own frequency.
    3. Roll: see `rolled`.

    A state is position and velocity; on the circle, phase and own frequency. Lengths are in units of the geometry, time
    is in bins.

    Args:
        fit: whose laws are followed; its weights are shared with the model.
    """

    def __init__(self, fit: CouplingFit) -> None:
        super().__init__()
        self.fit = fit
        self.law_logits = nn.Parameter(torch.zeros(fit.n_laws))
        self.generator: torch.Generator | None = None  # see `draws_from`

    def forward(
        self,
        values: Values,
        observed: Observed,
        coupling: Strength,
        *,
        n_bins: int,
        n_substeps: int,
        laws: Int[Tensor, " trial"] | None = None,
    ) -> Float[Tensor, "trial individual horizon state"]:
        """The states in the bins after the context.

        Args:
            values: of the context, as the model reads them.
            observed: of the context.
            coupling: of each law, 0 where there is no pair.
            n_bins: how far to go.
            n_substeps: steps of integration per bin.
            laws: the law of each trial; by default the best.
        """
        # 1. Choose
        strength = self.strength(coupling, laws)
        _tame(strength)

        # 2. Start
        state = self.start(values, observed, strength)

        # 3. Roll
        return rolled(lambda s: self.change(s, strength), state, n_bins=n_bins, n_substeps=n_substeps)

    def strength(self, coupling: Strength, laws: Int[Tensor, " trial"] | None = None) -> Strength:
        """The couplings of one law, the best by default; 0 for the others."""
        chosen = self.law_logits.argmax().expand(len(coupling)) if laws is None else laws
        return coupling.to(self.law_logits.dtype) * one_hot(chosen, self.fit.n_laws)[:, None, None]

    def drawn_laws(self, n_trials: int) -> Int[Tensor, " trial"]:
        """A law for each trial, half by merit and half by chance."""
        odds = (self._merit().detach() + 1 / self.fit.n_laws) / 2
        return torch.multinomial(odds, n_trials, replacement=True, generator=self.generator)

    def regret(self, losses: Float[Tensor, " trial"], laws: Int[Tensor, " trial"]) -> Float[Tensor, ""]:
        """0, with the gradient by which laws that forecast better gain merit.

        Args:
            losses: of each trial.
            laws: under which they arose.
        """
        of_law = one_hot(laws, self.fit.n_laws).to(losses.dtype)
        mean = (losses.detach() @ of_law) / of_law.sum(0).clamp(min=1)
        cost = self._merit() @ torch.where(of_law.any(0), mean, losses.detach().mean())
        return cost - cost.detach()

    def _merit(self) -> Float[Tensor, " law"]:
        return (LAW_SHARPNESS * self.law_logits).softmax(dim=0)

    @property
    def is_circular(self) -> bool:
        return self.fit.geometry.space == "phase"

    @property
    def n_dimensions(self) -> int:
        """Of a place; a state has twice as many numbers."""
        return self.fit.geometry.n_dimensions

    def places(self, states: Float[Tensor, "*lead state"]) -> Float[Tensor, "*lead place"]:
        """Where individuals are: coordinates, or cosine and sine of their phase."""
        place = states[..., : self.n_dimensions]
        return torch.cat((place.cos(), place.sin()), dim=-1) if self.is_circular else place

    @property
    def unit(self) -> float:
        """One unit of acceleration in lengths per bin²; on the circle, one unit of rate in radians per bin."""
        g = self.fit.geometry
        if self.is_circular:
            return g.velocity * g.bin_seconds
        return g.acceleration * g.bin_seconds**2 / g.length

    def change(self, state: State, strength: Strength) -> State:
        """Of a state, per bin."""
        place, motion = state.chunk(2, dim=-1)
        if self.is_circular:
            pull = self.fit.pull(self.places(place)[:, :, None])
            return torch.cat((motion + self.unit * torch.einsum("bijl,blijt->bit", strength, pull), 0 * motion), dim=-1)
        force = self.fit.force(place[:, None] - place[:, :, None])
        return torch.cat((motion, self.unit * torch.einsum("bijl,bijld->bid", strength, force)), dim=-1)

    def pulls(self, state: State, strength: Strength) -> tuple[Tensor, Tensor]:
        """What each other individual adds to the change of place or motion, and its slope in the other's place.

        Returns:
            (trial, individual, individual, dimension) and (trial, individual, individual, dimension, dimension).
        """
        place = state[..., : self.n_dimensions]
        strength = self.unit * strength
        if self.is_circular:
            on_circle = self.places(place)[:, :, None]
            sine, cosine = phase_difference(on_circle)
            waves = torch.stack((cosine, -sine, 2 * (cosine.square() - sine.square()), -4 * sine * cosine), dim=-1)
            pull = torch.einsum("bijl,blijt->bijt", strength, self.fit.pull(on_circle))
            slope = torch.einsum("bijl,bijth,lh->bijt", strength, waves, self.fit.harmonics)
            return pull, slope[..., None]
        towards = place[:, None] - place[:, :, None]
        # A central force changes along the line of sight by its own slope, and across it in proportion to itself.
        both = self.fit.force(torch.stack((towards, towards * (1 + NUDGE))))
        force, farther = (strength[..., None] * both).sum(-2)
        along = (farther - force) / NUDGE
        squared = towards.square().sum(-1, keepdim=True).clamp(min=1e-12)
        across, radial = ((part * towards).sum(-1, keepdim=True) / squared for part in (force, along))
        outer = towards[..., :, None] * towards[..., None, :] / squared[..., None]
        eye = torch.eye(self.n_dimensions, dtype=place.dtype, device=place.device)
        return force, across[..., None] * eye + (radial - across)[..., None] * outer

    def seen(self, values: Values) -> tuple[Float[Tensor, "trial individual time state"], Float[Tensor, " state"]]:
        """The states that were measured, and how much each number of a state says; 0 where it was not measured."""
        if self.is_circular:
            phase = torch.atan2(values[..., 1], values[..., 0])
            return torch.stack((phase, torch.zeros_like(phase)), dim=-1), values.new_tensor([1.0, 0.0])
        g = self.fit.geometry
        position, velocity, _ = rearrange(values, "b i t (part d) -> part b i t d", part=3)
        has_velocity = g.motion.features == "position-velocity"
        weight = self.fit.log_velocity_weight.exp() if has_velocity else values.new_zeros(())
        states = torch.cat((position, velocity * (g.velocity * g.bin_seconds / g.length)), dim=-1)
        return states, torch.stack((torch.ones_like(weight), weight)).repeat_interleave(g.n_dimensions)

    def start(self, values: Values, observed: Observed, strength: Strength) -> State:
        """The state in the last bin of a context."""
        values = bridged(values.to(strength.dtype), observed)
        return (self._start_on_circle if self.is_circular else self._start_in_plane)(values, observed, strength)

    def _start_in_plane(self, values: Values, observed: Observed, strength: Strength) -> State:
        states, weight = self.seen(values)
        position, velocity = states.chunk(2, dim=-1)
        once, twice = (
            torch.einsum("bijl,bijtld->bitd", self.unit * strength, forces)
            for forces in self.fit.integrals(position, velocity)
        )
        place, motion = line_end(position - twice, observed, slopes=velocity - once, slope_weight=weight[-1].square())
        return torch.cat((place + twice[:, :, -1], motion + once[:, :, -1]), dim=-1)

    def _start_on_circle(self, values: Values, observed: Observed, strength: Strength) -> State:
        weight = observed.to(values.dtype)
        total = weight.sum(-1, keepdim=True).clamp(min=1)
        cosine, sine = values[..., 0], values[..., 1]
        drift = self.unit * torch.einsum("bijl,blijt->bit", strength, self.fit.pull(values))
        own = self.unit * values[..., 3] if self.fit.geometry.has_own_frequency else self.unit * values[..., 2] - drift
        own = (own * weight).sum(-1, keepdim=True) / total
        rate = own + drift
        per_bin = (rate[..., 1:] + rate[..., :-1]) / 2
        to_end = nn.functional.pad(per_bin.flip(-1).cumsum(-1).flip(-1), (0, 1))
        # Every bin says what the last phase is; directions are averaged, not angles.
        sine_end = ((sine * to_end.cos() + cosine * to_end.sin()) * weight).sum(-1)
        cosine_end = ((cosine * to_end.cos() - sine * to_end.sin()) * weight).sum(-1)
        return torch.stack((torch.atan2(sine_end, cosine_end), own[..., 0]), dim=-1)


def rolled(
    change: Callable[[Tensor], Tensor], state: State, *, n_bins: int, n_substeps: int
) -> Float[Tensor, "trial individual horizon state"]:
    """The states of the next bins, by Runge and Kutta's method of order 4.

    Args:
        change: of a state per bin.
        state: now.
        n_bins: how far to go.
        n_substeps: steps per bin.

    Source: Kutta, Zeitschrift für Mathematik und Physik 1901.

    >>> decay = rolled(lambda state: -state, torch.ones(1, 1, 1), n_bins=2, n_substeps=4)
    >>> bool((decay.flatten() - torch.tensor([-1.0, -2.0]).exp()).abs().max() < 1e-4)
    True
    """
    step = 1 / n_substeps
    seen = []
    for _ in range(n_bins):
        for _ in range(n_substeps):
            first = change(state)
            second = change(state + step / 2 * first)
            third = change(state + step / 2 * second)
            fourth = change(state + step * third)
            state = state + step / 6 * (first + 2 * second + 2 * third + fourth)
        _tame(state)
        seen.append(state)
    return rearrange(seen, "horizon trial individual state -> trial individual horizon state")


def tamed(gradient: Float[Tensor, "trial *rest"]) -> Float[Tensor, "trial *rest"]:
    """The gradient of a loss, in which no trial outweighs the median one by far; 0 where it is not finite.

    A small change before a close encounter changes everything after it: such a trial would drown what others teach.

    >>> tamed(torch.tensor([[[1.0]], [[-2.0]], [[1e9]], [[torch.nan]]])).flatten().tolist()
    [1.0, -2.0, 20.0, 0.0]
    """
    size = gradient.flatten(1).abs().amax(dim=1)
    most = MOST_GRADIENT * size[size.isfinite()].median() if size.isfinite().any() else size.new_zeros(())
    factor = (most / size.clamp(min=1e-30)).clamp(max=1)
    return (gradient * factor.view(-1, *(1,) * (gradient.ndim - 1))).nan_to_num(0.0, 0.0, 0.0)


def _tame(tensor: Tensor) -> None:
    """Have the gradient that reaches a tensor tamed."""
    if tensor.requires_grad:
        cast(Any, tensor).register_hook(tamed)


def line_end(
    points: Float[Tensor, "trial individual time dimension"],
    observed: Observed,
    *,
    slopes: Float[Tensor, "trial individual time dimension"],
    slope_weight: Tensor | float,
) -> tuple[Tensor, Tensor]:
    """Value and slope, (trial, individual, dimension), that a line fitted to observed points has in the last bin.

    Args:
        points: to fit.
        observed: which count. Of a single point without slopes, the slope is 0.
        slopes: measured ones, to be fitted beside the points.
        slope_weight: of their squares; 0 if they were not measured.

    >>> points = torch.tensor([[[[0.0], [2.0], [9.0], [6.0]]]])
    >>> ends = line_end(points, torch.tensor([[[True, True, False, True]]]), slopes=0 * points, slope_weight=0.0)
    >>> [round(end.item(), 3) for end in ends]
    [6.0, 2.0]
    """
    weight = observed.to(points.dtype)[..., None]
    total = weight.sum(2).clamp(min=1)
    time = torch.arange(1 - points.shape[2], 1, dtype=points.dtype, device=points.device)[:, None]
    middle, mean = (time * weight).sum(2) / total, (points * weight).sum(2) / total
    time = (time - middle[:, :, None]) * weight
    covariance = (time * points).sum(2) + slope_weight * (slopes * weight).sum(2)
    variance = time.square().sum(2) + slope_weight * total
    slope = covariance / variance.clamp(min=1e-9)
    return mean - slope * middle, slope
