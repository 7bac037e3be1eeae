"""How strongly each individual follows each other one: a closed-form fit, inside a model that learns its law.

Positions are free motion plus the double integral of forces; a phase's rate is its own frequency plus the pull of
others. Given how a force depends on where two individuals stand, the strengths of all pairs are one regularised
least-squares problem per individual, and noise on positions enters it white, since no derivative is taken. The model
learns the law and, per pair, the prior.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from motet.data.gaps import bridged
from motet.data.pairs import are_pairs
from motet.models.geometry import Geometry, phase_difference

Strengths = Float[Tensor, "trial law individual individual"]


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """Least-squares problems, one per trial, law and individual, as normal equations in float64.

    Attributes:
        gram: products of regressors, each of unit length.
        moment: products of regressors and response.
        power: (trial, law, individual) of the response.
        size: length of each regressor.
        is_pair: (trial, 1, individual, individual) whether two observed individuals.
        n_rows: (trial, 1, individual) observations, less what free motion takes of them.
    """

    gram: Float[Tensor, "trial law individual individual individual"]
    moment: Strengths
    power: Float[Tensor, "trial law individual"]
    size: Strengths
    is_pair: Bool[Tensor, "trial 1 individual individual"]
    n_rows: Float[Tensor, "trial 1 individual"]


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """What a fit says of every pair and law; tensors of one shape.

    Attributes:
        t_value: the strength in its standard errors, as asinh.
        strength: as asinh.
        open_t_value: what the other pairs leave for this one to explain, in units of the noise, as asinh.
        open_share: the same as a share of the response.
        noise: logarithm of the standard deviation of what is left.
        unexplained: logarithm of the share of the response that is left, times 0.2.
    """

    t_value: Strengths
    strength: Strengths
    open_t_value: Strengths
    open_share: Strengths
    noise: Strengths
    unexplained: Strengths

    def columns(
        self, is_pair: Bool[Tensor, "trial 1 individual individual"]
    ) -> Float[Tensor, "trial individual individual evidence"]:
        """All of it side by side, law by law, in float32; 0 where there is no pair."""
        fields = torch.stack([getattr(self, field.name) for field in dataclasses.fields(self)], dim=-1)
        return rearrange((fields * is_pair[..., None]).float(), "trial law i j field -> trial i j (law field)")


N_EVIDENCE = len(dataclasses.fields(Evidence))


class CouplingFit(nn.Module):
    """Fits the strength of the pull that each individual (second axis) feels from each other one (third axis).

    1. Force: each law says how the pull of unit strength depends on where the two stand.
    2. Integrate forces over time, as the response is: twice for positions, once for velocities, not for rates.
    3. Remove free motion (start and velocity, or own frequency) from response and regressors.
    4. Normal equations.

    `solve` solves them under a prior.

    Args:
        geometry: see `Geometry`; "plane" or "phase".
        n_laws: laws that are learned side by side.
    """

    def __init__(self, geometry: Geometry, n_laws: int) -> None:
        super().__init__()
        self.geometry = geometry
        self.n_laws = n_laws
        if geometry.space == "plane":
            self.exponent = nn.Parameter(torch.linspace(-2.0, 1.0, n_laws) if n_laws > 1 else torch.tensor([-2.0]))
            straight = nn.Linear(16, n_laws)
            nn.init.zeros_(straight.weight)
            nn.init.zeros_(straight.bias)
            self.bend = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), straight)
            has_velocity = geometry.motion.features == "position-velocity"
            self.log_velocity_weight = nn.Parameter(torch.tensor(1.0), requires_grad=has_velocity)
        else:
            harmonics = 0.3 * torch.randn(n_laws, 4)
            harmonics[0] = 0.0
            harmonics[:, 0] = 1.0
            self.harmonics = nn.Parameter(harmonics)

    def forward(
        self,
        values: Float[Tensor, "trial individual time feature"],
        observed: Bool[Tensor, "trial individual time"],
    ) -> Problem:
        with torch.autocast(values.device.type, enabled=False):
            values = bridged(values.to(next(self.parameters()).dtype), observed)
            weight = observed.to(values.dtype)
            if self.geometry.space == "phase":
                regressors, response = self._rates(values, weight)
            else:
                regressors, response = self._positions(values, weight)
            return _normal_equations(regressors, response, observed, n_taken=self.n_free_motion)

    @property
    def n_free_motion(self) -> int:
        """Numbers that free motion takes from an individual's observations: start, and velocity or own frequency."""
        g = self.geometry
        if g.space == "phase":
            return 0 if g.has_own_frequency else 1
        return (3 if g.motion.features == "position-velocity" else 2) * g.n_dimensions

    def force(self, towards: Float[Tensor, "*place dimension"]) -> Float[Tensor, "*place law dimension"]:
        """The pull along the line to another individual, of every law, at unit strength."""
        distance = (towards.square().sum(-1, keepdim=True) + 1e-6).sqrt()
        size = (self.exponent * distance.log() + self.bend(distance.log())).clamp(-12, 12).exp()
        return size[..., :, None] * (towards / distance)[..., None, :]

    def pull(self, values: Float[Tensor, "trial individual time feature"]) -> Tensor:
        """The pull on the circle, (trial, law, individual, individual, time)."""
        sine, cosine = phase_difference(values)
        waves = torch.stack((sine, cosine, 2 * sine * cosine, cosine.square() - sine.square()), dim=1)
        return torch.einsum("bhijt,lh->blijt", waves, self.harmonics)

    def _rates(self, values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        pull, rate = self.pull(values), values[..., 2]
        if self.geometry.has_own_frequency:
            rate = rate - values[..., 3]
        else:
            pull, rate = _without_trend(pull, weight[:, None, :, None], 0), _without_trend(rate, weight, 0)
        return pull * weight[:, None, :, None], (rate * weight)[:, None]

    def _positions(self, values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        g = self.geometry
        position, velocity, _ = rearrange(
            values, "trial individual time (part d) -> part trial individual time d", part=3
        )
        velocity = velocity * (g.velocity * g.bin_seconds / g.length)  # lengths per bin
        once, twice = self.integrals(position, velocity)
        unit = g.acceleration * g.bin_seconds**2 / g.length
        rows = [self._rows(twice, position / unit, weight, degree=1)]
        if g.motion.features == "position-velocity":
            velocity_weight = self.log_velocity_weight.exp()
            rows.append(self._rows(velocity_weight * once, velocity_weight * velocity / unit, weight, degree=0))
        regressors, responses = zip(*rows, strict=True)
        return torch.cat(regressors, dim=-1), torch.cat(responses, dim=-1)

    def integrals(self, position: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
        """Forces integrated once and twice from the first bin, (trial, individual, individual, time, law, dimension).

        Simpson's rule, with positions between two bins from their Hermite cubic. Velocity is per bin.
        """
        middle = (position[:, :, :-1] + position[:, :, 1:]) / 2 + (velocity[:, :, :-1] - velocity[:, :, 1:]) / 8
        at_bins = self.force(position[:, None] - position[:, :, None])
        between = self.force(middle[:, None] - middle[:, :, None])
        start, end = at_bins[:, :, :, :-1], at_bins[:, :, :, 1:]
        once = F.pad(((start + 4 * between + end) / 6).cumsum(3), (0, 0, 0, 0, 1, 0))
        twice = F.pad((once[:, :, :, :-1] + (start + 2 * between) / 6).cumsum(3), (0, 0, 0, 0, 1, 0))
        return once, twice

    @staticmethod
    def _rows(integral: Tensor, response: Tensor, weight: Tensor, *, degree: int) -> tuple[Tensor, Tensor]:
        """Regressors (trial, law, individual, individual, row) and response (trial, 1, individual, row)."""
        regressors = rearrange(integral, "b i j t l d -> b l i j d t")
        response = rearrange(response, "b i t d -> b 1 i d t")
        weight = weight[:, None, :, None]
        regressors = _without_trend(regressors, weight[:, :, :, None], degree) * weight[:, :, :, None]
        response = _without_trend(response, weight, degree) * weight
        return regressors.flatten(-2), response.flatten(-2)

    def solve(
        self, problem: Problem, log_precision: Float[Tensor, "trial individual individual law"]
    ) -> tuple[Float[Tensor, "trial individual individual evidence"], Strengths]:
        """Strengths under a normal prior around zero.

        Args:
            problem: what `forward` returned.
            log_precision: of the prior, relative to the noise: large where a pair is believed not to interact.

        Returns:
            See `Evidence.columns`; and the strengths.
        """
        p = problem
        with torch.autocast(log_precision.device.type, enabled=False):
            precision = rearrange(log_precision, "b i j l -> b l i j").double().clamp(-25, 12).exp()
            ridge = torch.where(p.is_pair, (precision / p.size.square() + 1e-7).clamp(max=1e7), 1.0)
            # The ridge keeps it positive; _ex lets NaN through, for training to report.
            inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(p.gram + torch.diag_embed(ridge)).L)
            scaled = (inverse @ p.moment[..., None]).squeeze(-1)
            fitted = (p.gram @ scaled[..., None]).squeeze(-1)

            left = (p.power - 2 * (scaled * p.moment).sum(-1) + (scaled * fitted).sum(-1)).clamp(min=0)
            power = p.power + 1e-12
            n_fitted = (inverse * p.gram).sum((-1, -2))  # effective parameters
            n_free = (p.n_rows - n_fitted).clamp(min=1)
            noise = ((left + 1e-9 * power) / n_free).sqrt()[..., None]
            open_moment = p.moment - fitted + scaled
            evidence = Evidence(
                t_value=torch.asinh(scaled / (noise * inverse.diagonal(dim1=-2, dim2=-1).sqrt())),
                strength=torch.asinh(scaled / p.size),
                open_t_value=torch.asinh(open_moment / noise),
                open_share=open_moment / power.sqrt()[..., None],
                noise=noise.log().expand_as(scaled),
                unexplained=0.2 * (left / power).clamp(min=1e-9).log()[..., None].expand_as(scaled),
            )
            return evidence.columns(p.is_pair), scaled / p.size


def _normal_equations(regressors: Tensor, response: Tensor, observed: Tensor, *, n_taken: int) -> Problem:
    is_pair = are_pairs(observed)[:, None]
    regressors = regressors.double() * is_pair[..., None]
    response = response.double()
    size = regressors.square().sum(-1).clamp(min=1e-12).sqrt()
    regressors = regressors / size[..., None]
    gram = regressors @ regressors.transpose(-1, -2)
    moment = (regressors @ response[..., None]).squeeze(-1)
    power = response.square().sum(-1).expand(moment.shape[:3])
    n_rows = observed.sum(-1).mul(regressors.shape[-1] // observed.shape[-1])[:, None].double() - n_taken
    return Problem(gram, moment, power, size, is_pair, n_rows)


def _without_trend(x: Float[Tensor, "*series time"], weight: Tensor, degree: int) -> Float[Tensor, "*series time"]:
    """What is left of series when their mean (degree 0), or their line (degree 1), over weighted bins is taken off."""
    total = weight.sum(-1, keepdim=True).clamp(min=1)
    x = x - (x * weight).sum(-1, keepdim=True) / total
    if degree == 0:
        return x
    time = torch.arange(x.shape[-1], device=x.device, dtype=x.dtype).expand(weight.shape)
    time = time - (time * weight).sum(-1, keepdim=True) / total
    slope = (x * time * weight).sum(-1, keepdim=True) / (time.square() * weight).sum(-1, keepdim=True).clamp(min=1e-9)
    return x - slope * time
