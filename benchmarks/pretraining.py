"""What pretraining without labels is worth: few-shot accuracy beside a target, and who is found in a new animal.

    [MOTET_DATA=…] python benchmarks/pretraining.py [RECORDING …]

Without recordings, on simulated animals. Every row is one `motet transfer` (or `motet pretrain` and `motet align`), kept
under --runs: run it again to go on after an interruption. With as many labelled steps in every row, rows with others take
more; the second row has as many steps in all, labelled alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from motet.data.readers import write_recording
from motet.statistics import markdown
from motet.systems import simulate
from motet.tasks.align import AlignSettings, align
from motet.tasks.pretrain import PretrainSettings, pretrain
from motet.tasks.transfer import MODEL, RULE, TransferSettings, transfer
from motet.training.objectives import EpisodeSettings, Use
from motet.training.settings import TrainingSettings

K = (1, 3)
LEARN: dict[str, dict[Use, float]] = {
    "context": {"context": 1.0},
    "context, twice as long": {"context": 1.0},
    "context, masked": {"context": 2.0, "masked": 1.0},
    "context, views": {"context": 2.0, "views": 1.0},
    "context, masked, views": {"context": 2.0, "masked": 1.0, "views": 1.0},
}


def few_shot(names: tuple[str, ...], runs: Path, n_steps: int, batch_trials: int) -> str:
    """Each recording in turn is new: accuracy of the rule and with the EIT, by what pretraining learns."""
    rows = [["learned", "new", *(f"{method}, k = {k}" for k in K for method in (RULE, MODEL))]]
    for name, learn in LEARN.items():
        share = learn["context"] / sum(learn.values())
        steps = 2 * n_steps if "twice" in name else round(n_steps / share)
        settings = TransferSettings(
            names,
            "direction",
            output=str(runs / name.replace(", ", "-").replace(" ", "-")),
            k=K,
            unlabelled=("none",),
            objective=EpisodeSettings(learn=learn),
            training=TrainingSettings(max_steps=steps, batch_trials=batch_trials),
            rivals=False,
            control=False,
        )
        sections = list(transfer(settings).results["sections"].values())
        for number, new in enumerate(names):
            methods = [section["methods"] for section in sections[number * len(K) : (number + 1) * len(K)]]
            scores = [found[method]["scores"]["score"]["value"] for found in methods for method in (RULE, MODEL)]
            rows.append([name, new.rpartition("/")[2], *(f"{score:.3f}" for score in scores)])
    return markdown(rows)


def who_is_who(names: tuple[str, ...], runs: Path, n_steps: int, batch_trials: int) -> str:
    """Halves of the last recording by embeddings that learned who is who in the others, beside the rules."""
    run = str(runs / "views")
    training = TrainingSettings(max_steps=2 * n_steps, batch_trials=batch_trials)
    pretrain(
        PretrainSettings(names[:-1], output=run, objective=EpisodeSettings(learn={"views": 1.0}), training=training)
    )
    return align(AlignSettings(names[-1:], run=run, output=str(runs / "who-is-who"), halves=3)).table


def main() -> None:
    """Run both parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="*", help="files or names in the catalogue, with the target direction")
    parser.add_argument("--runs", type=Path, default=Path("runs/pretraining"), help="where runs are kept")
    parser.add_argument("--steps", type=int, default=100, help="labelled steps of every row")
    parser.add_argument("--batch_trials", type=int, default=256)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = tuple(arguments.recordings)
    if not names:
        animals = simulate("population", n_subjects=3, n_trials=128, n_neurons=(30, 45), seed=10)
        folder = arguments.runs / "animals"
        names = tuple(str(write_recording(animal, folder / f"{animal.subject}.npz")) for animal in animals)
    shared = names, arguments.runs, arguments.steps, arguments.batch_trials
    print(few_shot(*shared), who_is_who(*shared), sep="\n\n")


if __name__ == "__main__":
    main()
