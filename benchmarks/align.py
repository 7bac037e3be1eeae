"""Who is whom: halves of real recordings, simulated types, true nulls, and the speed of Wasserstein distances.

    MOTET_DATA=… python benchmarks/align.py [--run RUN]

Every row of halves and of animals is one `motet align`, kept under --runs: run it again to go on after an interruption.
--run is the folder of a run whose model embeds any individuals (see the page for the command). The page goes to --output.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from scipy.stats import spearmanr

from motet.data.catalogue import load
from motet.data.dataset import PopulationDataset
from motet.data.readers import write_recording
from motet.data.recording import Recording
from motet.estimators.alignment import align as match
from motet.matching import Embedding, match_by_distance
from motet.models.eit import EIT, EITSettings
from motet.models.randomness import WeightsFrom
from motet.models.responses import ResponsePrior, Totals
from motet.statistics import markdown
from motet.systems import simulate
from motet.tasks.align import AlignSettings, align
from motet.transport import Clouds, wasserstein

RECORDINGS = ("reach/chewie-1", "reach/chewie-2", "reach/mihi-1")
SEEDS = (0, 1, 2)
FDR = 0.05
TEMPLATE = Path(__file__).with_name("align_page.md")


# ------------------------------------------------------------------ tables of the verb


def aligned(settings: AlignSettings) -> tuple[dict[str, Any], str]:
    """The sections of an alignment, as written, and its table."""
    outcome = align(settings)
    results = json.loads((outcome.run.folder / "results.json").read_text())
    return results["sections"], outcome.table


def summed_up(name: str, section: dict[str, Any]) -> list[str]:
    """The row of a recording: the rule beside its best rival."""
    rule, rival = (section["methods"][method]["scores"] for method in ("bayes factor", "psth likelihood"))
    shown = [f"{side[score]['value']:.3f}" for score in ("rank_1", "rank_1_active") for side in (rule, rival)]
    sure = f"{rule['confidence']['value']:.3f}, {rule['matched']['value']:.3f}"
    return [name, *shown, sure, *(f"{rule[score]['value']:.3f}" for score in ("declared", "wrong"))]


def simulated(runs: Path) -> tuple[str, str]:
    """Two simulated animals per seed: who is matched to the same type."""
    rows = [["seed", "method", "likest is of the same type", "declared", "wrong of declared"]]
    table = ""
    for seed in SEEDS:
        folder = runs / f"simulated-{seed}"
        files = []
        for recording in simulate("population", n_subjects=2, seed=seed):
            files.append(str(write_recording(recording, folder / f"{recording.subject}.npz")))
        sections, table = aligned(
            AlignSettings((files[0], files[1]), halves=0, output=str(folder / "align"), seed=seed)
        )
        (section,) = sections.values()
        for name, method in section["methods"].items():
            scores = {key: f"{score['value']:.3f}" for key, score in method["scores"].items()}
            rows.append([str(seed), name, *(scores.get(key, "") for key in ("rank_1", "declared", "wrong"))])
    return markdown(rows), table


# ------------------------------------------------------------------ true nulls


def any_declared(pairs: Iterator[tuple[str, bool]]) -> str:
    """A row per null: in how many runs a match was declared."""
    found: dict[str, list[bool]] = {}
    for name, is_any in pairs:
        found.setdefault(name, []).append(is_any)
    rows = [["null", "runs", "runs with any match declared"]]
    rows += [[name, str(len(runs)), f"{sum(runs)} ({np.mean(runs):.3f})"] for name, runs in found.items()]
    return markdown(rows)


def nulls(n_runs: int) -> Iterator[tuple[str, bool]]:
    """Every null, run by run."""
    for seed in track(range(n_runs), "simulated nulls"):
        a, b = simulate("population", n_subjects=2, n_trials=100, n_neurons=40, seed=1000 + seed)
        found = match(a, b, target="direction", same="individual", fdr=FDR)
        yield "same individual: two simulated animals", bool(found.matches.is_declared.any())
        (_, one), (_, other) = shapes(a, b)
        found_roles = match_by_distance(one, unrelated(other, seed), fdr=FDR, seed=seed)
        yield "same role: shapes of one shuffled between individuals", bool(found_roles.is_declared.any())
    for name in RECORDINGS:
        recording = load(name)
        for seed in track(range(max(1, n_runs // 5)), f"halves of {name}"):
            rng = np.random.default_rng(seed)
            trials, individuals = (rng.permutation(n) for n in (recording.n_trials, recording.n_individuals))
            a, b = (recording.select(trials=trials[k::2], individuals=individuals[k::2]) for k in (0, 1))
            found = match(active(a), active(b), target="direction", same="individual", fdr=FDR)
            yield f"same individual: disjoint halves of the neurons of {name}", bool(found.matches.is_declared.any())
    for seed in track(range(max(1, n_runs // 10)), "animals"):
        rng = np.random.default_rng(seed)
        chewie, mihi = (load(name) for name in ("reach/chewie-1", "reach/mihi-1"))
        a, b = (r.select(trials=rng.permutation(r.n_trials)[: r.n_trials // 2]) for r in (chewie, mihi))
        found = match(active(a), active(b), target="direction", same="individual", fdr=FDR)
        yield "same individual: half of the trials of chewie-1 and of mihi-1", bool(found.matches.is_declared.any())


def active(recording: Recording) -> Recording:
    """Without individuals that never fire."""
    return recording.select(individuals=recording.values.any(axis=(0, 2, 3)))


def shapes(*recordings: Recording) -> list[tuple[Recording, Embedding]]:
    """Recordings, and the shapes of their responses."""
    sums = [Totals.of(r, np.asarray(r.target("direction"), dtype=np.int64), 8, r.n_bins) for r in recordings]
    prior, responses = ResponsePrior.fit(sums)
    return [(r, prior.shapes(one)) for r, one in zip(recordings, responses, strict=True)]


def unrelated(embedding: Embedding, seed: int) -> Embedding:
    """Every dimension of the means from other individuals: no individual is one."""
    mixed = np.random.default_rng(seed).permuted(embedding.mean, axis=0)
    return dataclasses.replace(embedding, mean=mixed)


# ------------------------------------------------------------------ speed


def speed(n_sampled: int) -> str:
    """All pairs of 174 and 187 individuals, 512 points of width 16: sliced and Gaussian against POT pair by pair."""
    clouds = [embeddings(n, seed) for n, seed in ((174, 0), (187, 1))]
    rng = np.random.default_rng(0)
    sampled = rng.integers([len(clouds[0])], size=n_sampled), rng.integers([len(clouds[1])], size=n_sampled)
    singles = [
        [Clouds(side.points[i : i + 1], side.weights[i : i + 1]) for i in chosen]
        for side, chosen in zip(clouds, sampled, strict=True)
    ]
    started = time.process_time()
    exact = np.array([by_pot(a, b) for a, b in zip(*singles, strict=True)])
    n_pairs = len(clouds[0]) * len(clouds[1])
    exact_seconds = (time.process_time() - started) / n_sampled * n_pairs
    rows = [["way", "seconds for all pairs", "exact ÷ it", "rank correlation with exact"]]
    rows.append([f"exact, from {n_sampled} pairs", f"{exact_seconds:.0f}", "1", "1"])
    for way in ("sliced", "gaussian"):
        started = time.process_time()
        found = wasserstein(*clouds, way=way)
        seconds = time.process_time() - started
        rank = spearmanr(found[sampled], exact).statistic
        rows.append([way, f"{seconds:.2f}", f"{exact_seconds / seconds:.0f}", f"{rank:.4f}"])
    return markdown(rows)


def by_pot(a: Clouds, b: Clouds) -> float:
    """One pair by POT's network simplex."""
    import ot

    cost = ot.dist(a.points[0], b.points[0])
    return float(ot.emd2(a.weights[0], b.weights[0], cost) ** 0.5)


def embeddings(n_neurons: int, seed: int) -> Clouds:
    """Individual embeddings of an EIT of width 16 over 64 trials and 8 bins of a simulated animal."""
    (recording,) = simulate("population", n_subjects=1, n_neurons=n_neurons, n_trials=64, n_bins=8, seed=seed)
    with WeightsFrom(torch.Generator().manual_seed(0)):
        model = EIT(EITSettings(width=16, identity="none"), n_features=1).eval()
    rooted = dataclasses.replace(recording, values=np.sqrt(recording.values))
    with torch.no_grad():
        embedding = model(PopulationDataset(rooted).batch()).individual.numpy()
    points: NDArray[np.float64] = embedding.swapaxes(0, 1).reshape(n_neurons, -1, 16).astype(np.float64)
    return Clouds(points)


def main() -> None:
    """Run all parts and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/align"), help="where runs are kept")
    parser.add_argument("--output", type=Path, default=Path("docs/results/align.md"))
    parser.add_argument("--run", help="folder of a run whose model embeds any individuals")
    parser.add_argument("--nulls", type=int, default=100, help="how often each simulated null is drawn")
    parser.add_argument("--sampled", type=int, default=200, help="pairs that are solved exactly")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    parts = {"speed": speed(arguments.sampled)}
    parts["simulated"], parts["simulated_table"] = simulated(arguments.runs)
    tables, summary = (
        [],
        [
            [
                "recording",
                "rank 1: bayes factor",
                "psth likelihood",
                "above 1 Hz: bayes factor",
                "psth likelihood",
                "confidence, and what is right",
                "declared",
                "wrong of them",
            ]
        ],
    )
    for name in RECORDINGS:
        folder = arguments.runs / name.rpartition("/")[2]
        sections, table = aligned(AlignSettings((name,), run=arguments.run, output=str(folder)))
        tables.append(table)
        summary.append(summed_up(name, *sections.values()))
    parts["halves"], parts["summary"] = "\n\n".join(tables), markdown(summary)
    animals = AlignSettings(RECORDINGS, run=arguments.run, halves=0, output=str(arguments.runs / "animals"))
    parts["animals"] = aligned(animals)[1]
    parts["nulls"] = any_declared(nulls(arguments.nulls))
    arguments.output.write_text(TEMPLATE.read_text(encoding="utf-8").format(**parts), encoding="utf-8")


if __name__ == "__main__":
    main()
