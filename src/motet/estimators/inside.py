"""What a decoder answers with, as tensors and of individuals in one order: what is exported, or reads bin by bin."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from motet.data.batch import Batch
from motet.data.preprocess import READS_ANYONE, Preprocess
from motet.errors import InputError
from motet.estimators.rule import EIT_PART, Rule, Said, Shares
from motet.models.layers import ById, is_known_to_be_all
from motet.rivals.graphs import Coded, FittedGraph, graph_of
from motet.training.learner import Learner
from motet.training.objectives import Target

AnyModule = TypeVar("AnyModule", bound=nn.Module)
SMALLEST = float(np.finfo(np.float32).tiny)  # a probability that the EIT gives


@dataclasses.dataclass(frozen=True, eq=False)
class Inside:
    """What answers: preprocessing, EITs and rules, of individuals that are given in a fixed order.

    Attributes:
        target: what is decoded.
        prepare: from raw values to those that the EITs read; None if there are none.
        learner: the EITs; their tables of individuals are rows in the order of `prepare`.
        rules: by name, of individuals in the order of `of_rule`.
        shares: of every rule, and of the EITs.
        of_rule: which of the given individuals rules read.
        individual_ids: those given; None if any may be, in any number.
        longest: bins that are read at once; longer trials are read in windows. None if there is no bound.
        most_bins: of a trial; None if there is no bound.
        n_features: of an individual in a bin.
        reads_counts: whether values are never negative.
    """

    target: Target
    prepare: Prepared | None
    learner: Learner | None
    rules: Mapping[str, RuleGraph]
    shares: Mapping[str, float]
    of_rule: Chosen | None
    individual_ids: tuple[str, ...] | None
    longest: int | None = None
    most_bins: int | None = None
    n_features: int = 1
    reads_counts: bool = True

    @classmethod
    def of_rules(cls, graphs: Mapping[str, FittedGraph], target: Target, ids: tuple[str, ...], **more: Any) -> Inside:
        """Closed forms alone, of individuals in the order in which they are given; `more` are other attributes."""
        rules, shares = {name: RuleGraph(one, target) for name, one in graphs.items()}, dict.fromkeys(graphs, 1.0)
        return cls(target, None, None, rules, shares, Chosen(ids, ids), ids, **more)

    @classmethod
    def of(
        cls,
        *,
        target: Target,
        preprocess: Preprocess,
        learner: Learner,
        rule: Rule | None,
        shares: Shares,
        whom: Said,
        default_ids: tuple[str, ...],
        individual_ids: Sequence[str] | None,
        longest: int | None,
        n_features: int,
    ) -> Inside:
        """See `Inside`.

        Args:
            target: of interest.
            preprocess: fitted.
            learner: trained.
            rule: fitted, if there is one.
            shares: learned.
            whom: who answers.
            default_ids: the individuals that are given if none are named.
            individual_ids: those that are given, in their order.
            longest: see `Inside`.
            n_features: see `Inside`.

        Raises:
            InputError: if individuals are not known, or known to no rule.
        """
        tables = [module for module in learner.modules() if isinstance(module, ById)]
        parts: Mapping[str, float] = getattr(shares, whom)
        more: dict[str, Any] = {"longest": longest, "n_features": n_features}
        more["reads_counts"] = preprocess.settings.transform != "none"
        uses_rule = rule is not None and whom != "eit" and bool(rule.names)
        reads_anyone = not tables and not preprocess.individual_ids
        if reads_anyone and not uses_rule and individual_ids is None:
            prepare = Prepared(preprocess, None)
            return cls(target, prepare, graph_copy(learner, ()), {}, parts, None, None, **more)
        ids = default_ids if individual_ids is None else tuple(individual_ids)
        if not ids or len(set(ids)) < len(ids):
            raise InputError(f"individual_ids are {list(ids)[:5]}; give the name of each individual once.")
        read = _read_by_eit(ids, preprocess, tables)
        learner = graph_copy(learner, [ids[place] for place in read])
        found = Prepared(preprocess, [ids[place] for place in read], read)
        if not uses_rule:
            return cls(target, found, learner, {}, parts, None, ids, **more)
        assert rule is not None
        place = _place(rule, ids, preprocess.silent_ids)
        usual = rule.usual[place]
        rules = {
            name: RuleGraph(graph_of(one, usual), target)
            for name, one in rule.fitted[place].items()
            if parts.get(name, 0.0) > 0  # the others are of no account
        }
        return cls(target, found, learner, rules, parts, Chosen(rule.individual_ids[place], ids), ids, **more)


class Answer(nn.Module):
    """What rules and EITs say, by their shares: NaN where nothing is observed.

    Args:
        inside: what answers.
    """

    centre: Tensor
    shares: Tensor

    def __init__(self, inside: Inside) -> None:
        super().__init__()
        self.target, self.names = inside.target, [name for name in inside.shares if name in (*inside.rules, EIT_PART)]
        self.register_buffer("shares", torch.tensor([inside.shares[name] for name in self.names], dtype=torch.float64))
        centre = torch.from_numpy(inside.target.centre) if not inside.target.classes else torch.zeros(0)
        self.register_buffer("centre", centre)

    def forward(
        self, said: Mapping[str, Float[Tensor, "*row answer"]], is_observed: Bool[Tensor, "*row"]
    ) -> Float[Tensor, "*row_and_answer"]:
        total = torch.stack([said[name] for name in self.names], -1) @ self.shares
        total = torch.where(is_observed[..., None], total, torch.nan)
        if self.target.classes:
            return total.softmax(-1).float()
        return total.reshape((*is_observed.shape, *self.target.shape)) * self.target.std + self.centre


def logs(probability: Float[Tensor, "*row class"]) -> Float[Tensor, "*row class"]:
    """Log-probabilities of the EIT, as they are joined with those of rules."""
    return probability.double().clamp(min=SMALLEST).log()


def _read_by_eit(ids: tuple[str, ...], preprocess: Preprocess, tables: Sequence[ById]) -> list[int]:
    """The places of the individuals that the EITs read: all but those silent in training.

    Raises:
        InputError: for individuals that were not seen in training, where these must be known.
    """
    known = set(ids)
    for names in (preprocess.individual_ids, *(table.individual_ids for table in tables)):
        known &= set(names) if names else known
    read = [place for place, one in enumerate(ids) if one in known]
    strangers = [one for one in ids if one not in known and one not in preprocess.silent_ids]
    if strangers or not read:
        raise InputError(
            f"the model never saw individual {(strangers or list(ids))[0]!r}; give individual_ids among those that it "
            f"learned from, or {READS_ANYONE}."
        )
    return read


def _place(rule: Rule, ids: tuple[str, ...], silent: Sequence[str]) -> int:
    """The recording that was learned from whose individuals these are."""
    needed = set(ids) - set(silent)
    places = [place for place, known in enumerate(rule.individual_ids) if needed <= set(known)]
    if not places:
        raise InputError(
            f"the rule was fitted to each of {len(rule.individual_ids)} recordings, and no one of them has all "
            f"{len(ids)} individuals; give individual_ids of one, or whom='eit'."
        )
    return min(places, key=lambda place: len(rule.individual_ids[place]))


class RuleGraph(nn.Module):
    """What a rule says, as `Rule.says` gives it: log-probabilities of all classes, or quantities in units."""

    def __init__(self, fitted: FittedGraph, target: Target) -> None:
        super().__init__()
        self.fitted = fitted
        self.coded: nn.Module = nn.Identity()
        if target.classes:
            known = getattr(getattr(fitted, "model", None), "classes", None)
            self.coded = nn.Identity() if known is None else Coded(known, len(target.classes))

    def forward(self, values: Tensor, observed: Tensor) -> Tensor:
        return self.coded(self.fitted(values, observed))


class Prepared(nn.Module):
    """What `Preprocess` makes of raw values.

    Args:
        preprocess: fitted.
        ids: the individuals that are kept; None for all.
        places: of these among those given.
    """

    mean: Tensor
    std: Tensor
    places: Tensor | None

    def __init__(self, preprocess: Preprocess, ids: Sequence[str] | None, places: Sequence[int] = ()) -> None:
        super().__init__()
        self.transform = preprocess.settings.transform
        rows = [preprocess.individual_ids.index(one) for one in ids or ()] if preprocess.individual_ids else []
        for name in ("mean", "std"):
            statistic = getattr(preprocess, name)
            found = statistic[rows] if len(statistic) > 1 else statistic
            self.register_buffer(name, torch.from_numpy(np.array(found, dtype=np.float64))[:, None])
        self.register_buffer("places", None if ids is None else torch.tensor(places))
        self.are_in_order = list(places) == list(range(len(places)))

    def forward(
        self,
        values: Float[Tensor, "trial individual time feature"],
        observed: Bool[Tensor, "trial individual time"],
    ) -> tuple[Float[Tensor, "trial kept time feature"], Bool[Tensor, "trial kept time"]]:
        if self.places is not None and not (self.are_in_order and len(self.places) == values.shape[1]):
            values, observed = values.index_select(1, self.places), observed.index_select(1, self.places)
        x = values.double()
        if self.transform != "none":
            x = x.sqrt() if self.transform == "sqrt" else x.log1p()
        x = (x - self.mean) / self.std
        if not is_known_to_be_all(observed):
            x = x.masked_fill(~observed[..., None], 0.0)
        return x.float(), observed


class Chosen(nn.Module):
    """Some individuals out of those given, in an order of their own; one that is not there is not observed."""

    places: Tensor

    def __init__(self, wanted: Sequence[str], given: Sequence[str]) -> None:
        super().__init__()
        place = {one: number for number, one in enumerate(given)}
        self.are_all_there = all(one in place for one in wanted)
        self.are_the_same = list(wanted) == list(given)
        self.register_buffer("places", torch.tensor([place.get(one, len(given)) for one in wanted]))

    def forward(
        self,
        values: Float[Tensor, "trial individual time feature"],
        observed: Bool[Tensor, "trial individual time"],
    ) -> tuple[Float[Tensor, "trial chosen time feature"], Bool[Tensor, "trial chosen time"]]:
        if self.are_the_same:
            return values.double(), observed
        if not self.are_all_there:
            values = torch.cat((values, torch.zeros_like(values[:, :1])), 1)
            observed = torch.cat((observed, torch.zeros_like(observed[:, :1])), 1)
        return values.index_select(1, self.places).double(), observed.index_select(1, self.places)


class Rows(nn.Module):
    """Weights of individuals in the order in which they are given, in place of what finds them by id."""

    weight: Tensor

    def __init__(self, table: ById, ids: Sequence[str]) -> None:
        super().__init__()
        rows = torch.tensor([table.individual_ids.index(one) for one in ids])
        self.register_buffer("weight", table.of(rows).detach().clone()[None])

    def forward(self, batch: Batch) -> Float[Tensor, "1 individual ..."]:
        return self.weight


def graph_copy(module: AnyModule, ids: Sequence[str]) -> AnyModule:
    """A copy whose tables are the rows of these individuals."""
    made = copy.deepcopy(module).cpu().eval().requires_grad_(False)
    for part in list(made.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, ById):
                setattr(part, name, Rows(child, ids))
    return made


def one_recording(
    values: Float[Tensor, "trial individual time feature"], observed: Bool[Tensor, "trial individual time"]
) -> Batch:
    """A batch of trials whose individuals have no names, since their weights are in order already."""
    positions: Int[Tensor, "1 individual"] = torch.arange(values.shape[1])[None]
    index = torch.zeros(values.shape[0], dtype=torch.long)
    return Batch(values, observed, ((),), positions, index)
