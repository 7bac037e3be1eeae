"""The page docs/results/interactions.md, from the scores that interactions.py, interactions_rivals.py and interactions_ablation.py left.

python benchmarks/interactions_page.py
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from interactions import SIZES, TASKS
from interactions_ablation import CUTS, VARIANTS, score_file

from motet.estimators.interactions import EITInteractions
from motet.files import write_text
from motet.report.pair_scores import draw_size_curve
from motet.report.style import save_figure

SEEDS = (0, 1, 2)
MODEL = EITInteractions().method.replace("eit", "EIT")


class Line(NamedTuple):
    """A line of the table: task of the benchmark, test, and for each metric the floor and the aim, if there are any."""

    task: str
    test: str
    asked: dict[str, tuple[float | None, float | None]]


LINES = (
    Line("A", "A", {"partition": (0.985, 0.995)}),
    Line("B", "B", {"partition": (0.95, 0.99)}),
    Line("C", "C 2x3", {"auroc": (0.99, 0.995)}),
    Line("C", "D 3x3", {"auroc": (0.985, 0.995)}),
    Line("C", "E 10x2", {"auroc": (0.995, 0.999), "edge_accuracy": (0.955, 0.98)}),
    Line("C", "C 2x3, 10 bins", {"auroc": (None, None), "partition": (None, None)}),
    Line("C", "D 3x3, 10 bins", {"auroc": (None, None), "partition": (None, None)}),
    Line("C", "E 10x2, 10 bins", {"auroc": (None, None), "edge_accuracy": (None, None)}),
    Line("F", "F 2x3", {"partition": (0.95, 0.986)}),
    Line("F", "F 2x3, no noise", {"partition": (0.95, 0.986)}),
    Line("G5", "G 5", {"edge_accuracy": (0.99, 0.999)}),
    Line("G10", "G 10", {"edge_accuracy": (0.90, 0.988)}),
    Line("G5", "G 10, zero-shot", {"edge_accuracy": (0.90, 0.988)}),
    Line("H5", "H 5", {"edge_accuracy": (0.82, 0.95)}),
    Line("H10", "H 10", {"edge_accuracy": (0.70, 0.946)}),
    Line("H5", "H 10, zero-shot", {"edge_accuracy": (0.70, 0.946)}),
    Line("I5", "I 5", {"edge_accuracy": (0.97, 0.997)}),
    Line("I10", "I 10", {"edge_accuracy": (0.85, 0.971)}),
    Line("I5", "I 10, zero-shot", {"edge_accuracy": (0.85, 0.971)}),
    Line("C", "C 2x2", {"mass_r2": (0.95, 0.99)}),
    Line("J", "J 2x2, no noise", {"mass_r2": (0.95, 0.99)}),
    Line("W", "W 5", {"frequency_r2": (None, None)}),
    Line("W", "W 10, zero-shot", {"frequency_r2": (None, None)}),
    *(Line("K", f"K {groups}", {"ap": (0.97, 0.97), "ari": (None, None)}) for groups in SIZES),
)
WORDS = {
    "partition": "partition accuracy, sizes given",
    "auroc": "AUROC",
    "edge_accuracy": "edge accuracy",
    "mass_r2": "R² of masses",
    "frequency_r2": "R² of own frequencies",
    "ap": "AP",
    "ari": "adjusted Rand index, no size given",
}
COLUMNS = ("auroc", "ap", "edge_accuracy", "partition", "partition_free", "ari")


def read(path: Path) -> dict[str, Any] | None:
    """What a file of scores holds, or None."""
    return json.loads(path.read_text()) if path.exists() else None


def stem(test: str) -> str:
    """The part of a file's name that tells the test."""
    return test.replace(", ", "-").replace(" ", "-")


def seeds_of(runs: Path, line: Line) -> list[dict[str, float]]:
    """The scores of every seed that is there."""
    found = (read(runs / line.task / f"seed-{seed}" / f"score-{stem(line.test)}.json") for seed in SEEDS)
    return [scores for scores in found if scores is not None]


def mean_of(scores: list[dict[str, float]], metric: str) -> str:
    """Mean over seeds, and the range where it shows."""
    values = np.asarray([score[metric] for score in scores])
    digits = 3 if values.min() < 0.9985 else 4
    spread = f" ({values.min():.{digits}f} to {values.max():.{digits}f})" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def best_rule(runs: Path, line: Line, metric: str) -> str:
    """The rule with the best test score, which flatters it."""
    if metric == "frequency_r2":
        return ""
    if metric == "mass_r2":
        masses = read(runs / line.task / f"masses-{stem(line.test)}.json")
        return "not run" if masses is None else f"{masses[metric]:.3f} force fit"
    rules = read(runs / line.task / f"rules-{stem(line.test)}.json")
    if not rules:
        return "not run"
    name, scores = max(rules.items(), key=lambda item: item[1].get(metric, -np.inf))
    return f"{scores[metric]:.{3 if scores[metric] < 0.9985 else 4}f} {name}" if metric in scores else "not applicable"


def main_table(runs: Path) -> str:
    """What was asked for, and what was reached."""
    rows = [
        f"| task | metric | at least | aim | {MODEL}, mean of seeds (range) | seeds | best rule |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in LINES:
        scores = seeds_of(runs, line)
        for metric, (least, aim) in line.asked.items():
            told = mean_of(scores, metric) if scores else "not run"
            rows.append(
                f"| {line.test} | {WORDS[metric]} | {least or ''} | {aim or ''} | {told} | {len(scores)} "
                f"| {best_rule(runs, line, metric)} |"
            )
    return "\n".join(rows)


def detail_table(runs: Path, line: Line) -> str:
    """All rules on one test, best AUROC first, under the model."""
    scores, rules = seeds_of(runs, line), read(runs / line.task / f"rules-{stem(line.test)}.json") or {}
    if not scores:
        return ""
    columns = [column for column in COLUMNS if column in scores[0]]
    majority = scores[0]["majority"]
    title = f"### {line.test} (answering the majority always: edge accuracy {majority:.3f})"
    rows = [title, "", "| method | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    rows.append(f"| **{MODEL}** | " + " | ".join(f"{np.mean([s[c] for s in scores]):.4f}" for c in columns) + " |")
    for name, found in sorted(rules.items(), key=lambda item: -item[1]["auroc"]):
        rows.append(f"| {name} | " + " | ".join(f"{found[c]:.4f}" if c in found else "" for c in columns) + " |")
    more = [
        f"{MODEL}: log-loss {np.mean([s['log_loss'] for s in scores]):.4f}, expected calibration error "
        f"{np.mean([s['ece'] for s in scores]):.4f}, edge accuracy before calibration "
        f"{np.mean([s['edge_accuracy_uncalibrated'] for s in scores]):.4f}"
    ]
    if "mass_r2" in scores[0]:
        errors = np.mean([s["mass_error"] for s in scores])
        more.append(f"masses: R² {mean_of(scores, 'mass_r2')}, median absolute error {errors:.4f}")
    return "\n".join([*rows, "", "; ".join(more) + ".", ""])


def ablation_table(runs: Path) -> str:
    """Average precision of the graph, and R² of masses, with parts of the model left out."""
    head = ["test", "metric", "steps × trials", "trials", "tests", *VARIANTS]
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in sorted(CUTS, key=list(TASKS).index):
        found = {variant: read(score_file(runs, name, variant, 0)) for variant in VARIANTS}
        there = next((one for one in found.values() if one), None)
        if there is None:
            continue
        how = [f"{there['n_steps']} × {there['batch_trials']}", str(there["n_train"]), str(there["n_test"])]
        for test in there["tests"]:
            for metric, words in (("ap", "AP"), ("mass_r2", WORDS["mass_r2"])):
                if metric in there["tests"][test] and (metric == "ap" or "2x2" in test):
                    scores = (one["tests"][test][metric] if one else None for one in found.values())
                    cells = ["not run" if score is None else f"{score:.4f}" for score in scores]
                    rows.append("| " + " | ".join([test, words, *how, *cells]) + " |")
    return "\n".join(rows)


def cost_table(runs: Path) -> str:
    """What a training costs."""
    rows = [
        "| training | trials | steps × trials per step | parameters | processor seconds | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for name, task in TASKS.items():
        found = [result for seed in SEEDS if (result := read(runs / name / f"seed-{seed}" / "results.json"))]
        if found:
            training = task.settings["training"]
            seconds, processor = ([result[key] for result in found] for key in ("fit_seconds", "cpu_seconds"))
            rows.append(
                f"| {name} | {sum(data.n_trials for data in task.train)} | {training.max_steps} × {training.batch_trials} "
                f"| {found[0]['n_parameters']} | {min(processor):.0f} to {max(processor):.0f} "
                f"| {min(seconds):.0f} to {max(seconds):.0f} |"
            )
    return "\n".join(rows)


def reference_table(runs: Path) -> str:
    """The released EIT."""
    rows = ["| task | learning rate | seconds | passes | partition accuracy |", "|---|---|---|---|---|"]
    for name in ("A", "B"):
        for rate in ("0.0001", "0.002"):
            if found := read(runs / name / f"reference-{rate}.json"):
                rows.append(
                    f"| {name} | {rate} | {found['seconds']:.0f} | {found['n_epochs']} | {found['partition']:.3f} |"
                )
    return "\n".join(rows)


def size_curve(runs: Path, folder: Path) -> None:
    """AP against the number of bodies, pairs and triplets apart."""
    curves: dict[str, dict[int, tuple[float, float, float]]] = {}
    for groups, n in SIZES.items():
        scores = seeds_of(runs, Line("K", f"K {groups}", {}))
        if scores:
            kind = "pairs" if groups.endswith("2") else "triplets"
            ap = [score["ap"] for score in scores]
            curves.setdefault(f"whole model, {kind}", {})[n] = (float(np.mean(ap)), min(ap), max(ap))
            rules = read(runs / "K" / f"rules-{stem(f'K {groups}')}.json") or {}
            for rule in ("force-fit-gravity", "antiparallel-swing"):
                if rule in rules:
                    value = rules[rule]["ap"]
                    curves.setdefault(f"{rule}, {kind}", {})[n] = (value, value, value)
    if curves:
        save_figure(draw_size_curve(curves, "AP", trained_sizes=(4, 6)), folder, "interactions-size-curve")


def main() -> None:
    """Read the command line, and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/interactions"))
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    introduction = (Path(__file__).parent / "interactions_page.md").read_text(encoding="utf-8")
    details = [detail_table(options.runs, line) for line in LINES if "mass_r2" not in line.asked or line.test[0] == "C"]
    size_curve(options.runs, options.output)
    text = introduction.format(
        main=main_table(options.runs),
        reference=reference_table(options.runs),
        ablation=ablation_table(options.runs),
        costs=cost_table(options.runs),
        details="\n".join(details),
    )
    write_text(options.output / "interactions.md", text)


if __name__ == "__main__":
    main()
