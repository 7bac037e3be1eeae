"""Where individuals lie: what a trained decoder makes of each, class by class and bin by bin, as one row of numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from motet.data.recording import Recording
from motet.report.neurons import classes_of_trials, mean_courses

MOST_READ = 200  # trials, spread over a recording, and first bins of each
Stage = Literal["individual", "population"]


@dataclasses.dataclass(frozen=True, eq=False)
class Places:
    """The individuals of some recordings, as a decoder embeds them.

    Attributes:
        recordings: the trials that were read.
        target: a class per trial by which embeddings are averaged; None if there is none.
        classes: that are in all recordings.
        preferred: for each recording (individual,) the position among the classes of that with the largest mean value.
        individual: for each recording (individual, number) mean embeddings by class and bin, of each alone.
        population: likewise, of each among all.
    """

    recordings: Sequence[Recording]
    target: str | None
    classes: NDArray[Any]
    preferred: Sequence[NDArray[np.int64]]
    individual: Sequence[NDArray[np.float64]]
    population: Sequence[NDArray[np.float64]]

    @classmethod
    def of(cls, decoder: Any, recordings: Sequence[Recording], target: str) -> Places:
        """What a trained decoder makes of every individual.

        Args:
            decoder: that encodes.
            recordings: of individuals that it can read.
            target: classes are its, or those of the first target that has a class per trial.
        """
        read = [_few(recording) for recording in recordings]
        by = next((name for r in read if (name := r.class_target(target)) is not None), None)
        labels = [_labels(recording, by) for recording in read]
        shared = sorted(set.intersection(*(set(known[known_codes(codes)].tolist()) for codes, known in labels)))
        if not shared:  # no class is in all
            by, shared = None, ["all"]
            labels = [_labels(recording, None) for recording in read]
        classes = np.array(shared)
        codes = [_codes_among(classes, *label) for label in labels]
        encodings = decoder.encode(read)
        n_bins = min(encoding["individual"].shape[2] for encoding in encodings)
        stages = {
            stage: [
                courses_by_class(encoding[stage][:, :, :n_bins], code, len(classes))
                for encoding, code in zip(encodings, codes, strict=True)
            ]
            for stage in ("individual", "population")
        }
        preferred = [_preferred(recording, code, len(classes)) for recording, code in zip(read, codes, strict=True)]
        return cls(read, by, classes, preferred, **stages)


def known_codes(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those that are there."""
    return np.unique(codes[codes >= 0])


def _few(recording: Recording) -> Recording:
    trials = np.linspace(0, recording.n_trials - 1, min(recording.n_trials, MOST_READ)).round().astype(int)
    return recording.select(trials=trials, bins=slice(0, MOST_READ))


def _labels(recording: Recording, by: str | None) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """(trial,) which of the classes each trial is, -1 where that is not known, and the classes."""
    if by is None or by not in recording.targets:
        return np.zeros(recording.n_trials, dtype=np.int64), np.array(["all"])
    classes, codes = classes_of_trials(recording, by)
    return codes, classes


def _codes_among(classes: NDArray[Any], codes: NDArray[np.int64], known: NDArray[Any]) -> NDArray[np.int64]:
    """(trial,) positions among the shared classes, -1 where it is none of them."""
    own = known[codes.clip(min=0)]
    found = np.searchsorted(classes, own).clip(max=len(classes) - 1)
    return np.where((codes >= 0) & (classes[found] == own), found, -1)


def courses_by_class(embedding: NDArray[Any], codes: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    """(individual, class · bin · width) means over trials; where a class was not seen, those of all trials."""
    seen = np.isfinite(embedding)
    filled = np.where(seen, embedding, 0.0).astype(np.float64)
    member = (codes == np.arange(n_classes)[:, None]).astype(np.float64)
    n = np.tensordot(member, seen.astype(np.float64), axes=1)
    total = np.tensordot(member, filled, axes=1)
    of_all = filled.sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    mean = np.where(n > 0, total / np.maximum(n, 1), of_all)
    return mean.swapaxes(0, 1).reshape(embedding.shape[1], -1)


def _preferred(recording: Recording, codes: NDArray[np.int64], n_classes: int) -> NDArray[np.int64]:
    """(individual,) the class in whose trials each has the largest mean of its first feature."""
    values = np.where(recording.observed, recording.values[..., 0], 0).astype(np.float64)
    mean, _ = mean_courses(values, recording.observed, codes)
    known = np.isfinite(mean)
    level = np.where(known, mean, 0).sum(axis=2) / np.maximum(known.sum(axis=2), 1)
    level = np.where(known.any(axis=2), level, -np.inf)
    return level.argmax(axis=0)
