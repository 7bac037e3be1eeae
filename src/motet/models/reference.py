"""The EIT as its authors released it: a rival to measure against and an oracle, not an example to follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from motet.errors import InputError
from motet.models.randomness import Dropout, WeightsFrom
from motet.settings import Count, Fraction, check_arguments


class ReferenceLogits(NamedTuple):
    """What the two projection heads of an `EITReference` say of every bin, (trial, time, class) each."""

    individual: Float[Tensor, "trial time class"]
    population: Float[Tensor, "trial time class"]


class ReferenceEncoding(NamedTuple):
    """What happens inside an `EITReference`.

    Attributes:
        individual: embeddings before individuals meet, (trial, individual, time, width).
        population: embeddings after, (trial, individual, time, width).
        individual_attention: per layer, between the bins of one individual, (trial·individual, head, time, time).
        interaction_attention: per layer, between individuals in one bin, (trial·time, head, individual, individual).
    """

    individual: Float[Tensor, "trial individual time width"]
    population: Float[Tensor, "trial individual time width"]
    individual_attention: tuple[Float[Tensor, "series head time time"], ...]
    interaction_attention: tuple[Float[Tensor, "bins head individual individual"], ...]


class EITReference(nn.Module):
    """The released EIT, faithful to the last parameter name.

    1. Individual module (`MT`): every bin of every individual is embedded by one Linear(features → width), then a
       transformer reads the bins of each individual alone.
    2. Interaction module: a learned embedding per individual is added, then a transformer reads the individuals of
       each bin.
    3. Projections: Linear(width → 1) per individual, all individuals side by side, a Linear to the classes.

    The interaction transformer and both projections drop out; the individual transformer does not. Attributes carry
    the released names, spelling included: `state_dict()` is a released one. The defaults are those of neurons; for
    bodies in the plane see `reference_bodies`.

    The slips of the released model, kept on purpose:

    - Not permutation-invariant: embedding, LayerNorm and Linear after step 1 are indexed by individual.
    - Bound to one population: for the same reason it takes no other number of individuals.
    - Blind to time: bins carry no position, so shuffling them only shuffles what comes out.
    - Amplitude nearly lost: without an attention residual only LayerNorm(Linear(rate)) enters the individual
      transformer, and what is left of 10 Hz and of 300 Hz has a cosine of about 0.996 before training.
    - Bins of one individual collapse onto each other, also for want of that residual.
    - No mask: padding, gaps and absent individuals are numbers like any other.
    - One number per individual reaches either head: `width` is squeezed to 1 before individuals combine.
    - Two biases are idle: the population head's LayerNorm cancels those of `bottolneck` and of the Linear before it.
    - All attention maps are built and kept: memory grows with the square of the number of individuals.
    - Around the model, for the caller to repeat or not: train and test each centred by their own mean; no
      validation split; the best test epoch reported; bins scored twice through overlapping windows.

    **What to pass**: firing rates in Hz (counts / bin_seconds), unscaled, minus the mean of each individual over trials
    and bins, without individuals whose standard deviation on training trials is at most 1e-3. The release takes that
    mean from train and test separately; to be fair, take it from training trials.

    Args:
        n_individuals: the number of individuals, fixed for ever.
        n_classes: the number of classes.
        width: embedding width.
        depth: layers of either transformer.
        n_heads: attention heads.
        head_width: width of a head.
        dropout: probability of dropping out in the interaction transformer.
        head_dropout: the same in both projections; by default as `dropout`.
        n_features: numbers per individual and bin: 1 for rates, 2 for positions in the plane.
        attention_alone: whether the interaction transformer has neither residual nor feed-forward, as for bodies; the
            weights of the feed-forward exist and are idle, as released.
        seed: of the initial weights; the global random state is left alone.

    Raises:
        InputError: if a size is below 1 or a dropout is not in [0, 1).

    Source: Liu et al., NeurIPS 2022, arXiv:2206.06131, and its released code.

    Example:
        >>> model = EITReference(163, 8)
        >>> sum(parameter.numel() for parameter in model.parameters())
        107480
        >>> model(torch.zeros(4, 2, 163)).population.shape
        torch.Size([4, 2, 8])
    """

    def __init__(
        self,
        n_individuals: Count,
        n_classes: Count,
        *,
        width: Count = 16,
        depth: Count = 2,
        n_heads: Count = 6,
        head_width: Count = 64,
        dropout: Fraction = 0.5,
        head_dropout: Fraction | None = None,
        n_features: Count = 1,
        attention_alone: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        numbers = {"n_individuals": n_individuals, "n_classes": n_classes, "width": width, "depth": depth}
        numbers |= {"n_heads": n_heads, "head_width": head_width, "n_features": n_features}
        check_arguments(EITReference.__init__, {**numbers, "dropout": dropout, "head_dropout": head_dropout})
        head_dropout = dropout if head_dropout is None else head_dropout
        self.n_individuals, self.n_classes, self.n_features = n_individuals, n_classes, n_features
        with WeightsFrom(torch.Generator().manual_seed(seed)):
            self.neuron_embed = nn.Parameter(torch.randn(1, n_individuals, width))
            self.MT = _IndividualModule(
                _Transformer(width, depth, n_heads, head_width, expansion=2, dropout=0.0, has_residual=False),
                sizes=(n_features, width, n_individuals, n_classes),
                dropout=head_dropout,
            )
            rest = {"has_residual": not attention_alone, "has_feed_forward": not attention_alone}
            self.S_transformer = _Transformer(width, depth, n_heads, head_width, expansion=1, dropout=dropout, **rest)
            self.bottolneck = nn.Sequential(nn.Linear(width, 1))
            self.mlp_head = nn.Sequential(
                nn.LayerNorm(n_individuals), Dropout(head_dropout), nn.Linear(n_individuals, n_classes)
            )

    def forward(self, values: Float[Tensor, "trial time individual *feature"]) -> ReferenceLogits:
        """The logits of both projection heads for every bin.

        Args:
            values: centred rates in Hz (see the class), or positions with an axis of features.

        Raises:
            InputError: if `values` is of another number of individuals or features.
        """
        encoding = self.encode(values)
        # 3. Projections: one number per individual, side by side.
        beside = "trial individual time 1 -> trial time individual"
        individual = rearrange(self.MT.mlp_head_bottolneck(encoding.individual), beside)
        population = rearrange(self.bottolneck(encoding.population), beside)
        return ReferenceLogits(self.MT.mlp_head_bottom(individual), self.mlp_head(population))

    def encode(self, values: Float[Tensor, "trial time individual *feature"]) -> ReferenceEncoding:
        """The embedding of every individual before and after they meet, and all attention maps.

        Args:
            values: centred rates in Hz (see the class), or positions with an axis of features.

        Raises:
            InputError: if `values` is of another number of individuals or features.
        """
        x = values[..., None] if values.ndim == 3 else values
        if x.ndim != 4 or x.shape[2:] != (self.n_individuals, self.n_features):
            taken = f"{self.n_individuals}" + (f", {self.n_features}" if self.n_features > 1 else "")
            raise InputError(
                f"values have shape {tuple(values.shape)}, but this EITReference takes (trial, time, {taken}) and no "
                "other number of individuals; make one for this population, or use an EIT, which takes any."
            )
        # 1. Individual module: each alone, over time.
        x = rearrange(x, "trial time individual feature -> (trial individual) time feature")
        x, individual_attention = self.MT.T_transformer(self.MT.single_embed(x))
        individual = rearrange(x, "(trial individual) ... -> trial individual ...", trial=len(values))
        # 2. Interaction module: each bin, over individuals.
        x = rearrange(individual, "trial individual time width -> (trial time) individual width")
        x, interaction_attention = self.S_transformer(x + self.neuron_embed)
        population = rearrange(x, "(trial time) ... width -> trial ... time width", trial=len(values))
        return ReferenceEncoding(individual, population, individual_attention, interaction_attention)

    def load_released_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over the parameters of a released model.

        Args:
            state: every parameter by its released name (`MT.` is the individual module).

        Raises:
            InputError: if a name is missing or unknown, or a shape differs.
        """
        shapes, given = (
            {name: tuple(parameter.shape) for name, parameter in some.items()} for some in (self.state_dict(), state)
        )
        other = [name for name in sorted(shapes | given) if shapes.get(name) != given.get(name)]
        if other:
            raise InputError(
                f"{other[0]!r} has shape {given.get(other[0])} in the state, but this model of {self.n_individuals} "
                f"individuals and {self.n_classes} classes needs {shapes.get(other[0])} (None is absent), as do "
                f"{len(other) - 1} others; give the state of a released EIT of these sizes, names unchanged."
            )
        self.load_state_dict(dict(state))


class _IndividualModule(nn.Module):
    """What the release calls MT: the transformer over time and the individual head."""

    def __init__(self, transformer: _Transformer, *, sizes: tuple[int, int, int, int], dropout: float) -> None:
        super().__init__()
        n_features, width, n_individuals, n_classes = sizes
        self.single_embed = nn.Linear(n_features, width)
        self.T_transformer = transformer
        self.mlp_head_bottolneck = nn.Sequential(nn.Linear(width, 1))
        self.mlp_head_bottom = nn.Sequential(Dropout(dropout), nn.Linear(n_individuals, n_classes))


class _Transformer(nn.Module):
    """Attention and feed-forward, each after a LayerNorm; attention residual or feed-forward may be absent."""

    def __init__(
        self,
        width: int,
        depth: int,
        n_heads: int,
        head_width: int,
        *,
        expansion: int,
        dropout: float,
        has_residual: bool,
        has_feed_forward: bool = True,
    ) -> None:
        super().__init__()
        self.has_residual, self.has_feed_forward = has_residual, has_feed_forward
        self.layers = nn.ModuleList()
        for _ in range(depth):
            attention = _AfterNorm(width, _Attention(width, n_heads, head_width, dropout=dropout))
            feed_forward = _AfterNorm(width, _FeedForward(width, expansion * width, dropout=dropout))
            self.layers.append(nn.ModuleList([attention, feed_forward]))

    def forward(
        self, x: Float[Tensor, "batch token width"]
    ) -> tuple[Float[Tensor, "batch token width"], tuple[Float[Tensor, "batch head token token"], ...]]:
        maps = []
        for layer in self.layers:
            attention, feed_forward = cast(nn.ModuleList, layer)
            attended, weights = attention(x)
            x = attended + x if self.has_residual else attended
            x = feed_forward(x) + x if self.has_feed_forward else x
            maps.append(weights)
        return x, tuple(maps)


class _AfterNorm(nn.Module):
    def __init__(self, width: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = fn

    def forward(self, x: Float[Tensor, "batch token width"]) -> Any:
        return self.fn(self.norm(x))


class _Attention(nn.Module):
    """Attention that also returns its maps; no bias on queries, keys and values, no dropout on the maps."""

    def __init__(self, width: int, n_heads: int, head_width: int, *, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.scale = head_width**-0.5
        self.to_qkv = nn.Linear(width, 3 * n_heads * head_width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(n_heads * head_width, width), Dropout(dropout))

    def forward(
        self, x: Float[Tensor, "batch token width"]
    ) -> tuple[Float[Tensor, "batch token width"], Float[Tensor, "batch head token token"]]:
        split = "batch token (three head channel) -> three batch head token channel"
        query, key, value = rearrange(self.to_qkv(x), split, three=3, head=self.n_heads)
        weights = (query @ key.transpose(-1, -2) * self.scale).softmax(dim=-1)
        attended = rearrange(weights @ value, "batch head token channel -> batch token (head channel)")
        return self.to_out(attended), weights


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden_width: int, *, dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(width, hidden_width),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(hidden_width, width),
            Dropout(dropout),
        )

    def forward(self, x: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
        return cast(Tensor, self.net(x))
