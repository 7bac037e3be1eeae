"""The parts of the EIT: masked attention, transformer blocks, and tables that follow individuals by name."""

from __future__ import annotations

import abc
import math

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from motet.data.batch import Batch
from motet.data.context import N_STATISTICS, SPREAD, WITH_UNIT
from motet.data.preprocess import READS_ANYONE
from motet.errors import InputError
from motet.models.randomness import Dropout

LEAST_SCALE = 0.01  # of a statistic: of the spread of values, or of a correlation
FARTHEST = 4.0  # standard deviations that a statistic counts for at most


def rotary(
    x: Float[Tensor, "*part batch head time width"],
    bins: Int[Tensor, "batch time"] | None = None,
    *,
    base: float = 100.0,
) -> Float[Tensor, "*part batch head time width"]:
    """Turn each pair of features by an angle that grows with time (Su et al. 2021, arXiv:2104.09864).

    The product of a turned query and a turned key depends on their distance in time alone. `bins` says which bin each
    token is, if they are not in the order of time.
    """
    n_bins, width = x.shape[-2:]
    angle = torch.arange(n_bins, device=x.device, dtype=torch.float32)[:, None] * frequencies(width, base, x.device)
    cosine, sine = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    if bins is not None:
        cosine, sine = cosine[bins][:, None], sine[bins][:, None]
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1).flatten(-2)


def frequencies(width: int, base: float = 100.0, device: torch.device | None = None) -> Float[Tensor, " pair"]:
    """Radians per bin by which pairs of features are turned."""
    return base ** (-torch.arange(0, width, 2, device=device, dtype=torch.float32) / width)


class Attention(nn.Module):
    """Multi-head self-attention over tokens; those that are not readable (see `readable`) are never read.

    Memory grows with the number of tokens, not with its square.

    Args:
        width: of a token.
        n_heads: heads; each is width / n_heads wide.
        is_temporal: whether the tokens are time bins (then queries and keys carry their time).
        is_causal: whether a token reads only itself and earlier ones.
    """

    def __init__(self, width: int, n_heads: int, *, is_temporal: bool, is_causal: bool = False) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.is_temporal = is_temporal
        self.is_causal = is_causal
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "batch token width"], readable: Bool[Tensor, "batch token"] | None
    ) -> Float[Tensor, "batch token width"]:
        order, is_causal, mask = None, self.is_causal, None if readable is None else readable[:, None, None]
        if is_causal and readable is not None and torch.compiler.is_exporting():  # a graph takes one mask, of any size
            mask, is_causal = self._allowed(x.shape[1], readable), False
        elif is_causal and readable is not None:  # tokens that nobody reads go last, where no other one looks
            if bool((readable[:, 1:] > readable[:, :-1]).any()):
                order = (~readable).to(torch.uint8).argsort(dim=-1, stable=True)
                x = _rows(x, order)
            mask = None
        query, key, value = self._heads(x, order)
        x = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=is_causal)
        x = self.to_out(rearrange(x, "batch head token width -> batch token (head width)"))
        return x if order is None else _rows(x, order.argsort(dim=-1))

    def weights(
        self, x: Float[Tensor, "batch token width"], readable: Bool[Tensor, "batch token"] | None
    ) -> Float[Tensor, "batch head token token"]:
        """Who attends to whom: the rows (queries) sum to one."""
        query, key, _ = self._heads(x)
        score = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        every = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        return score.masked_fill(
            ~self._allowed(x.shape[1], every if readable is None else readable), -torch.inf
        ).softmax(-1)

    def _allowed(self, n_tokens: int, readable: Bool[Tensor, "batch token"]) -> Bool[Tensor, "batch 1 reader token"]:
        """Who may read whom: what is readable, of earlier tokens if it is causal, and then always itself."""
        allowed = readable[:, None, None].expand(-1, -1, n_tokens, -1)
        if not self.is_causal:
            return allowed
        return allowed.tril() | torch.eye(n_tokens, dtype=torch.bool, device=readable.device)

    def _heads(self, x: Tensor, bins: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        parts = rearrange(
            self.to_qkv(x), "batch token (part head width) -> part batch head token width", part=3, head=self.n_heads
        )
        query, key, value = parts.unbind(0)
        return (*rotary(parts[:2], bins).unbind(0), value) if self.is_temporal else (query, key, value)


def _rows(
    x: Float[Tensor, "batch token width"], order: Int[Tensor, "batch token"]
) -> Float[Tensor, "batch token width"]:
    """The tokens of every batch entry in an order of its own."""
    first = torch.arange(0, order.numel(), order.shape[1], device=order.device)[:, None]
    return x.flatten(0, 1).index_select(0, (first + order).flatten()).view_as(x)


class Block(nn.Module):
    """One pre-norm transformer layer: attention, then a feed-forward net, each added to the stream."""

    def __init__(
        self,
        width: int,
        n_heads: int,
        feedforward_ratio: float,
        dropout: float,
        *,
        is_temporal: bool,
        is_causal: bool = False,
    ) -> None:
        super().__init__()
        hidden = int(width * feedforward_ratio)
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, n_heads, is_temporal=is_temporal, is_causal=is_causal)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), Dropout(dropout), nn.Linear(hidden, width)
        )
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch token width"], readable: Bool[Tensor, "batch token"] | None
    ) -> Float[Tensor, "batch token width"]:
        x = x + self.dropout(self.attention(self.attention_norm(x), readable))
        return x + self.dropout(self.feedforward(x))


def readable(observed: Bool[Tensor, "batch token"]) -> Bool[Tensor, "batch token"] | None:
    """Which tokens may be read: those observed; None if all may, so that no mask is needed.

    Where nothing is observed, and so whatever is read there is masked, all are: a softmax over nothing is NaN.
    """
    may_be_read = observed | ~observed.any(dim=-1, keepdim=True)
    return None if is_known_to_be_all(may_be_read) else may_be_read


def is_known_to_be_all(flags: Bool[Tensor, "*shape"]) -> bool:
    """Whether all are True, so that no mask is needed; a graph that is exported does not know, and always takes one."""
    return not torch.compiler.is_exporting() and bool(flags.all())


class Clock(nn.Module):
    """Tells a bin how far into its trial it is: a learned mix of slow waves, for trials of any length."""

    def __init__(self, width: int, longest_period: float = 64.0) -> None:
        super().__init__()
        self.periods = tuple(
            float(period) for period in torch.logspace(2, math.log2(longest_period), 5, base=2, device="cpu")
        )
        self.to_width = nn.Linear(2 * len(self.periods), width, bias=False)

    def forward(self, n_bins: int) -> Float[Tensor, "time width"]:
        return self.to_width(self.waves(torch.arange(n_bins, device=self.to_width.weight.device)))

    def waves(self, bins: Int[Tensor, "*time"]) -> Float[Tensor, "*time wave"]:
        """The waves in some bins."""
        weight = self.to_width.weight
        angle = 2 * torch.pi * bins.to(weight.dtype)[..., None]
        angle = angle / torch.tensor(self.periods, device=weight.device, dtype=weight.dtype)
        return torch.cat((angle.sin(), angle.cos()), dim=-1)


class ById(nn.Module, abc.ABC):
    """What is known of each individual, found by its id, so that it travels with it and never with its position.

    Args:
        individual_ids: the individuals known.
    """

    def __init__(self, individual_ids: tuple[str, ...]) -> None:
        super().__init__()
        self._name(individual_ids)

    def _name(self, individual_ids: tuple[str, ...]) -> None:
        self.individual_ids = individual_ids
        self._row = {individual: row for row, individual in enumerate(individual_ids)}
        self._rows: dict[tuple[str, ...], Tensor] = {}

    @abc.abstractmethod
    def of(self, rows: Int[Tensor, "*individual"]) -> Float[Tensor, "*individual_and_shape"]:
        """The weights of some of the individuals known."""

    def forward(self, batch: Batch) -> Float[Tensor, "recording individual ..."]:
        """The weights of every individual of the batch; those of padding are never read.

        Raises:
            InputError: if an observed individual is not known.
        """
        rows = []
        for recording, ids in enumerate(batch.individual_ids):
            if ids not in self._rows:
                self._rows[ids] = torch.tensor([self._row.get(individual, -1) for individual in ids])
            known = self._rows[ids].to(batch.positions.device)
            position = batch.positions[recording]
            if (known < 0).any():
                self._refuse_strangers(batch, recording, known)
            rows.append(known[position.clamp(min=0)])
        return self.of(torch.stack(rows).clamp(min=0))

    def _refuse_strangers(self, batch: Batch, recording: int, known: Tensor) -> None:
        is_observed = batch.observed[batch.recording_index == recording].any(dim=2).any(dim=0)
        position = batch.positions[recording][is_observed]
        strangers = position[known[position] < 0]
        if len(strangers):
            raise InputError(
                f"the model never saw individual {batch.individual_ids[recording][int(strangers[0])]!r}; "
                f"it knows {len(self._row)}: give recordings of these, {READS_ANYONE}."
            )


class IndividualTable(ById):
    """Weights that are learned for each individual.

    Args:
        individual_ids: the individuals known.
        shape: of what each has.
        std: of the initial weights.
    """

    def __init__(self, individual_ids: tuple[str, ...], shape: tuple[int, ...], *, std: float) -> None:
        super().__init__(individual_ids)
        self.weight = nn.Parameter(torch.randn(len(individual_ids), *shape) * std)

    def of(self, rows: Int[Tensor, "*individual"]) -> Float[Tensor, "*individual_and_shape"]:
        return self.weight[rows]


class ContextTable(ById):
    """Weights of each individual, made by one net of what it does: see `context_statistics`.

    The net is learned, and as large for any population. The statistics are of the trials that were learned from, or of
    those by which a new population is met (`meet`): what is read later depends on no other trial.

    Args:
        individual_ids: those met.
        n_features: of values.
        shape: of what each has.
        n_hidden: units of the net.
    """

    statistics: Float[Tensor, "individual statistic"]
    centre: Float[Tensor, " statistic"]
    scale: Float[Tensor, " statistic"]

    def __init__(
        self, individual_ids: tuple[str, ...], n_features: int, shape: tuple[int, ...], *, n_hidden: int = 32
    ) -> None:
        super().__init__(individual_ids)
        n_statistics = n_features * N_STATISTICS
        self.register_buffer("statistics", torch.zeros(len(individual_ids), n_statistics))
        self.register_buffer("centre", torch.zeros(n_statistics))
        self.register_buffer("scale", torch.ones(n_statistics))
        self.shape = shape
        self.net = nn.Sequential(nn.Linear(n_statistics, n_hidden), nn.GELU(), nn.Linear(n_hidden, math.prod(shape)))

    def learn(self, individual_ids: tuple[str, ...], statistics: NDArray[np.float64]) -> None:
        """Meet the individuals of training trials, by whom is known what is usual."""
        unit = np.sqrt(np.square(statistics.reshape(len(statistics), -1, N_STATISTICS)[..., SPREAD]).mean()) or 1.0
        least = LEAST_SCALE * np.tile(np.where(WITH_UNIT, unit, 1.0), statistics.shape[1] // N_STATISTICS)
        self.centre.copy_(torch.from_numpy(statistics.mean(axis=0)))
        self.scale.copy_(torch.from_numpy(np.maximum(statistics.std(axis=0), least)))
        self.meet(individual_ids, statistics)

    def meet(self, individual_ids: tuple[str, ...], statistics: NDArray[np.float64]) -> None:
        """Know these individuals, and no others."""
        self._name(individual_ids)
        self.statistics = torch.from_numpy(statistics).to(self.centre)

    def of(self, rows: Int[Tensor, "*individual"]) -> Float[Tensor, "*individual_and_shape"]:
        away = (self.statistics[rows] - self.centre) / self.scale
        return self.net(FARTHEST * (away / FARTHEST).tanh()).unflatten(-1, self.shape)
