"""Pairs: what any two individuals are to each other, read from how they move and from their embeddings."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from motet.data.batch import Batch
from motet.data.pairs import are_pairs
from motet.errors import InputError
from motet.models.coupling import N_EVIDENCE, CouplingFit
from motet.models.eit import EIT, EITSettings, Encoding
from motet.models.geometry import Geometry, pair_features
from motet.settings import Count, Range, Settings, Whole

# The logarithm of a prior's precision, as training begins: in the first round, couplings are held back most.
FIRST_PRECISION, LATER_PRECISION = 6.0, -2.0


@dataclasses.dataclass(frozen=True)
class PairSettings(Settings, role="pairs"):
    """How pairs are read.

    Attributes:
        width: of the embedding of a pair.
        depth: rounds of weighing evidence; each fits couplings anew under what the one before believes.
        laws: laws of force that are fitted side by side; 0 leaves the fit of couplings out.
        messages: width of what pairs that share an individual send each other in every round; 0 for nothing. Messages
            help where pairs constrain each other, as those of charges do; without them a model learned on few
            individuals holds among many.
        geometry: whether a pair sees where its two individuals are and how they move, at every time.
        embeddings: whether a pair sees what the EIT makes of its two individuals; without, nothing of it reaches pairs.

    Example:
        >>> import motet
        >>> motet.EITInteractions(pairs=PairSettings(geometry=False, laws=1)).method
        'eit + force fit'
    """

    width: Count = 32
    depth: Annotated[int, Range(least=1, most=1000)] = 3
    laws: Whole = 2
    messages: Whole = 0
    geometry: bool = True
    embeddings: bool = True


class PairEIT(nn.Module):
    """An EIT that also embeds every pair of individuals.

    1. Encode: the EIT reads each individual alone, then all together.
    2. Meet: both embeddings, and where the two stand to each other, at each time; summed up over time.
    3. Weigh, several times: couplings are fitted under a prior that each pair sets for itself; the pair reads the
       evidence of the fit, then hears from pairs that share an individual with it.

    Permuting the individuals permutes the pairs; what is not observed changes nothing.

    Args:
        eit: settings of the EIT, with identity="none".
        pairs: see `PairSettings`.
        geometry: see `Geometry`.
    """

    def __init__(self, eit: EITSettings, pairs: PairSettings, geometry: Geometry) -> None:
        super().__init__()
        if eit.identity != "none":
            raise InputError(f"model.identity is {eit.identity!r}; pairs of any individuals need identity='none'.")
        self.settings = pairs
        self.geometry = geometry
        self.eit = EIT(eit, n_features=geometry.n_features)
        if not pairs.embeddings:
            self.eit.requires_grad_(False)
        has_geometry = pairs.geometry and geometry.space != "none"
        n_laws = pairs.laws if geometry.space != "none" else 0
        if not (pairs.embeddings or has_geometry or n_laws):
            raise InputError(
                f"pairs see neither embeddings nor geometry nor a fit of couplings ({pairs}, motion.features="
                f"{geometry.motion.features!r}); give them one of the three."
            )
        self.meeting = Meeting(
            eit.width if pairs.embeddings else 0, geometry.n_pair_features if has_geometry else 0, pairs.width
        )
        self.fit = CouplingFit(geometry, n_laws) if n_laws else None
        self.blocks = nn.ModuleList(
            PairBlock(pairs.width, N_EVIDENCE * n_laws, pairs.messages) for _ in range(pairs.depth)
        )
        self.priors = nn.ModuleList(
            Prior(pairs.width, n_laws, start=FIRST_PRECISION if step == 0 else LATER_PRECISION)
            for step in range(pairs.depth if n_laws else 0)
        )

    def n_bytes(self, n_individuals: int, n_bins: int) -> int:
        """What reading a trial takes, about: in training with all that is kept for gradients."""
        s = self.settings
        n_numbers = 5 * s.width + 70 + 130 * s.laws if self.training else 3 * s.width + 30 + 50 * s.laws
        return self.eit.n_bytes(n_individuals, n_bins) + 4 * n_individuals**2 * n_bins * n_numbers

    def forward(self, batch: Batch) -> Encoding:
        # 1. Encode
        encoding = self.eit(batch)

        # 2. Meet
        seen = pair_features(batch.values, self.geometry) if self.meeting.n_features else None
        x = self.meeting(encoding.population if self.settings.embeddings else None, batch.observed, seen)

        # 3. Weigh
        is_pair = are_pairs(batch.observed)
        problem = self.fit(batch.values, batch.observed) if self.fit is not None else None
        coupling = x.new_zeros(*is_pair.shape, 0)
        for step, block in enumerate(self.blocks):
            evidence = None
            if self.fit is not None and problem is not None:
                evidence, strengths = self.fit.solve(problem, self.priors[step](x))
                coupling = strengths.movedim(1, -1)
            x = block(x, is_pair, evidence)
        return dataclasses.replace(encoding, pair=x * is_pair[..., None], coupling=coupling * is_pair[..., None])


class Meeting(nn.Module):
    """Sums up over time what two individuals are to each other at each time.

    Args:
        embedding_width: of an individual's embedding; 0 for none.
        n_features: of a pair at one time (see `pair_features`); 0 for none.
        width: of the embedding of a pair.
    """

    def __init__(self, embedding_width: int, n_features: int, width: int) -> None:
        super().__init__()
        self.n_features = n_features
        self.own = nn.Linear(embedding_width, width) if embedding_width else None
        self.other = nn.Linear(embedding_width, width, bias=False) if embedding_width else None
        self.start = None if embedding_width else nn.Parameter(torch.linspace(-1, 1, width))
        self.features = nn.Linear(n_features, width, bias=False) if n_features else None
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(2 * width, width)

    def forward(
        self,
        embedding: Float[Tensor, "trial individual time width"] | None,
        observed: Bool[Tensor, "trial individual time"],
        seen: Float[Tensor, "trial individual individual time feature"] | None,
    ) -> Float[Tensor, "trial individual individual pair_width"]:
        both = (observed[:, :, None] & observed[:, None])[..., None]
        if self.start is not None:
            x: Tensor = self.start
        else:
            assert self.own is not None
            assert self.other is not None
            x = self.own(embedding)[:, :, None] + self.other(embedding)[:, None]
        if self.features is not None and seen is not None:
            x = x + self.features(seen)
        x = F.gelu(self.hidden(F.gelu(x.expand(*both.shape[:-1], -1))))
        mean = (x * both).sum(3) / both.sum(3).clamp(min=1)
        highest = torch.where(both.any(3), x.masked_fill(~both, -torch.inf).amax(3), 0.0)
        return self.out(torch.cat((mean, highest), dim=-1))


class Prior(nn.Module):
    """The precision of the prior on a pair's coupling that a pair sets for itself, as a logarithm, for each law."""

    def __init__(self, width: int, n_laws: int, *, start: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, n_laws)
        nn.init.constant_(self.out.bias, start)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(x))


class PairBlock(nn.Module):
    """One round: read the evidence, hear from pairs that share an individual (if there are messages), think.

    Args:
        width: of the embedding of a pair.
        n_evidence: numbers that a fit of couplings says of a pair; 0 for none.
        messages: width of a message; 0 for none.
    """

    def __init__(self, width: int, n_evidence: int, messages: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.read = nn.Sequential(nn.Linear(2 * n_evidence + width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.hear = Messages(width, messages) if messages else None
        self.think = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(
        self,
        x: Float[Tensor, "trial individual individual width"],
        is_pair: Bool[Tensor, "trial individual individual"],
        evidence: Float[Tensor, "trial individual individual evidence"] | None,
    ) -> Float[Tensor, "trial individual individual width"]:
        both_ways = [] if evidence is None else [evidence, evidence.transpose(1, 2)]
        x = x + self.read(torch.cat([*both_ways, self.norm(x)], dim=-1))
        if self.hear is not None:
            x = x + self.hear(x, is_pair)
        return x + self.think(x)


class Messages(nn.Module):
    """What a pair hears from others that share an individual with it: gated, and averaged over the open gates.

    From both pairs that it forms a triangle with, over all third individuals; and from all pairs of either individual.

    Args:
        width: of the embedding of a pair.
        message_width: of a message.
    """

    def __init__(self, width: int, message_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.message = nn.Linear(width, 5 * message_width)
        self.gate = nn.Linear(width, 5 * message_width)
        self.out = nn.Linear(4 * message_width, width)

    def forward(
        self,
        x: Float[Tensor, "trial individual individual width"],
        is_pair: Bool[Tensor, "trial individual individual"],
    ) -> Float[Tensor, "trial individual individual width"]:
        normed = self.norm(x)
        gates = (self.gate(normed).sigmoid() * is_pair[..., None]).chunk(5, dim=-1)
        gated = [message * gate for message, gate in zip(self.message(normed).chunk(5, dim=-1), gates, strict=True)]
        triangle = _over_third(gated[0], gated[1]) / (1 + _over_third(gates[0], gates[1]))
        by_own = gated[2].sum(2) / (1 + gates[2].sum(2))
        to_other = gated[3].sum(1) / (1 + gates[3].sum(1))
        by_other = gated[4].sum(2) / (1 + gates[4].sum(2))
        around = (by_own[:, :, None], to_other[:, None], by_other[:, None])
        return self.out(torch.cat((triangle, *(part.expand_as(triangle) for part in around)), dim=-1))


def _over_third(a: Tensor, b: Tensor) -> Tensor:
    """For each pair, the sum over third individuals of what the one is to it times what the other is to it."""
    return torch.einsum("bikw,bjkw->bijw", a, b)
