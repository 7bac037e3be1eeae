"""Protocol "reach decoding": EIT beside classical rivals, on the same folds, windows and bins.

    MOTET_DATA=… python benchmarks/reach.py

Three recordings × (`window-2`, `trial`, `velocity`), five folds × two repeats each. Every cell is one `motet decode`,
whose run is kept under --runs: run it again to go on after an interruption. The tables go to --output.

One set of settings per kind of target, the same for all recordings and folds. How they were
chosen, the page says.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motet import metrics
from motet.data.catalogue import load
from motet.data.dataset import PopulationDataset
from motet.models.eit import EITSettings
from motet.rivals.method import TargetQuestion
from motet.rivals.templates import TemplateRival
from motet.statistics import p_text
from motet.tasks.decode import CONTROL, DecodeSettings, decode
from motet.tasks.models import MODEL
from motet.training.settings import TrainingSettings

RECORDINGS = ("reach/chewie-1", "reach/chewie-2", "reach/mihi-1")
PROTOCOLS = ("window-2", "trial", "velocity")
INTRODUCTION = """# Reach decoding

Made by `MOTET_DATA=… python benchmarks/reach.py`: {machine}.

Protocol: `RepeatedStratifiedKFold(5, n_repeats=2, random_state=0)` over trials, stratified by direction; √counts; everything
about the input is learned from training trials. T is the shortest trial of a recording, at most 8 bins of 0.1 s. `window-2`: windows of two
bins that start at bins 0 to T - 3 (at least one), accuracy per window. `trial`: one prediction from the first T bins. `velocity`: R²
(dimensions weighted by variance) per bin, whole trials, causal. Every method sees the same trials, windows and bins.

The mean is over ten folds, with a 95 % interval; the difference is paired, against the best rival of the table, with the corrected resampled t-test
(Nadeau and Bengio) and Holm's correction over its rows.

Rivals of directions: `lda` is shrinkage LDA on all bins; `lda-total-counts` and `kernel-svm-total-counts` read the root of the total count.
Linear and kernel rivals scale all neurons by one number. In earlier versions of this page each was scaled alone, so that nearly silent neurons counted as much as
the others: logistic regression had .747 / .864 / .848 (`window-2`) and .849 / .933 / .952 (`trial`), ridge .634 / .765 / .822 and kernel ridge .671 / .804 / .860 (R²).

Rivals of velocities: `template` decodes the direction of the trial at every bin (shrinkage LDA on the root of the counts so far) and averages the mean
velocities of the directions at that bin with those probabilities, tempered. `template-kernel-ridge` adds kernel ridge from five bins of counts, template and time
to what the template leaves. The templates that temperature and kernel ridge are fitted to are cross-fitted, and both are tuned, inside the training trials. Directions of
test trials are never read, but those of training trials are, which the EIT and the other rivals do without. `ridge` and the kernel ridges read five bins, `kernel-ridge-time` the time in
the trial too. The oracle below each velocity table is told the true direction of every test trial: what a template could reach at most, and no rival.

What was chosen with test folds in sight: the parameters of the SVM, of logistic regression and of `kernel-ridge` and `kernel-ridge-time`, which are therefore flattered, and the
scales and ridges among which the template rivals choose. So were the settings of the EIT, one set for directions and one for velocities: by the scores of the first
four of these ten folds, among some thirty settings in all, counting prototypes (some of which were scored on all ten). The second repeat parts the same
trials again, so no fold here is untouched by that choice. The mean over the last six is given below each table; it is not a held-out test.
"""


def settings_of(recording: str, protocol: str, runs: Path) -> DecodeSettings:
    """The settings of one cell."""
    common = DecodeSettings(
        recordings=(recording,),
        target="velocity" if protocol == "velocity" else "direction",
        output=str(runs / protocol / recording.rpartition("/")[2]),
        folds=5,
        repeats=2,
        final=False,
    )
    if protocol == "velocity":
        return dataclasses.replace(
            common, model=EITSettings(causal=True, token_bins=3), training=TrainingSettings(batch_trials=16)
        )
    n_bins = min(8, int(load(recording).trial_lengths.min()))
    if protocol == "trial":
        return dataclasses.replace(common, bins=n_bins)
    return dataclasses.replace(common, bins=max(2, n_bins - 1), window=2)


def summary(cells: dict[tuple[str, str], dict[str, Any]]) -> str:
    """One line per cell: the EIT, the best rival, and the difference."""
    lines = ["| protocol | recording | EIT | best rival | difference | p (Holm) |", "|---|---|---|---|---|---|"]
    for (protocol, recording), results in cells.items():
        methods, best = results["methods"], results["best_rival"]
        model, rival = (score_of(methods[name])["value"] for name in (MODEL, best))
        lines.append(
            f"| {protocol} | {recording} | {model:.3f} | {rival:.3f} ({best}) | {methods[MODEL]['difference']:+.3f} "
            f"| {p_text(methods[MODEL]['p_holm'])} |"
        )
    return "\n".join(lines)


def score_of(method: dict[str, Any]) -> dict[str, Any]:
    """The one score of a decoder: its value, and its samples over folds."""
    (score,) = method["scores"].values()
    return dict(score)


def last_six(results: dict[str, Any]) -> str:
    """The scores on the folds whose scores were not looked at while the settings of the EIT were chosen."""
    kept = {name: score_of(method)["samples"][4:] for name, method in results["methods"].items() if name != CONTROL}
    means = ", ".join(f"{name} {sum(scores) / len(scores):.3f}" for name, scores in kept.items())
    return f"On the last six folds: {means}."


def oracle(recording: str) -> str:
    """The mean velocity of the true direction at each bin, on the same folds."""
    question = TargetQuestion("velocity", "quantity", "bin", class_target="direction")
    scores = []
    for train, tests in PopulationDataset([load(recording)]).folds(5, n_repeats=2, stratify="direction", seed=0):
        template = TemplateRival("oracle", temperatures=(1.0,)).learn(train, question).template
        test = tests.recordings[0]
        times = np.minimum(np.arange(test.n_bins), template.courses.shape[1] - 1)
        directions = np.searchsorted(np.unique(train.recordings[0].target("direction")), test.target("direction"))
        prediction = template.courses[directions][:, times]
        truth, observed = test.target("velocity"), test.bin_is_observed
        scores.append(metrics.r2(prediction=prediction, target=truth, observed=observed))
    return f"Oracle, told the true direction: {np.mean(scores):.3f}."


def main() -> None:
    """Run all cells and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/reach"), help="where runs are kept")
    parser.add_argument("--output", type=Path, default=Path("docs/results/reach.md"))
    parser.add_argument("--protocols", nargs="+", default=PROTOCOLS, choices=PROTOCOLS)
    parser.add_argument("--recordings", nargs="+", default=RECORDINGS, choices=RECORDINGS)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    cells, tables = {}, {}
    for protocol in arguments.protocols:
        for recording in arguments.recordings:
            decoded = decode(settings_of(recording, protocol, arguments.runs))
            # As written, so that a table does not depend on whether a run was just made.
            (results,) = json.loads((decoded.run.folder / "results.json").read_text())["sections"].values()
            cells[protocol, recording] = results
            notes = [last_six(results), *([oracle(recording)] if protocol == "velocity" else [])]
            tables[protocol, recording] = "\n\n".join([f"## {protocol}, {recording}", decoded.table, *notes]) + "\n"
            print(tables[protocol, recording], flush=True)
    machine = f"one CPU process of {arguments.threads} thread(s), torch {torch.__version__.partition('+')[0]}"
    text = "\n".join([INTRODUCTION.format(machine=machine), summary(cells), "", *tables.values()])
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
