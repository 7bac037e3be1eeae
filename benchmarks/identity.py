"""What the identity of individuals is worth: none, learned for each, or by what they do (context).

    [MOTET_DATA=…] python benchmarks/identity.py [RECORDING …]

1. Another animal: the last recording is new, encoders learn from the others; embeddings alone are read.
2. Known individuals: one EIT without a rule decodes the first recording, by cross-validation.

Without recordings, on simulated animals.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import motet
from motet.data.preprocess import PreprocessSettings
from motet.data.recording import Recording, without_targets
from motet.models.eit import EITSettings
from motet.statistics import markdown
from motet.training.objectives import ObjectiveSettings
from motet.training.settings import TrainingSettings

TARGET = "direction"
READOUTS: dict[str, dict[str, Any]] = {
    "individual": {},
    "pooled": {"objective": ObjectiveSettings(readout="pooled"), "preprocess": PreprocessSettings(centre="shared")},
}


def another_animal(recordings: Sequence[Recording], n_steps: int, n_draws: int, seed: int) -> str:
    """Accuracy from one labelled trial of each class, with and without half of the others, unlabelled."""
    *known, new = recordings
    found: dict[str, dict[str, list[float]]] = {}
    for identity in ("none", "context"):
        training = TrainingSettings(max_steps=n_steps, batch_trials=256)
        model = EITSettings(identity=identity)
        encoder = motet.EITEncoder(TARGET, model=model, training=training, seed=seed).fit(known)
        scores = found[identity] = {"labelled only": [], "half of the others unlabelled": []}
        rng = np.random.default_rng(seed)
        for _ in range(n_draws):
            order = rng.permutation(new.n_trials)
            first = np.unique(new.targets[TARGET][order], return_index=True)[1]
            few, rest = order[first], np.delete(order, first)
            labelled, (bare, tested) = new.select(trials=few), np.array_split(rest, 2)
            unlabelled, test = without_targets(new.select(trials=bare)), new.select(trials=tested)
            scores["labelled only"].append(encoder.adapt(labelled, reads="embeddings").score(test))
            helped = encoder.adapt(labelled, unlabelled, reads="embeddings")
            scores["half of the others unlabelled"].append(helped.score(test))
    rows = [["calibration", *found, "context − none"]]
    for how in found["none"]:
        none, context = (np.array(found[identity][how]) for identity in found)
        rows.append([how, f"{none.mean():.3f}", f"{context.mean():.3f}", _difference(context - none)])
    return markdown(rows)


def known_individuals(recording: Recording, readouts: Sequence[str], n_folds: int, n_tested: int, seed: int) -> str:
    """Accuracy of one EIT without a rule, of the first of some folds."""
    rows = [["readout", "none", "learned", "context", "context − learned", "context − none"]]
    for readout in readouts:
        found: dict[str, list[float]] = {}
        for identity in ("none", "learned", "context"):
            model = EITSettings(identity=identity)
            decoder = motet.EITClassifier(TARGET, model=model, rule="none", members=1, seed=seed, **READOUTS[readout])
            folds = motet.PopulationDataset(recording).folds(n_folds, stratify=TARGET, seed=seed)
            parts = [part for _, part in zip(range(n_tested), folds, strict=False)]
            found[identity] = [decoder.fit(train, on_epoch=lambda row: None).score(test) for train, test in parts]
        none, learned, context = (np.array(scores) for scores in found.values())
        means = [f"{scores.mean():.3f}" for scores in (none, learned, context)]
        rows.append([readout, *means, _difference(context - learned), _difference(context - none)])
    return markdown(rows)


def _difference(paired: NDArray[np.float64]) -> str:
    """Mean and two standard errors over draws or folds."""
    error = paired.std(ddof=1) / len(paired) ** 0.5 if len(paired) > 1 else np.nan
    return f"{paired.mean():+.3f} ± {2 * error:.3f}"


def main() -> None:
    """Run both parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="*", help="files or names in the catalogue, with the target direction")
    parser.add_argument("--bins", type=int, default=8, help="of each trial that are read")
    parser.add_argument("--steps", type=int, default=100, help="of pretraining")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--tested_folds", type=int, default=5)
    parser.add_argument("--readouts", nargs="+", choices=READOUTS, default=list(READOUTS))
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    torch.set_num_threads(1)
    if a.recordings:
        recordings = [motet.load(name).select(bins=slice(0, a.bins)) for name in a.recordings]
    else:
        recordings = motet.simulate("population", n_subjects=3, n_trials=128, n_neurons=(30, 45), seed=10)
    if len(recordings) > 1:
        print(another_animal(recordings, a.steps, a.draws, a.seed), flush=True)
    if a.tested_folds:
        print("", known_individuals(recordings[0], a.readouts, a.folds, a.tested_folds, a.seed), sep="\n")


if __name__ == "__main__":
    main()
