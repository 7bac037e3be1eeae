"""The paper's protocol: the released EIT, motet's EIT, shrinkage LDA and a kernel SVM on the same split and windows.

    MOTET_DATA=… python benchmarks/paper_protocol.py

Accuracy against seconds of training on one CPU thread, on `reach/chewie-1`: the first 80 % of trials train, the rest
test. Writes a table to --output, and a figure of the same name beside it. The released EIT takes about half a minute
an epoch on one core; everything else takes minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from motet.data.catalogue import load
from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.estimators.decoders import EITClassifier
from motet.files import write_text
from motet.models.eit import EITSettings
from motet.models.reference import EITReference
from motet.progress import Advance, progress_bar
from motet.report.style import ACCENT, BEST, GREY, INK, in_our_style, save_figure, titled
from motet.rivals.method import TargetQuestion
from motet.rivals.reference import train_reference
from motet.rivals.registry import RIVALS as ALL_RIVALS
from motet.statistics import estimate_mean, interval_text
from motet.training.settings import TrainingSettings

# What differs from the defaults of EITClassifier; the budget of epochs comes from the command line.
EIT_SETTINGS: dict[str, Any] = {
    "model": EITSettings(width=16, n_heads=1, dropout=0.0, token_bins=3, causal=True),
    "training": TrainingSettings(validation=0),  # so that all training trials train, as in the release
}
RECORDING, TARGET = "reach/chewie-1", "direction"
READ_BINS, WINDOW_BINS, LAST_START = 8, 2, 5
EIT_EPOCH = 1 / 40  # seconds of an epoch of motet's EIT, in those of the released one: roughly, for the progress bar
REFERENCE, EIT, LDA, SVM = "released EIT", "motet EIT", "shrinkage LDA", "kernel SVM"
RIVALS = {LDA: "lda", SVM: "kernel-svm-total-counts"}
COLOURS = {REFERENCE: GREY, EIT: ACCENT, LDA: INK, SVM: BEST}
TEXT = """# The paper's protocol on {recording}

Made by `MOTET_DATA=… python benchmarks/paper_protocol.py`: one thread of {machine}.

The first 80 % of trials ({n_train}) train, the last 20 % ({n_test}) test: one split, one run. All methods read
the same windows of {window} bins of {bin_seconds:g} s, starts 0 to {last_start}. Accuracy is per bin of every test window; bins of overlapping windows
are scored once for each window. The released EIT predicts every bin; the others make one prediction per window, which counts for
each of its bins. One test trial is {trial:.1f} points, so differences of a few points are noise.

- **{reference}**: `EITReference`, trained by `train_reference` as in the release. It reads firing rates in Hz (counts / {bin_seconds:g} s), unscaled, of
  the {n_active} neurons whose standard deviation over the training trials is above 1e-3; as released, train and test are *each centred by their own
  mean* (over the first {read} bins), so that it alone learns something from the test trials. One seed; scored after some epochs, outside the
  seconds of training.
- **{eit}**: `EITClassifier` with {settings} and otherwise its defaults. Input statistics come from training trials only. {n_seeds} seed(s);
  every budget of epochs is a training of its own, with a full learning-rate schedule. The seconds are those of the whole `fit`. The
  settings were chosen on folds of the same recording (see the reach page), which hold these test trials too; the split itself was looked at before.
- **{lda}** and **{svm}**: `lda`, on √counts of the window, and `kernel-svm-total-counts` of `motet.rivals`.

Seconds to reach are those of the earliest scored point of a method whose mean accuracy is at least {target:.3f}, the accuracy of the released EIT
after its last epoch ({n_epochs}); the ratio is how many times longer the released EIT takes to get there.

{table}

![Accuracy against seconds of training]({figure})

## Every point

{points}
"""


@dataclasses.dataclass(frozen=True)
class Point:
    """A method at one budget: seconds of training and accuracy on test, (run,) each; epochs None for a closed form."""

    n_epochs: int | None
    seconds: tuple[float, ...]
    accuracies: tuple[float, ...]

    @property
    def mean_seconds(self) -> float:
        return float(np.mean(self.seconds))

    @property
    def accuracy(self) -> float:
        return float(np.mean(self.accuracies))

    def __str__(self) -> str:
        """The mean, with its 95 % interval where there are runs enough."""
        return f"{self.accuracy:.3f}{interval_text(estimate_mean(self.accuracies, test_fraction=None).interval)}"


@dataclasses.dataclass(frozen=True)
class Method:
    """A method and its points, from the shortest training to the longest."""

    name: str
    n_parameters: int
    points: tuple[Point, ...]

    def seconds_to(self, accuracy: float) -> float:
        """Seconds of the earliest point that is as good; infinite if there is none."""
        return next((p.mean_seconds for p in self.points if p.accuracy >= accuracy - 1e-9), math.inf)


def measure_reference(train: Recording, test: Recording, n_epochs: int, advance: Advance) -> Method:
    """Train the released EIT once, and score it on the way."""
    is_active = active_individuals(train)
    values, labels = reference_windows(train, is_active)
    test_values, test_labels = reference_windows(test, is_active)
    points: list[Point] = []

    def score(epoch: int, seconds: float, model: EITReference) -> None:
        news = f"{REFERENCE}, epoch {epoch}"
        if epoch in (1, 2, 3, 5, n_epochs) or epoch % 10 == 0:
            with torch.no_grad():
                parts = [model(part).population.argmax(dim=-1) for part in torch.split(test_values, 16)]
            accuracy = float((torch.cat(parts) == test_labels[:, None]).double().mean())
            points.append(Point(epoch, (seconds,), (accuracy,)))
            news += f": {accuracy:.3f}"
        advance(1, news)

    model = EITReference(int(is_active.sum()), int(labels.max()) + 1, seed=0)
    train_reference(model, values, labels, n_epochs=n_epochs, seed=0, on_epoch=score)
    return Method(REFERENCE, sum(parameter.numel() for parameter in model.parameters()), tuple(points))


def active_individuals(train: Recording) -> NDArray[np.bool_]:
    """(individual,) whether its rate in Hz varies over the bins of the training trials."""
    rate_hz = np.where(train.observed, train.values[..., 0] / train.bin_seconds, np.nan)
    is_active: NDArray[np.bool_] = np.nanstd(rate_hz, axis=(0, 2)) > 1e-3
    return is_active


def reference_windows(part: Recording, is_active: NDArray[np.bool_]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rates in Hz centred by the part's own mean (window, time, individual), and classes (window,)."""
    read = part.select(individuals=is_active, bins=slice(0, READ_BINS))
    rate_hz = read.values / read.bin_seconds
    centred = (rate_hz - rate_hz.mean(axis=(0, 2), keepdims=True)).astype(np.float32)
    windows = cut(dataclasses.replace(read, values=centred))
    return torch.from_numpy(windows.values[..., 0]).mT.contiguous(), torch.from_numpy(windows.target(TARGET))


def cut(part: Recording) -> Recording:
    """The windows that every method reads."""
    return part.windows(WINDOW_BINS, last_start=LAST_START)


def measure_eit(train: Recording, test: Recording, budgets: Sequence[int], n_seeds: int, advance: Advance) -> Method:
    """Train motet's EIT with every budget of epochs and every seed."""

    def fitted(n_epochs: int, seed: int) -> EITClassifier:
        training: TrainingSettings = EIT_SETTINGS["training"]
        n_steps = n_epochs * training.steps_per_epoch(train.n_trials)
        settings = EIT_SETTINGS | {"training": dataclasses.replace(training, max_steps=n_steps)}
        name = f"{EIT}, {n_epochs} epochs, seed {seed}"
        alone = EITClassifier(TARGET, rule="none", members=1, **settings, seed=seed)
        return alone.fit(train, on_epoch=lambda _: advance(EIT_EPOCH, name))

    n_parameters = fitted(1, 0).n_parameters_  # the first fit of a process imports for seconds
    points = []
    for n_epochs in sorted(set(budgets)):
        runs = []
        for seed in range(n_seeds):
            start = time.perf_counter()
            estimator = fitted(n_epochs, seed)
            runs.append((time.perf_counter() - start, estimator.score(test)))
        seconds, accuracies = zip(*runs, strict=True)
        points.append(Point(n_epochs, seconds, accuracies))
    return Method(EIT, n_parameters, tuple(points))


def measure_rival(name: str, train: Recording, test: Recording) -> Method:
    """Fit a closed form."""
    start = time.perf_counter()
    fitted = ALL_RIVALS[RIVALS[name]].fit(PopulationDataset(train), TargetQuestion(TARGET, "class", "trial"))
    seconds = time.perf_counter() - start
    accuracy = float((fitted.predict(PopulationDataset(test))["prediction"] == test.target(TARGET)).mean())
    return Method(name, fitted.n_parameters, (Point(None, (seconds,), (accuracy,)),))


def summary(methods: Sequence[Method], accuracy: float) -> str:
    """A row per method, at its longest training."""
    lines = [
        f"| method | parameters | training seconds | accuracy | seconds to reach {accuracy:.3f} | ratio |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    slowest = methods[0].seconds_to(accuracy)
    for method in methods:
        last, seconds = method.points[-1], method.seconds_to(accuracy)
        reached = f"{shown(seconds)} | {shown(slowest / seconds)}×" if math.isfinite(seconds) else "not reached | —"
        lines.append(f"| {method.name} | {method.n_parameters:,} | {shown(last.mean_seconds)} | {last} | {reached} |")
    return "\n".join(lines)


def all_points(methods: Sequence[Method]) -> str:
    """A row per point."""
    rows = [
        f"| {method.name} | {point.n_epochs or '—'} | {shown(point.mean_seconds)} | {point} |"
        for method in methods
        for point in method.points
    ]
    return "\n".join(["| method | epochs | training seconds | accuracy |", "|---|--:|--:|--:|", *rows])


def shown(number: float) -> str:
    """A number with about three digits."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


@in_our_style
def draw(methods: Sequence[Method], accuracy: float) -> Figure:
    """Accuracy against seconds of training: single runs as dots, their means joined."""
    figure = Figure(figsize=(4.8, 3.2))
    axes = figure.subplots()
    axes.axhline(accuracy, color=BEST, linewidth=0.8, linestyle=":", zorder=0, label=f"last of the {REFERENCE}")
    for method in methods:
        colour, means = COLOURS[method.name], [(point.mean_seconds, point.accuracy) for point in method.points]
        axes.plot(*zip(*means, strict=True), "D-" if method.name in RIVALS else "o-", color=colour, markersize=4)
        axes.lines[-1].set_label(method.name)
        for point in method.points:
            if len(point.seconds) > 1:
                axes.scatter(point.seconds, point.accuracies, s=6, color=colour, alpha=0.5, linewidths=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(0, 1)
    axes.set(xlabel="training (s, one CPU thread)", ylabel="accuracy per bin, test")
    figure.legend(loc="outside lower center", ncols=2)
    return titled(figure, f"{TARGET} of {RECORDING}")


def report(methods: Sequence[Method], train: Recording, test: Recording, *, n_seeds: int, figure: str) -> str:
    """The page."""
    accuracy = methods[0].points[-1].accuracy
    return TEXT.format(
        recording=RECORDING,
        machine=f"{os.cpu_count()} on {platform.machine()}, torch {torch.__version__}, float32, load average at the "
        f"end {os.getloadavg()[0]:.1f} (where it is above the number of cores, times are too long)",
        n_train=train.n_trials,
        n_test=test.n_trials,
        window=WINDOW_BINS,
        last_start=LAST_START,
        read=READ_BINS,
        bin_seconds=train.bin_seconds,
        trial=100 / test.n_trials,
        n_active=int(active_individuals(train).sum()),
        settings=" and ".join(f"`{changed(part)}`" for part in EIT_SETTINGS.values() if part != type(part)()),
        n_seeds=n_seeds,
        target=accuracy,
        n_epochs=methods[0].points[-1].n_epochs,
        reference=REFERENCE,
        eit=EIT,
        lda=LDA,
        svm=SVM,
        table=summary(methods, accuracy),
        figure=figure,
        points=all_points(methods),
    )


def changed(settings: Any) -> str:
    """A call that makes these settings, without those left at their defaults."""
    given = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    default = type(settings)()
    inside = ", ".join(f"{name}={value!r}" for name, value in given.items() if value != getattr(default, name))
    return f"{type(settings).__name__}({inside})"


def main() -> None:
    """Measure all methods and write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    positive = functools.partial(int_above_zero, parser)
    parser.add_argument("--output", type=Path, default=Path("docs/results/paper_protocol.md"), help="the table")
    parser.add_argument("--epochs", type=positive, default=60, help="of the released EIT (default 60)")
    parser.add_argument("--budgets", type=positive, nargs="+", default=[5, 10, 20, 40], help="epochs of motet's EIT")
    parser.add_argument("--seeds", type=positive, default=3, help="of motet's EIT (default 3)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    recording = load(RECORDING)
    n_train = int(0.8 * recording.n_trials)
    train, test = recording.select(trials=slice(0, n_train)), recording.select(trials=slice(n_train, None))
    n_steps = given.epochs + EIT_EPOCH * (1 + given.seeds * sum(set(given.budgets)))
    with threadpool_limits(1), progress_bar(RECORDING, n_steps) as advance:
        windows = cut(train), cut(test)
        rivals = [measure_rival(name, *windows) for name in RIVALS]
        eit = measure_eit(*windows, given.budgets, given.seeds, advance)
        reference = measure_reference(train, test, given.epochs, advance)
    methods = (reference, eit, *rivals)
    figure = draw(methods, reference.points[-1].accuracy)
    png, _ = save_figure(figure, given.output.parent, given.output.stem)
    page = report(methods, train, test, n_seeds=given.seeds, figure=png.name)
    write_text(given.output, page)
    sys.stdout.write(page)


def int_above_zero(parser: argparse.ArgumentParser, text: str) -> int:
    """The number, or the end of the program with a sentence."""
    if not text.isdigit() or int(text) < 1:
        parser.error(f"{text!r} was given; give a whole number, 1 or more.")
    return int(text)


if __name__ == "__main__":
    main()
