"""Decode a population never seen from few labelled trials: every row of docs/results/transfer.md.

    MOTET_DATA=… python benchmarks/transfer.py [--jobs 8] [--only class-0]

Every job is one `motet pretrain` or `motet transfer`, kept under --runs: run it again to go on after an interruption.
The page is written from the jobs that are finished; --only begins those alone whose names begin so.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from motet.data.readers import write_recording
from motet.report.few_shot import draw_few_shot
from motet.report.style import save_figure
from motet.statistics import compare, interval_text, markdown
from motet.systems import simulate
from motet.tasks.pretrain import PretrainSettings, pretrain
from motet.tasks.transfer import CORRECTED, COURSES, TRAINED, TransferSettings, transfer
from motet.training.settings import TrainingSettings

RECORDINGS = ("reach/chewie-1", "reach/chewie-2", "reach/mihi-1")
SEEDS = (0, 1, 2)
HOWS = ("none", "others", "tested")
WORDS = {"none": "labelled only", "others": "half of the others unlabelled", "tested": "tested trials unlabelled"}
FLOORS = {  # the best simple rule of the protocol, by recording
    ("none", 1): (0.802, 0.826, 0.882),
    ("none", 2): (0.870, 0.908, 0.939),
    ("none", 3): (0.909, 0.934, 0.964),
    ("others", 1): (0.917, 0.983, 0.988),
    ("others", 2): (0.931, 0.987, 0.989),
    ("others", 3): (0.941, 0.985, 0.988),
    ("tested", 1): (0.955, 0.990, 0.995),
    ("tested", 2): (0.960, 0.990, 0.995),
    ("tested", 3): (0.960, 0.988, 0.995),
}
MODEL, RULE = "tuning + eit", "tuning"
DESIGNS: dict[str, dict[str, Any]] = {
    "pairs": {},
    "targets": {"seen_classes": (2, 4)},
    "time": {},
    "bins": {},
    "halves": {},
    "subsets": {},
    "rest": {"k": (3,)},
}
SIZES = (40, 80, 150)
SHORT = TrainingSettings(max_steps=30, batch_trials=96, epoch_steps=5)  # of what pretrains many encoders
TEMPLATE = Path(__file__).with_name("transfer_page.md")


def short(recording: str) -> str:
    """Its name without the dataset."""
    return recording.rpartition("/")[2]


class Job(NamedTuple):
    """One run of a verb, begun when those before it that it needs are finished."""

    name: str
    work: Callable[[Path, bool], Any]
    stage: int = 1


def encoder_job(new: str, seed: int, *, is_mixed: bool = False) -> Job:
    """Pretrain on the other recordings, and perhaps on simulated animals."""
    name = f"encoder-{'mixed' if is_mixed else seed}-{short(new)}"

    def work(folder: Path, gpu: bool) -> None:
        known = [recording for recording in RECORDINGS if recording != new]
        if is_mixed:
            simulated = simulate("population", n_subjects=2, n_neurons=150, n_trials=160, bin_seconds=0.1, seed=7)
            for recording in simulated:
                path = folder.parent / f"{name}-{recording.subject}.npz"
                known.append(str(write_recording(recording, path)))
        pretrain(PretrainSettings(tuple(known), "direction", str(folder), period=8.0, seed=seed))

    return Job(name, work, 0)


def transfer_job(name: str, recordings: Sequence[str], encoder: str | None = None, **settings: Any) -> Job:
    """Decode recordings, by an encoder that another job pretrained."""

    def work(folder: Path, gpu: bool) -> None:
        given = dict(settings)
        if encoder is not None:
            given["encoder"] = str(folder.parent / encoder)
        if gpu and {"continued", "scratch"} & {*given.get("ways", ())}:
            given["adapting"] = TrainingSettings(accelerator="gpu")
        transfer(TransferSettings(tuple(recordings), **{"target": "direction", **given}, output=str(folder)))

    return Job(name, work)


def simulated_job(n_neurons: int) -> Job:
    """Simulated animals, whose true tuning an oracle knows."""

    def work(folder: Path, gpu: bool) -> None:
        found = simulate("population", n_subjects=4, n_neurons=n_neurons, n_trials=160, seed=11)
        files = [str(write_recording(one, folder.parent / f"{folder.name}-{one.subject}.npz")) for one in found]
        asked: dict[str, Any] = {"k": (1, 3), "unlabelled": ("none", "others"), "training": SHORT}
        transfer(TransferSettings(tuple(files), "direction", str(folder), **asked))

    return Job(f"simulated-{n_neurons}", work)


def jobs() -> Iterator[Job]:
    """All of them, the most needed first."""
    for seed in SEEDS:
        yield from (encoder_job(new, seed) for new in RECORDINGS)
    yield from (encoder_job(new, 0, is_mixed=True) for new in RECORDINGS)
    for seed in SEEDS:
        for new in RECORDINGS:
            encoder = f"encoder-{seed}-{short(new)}"
            for k in (1, 2, 3):
                yield transfer_job(f"class-{seed}-{short(new)}-k{k}", [new], encoder, k=(k,), seed=seed)
            if seed == 0:
                for how in HOWS:
                    velocity = {"target": "velocity", "k": (2,), "unlabelled": (how,), "draws": 10}
                    yield transfer_job(f"velocity-{seed}-{short(new)}-{how}", [new], encoder, **velocity, seed=seed)
    for seed in SEEDS:
        for new in RECORDINGS:
            encoder, full = f"encoder-0-{short(new)}", {"k": ("all",), "unlabelled": ("none",), "seed": seed}
            for target in ("velocity", "direction"):
                alone = {**full, "target": target, "rivals": False, "control": False}
                for way in ("continued", "scratch"):
                    name = f"full-{target}-{way}-{seed}-{short(new)}"
                    yield transfer_job(name, [new], encoder, ways=(way,), **alone)
            yield transfer_job(f"full-direction-context-{seed}-{short(new)}", [new], encoder, **full)
    yield from (simulated_job(n_neurons) for n_neurons in SIZES)
    yield transfer_job("no-label", RECORDINGS, k=(0,), unlabelled=("others", "tested"), period=8.0, training=SHORT)
    for new in RECORDINGS:
        mixed = {"k": (1,), "rivals": False, "control": False}
        yield transfer_job(f"mixed-{short(new)}", [new], f"encoder-mixed-{short(new)}", **mixed)
    for name, settings in DESIGNS.items():
        asked = {"k": (1,), "unlabelled": ("none",), "draws": 10, "period": 8.0, "training": SHORT, **settings}
        yield transfer_job(f"across-{name}", RECORDINGS, across=name, **asked)


def do(name: str, runs: Path, gpu: bool) -> str:
    """One job, unless it is finished."""
    torch.set_num_threads(1)
    folder = runs / name
    if not (folder / "finished").exists():
        next(job for job in jobs() if job.name == name).work(folder, gpu)
        (folder / "finished").touch()
    return name


# ------------------------------------------------------------------ the page


def sections(runs: Path, names: Iterable[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Job, heading and scores of every section of finished jobs."""
    for name in names:
        path = runs / name / "results.json"
        if path.exists():
            for section, found in json.loads(path.read_text(encoding="utf-8"))["sections"].items():
                yield name, section, found


def samples(found: Iterable[dict[str, Any]], method: str) -> list[float]:
    """Scores of every draw of some sections."""
    return [draw for section in found for draw in section["methods"][method]["scores"]["score"]["samples"]]


def of_kind(section: dict[str, Any], kind: str) -> list[str]:
    """Its methods."""
    return [method for method, found in section["methods"].items() if found["kind"] == kind]


def pooled(runs: Path, prefix: str, recording: str, rest: str, seeds: Sequence[int] = SEEDS) -> list[dict[str, Any]]:
    """Sections of the seeds of one question, such as that of class, chewie-1 and k1-none."""
    tail = rest.partition("-")[0]
    complete = [seed for seed in seeds if _is_finished(runs, seed, int(tail[1:]))]
    names = [f"{prefix}-{seed}-{short(recording)}-{tail}" for seed in complete]
    return [found for _, section, found in sections(runs, names) if section.endswith(rest)]


def mean(found: list[dict[str, Any]], method: str) -> str:
    """Over draws and seeds."""
    return f"{np.mean(samples(found, method)):.3f}"


def against(found: list[dict[str, Any]], method: str, rival: str) -> str:
    """The paired difference over draws, with its interval."""
    return _gap(samples(found, method), samples(found, rival))


def _gap(scores: list[float], against: list[float]) -> str:
    n = min(len(scores), len(against))
    gap = compare(scores=scores[:n], against=against[:n], test_fraction=None)
    return f"{gap.mean:+.3f} {interval_text(gap.interval, '+.3f')}"


def best(found: list[dict[str, Any]], kind: str = "rival") -> str:
    """The method of a kind with the highest mean."""
    return max(of_kind(found[0], kind), key=lambda method: float(np.mean(samples(found, method))))


def summary(runs: Path) -> str:
    """A row per question and recording."""
    rows = [
        ["", "recording", "floor", RULE, MODEL, "best rival here", f"{RULE} − it", f"worst draw: {RULE}", "rival"],
    ]
    for (how, k), floors in FLOORS.items():
        for recording, floor in zip(RECORDINGS, floors, strict=True):
            if not (found := pooled(runs, "class", recording, f"k{k}-{how}")):
                continue
            rival = best(found)
            worst = [f"{min(samples(found, method)):.2f}" for method in (RULE, rival)]
            named = f"{mean(found, rival)} ({rival})"
            line = [f"k = {k}, {WORDS[how]}", short(recording), f"{floor:.3f}", mean(found, RULE), mean(found, MODEL)]
            rows.append([*line, named, against(found, RULE, rival), *worst])
    return markdown(rows)


def everybody(runs: Path, k: int) -> str:
    """All methods with as many labelled trials, the three recordings side by side."""
    columns = {how: [pooled(runs, "class", recording, f"k{k}-{how}") for recording in RECORDINGS] for how in HOWS}
    if not all(found for columns_of in columns.values() for found in columns_of):
        return ""
    methods = [
        m
        for m in columns["none"][0][0]["methods"]
        if all(m in one["methods"] for c in columns.values() for f in c for one in f)
    ]
    score = {m: [[mean(found, m) for found in columns[how]] for how in HOWS] for m in methods}
    order = sorted(methods, key=lambda m: -sum(map(float, score[m][0])))
    head = ["method", *(WORDS[how] for how in HOWS)]
    return markdown([head, *([method, *(" / ".join(three) for three in score[method])] for method in order)])


def share(runs: Path) -> str:
    """What the rule, the embeddings, pretraining and simulated animals are worth."""
    rows = [["k = 1", *WORDS.values()]]
    methods = (MODEL, RULE, "eit alone", "tuning, not pretrained")
    for method in methods:
        cells = [" / ".join(mean(pooled(runs, "class", r, f"k1-{how}"), method) for r in RECORDINGS) for how in HOWS]
        rows.append([method, *cells])
    for method in (MODEL, RULE):
        cells = []
        for how in HOWS:
            ends = [list(sections(runs, [f"mixed-{short(recording)}"])) for recording in RECORDINGS]
            kept = [[found for _, section, found in one if section.endswith(f"k1-{how}")] for one in ends]
            cells.append(" / ".join(mean(found, method) for found in kept if found))
        if any(cells):
            rows.append([f"{method}, two simulated animals in pretraining too (seed 0)", *cells])
    return markdown(rows)


def plain(runs: Path, names: Sequence[str], methods: Callable[[dict[str, Any]], Sequence[str]]) -> str:
    """A row per section: chosen methods, and the best rival."""
    rows: list[list[str]] = []
    for _, section, found in sections(runs, names):
        chosen = list(methods(found))
        rival = best([found]) if of_kind(found, "rival") else None
        cells = [f"{m} {mean([found], m)}" for m in chosen]
        last = [f"{mean([found], rival)} ({rival})", against([found], chosen[0], rival)] if rival else ["", ""]
        rows.append([section, ", ".join(cells), *last])
    return markdown([["what", "accuracy or R²", "best rival", "first − it"], *rows]) if rows else "Not measured yet."


def placed(runs: Path) -> str:
    """Without any label: accuracy, and in the best placement of the circle."""
    rows = [["what", "method", "accuracy", "up to rotation, reflection"]]
    for _, section, found in sections(runs, ["no-label"]):
        for name, method in found["methods"].items():
            scores = [f"{method['scores'][score]['value']:.3f}" for score in ("score", "placed")]
            rows.append([section, name, *scores])
    return markdown(rows)


def full(runs: Path, target: str) -> str:
    """All methods with all other trials labelled, five folds of each seed, and what beginning with others gains."""
    ways, rows = ("context", "scratch", "continued"), []
    columns: list[dict[str, list[float]]] = []
    for recording in RECORDINGS:
        scores: dict[str, list[float]] = {}
        for way in ways:
            names = [f"full-{target}-{way}-{seed}-{short(recording)}" for seed in SEEDS]
            for _, _, found in sections(runs, names):
                for method in found["methods"]:
                    scores.setdefault(method, []).extend(samples([found], method))
        columns.append(scores)
    methods = [method for method in columns[0] if all(method in scores for scores in columns)]
    for method in sorted(methods, key=lambda m: -sum(float(np.mean(scores[m])) for scores in columns)):
        cells = [f"{np.mean(scores[method]):.3f} ({len(scores[method])})" for scores in columns]
        rows.append([method, *cells])
    for one, other in ((TRAINED["continued"], TRAINED["scratch"]), (RULE, "tuning, not pretrained")):
        if one in methods and other in methods:
            cells = [_gap(scores[one], scores[other]) for scores in columns]
            rows.append([f"{one} − {other}", *cells])
    return markdown([["method (folds)", *map(short, RECORDINGS)], *rows]) if rows else "Not measured yet."


def draw(runs: Path, folder: Path) -> None:
    """Accuracy against labelled trials, the model and all rivals, labelled trials only."""
    curves: dict[str, dict[str, dict[int, tuple[float, ...]]]] = {}
    for recording in RECORDINGS:
        for k in (1, 2, 3):
            for found in pooled(runs, "class", recording, f"k{k}-none", seeds=(0,)):
                for method in [*of_kind(found, "model"), *of_kind(found, "rival")]:
                    of = curves.setdefault(short(recording), {}).setdefault(method, {})
                    of[k] = tuple(samples([found], method))
    if curves:
        figure = draw_few_shot(curves, "accuracy", models=(MODEL, RULE), title="labelled trials only")
        save_figure(figure, folder, "transfer-few-shot")


def _is_finished(runs: Path, seed: int, k: int) -> bool:
    return all((runs / f"class-{seed}-{short(recording)}-k{k}" / "results.json").exists() for recording in RECORDINGS)


def n_priors(runs: Path) -> str:
    """How many numbers the readout has learned."""
    found = {
        m["n_parameters"]
        for _, _, f in sections(runs, ["class-0-chewie-1-k1"])
        for n, m in f["methods"].items()
        if n == RULE
    }
    return ", ".join(map(str, sorted(found)))


def write_page(runs: Path, output: Path) -> None:
    """All tables into the template."""
    has_context = functools.partial(lambda names, found: [m for m in names if m in found["methods"]])
    few = functools.partial(has_context, (RULE, MODEL))
    courses = functools.partial(has_context, (CORRECTED, COURSES))
    known = functools.partial(has_context, (RULE, MODEL, "tuning, not pretrained", "true tuning"))
    velocity = [f"velocity-0-{short(recording)}-{how}" for recording in RECORDINGS for how in HOWS]
    finished = {k: [seed for seed in SEEDS if _is_finished(runs, seed, k)] for k in (1, 2, 3)}
    tables = {
        "n_priors": n_priors(runs),
        "seeds": "; ".join(f"k = {k}: {', '.join(map(str, seeds))}" for k, seeds in finished.items()),
        "summary": summary(runs),
        "everybody": "\n\n".join(f"k = {k}:\n\n{everybody(runs, k)}" for k in (1, 2, 3)),
        "share": share(runs),
        "velocity": plain(runs, velocity, courses),
        "full": full(runs, "direction"),
        "full_velocity": full(runs, "velocity"),
        "simulated": plain(runs, [f"simulated-{size}" for size in SIZES], known),
        "no_label": placed(runs),
        **{f"across_{name}": plain(runs, [f"across-{name}"], few) for name in DESIGNS},
    }
    output.write_text(TEMPLATE.read_text(encoding="utf-8").format(**tables), encoding="utf-8")
    draw(runs, output.parent)


def main() -> None:
    """Do what is asked, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/transfer"), help="where runs are kept")
    parser.add_argument("--output", type=Path, default=Path("docs/results/transfer.md"))
    parser.add_argument("--jobs", type=int, default=2, help="how many run at a time")
    parser.add_argument("--only", nargs="*", default=[""], help="beginnings of names of jobs")
    parser.add_argument("--gpu", action="store_true", help="train what is trained on full data on a GPU")
    parser.add_argument("--page", action="store_true", help="do nothing more, write the page")
    arguments = parser.parse_args()
    arguments.runs.mkdir(parents=True, exist_ok=True)
    chosen = [job for job in jobs() if job.name.startswith(tuple(arguments.only))]
    for stage in (0, 1) if not arguments.page else ():
        names = [job.name for job in chosen if job.stage == stage]
        work = functools.partial(do, runs=arguments.runs, gpu=arguments.gpu)
        with multiprocessing.get_context("spawn").Pool(arguments.jobs, maxtasksperchild=1) as pool:
            for name in pool.imap_unordered(work, names):
                print(name, flush=True)
    write_page(arguments.runs, arguments.output)


if __name__ == "__main__":
    main()
