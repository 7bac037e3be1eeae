"""`align`: who plays the role of whom in another population, or who is the same individual, and how sure that is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from motet import given
from motet.data.dataset import PopulationDataset
from motet.data.preprocess import READS_ANYONE, Preprocess, varies
from motet.data.recording import Recording
from motet.errors import InputError, did_you_mean
from motet.matching import Embedding, Matches, Pairing, match_by_distance, match_by_evidence
from motet.models.responses import Totals
from motet.rivals.matching import learned
from motet.settings import Seed, Share, check_arguments
from motet.transport import Clouds, Floats

Same = Literal["role", "individual"]
MOST_POINTS = 2000  # of a cloud


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment:
    """Who of population a is matched with whom of population b.

    Attributes:
        individual_ids: of a and of b.
        matches: positions, confidences, and which are declared (see `Matches`).
        distance: (a, b) Wasserstein-2 distance of the shapes of responses, or of the embeddings.

    Example:
        >>> import motet
        >>> (animal,) = motet.simulate("population", n_subjects=1, n_trials=64, n_neurons=6)
        >>> found = motet.align(animal, animal, target="direction")
        >>> found.distance.shape, len(found.matches.partner)
        ((6, 6), 6)
    """

    individual_ids: tuple[tuple[str, ...], tuple[str, ...]]
    matches: Matches
    distance: Floats

    @property
    def pairs(self) -> list[tuple[str, str, float]]:
        """Ids of a and b, and the confidence, of what is declared, surest first."""
        m = self.matches
        declared = np.flatnonzero(m.is_declared)
        a, b = self.individual_ids
        return [(a[i], b[m.partner[i]], float(m.confidence[i])) for i in declared[np.argsort(-m.confidence[declared])]]

    def __repr__(self) -> str:
        a, b = map(len, self.individual_ids)
        return f"Alignment({a} with {b} individuals: {int(self.matches.is_declared.sum())} matches declared)"


def align(
    a: Any,
    b: Any,
    *,
    target: str | None = None,
    same: Same = "role",
    pairing: Pairing = "nearest",
    fdr: Share = 0.05,
    seed: Seed = 0,
) -> Alignment:
    """Match the individuals of two populations. No label says who is whom, and ids never count.

    Of two recordings, responses by condition and time are compared, in closed form. Of two encodings, the distributions
    of the individuals' embeddings over trials and time are: one of a model that knows individuals by their names is
    refused, for there everybody finds itself.

    Args:
        a: a recording; or an encoding: what `encode` gives of one, or an array (trial, individual, time, width), NaN
            where not observed.
        b: likewise.
        target: of recordings, a class per trial, the conditions of both; by default trials are all alike.
        same: who is looked for: whoever plays the same "role" (a response of the same shape, whatever its level and
            depth), or the same "individual" (recordings only).
        pairing: of roles, how partners are chosen (see `match_by_distance`).
        fdr: the rate of false matches among those that are declared.
        seed: of the null's draws.

    Raises:
        InputError: if the two do not fit each other, or embeddings know individuals by their names.

    Example:
        >>> from motet.systems import simulate
        >>> (animal,) = simulate("population", n_subjects=1, n_trials=160, n_neurons=12)
        >>> first, second = animal.select(trials=slice(0, 80)), animal.select(trials=slice(80, 160))
        >>> found = align(first, second, target="direction", same="individual")
        >>> len(found.pairs) > 6, all(one == other for one, other, _ in found.pairs)
        (True, True)
    """
    check_arguments(align, {"target": target, "same": same, "pairing": pairing, "fdr": fdr, "seed": seed})
    if isinstance(a, Recording) and isinstance(b, Recording):
        return _align_recordings(a, b, target, same, pairing, fdr, seed)
    if isinstance(a, Recording) or isinstance(b, Recording):
        raise InputError("one is a recording and the other is not; give two recordings, or two encodings.")
    if target is not None:
        raise InputError(f"target is {target!r}, and encodings have no targets; leave it out, or give recordings.")
    if same == "individual":
        raise InputError("embeddings have no scale that says who is the same; give recordings, or same='role'.")
    (one, one_ids), (other, other_ids) = (embedded(side) for side in (a, b))
    matches = match_by_distance(one, other, pairing=pairing, fdr=fdr, seed=seed)
    return Alignment((one_ids, other_ids), matches, one.distance(other))


def _align_recordings(
    a: Recording, b: Recording, target: str | None, same: Same, pairing: Pairing, fdr: float, seed: int
) -> Alignment:
    PopulationDataset(
        [dataclasses.replace(r, name=name) for name, r in (("a", a), ("b", b))]
    )  # bins, features, targets
    a, b = _of_those_that_vary(a), _of_those_that_vary(b)
    labels, n_conditions = conditions([a, b], target)
    n_bins = min(a.n_bins, b.n_bins)
    sums = [Totals.of(r, label, n_conditions, n_bins) for r, label in zip((a, b), labels, strict=True)]
    prior, responses = learned(*sums)
    one, other = (prior.shapes(side) for side in responses)
    distance = one.distance(other)
    if same == "individual":
        matches = match_by_evidence(prior.log_bayes_factor(*responses), fdr=fdr)
    else:
        matches = match_by_distance(one, other, distance=distance, pairing=pairing, fdr=fdr, seed=seed)
    return Alignment((a.individual_ids, b.individual_ids), matches, distance)


def _of_those_that_vary(recording: Recording) -> Recording:
    vary = varies([recording]).any(axis=1)
    if not vary.any():
        raise InputError(f"no individual of recording {recording.name!r} varies; give trials with activity.")
    return recording.select(individuals=vary)


def conditions(recordings: list[Recording], target: str | None) -> tuple[list[NDArray[np.int64]], int]:
    """(trial,) the condition of each trial of every recording, -1 where another lacks it, and how many there are.

    Raises:
        InputError: if the target is no class per trial, or no class is in all recordings.
    """
    if target is None:
        return [np.zeros(recording.n_trials, dtype=np.int64) for recording in recordings], 1
    found = []
    for recording in recordings:
        labels = recording.target(target)
        if recording.target_levels[target] != "trial" or labels.ndim != 1 or labels.dtype.kind == "f":
            raise InputError(
                f"target {target!r} of recording {recording.name!r} is {labels.dtype} per "
                f"{recording.target_levels[target]}; conditions are a class per trial: give such a target, or none."
            )
        found.append(np.where(given.is_known(labels), labels, given.unknown(labels.dtype)))
    shared = set.intersection(*(set(labels[given.is_known(labels)].tolist()) for labels in found))
    if not shared:
        raise InputError(f"no class of target {target!r} is in all recordings; give a target they share, or none.")
    classes = np.array(sorted(shared))
    codes = [np.minimum(np.searchsorted(classes, labels), len(classes) - 1) for labels in found]
    return [np.where(classes[c] == labels, c, -1) for c, labels in zip(codes, found, strict=True)], len(classes)


def refuse_known_individuals(decoder: Any) -> None:
    """Refuse a model whose embeddings know individuals by name: there everybody finds itself, which says nothing.

    Raises:
        InputError: if every individual has an identity that is found by its name, or statistics of its own.
    """
    by_name = hasattr(decoder, "individual_ids_") and decoder.model.identity != "none"
    preprocess: Preprocess | None = getattr(decoder, "preprocess_", None)
    if by_name or (preprocess is not None and preprocess.individual_ids):
        what = "individuals" if by_name else "the mean or scale of individuals"
        raise InputError(f"the model knows {what} by their names, so that everybody would find itself; {READS_ANYONE}.")


def embedded(encoding: Any) -> tuple[Embedding, tuple[str, ...]]:
    """Where each individual is, over trials and time, and the ids; of what `align` takes.

    Raises:
        InputError: if the encoding is none, an individual is never observed, or the model knows individuals by name.
    """
    ids = None
    if isinstance(encoding, Mapping):
        for name in ("individual", "individual_ids", "knows_individuals"):
            if name not in encoding:
                raise did_you_mean(name, encoding, what="part of an encoding")
        if encoding["knows_individuals"]:
            raise InputError(
                "the embeddings are of a model that knows individuals by their names, so that everybody would find "
                f"itself; {READS_ANYONE}."
            )
        encoding, ids = encoding["individual"], given.names(encoding["individual_ids"], what="individual_ids")
    array = given.numbers(encoding, what="encoding")
    if array.ndim != 4:
        raise InputError(f"an encoding has shape {array.shape}; give (trial, individual, time, width).")
    array = array[:: -(-len(array) * array.shape[2] // MOST_POINTS)]  # of trials: all bins are read
    points = array.swapaxes(0, 1).reshape(array.shape[1], -1, array.shape[3])
    return Embedding(*Clouds(points).moments()), ids or tuple(map(str, range(len(points))))
