"""EITs that read a trial bin by bin: what was read is kept as keys and values of attention, and never read again.

A bin of a causal EIT depends on earlier ones through the attention of its individual module alone; at one time,
individuals meet as ever. So a bin costs one token per individual, whatever came before, and attention over the past.
The weights of several members are stacked, so that all of them take one operation each, and what can be multiplied
beforehand is: the gains of layer norms and the scale of queries into the weights that follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from motet.models.eit import EIT
from motet.models.layers import Block, frequencies, is_known_to_be_all, readable
from motet.models.readouts import ByIndividual, Readout

FIRST_BINS = 256  # that there is room for, before it is doubled
HARDLY = -1e30  # the score of what is not read: finite, since a softmax over nothing is NaN


class Moment(NamedTuple):
    """What depends on the time alone.

    Attributes:
        token: (member, 1, width) what is added to every token.
        turned: of every layer of the individual module, (member, 3 × head × width, 1) bias and (…, in) weights.
        course: (head, course, output) the courses of readouts, if there are any.
    """

    token: Tensor
    turned: list[tuple[Tensor, Tensor]]
    course: Tensor | None


class Past:
    """What is remembered of a trial.

    Attributes:
        recent: (individual, recent) values of the bins just before.
        kept: (time, …) each: who was observed, and of every layer of the individual module keys and values.
    """

    def __init__(self, recent: Tensor, kept: Sequence[Tensor]) -> None:
        self.recent, self.kept = recent, list(kept)

    def add(self, place: int, present: Tensor) -> Tensor:
        """What is kept in a place, with the present bin last."""
        self.kept[place] = torch.cat((self.kept[place], present[None]))
        return self.kept[place]

    def moment(self, at: Callable[[Tensor], Moment], time: Tensor) -> Moment:
        """What is there at the present time."""
        return at(time)


class Room(Past):
    """The same, in room that is made once and used again by the next trial.

    Args:
        empty: what is remembered before a trial.
    """

    def __init__(self, empty: Past) -> None:
        super().__init__(empty.recent, [one.new_empty(FIRST_BINS, *one.shape[1:]) for one in empty.kept])
        self._first, self._n_bins = empty.recent, [0] * len(empty.kept)
        self._moments: list[Moment] = []

    def forget(self) -> None:
        """Begin a new trial."""
        self.recent, self._n_bins = self._first, [0] * len(self.kept)

    def add(self, place: int, present: Tensor) -> Tensor:
        """What is kept in a place, with the present bin last."""
        kept, time = self.kept[place], self._n_bins[place]
        if time == len(kept):
            kept = self.kept[place] = torch.cat((kept, torch.empty_like(kept)))
        kept[time] = present
        self._n_bins[place] = time + 1
        return kept[: time + 1]

    def moment(self, at: Callable[[Tensor], Moment], time: Tensor) -> Moment:
        """What is there at the present time, found once for all trials."""
        if self._n_bins[0] == len(self._moments):
            self._moments.append(at(time))
        return self._moments[self._n_bins[0]]


class Linears:
    """Linear layers of several members as one operation, after a norm if there is one.

    Args:
        layers: of each member.
        norms: their gains and shifts go into the weights.
    """

    def __init__(self, layers: Sequence[nn.Linear], norms: Sequence[nn.LayerNorm] | None = None) -> None:
        weight = torch.stack([layer.weight.detach() for layer in layers])  # (member, out, in)
        self.bias = torch.stack([_bias(layer) for layer in layers])[:, None]
        self.normed: tuple[tuple[int, ...], float] | None = None
        if norms is not None:
            gain, shift = (torch.stack([getattr(norm, name).detach() for norm in norms]) for name in ("weight", "bias"))
            self.bias = self.bias + (weight @ shift[..., None]).mT
            weight = weight * gain[:, None]
            self.normed = norms[0].normalized_shape, norms[0].eps
        self.weight = weight.mT.contiguous()

    def norm(self, x: Float[Tensor, "member row in"]) -> Float[Tensor, "member row in"]:
        """Each row less its mean, in units of its standard deviation."""
        return x if self.normed is None else F.layer_norm(x, self.normed[0], eps=self.normed[1])

    def __call__(self, x: Float[Tensor, "member row in"]) -> Float[Tensor, "member row out"]:
        return torch.baddbmm(self.bias, self.norm(x), self.weight)


class Nets:
    """Nets of two linear layers, a norm before and a GELU between them."""

    def __init__(self, nets: Sequence[nn.Sequential]) -> None:
        layers: list[list[Any]] = [list(net) for net in nets]
        self.into = Linears([net[1] for net in layers], [net[0] for net in layers])
        self.out = Linears([net[-1] for net in layers])

    def __call__(self, x: Float[Tensor, "member row width"]) -> Float[Tensor, "member row out"]:
        return self.out(F.gelu(self.into(x)))


class Blocks:
    """One layer of several members."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        attentions = [block.attention for block in blocks]
        self.n_heads = attentions[0].n_heads
        self.to_qkv = Linears([one.to_qkv for one in attentions], [block.attention_norm for block in blocks])
        self.to_out = Linears([attention.to_out for attention in attentions])
        self.feedforward = Nets([block.feedforward for block in blocks])

    def _after(self, x: Tensor, read: Tensor) -> Tensor:
        x = x + self.to_out(read)
        return x + self.feedforward(x)


class Meetings(Blocks):
    """A layer of the interaction module."""

    def __call__(
        self, x: Float[Tensor, "member individual width"], readable: Bool[Tensor, "1 individual"] | None
    ) -> Float[Tensor, "member individual width"]:
        """At one time, over individuals; all if `readable` is None."""
        query, key, value = self.to_qkv(x).view(*x.shape[:2], 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        mask = None if readable is None else readable[None, None]
        met = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self._after(x, met.transpose(1, 2).flatten(2))


class Memories(Blocks):
    """A layer of the individual module. Queries and keys are turned by turning the weights that make them."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__(blocks)
        rows = torch.cat((self.to_qkv.weight, self.to_qkv.bias), 1).mT  # (member, 3 × head × width, in + 1)
        parts = rows.reshape(len(rows), 3, self.n_heads, -1, rows.shape[2])
        self.head_width = parts.shape[3]
        parts[:, 0] /= self.head_width**0.5  # of queries
        across = torch.stack((-parts[..., 1::2, :], parts[..., 0::2, :]), 4).flatten(3, 4)
        across[:, 2] = 0  # values are not turned
        self.straight, self.across = parts.flatten(1, 3), across.flatten(1, 3)

    def turned(
        self, cosine: Float[Tensor, "row 1"], sine: Float[Tensor, "row 1"]
    ) -> tuple[Float[Tensor, "member row 1"], Float[Tensor, "member row in"]]:
        """Bias and weights at a time, by the angles of queries, keys and values."""
        weight = torch.addcmul(self.straight * cosine, self.across, sine)
        return weight[..., -1:], weight[..., :-1]

    def __call__(
        self,
        x: Float[Tensor, "member individual width"],
        past: Past,
        layer: int,
        turned: tuple[Float[Tensor, "member row 1"], Float[Tensor, "member row in"]],
        hidden: Bool[Tensor, "time 1 1 1 individual"] | None,
    ) -> Float[Tensor, "member individual width"]:
        """The present token of each individual, over its past ones."""
        # individuals last, where sums over time are fast
        qkv = torch.baddbmm(*turned, self.to_qkv.norm(x).mT)
        query, key, value = qkv.view(len(x), 3, self.n_heads, self.head_width, -1).unbind(1)
        keys, values = past.add(1 + 2 * layer, key), past.add(2 + 2 * layer, value)
        score = (keys * query).sum(3, keepdim=True)  # (time, member, head, 1, individual)
        if hidden is not None:
            score = score.masked_fill(hidden, HARDLY)
        read = (values * score.softmax(0)).sum(0)
        return self._after(x, read.flatten(1, 2).mT)


class Heads:
    """The readouts of several members, of what individuals are alone and of what they are among the others."""

    def __init__(self, readouts: Sequence[Readout]) -> None:
        combine: list[Any] = [readout.combine for readout in readouts]
        self.is_by_individual = isinstance(combine[0], ByIndividual)
        if self.is_by_individual:
            self.weight = torch.stack([one.table.weight[0].flatten(0, 1) * one.scale for one in combine])
            self.bias = torch.stack([one.bias.detach() for one in combine])[:, None]
        else:
            norms = [one.norm for one in combine]
            self.to_score = Linears([one.to_score for one in combine], norms)
            self.to_value = Linears([one.to_value for one in combine], norms)
            self.to_latent = Linears([one.to_latent for one in combine])
        self.linear = Linears([readout.linear for readout in readouts])
        self.nonlinear = Nets([readout.nonlinear for readout in readouts])
        courses: list[Any] = [one.courses for one in readouts if one.courses is not None]
        self.has_courses = bool(courses)
        if courses:
            self.to_share = Linears([one.gate for one in courses])
            self.clock = courses[0].clock
            self.to_course = Linears([one.clock.to_width for one in courses])
            self.level = torch.stack([one.level.detach() for one in courses])

    def __call__(
        self,
        x: Float[Tensor, "head individual width"],
        observed: Bool[Tensor, " individual"],
        readable: Bool[Tensor, "1 individual"] | None,
        course: Float[Tensor, "head course output"] | None,
    ) -> Float[Tensor, "head output"]:
        if self.is_by_individual and readable is None:
            latent = torch.baddbmm(self.bias, x.flatten(1)[:, None], self.weight, alpha=1 / x.shape[1])
        elif self.is_by_individual:
            x = (x * observed[:, None]).flatten(1)[:, None]
            latent = torch.bmm(x, self.weight) / observed.sum().clamp(min=1) + self.bias
        else:
            score = self.to_score(x)
            if readable is not None:
                score = score.masked_fill(~readable.mT, HARDLY)
            latent = self.to_latent(torch.bmm(score.softmax(1).mT, self.to_value(x)).flatten(1)[:, None])
        output = self.linear(latent) + self.nonlinear(latent)
        if course is not None:
            output = torch.baddbmm(output, self.to_share(latent).softmax(-1), course)
        return output[:, 0]

    def course(self, time: Int[Tensor, ""]) -> Float[Tensor, "head course output"] | None:
        """The courses at a time, if there are any."""
        if not self.has_courses:
            return None
        waves = self.clock.waves(time).expand(len(self.level), 1, -1)
        return self.to_course(waves).view(self.level.shape) + self.level


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
        self.n_members, self.n_individuals, self.n_features = len(eits), n_individuals, eits[0].n_features
        self.n_recent = s.token_bins * self.n_features
        self.token = Linears([eit.token for eit in eits])
        self.memories = [Memories(layer) for layer in _layers([eit.individual_module for eit in eits])]
        self.meetings = [Meetings(layer) for layer in _layers([eit.interaction_module for eit in eits])]
        rows: list[Any] = [eit.identity for eit in eits]
        self.identity = None
        if rows[0] is not None:
            gain, offset = torch.stack([one.weight[0] for one in rows]).unbind(2)
            self.identity = 1 + gain, offset
        self.heads = Heads([head for pair in readouts for head in pair])
        clocks: list[Any] = [eit.clock for eit in eits]
        self.clock = clocks[0]
        self.to_clock = None if self.clock is None else Linears([clock.to_width for clock in clocks])
        self.head_shape = (s.n_heads, s.width // s.n_heads)
        turning = frequencies(self.head_shape[1]).repeat_interleave(2).repeat(2 * s.n_heads)
        self.speed = torch.cat((turning, torch.zeros(s.width)))[:, None]  # of rows of queries, keys and values

    def start(self) -> Past:
        """What is remembered before a trial: nothing."""
        past = torch.zeros(0, self.n_members, *self.head_shape, self.n_individuals)
        seen = torch.zeros(0, self.n_individuals, dtype=torch.bool)
        return Past(torch.zeros(self.n_individuals, self.n_recent), [seen, *[past] * (2 * len(self.memories))])

    def moment(self, time: Int[Tensor, ""]) -> Moment:
        """What depends on the time alone."""
        token = self.token.bias
        if self.to_clock is not None:
            token = token + self.to_clock(self.clock.waves(time).expand(self.n_members, 1, -1))
        angle = time.float() * self.speed
        cosine, sine = angle.cos(), angle.sin()
        return Moment(token, [memory.turned(cosine, sine) for memory in self.memories], self.heads.course(time))

    def __call__(
        self,
        values: Float[Tensor, "individual feature"],
        observed: Bool[Tensor, " individual"],
        time: Int[Tensor, ""],
        past: Past,
    ) -> Float[Tensor, "member 2 output"]:
        """Read the bin at a time, of values that are 0 where not observed; where nobody is, what is said is void."""
        may_be_read = None if is_known_to_be_all(observed) else readable(observed[None])
        moment = past.moment(self.moment, time)

        # 1. Token
        past.recent = torch.cat((past.recent[:, self.n_features :], values), 1)
        x = torch.baddbmm(moment.token, past.recent.expand(self.n_members, -1, -1), self.token.weight)

        # 2. Individual module
        seen = past.add(0, observed)
        hidden = None if is_known_to_be_all(seen) else ~seen[:, None, None, None]
        for layer, memory in enumerate(self.memories):
            x = memory(x, past, layer, moment.turned[layer], hidden)
        individual = x

        # 3. Identity
        if self.identity is not None:
            gain, offset = self.identity
            x = torch.addcmul(offset, individual, gain)

        # 4. Interaction module
        for meeting in self.meetings:
            x = meeting(x, may_be_read)

        # 5. Readouts
        both = torch.stack((individual, x), 1).flatten(0, 1)
        return self.heads(both, observed, may_be_read, moment.course).view(self.n_members, 2, -1)


def _layers(modules: Sequence[Any]) -> list[tuple[Block, ...]]:
    """Of every layer the blocks of all members."""
    return list(zip(*modules, strict=True))


def _bias(layer: nn.Linear) -> Float[Tensor, " out"]:
    return layer.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias.detach()
