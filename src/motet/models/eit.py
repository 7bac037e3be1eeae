"""The EIT: one transformer reads each individual's series alone, a second lets individuals interact.

After Liu, Azabou, Dabagia, Xiao and Dyer, "Seeing the forest and the tree", NeurIPS 2022 (arXiv:2206.06131).
This file is the idea; `layers` has its parts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from motet.data.batch import Batch
from motet.errors import InputError
from motet.memory import check_room
from motet.models.layers import (
    Attention,
    Block,
    ById,
    Clock,
    ContextTable,
    IndividualTable,
    is_known_to_be_all,
    readable,
)
from motet.settings import Count, Fraction, Positive, Range, Settings

Depth = Annotated[int, Range(least=0, most=1000)]
"""Layers."""


@dataclasses.dataclass(frozen=True)
class EITSettings(Settings, role="model"):
    """All there is to choose about the model.

    Attributes:
        width: of an embedding.
        n_heads: attention heads, in both modules.
        individual_depth: layers of the individual module.
        interaction_depth: layers of the interaction module; 0 leaves individuals apart.
        feedforward_ratio: hidden units of a feed-forward net, in widths.
        dropout: of hidden units and branches, in training. (Not of attention weights: that takes attention off its
            fused kernel.)
        causal: whether a bin reads only itself and earlier ones.
        token_bins: a token is made of this many bins, up to its own.
        time: bins know their distances ("relative"); with "absolute" also how far into the trial they are.
        identity: what says who an individual is, by a gain and an offset that are applied before individuals interact.
            "learned": free weights of each id. "context": one net of what the individual does in the trials that are
            learned from, or that a new population is adapted on (see `context_statistics`). "none": nothing does, and
            the model reads any individual.

    Example:
        >>> import motet
        >>> decoder = motet.EITClassifier(model=EITSettings(width=32, causal=True))
        >>> decoder.set_params(model__n_heads=2).model.n_heads
        2
    """

    width: Count = 16
    n_heads: Count = 1
    individual_depth: Depth = 1
    interaction_depth: Depth = 1
    feedforward_ratio: Positive = 2.0
    dropout: Fraction = 0.0
    causal: bool = False
    token_bins: Count = 2
    time: Literal["relative", "absolute"] = "absolute"
    identity: Literal["none", "learned", "context"] = "learned"

    def check(self) -> None:
        if self.width % (2 * self.n_heads):
            raise InputError(
                f"model.width {self.width} does not divide into {self.n_heads} heads of even width; "
                f"give a multiple of {2 * self.n_heads}."
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Encoding:
    """What the EIT makes of a batch.

    Attributes:
        individual: (trial, individual, time, width), each individual seen alone.
        population: (trial, individual, time, width), after individuals interacted.
        observed: (trial, individual, time) bool; both embeddings are 0 where False.
        pair: (trial, individual, individual, pair width), how the first sees the second; of models that read pairs.
        coupling: (trial, individual, individual, law), how strongly the first follows the second; of those too.

    Example:
        >>> import motet
        >>> pair = motet.PopulationDataset(motet.Recording.from_trials([[[1.0], [2.0]]])).batch()
        >>> encoding = EIT(EITSettings(width=8, identity="none"))(pair)
        >>> encoding.individual.shape, encoding.observed.tolist()
        (torch.Size([1, 2, 1, 8]), [[[True], [True]]])
    """

    individual: Float[Tensor, "trial individual time width"]
    population: Float[Tensor, "trial individual time width"]
    observed: Bool[Tensor, "trial individual time"]
    pair: Float[Tensor, "trial individual individual pair_width"] | None = None
    coupling: Float[Tensor, "trial individual individual law"] | None = None


class EIT(nn.Module):
    """The embedded interaction transformer.

    1. Token: every value, with the features it has, becomes a token that may know its time.
    2. Individual module: a transformer shared by all individuals reads each one alone, over time.
    3. Identity: if there is one, each individual's gain and offset are applied.
    4. Interaction module: at each time, a transformer over individuals lets them exchange.

    Permuting the individuals permutes the encoding; what is not observed changes nothing.

    Args:
        settings: see `EITSettings`.
        n_features: features per individual and time bin.
        individual_ids: those to learn an identity for, or whose context is known; ignored with identity="none".

    Example:
        >>> import motet
        >>> (animal,) = motet.simulate("population", n_subjects=1, n_trials=4, n_neurons=5)
        >>> eit = EIT(EITSettings(width=8, identity="none"))
        >>> eit(motet.PopulationDataset(animal).batch()).population.shape == (4, 5, animal.n_bins, 8)
        True
    """

    def __init__(self, settings: EITSettings, *, n_features: int = 1, individual_ids: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.settings = settings
        self.n_features = n_features
        if settings.identity == "learned" and not individual_ids:
            raise InputError("identity='learned' needs individual_ids; give them, or identity='none'.")
        self.token = nn.Linear(settings.token_bins * n_features, settings.width)
        self.clock = Clock(settings.width) if settings.time == "absolute" else None
        self.individual_module = self._stack(settings.individual_depth, is_temporal=True, is_causal=settings.causal)
        self.identity: ById | None = None
        if settings.identity == "learned":
            self.identity = IndividualTable(individual_ids, (2, settings.width), std=0.5)
        elif settings.identity == "context":
            self.identity = ContextTable(individual_ids, n_features, (2, settings.width))
        self.interaction_module = self._stack(settings.interaction_depth, is_temporal=False)

    def _stack(self, depth: int, *, is_temporal: bool, is_causal: bool = False) -> nn.ModuleList:
        s, kind = self.settings, {"is_temporal": is_temporal, "is_causal": is_causal}
        return nn.ModuleList(Block(s.width, s.n_heads, s.feedforward_ratio, s.dropout, **kind) for _ in range(depth))

    def forward(self, batch: Batch) -> Encoding:
        """Encode a batch.

        Raises:
            InputError: if the batch has another number of features, or individuals without identity.
        """
        if batch.values.shape[-1] != self.n_features:
            raise InputError(
                f"the batch has {batch.values.shape[-1]} features per individual and time bin; "
                f"this model reads {self.n_features}."
            )
        n_trials, n_individuals = batch.values.shape[:2]
        observed = batch.observed

        # 1. Token
        values = batch.values.masked_fill(~observed[..., None], 0.0)
        x = self.token(_recent(values, self.settings.token_bins))
        if self.clock is not None:
            x = x + self.clock(x.shape[2])

        # 2. Individual module: each alone, over time
        x = rearrange(x, "trial individual time width -> (trial individual) time width")
        read = readable(observed.flatten(0, 1))
        for block in self.individual_module:
            x = block(x, read)
        individual = rearrange(x, "(trial individual) time width -> trial individual time width", trial=n_trials)

        # 3. Identity
        x = individual
        if self.identity is not None:
            gain, offset = self.identity(batch)[batch.recording_index].unsqueeze(3).unbind(2)
            x = individual * (1 + gain) + offset

        # 4. Interaction module: at each time, over individuals
        x = rearrange(x, "trial individual time width -> (trial time) individual width", individual=n_individuals)
        read = readable(rearrange(observed, "trial individual time -> (trial time) individual"))
        for block in self.interaction_module:
            x = block(x, read)
        population = rearrange(x, "(trial time) individual width -> trial individual time width", trial=n_trials)

        if not is_known_to_be_all(observed):
            individual, population = (x * observed[..., None] for x in (individual, population))
        return Encoding(individual=individual, population=population, observed=observed)

    def n_bytes(self, n_individuals: int, n_bins: int) -> int:
        """What reading a trial takes, about: in training with all that is kept for gradients."""
        s = self.settings
        n_layers = len(self.individual_module) + len(self.interaction_module)
        n_widths = 24 + n_layers * (13 + 4 * s.feedforward_ratio) if self.training else 8 + 2 * s.feedforward_ratio
        return 4 * n_individuals * n_bins * round(n_widths * s.width + (s.token_bins + 2) * self.n_features)

    @torch.no_grad()
    def attention_maps(self, batch: Batch) -> dict[str, list[Tensor]]:
        """Who attends to whom, layer by layer.

        Returns:
            "individual": (trial, individual, head, time, time) for each layer;
            "interaction": (trial, time, head, individual, individual) for each layer. Readers come before
            the read; the weights of a reader sum to one.

        Raises:
            InputError: if they do not fit in memory.
        """
        n_trials, n_individuals, n_bins = batch.observed.shape
        s, n_copies = self.settings, 2  # score and softmax
        n_weights = (s.individual_depth + n_copies) * n_bins + (s.interaction_depth + n_copies) * n_individuals
        check_room(
            4 * s.n_heads * n_trials * n_individuals * n_bins * n_weights,
            what=f"the attention maps of {n_trials} trials of {n_individuals} individuals and {n_bins} bins",
        )
        modules = {"individual": self.individual_module, "interaction": self.interaction_module}

        def read(attention: Attention, inputs: tuple[Tensor, Tensor | None], _: Tensor) -> Tensor:
            return rearrange(attention.weights(*inputs), "(trial other) ... -> trial other ...", trial=len(batch))

        return {
            name: self._listen([block.attention for block in module], read, batch) for name, module in modules.items()
        }

    @torch.no_grad()
    def stages(self, batch: Batch) -> dict[str, list[Tensor]]:
        """The embedding after every layer, (trial, individual, time, width) each, before masking.

        Returns:
            "token": the one before the first layer; "individual" and "interaction": one per layer.
        """
        individual_last = "(trial individual) time width -> trial individual time width"
        time_first = "(trial time) individual width -> trial individual time width"

        def folded(pattern: str) -> Callable[[Any, Any, Tensor], Tensor]:
            return lambda _, __, output: rearrange(output, pattern, trial=len(batch))

        return {
            "token": self._listen([self.token], lambda _, __, output: output, batch),
            "individual": self._listen(list(self.individual_module), folded(individual_last), batch),
            "interaction": self._listen(list(self.interaction_module), folded(time_first), batch),
        }

    def _listen(self, modules: list[Any], read: Callable[[Any, Any, Tensor], Tensor], batch: Batch) -> list[Tensor]:
        """What `read` makes of the input and output of some modules, while a batch is encoded without dropout."""
        heard: list[Tensor] = []
        handles = [m.register_forward_hook(lambda *seen: heard.append(read(*seen))) for m in modules]
        was_training = self.training
        try:
            self.eval()(batch)
        finally:
            self.train(was_training)
            for handle in handles:
                handle.remove()
        return heard


def _recent(
    values: Float[Tensor, "trial individual time feature"], n_bins: int
) -> Float[Tensor, "trial individual time recent"]:
    """The values of a bin and of the ones before it, side by side; zeros before the trial."""
    padded = nn.functional.pad(values, (0, 0, n_bins - 1, 0))
    return rearrange(
        padded.unfold(2, n_bins, 1), "trial individual time feature bin -> trial individual time (bin feature)"
    )
