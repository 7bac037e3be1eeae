"""Your own trials as NumPy arrays: ragged, with gaps, with a quantity to read in every time bin.

python examples/your_own_arrays.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import motet


def main() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(8, 14, 60)
    drives = [np.sin(np.arange(n) / 2 + rng.uniform(0, 6)) for n in lengths]
    gains = rng.normal(size=12)
    counts = [rng.poisson(np.exp(0.8 + gains[:, None] * drive)).astype(float) for drive in drives]
    counts[0][3, 2:5] = np.nan  # a gap: not observed, which is not the same as silent

    recording = motet.Recording.from_trials(counts, targets={"drive": drives}, bin_seconds=0.05, name="mine")
    print(recording)
    train, test = motet.PopulationDataset(recording).split(test=0.25, seed=0)
    decoder = motet.EITRegressor("drive", training=motet.TrainingSettings(max_steps=100)).fit(train)
    print(f"R² on trials held out: {decoder.score(test):.2f}")

    with tempfile.TemporaryDirectory() as folder:
        path = motet.write_recording(recording, Path(folder) / "mine.npz")
        decoder.save(Path(folder) / "run")
        again = motet.EITRegressor.load(Path(folder) / "run")
        print("saved and loaded:", again.predict(motet.read_recording(path)).shape)


if __name__ == "__main__":
    main()
