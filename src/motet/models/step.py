"""EITs that read a trial bin by bin: what was read is kept as keys and values of attention, and never read again.

A bin of a causal EIT depends on earlier ones through the attention of its individual module alone; at one time,
individuals meet as ever. So a bin costs one token per individual, whatever came before, and attention over the past.
The weights of several members are stacked, so that all of them take one operation each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from motet.models.eit import EIT
from motet.models.layers import Block, rotary
from motet.models.readouts import ByIndividual, Readout

FIRST_BINS = 256  # that there is room for, before it is doubled


class Linears:
    """Linear layers of several members as one operation: (member, row, in) to (member, row, out)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self.weight = torch.stack([layer.weight.detach().T for layer in layers]).contiguous()
        biases = [layer.bias for layer in layers]
        self.bias = None if biases[0] is None else torch.stack([bias.detach() for bias in biases])[:, None]

    def __call__(self, x: Float[Tensor, "member row in"]) -> Float[Tensor, "member row out"]:
        return torch.bmm(x, self.weight) if self.bias is None else torch.baddbmm(self.bias, x, self.weight)


class Norms:
    """Layer norms of several members."""

    def __init__(self, layers: Sequence[nn.LayerNorm]) -> None:
        self.shape, self.eps = layers[0].normalized_shape, layers[0].eps
        self.scale, self.shift = (
            torch.stack([getattr(layer, name).detach() for layer in layers])[:, None] for name in ("weight", "bias")
        )

    def __call__(self, x: Float[Tensor, "member row width"]) -> Float[Tensor, "member row width"]:
        return torch.addcmul(self.shift, F.layer_norm(x, self.shape, eps=self.eps), self.scale)


class Nets:
    """Nets of two linear layers, a norm before and a GELU between them."""

    def __init__(self, nets: Sequence[nn.Sequential]) -> None:
        layers: list[list[Any]] = [list(net) for net in nets]
        self.norm = Norms([net[0] for net in layers])
        self.into, self.out = Linears([net[1] for net in layers]), Linears([net[-1] for net in layers])

    def __call__(self, x: Float[Tensor, "member row width"]) -> Float[Tensor, "member row out"]:
        return self.out(F.gelu(self.into(self.norm(x))))


class Blocks:
    """One layer of several members."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        attentions = [block.attention for block in blocks]
        self.n_heads = attentions[0].n_heads
        self.norm = Norms([block.attention_norm for block in blocks])
        self.to_qkv = Linears([attention.to_qkv for attention in attentions])
        self.to_out = Linears([attention.to_out for attention in attentions])
        self.feedforward = Nets([block.feedforward for block in blocks])

    def among_individuals(
        self, x: Float[Tensor, "member individual width"], observed: Bool[Tensor, " individual"] | None
    ) -> Float[Tensor, "member individual width"]:
        """At one time, over individuals; `observed` is None if all are."""
        qkv = self.to_qkv(self.norm(x)).view(*x.shape[:2], 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        mask = None if observed is None else observed[None, None, None]
        met = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], attn_mask=mask)
        return self._after(x, met.transpose(1, 2).flatten(2))

    def over_time(
        self, x: Float[Tensor, "member individual width"], past: Past, layer: int
    ) -> Float[Tensor, "member individual width"]:
        """The present token of each individual, over its past ones."""
        # (member, part, head, pair, even or odd, individual): individuals last, where sums over time are fast
        qkv = torch.bmm(self.to_qkv.weight.mT, self.norm(x).mT)
        qkv = qkv.view(len(x), 3, self.n_heads, -1, 2, x.shape[1])
        read = past.attended(layer, qkv)
        return self._after(x, read.flatten(1, 2).mT)

    def _after(self, x: Tensor, read: Tensor) -> Tensor:
        x = x + self.to_out(read)
        return x + self.feedforward(x)


class Heads:
    """The readouts of several members, of what individuals are alone and of what they are among the others."""

    def __init__(self, readouts: Sequence[Readout]) -> None:
        combine: list[Any] = [readout.combine for readout in readouts]
        self.is_by_individual = isinstance(combine[0], ByIndividual)
        if self.is_by_individual:
            self.scale = combine[0].scale
            self.weight = torch.stack([one.table.weight[0].flatten(0, 1) for one in combine])
            self.bias = torch.stack([one.bias.detach() for one in combine])[:, None]
        else:
            self.norm = Norms([one.norm for one in combine])
            self.to_score, self.to_value, self.to_latent = (
                Linears([getattr(one, name) for one in combine]) for name in ("to_score", "to_value", "to_latent")
            )
        self.linear = Linears([readout.linear for readout in readouts])
        self.nonlinear = Nets([readout.nonlinear for readout in readouts])
        self._courses = [readout.courses for readout in readouts if readout.courses is not None]
        self.to_share = Linears([one.gate for one in self._courses]) if self._courses else None

    def make_tables(self, n_bins: int) -> None:
        """The courses of so many bins, if there are any."""
        made = [one.clock(n_bins).view(n_bins, *one.level.shape) + one.level for one in self._courses]
        self._course = torch.stack(made, 1) if made else None  # (bin, head, course, output)

    def __call__(
        self,
        x: Float[Tensor, "head individual width"],
        observed: Bool[Tensor, " individual"] | None,
        n_observed: int,
        time: int,
    ) -> Float[Tensor, "head output"]:
        if self.is_by_individual:
            x = x if observed is None else x * observed[:, None]
            latent = torch.bmm(x.flatten(1)[:, None], self.weight) * (self.scale / n_observed) + self.bias
        else:
            normed = self.norm(x)
            score = self.to_score(normed)
            if observed is not None:
                score = score.masked_fill(~observed[:, None], -torch.inf)
            latent = self.to_latent(torch.bmm(score.softmax(1).mT, self.to_value(normed)).flatten(1)[:, None])
        output = self.linear(latent) + self.nonlinear(latent)
        if self.to_share is not None and self._course is not None:
            output = output + torch.bmm(self.to_share(latent).softmax(-1), self._course[time])
        return output[:, 0]


class Past:
    """What is remembered of a trial.

    Attributes:
        time: bins read so far.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.time = 0
        self.recent = torch.zeros(steps.n_individuals, steps.n_recent)
        n_members, n_heads = steps.n_members, steps.blocks[0].n_heads if steps.blocks else 1
        self._shape = (n_members, n_heads, steps.width // n_heads, steps.n_individuals)
        self._seen = torch.zeros(FIRST_BINS, steps.n_individuals, dtype=torch.bool)
        self._are_all_seen = True
        self._keys, self._values = (
            [torch.empty(FIRST_BINS, *self._shape) for _ in steps.blocks] for _ in ("keys", "values")
        )

    def begin(self, observed: Bool[Tensor, " individual"] | None) -> None:
        """Make room for the next bin, and note who is observed in it."""
        if self.time == len(self._seen):
            self._seen, *tensors = (_doubled(one) for one in (self._seen, *self._keys, *self._values))
            self._keys, self._values = tensors[: len(self._keys)], tensors[len(self._keys) :]
        self._seen[self.time] = True if observed is None else observed
        self._are_all_seen &= observed is None

    def forget_present(self) -> None:
        """What nobody can read, since nobody was observed."""
        for one in (*self._keys, *self._values):
            one[self.time] = 0

    def attended(
        self, layer: int, qkv: Float[Tensor, "member 3 head pair 2 individual"]
    ) -> Float[Tensor, "member head width individual"]:
        """What the present token of each individual reads of itself and its past ones, where it was observed."""
        cosine, sine = self._steps.turned(self.time)
        even, odd = qkv[:, :2, :, :, 0], qkv[:, :2, :, :, 1]
        turned = torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -2).flatten(3, 4)
        now = slice(0, self.time + 1)
        self._keys[layer][self.time] = turned[:, 1]
        self._values[layer][self.time] = qkv[:, 2].flatten(2, 3)
        query = turned[:, 0] / math.sqrt(self._shape[2])
        keys, values = self._keys[layer][now].numpy(), self._values[layer][now].numpy()
        score = torch.from_numpy(np.einsum("tmhdn,mhdn->tmhn", keys, query.numpy()))
        if not self._are_all_seen:
            readable = self._seen[now].clone()
            readable[self.time] = True  # a softmax over nothing is NaN
            score = score.masked_fill(~readable[:, None, None], -torch.inf)
        return torch.from_numpy(np.einsum("tmhdn,tmhn->mhdn", values, score.softmax(0).numpy()))


def _doubled(tensor: Tensor) -> Tensor:
    return torch.cat((tensor, torch.empty_like(tensor)))


class Steps:
    """Several EITs, each with its readouts, that read a trial bin by bin.

    1. Token: of this bin and those just before it.
    2. Individual module: each token over the past of its individual.
    3. Identity: if learned.
    4. Interaction module: over individuals.
    5. Readouts, of both embeddings.

    Args:
        eits: causal; the weights of identities are rows in the order in which individuals are given.
        readouts: of each, from the individual and from the population embedding.
        n_individuals: that are given.
    """

    def __init__(self, eits: Sequence[EIT], readouts: Sequence[tuple[Readout, Readout]], n_individuals: int) -> None:
        s = eits[0].settings
        self.n_members, self.n_individuals, self.width = len(eits), n_individuals, s.width
        self.n_recent = s.token_bins * eits[0].n_features
        self.n_features = eits[0].n_features
        self.token = Linears([eit.token for eit in eits])
        self.blocks, self.meetings = (
            [Blocks(layer) for layer in zip(*(getattr(eit, name) for eit in eits), strict=True)]
            for name in ("individual_module", "interaction_module")
        )
        rows: list[Any] = [eit.identity for eit in eits]
        self.identity = None if rows[0] is None else torch.stack([one.weight[0] for one in rows]).unbind(2)
        self.heads = Heads([head for pair in readouts for head in pair])
        self._clocks = None if eits[0].clock is None else [eit.clock for eit in eits]
        self._head_width = s.width // s.n_heads
        self._make_tables(FIRST_BINS)

    @torch.no_grad()
    def _make_tables(self, n_bins: int) -> None:
        """Clocks, and the turns of queries and keys, of so many bins."""
        clocks: list[Any] = self._clocks or []
        self._clock = torch.stack([clock(n_bins) for clock in clocks], 1)[:, :, None] if clocks else None
        unit = torch.zeros(1, 1, n_bins, self._head_width)
        unit[..., 0::2] = 1
        turned = rotary(unit)[0, 0, :, :, None]  # (bin, width, individual)
        self._cosine, self._sine = turned[:, 0::2], turned[:, 1::2]
        self.heads.make_tables(n_bins)

    def turned(self, time: int) -> tuple[Float[Tensor, "pair 1"], Float[Tensor, "pair 1"]]:
        """Cosine and sine of the turn of each pair of features at a bin."""
        return self._cosine[time], self._sine[time]

    def start(self) -> Past:
        """What is remembered before a trial: nothing."""
        return Past(self)

    @torch.inference_mode()
    def __call__(
        self,
        values: Float[Tensor, "individual feature"],
        observed: Bool[Tensor, " individual"],
        past: Past,
    ) -> Float[Tensor, "member 2 output"] | None:
        """Read the next bin, of values that are 0 where not observed; nothing comes out where nobody is."""
        n_observed = int(observed.sum())
        mask = None if n_observed == self.n_individuals else observed
        past.begin(mask)
        past.recent = torch.cat((past.recent[:, self.n_features :], values), 1)
        if past.time == len(self._cosine):
            self._make_tables(2 * past.time)
        if not n_observed:
            past.forget_present()
            past.time += 1
            return None

        # 1. Token
        x = self.token(past.recent.expand(self.n_members, -1, -1))
        if self._clock is not None:
            x = x + self._clock[past.time]

        # 2. Individual module
        for layer, block in enumerate(self.blocks):
            x = block.over_time(x, past, layer)
        past.time += 1
        individual = x

        # 3. Identity
        if self.identity is not None:
            gain, offset = self.identity
            x = individual * (1 + gain) + offset

        # 4. Interaction module
        for block in self.meetings:
            x = block.among_individuals(x, mask)

        # 5. Readouts
        both = torch.stack((individual, x), 1).flatten(0, 1)
        return self.heads(both, mask, n_observed, past.time - 1).view(self.n_members, 2, -1)
