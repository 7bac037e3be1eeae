"""A decoder that reads a trial as it happens, one bin at a time: `decoder.stream()`."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from motet import given
from motet.errors import InputError
from motet.estimators.inside import SMALLEST, Inside
from motet.estimators.rule import EIT_PART
from motet.models.eit import EIT
from motet.models.step import Past, Steps
from motet.training.committee import Committee
from motet.training.objectives import Joint, Supervised

Array = NDArray[np.float64]


class Stream:
    """Decodes a trial while it happens: after every bin, what `predict` says of the trial so far.

    Of a target per bin that is the answer for this bin; of a target per trial, the answer for the trial if it ended
    now. Both equal those of the decoder, offline, but for rounding (a few units of float32). A trial longer than
    `objective.window_bins` is read in the windows that it is read in offline, were it to end now.

    Made by `decoder.stream()`; one stream is of one trial at a time.

    Attributes:
        classes: of the answer's numbers; empty for a quantity.
        individual_ids: who is given, in this order.
        n_bins: read since the trial began.

    Example:
        >>> import motet
        >>> trials = motet.simulate("population", n_subjects=1, n_trials=40, n_neurons=8)[0]
        >>> causal = motet.EITSettings(causal=True)
        >>> decoder = motet.EITClassifier("direction", model=causal, training=motet.TrainingSettings(max_steps=2))
        >>> stream = decoder.fit(trials).stream()
        >>> stream.reset()
        >>> for counts in trials.values[0].swapaxes(0, 1):  # (individual, feature) in every bin
        ...     answer = stream.step(counts)
        >>> bool(abs(answer - decoder.predict_proba(trials)[0]).max() < 1e-6)
        True
    """

    def __init__(self, inside: Inside) -> None:
        self._inside, target = inside, inside.target
        assert inside.individual_ids is not None, "individuals are named"
        self.individual_ids = inside.individual_ids
        self.classes: NDArray[Any] = np.asarray(target.classes)
        learner = inside.learner
        members: list[Any] = list(learner.members) if isinstance(learner, Committee) else [learner]
        heads = [cast(Supervised, cast(Joint, member.objective).parts[0]) for member in members]
        self._kept = inside.prepare.places.numpy() if inside.prepare.places is not None else slice(None)
        n_kept = len(self.individual_ids) if isinstance(self._kept, slice) else len(self._kept)
        self._steps = Steps(
            [cast(EIT, member.model) for member in members],
            [(head.individual_readout, head.population_readout) for head in heads],
            n_kept,
        )
        self._mean, self._std = (one[:, 0].numpy() for one in (inside.prepare.mean, inside.prepare.std))
        self._transform = inside.prepare.transform
        self._needs_eit = EIT_PART in inside.shares
        self._n_features = self._steps.n_features
        self.reset()

    def reset(self) -> None:
        """Begin a new trial."""
        self.n_bins = 0
        self._pasts: list[tuple[int, Past]] = []
        self._votes: list[Tensor] = []
        self._states = {name: rule.fitted.start() for name, rule in self._inside.rules.items()}
        self._is_anything_observed = False

    @torch.inference_mode()
    def step(self, values: ArrayLike | None) -> NDArray[Any]:
        """Read the next bin, and say what is known by now.

        Args:
            values: (individual,) or (individual, feature), raw, as they were recorded; NaN or masked for an individual
                that is missing, None for a bin that is. A silent individual is 0, which is something else.

        Returns:
            (class,) probabilities, or the quantity in its shape; NaN where nothing is observed.

        Raises:
            InputError: for another number of individuals or features, or values that cannot be; the bin is then not
                read.
        """
        x, seen = self._given(values)
        kept, kept_seen = x[self._kept], seen[self._kept]
        is_observed = bool(kept_seen.any())
        self._is_anything_observed |= is_observed
        said = self._said_by_rules(x, seen)
        eit = self._said_by_eit(kept, kept_seen)
        self.n_bins += 1
        target = self._inside.target
        if not (is_observed if target.level == "bin" else self._is_anything_observed):
            shape = (len(self.classes),) if target.classes else target.shape
            return np.full(shape, np.nan, dtype=np.float32 if target.classes else np.float64)
        if eit is not None:
            said[EIT_PART] = eit
        shares = self._inside.shares
        total = np.sum([share * said[name] for name, share in shares.items() if name in said], axis=0)
        if target.classes:
            likely = np.exp(total - total.max())
            return np.asarray(likely / likely.sum(), dtype=np.float32)
        return np.asarray(total.reshape(target.shape) * target.std + target.centre)

    def _given(self, values: ArrayLike | None) -> tuple[Array, NDArray[np.bool_]]:
        """(individual, feature) values, 0 where not observed, and (individual,) who is."""
        shape = (len(self.individual_ids), self._n_features)
        if values is None:
            return np.zeros(shape), np.zeros(shape[0], dtype=bool)
        if type(values) is np.ndarray and values.dtype.kind in "biuf":  # as they come, bin after bin
            x = values.astype(np.float64)
        else:
            x = given.numbers(values, what="the values of a bin")
        if x.shape not in (shape, shape[:1] if shape[1] == 1 else shape):
            raise InputError(
                f"a bin has values of shape {x.shape}; give {shape[0]} individuals with {shape[1]} features, in the "
                "order of individual_ids, or None for a bin that is missing."
            )
        x = x.reshape(shape)
        seen: NDArray[np.bool_] = np.asarray(~np.isnan(x).any(axis=1))
        x = np.where(seen[:, None], x, 0.0)
        if not np.isfinite(x.sum()) or (self._transform != "none" and x.min() < 0):
            raise InputError(
                f"a bin has values from {x.min():g} to {x.max():g}; give finite ones"
                f"{'' if self._transform == 'none' else ', and counts or rates are not negative'}."
            )
        return x, seen

    def _said_by_rules(self, x: Array, seen: NDArray[np.bool_]) -> dict[str, Array]:
        if self._inside.of_rule is None:
            return {}
        values, observed = torch.from_numpy(x)[None, :, None], torch.from_numpy(seen)[None, :, None]
        values, observed = self._inside.of_rule(values, observed)
        said, time = {}, torch.tensor(self.n_bins)
        for name, rule in self._inside.rules.items():
            answer, self._states[name] = rule.fitted.step(values, observed, time, self._states[name])
            said[name] = rule.coded(answer)[0].numpy()
        return said

    def _said_by_eit(self, x: Array, seen: NDArray[np.bool_]) -> Array | None:
        """Log-probabilities or quantities in units; None where it says nothing yet, or is not asked."""
        if not self._needs_eit:
            return None
        outputs = self._read(self._prepared(x, seen), torch.from_numpy(seen))
        target = self._inside.target
        if target.level == "trial":
            if outputs is not None:
                self._votes.append(outputs)
            if not self._votes:
                return None
            votes = torch.stack(self._votes)
            outputs = (votes[..., :-1] * votes[..., -1:].softmax(0)).sum(0)
        if outputs is None:
            return None
        if not target.classes:
            return np.asarray(outputs.double().mean((0, 1)).numpy())
        logs = outputs.log_softmax(-1).mean(1)  # of both heads of every member
        probability = logs.softmax(-1)
        if len(probability) > 1:
            probability = probability.log().mean(0, keepdim=True).softmax(-1)
        return np.log(np.maximum(probability[0].double().numpy(), SMALLEST))

    def _prepared(self, x: Array, seen: NDArray[np.bool_]) -> Tensor:
        """What the EIT reads of raw values."""
        if self._transform != "none":
            x = np.sqrt(x) if self._transform == "sqrt" else np.log1p(x)
        prepared = np.where(seen[:, None], (x - self._mean) / self._std, 0.0)
        return torch.from_numpy(prepared.astype(np.float32))

    def _read(self, values: Tensor, observed: Tensor) -> Tensor | None:
        """The outputs of both heads of every member, in the window that the bin is read in."""
        length = self._inside.longest
        step = 1 if length is None else length - 2 * (length // 8)
        if not self._pasts or (length is not None and self.n_bins % step == 0):
            self._pasts.append((self.n_bins, self._steps.start()))
        if length is not None and self.n_bins - self._pasts[0][0] >= length:
            del self._pasts[0]
        outputs = [self._steps(values, observed, past) for _, past in self._pasts]
        return outputs[0]


def refuse_what_waits(inside: Inside, *, is_causal: bool) -> None:
    """Refuse a decoder whose answers rest on bins to come.

    Raises:
        InputError: saying how to fit one whose answers do not.
    """
    if EIT_PART in inside.shares and not is_causal:
        raise InputError(
            "this decoder reads bins to come (model.causal is False), and a stream has none; fit a causal one: "
            "model=EITSettings(causal=True), or motet decode … --model.causal true."
        )
    waiting = [name for name, rule in inside.rules.items() if not rule.fitted.is_causal]
    if waiting:
        raise InputError(
            f"the rule {waiting[0]!r} reads bins to come, and a stream has none; fit with rule='none', or give "
            "whom='eit'."
        )
    if inside.individual_ids is None:
        raise InputError("this decoder reads any individuals; say who is given: individual_ids=….")
