"""A report of 200 individuals: how large it is, and how long Chromium takes until it is drawn.

    python benchmarks/report.py --output docs/results/report.md

Needs Chromium, plotly and websockets. Each opening is a browser of its own, that never saw the page.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from browser import browser  # type: ignore[import-not-found]

from motet.data.readers import write_recording
from motet.systems import simulate
from motet.tasks.decode import DecodeSettings, decode
from motet.tasks.report import ReportSettings, report
from motet.training.settings import TrainingSettings

N_INDIVIDUALS, N_TRIALS, TIMES = 200, 200, 5


def written(folder: Path) -> Path:
    """The report of a decoding, with every tab that one has but importance."""
    (animal,) = simulate("population", n_subjects=1, n_trials=N_TRIALS, n_neurons=N_INDIVIDUALS, seed=1)
    file = write_recording(animal, folder / "animal.npz")
    decode(
        DecodeSettings(
            (str(file),),
            "direction",
            str(folder / "run"),
            folds=2,
            control=False,
            rivals=("majority", "lda"),
            training=TrainingSettings(max_steps=5),
        )
    )
    (page,) = report(ReportSettings((str(folder / "run"),))).files
    return Path(page)


def drawn(file: Path, folder: Path) -> tuple[float, float]:
    """Seconds until the figures in view are drawn: of the clock, and of the processor by the page."""
    with browser(folder) as page:
        page.open(file)
        return page.value("Number(document.documentElement.dataset.readyMilliseconds)") / 1000, page.seconds


def main() -> None:
    """Write a report, open it several times, print the page and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the page to this file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = written(Path(folder))
        size = file.stat().st_size / 1e6
        times = [drawn(file, Path(folder, f"browser-{number}")) for number in range(TIMES)]
    wall, processor = zip(*sorted(times), strict=True)
    text = (
        "# How long a report takes to be drawn\n\n"
        f"`python benchmarks/report.py`: the report of a decoding of {N_INDIVIDUALS} individuals in {N_TRIALS} trials, "
        f"opened {TIMES} times in headless Chromium, each a browser that never saw it. {os.cpu_count()} cores, load "
        f"average {os.getloadavg()[0]:.1f} at the end.\n\n"
        "| | |\n|---|--:|\n"
        f"| size | {size:.1f} MB |\n"
        f"| until it is drawn, s of the clock | {min(wall):.2f} to {max(wall):.2f} |\n"
        f"| s of the processor by the page | {min(processor):.2f} to {max(processor):.2f} |\n\n"
        "Half of the time went on starting plotly.js with all that it can draw, maps and globes included; a page starts "
        "it with the kinds of figures that it has. Figures of another tab are drawn when it is opened.\n"
    )
    if given.output:
        given.output.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
