"""Types and shapes of all of motet are checked in every test; switched on here alone."""

from __future__ import annotations

import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from checked_types import CheckedFinder

sys.meta_path.insert(0, CheckedFinder)

torch.set_num_threads(1)  # the tensors of tests are tiny
hypothesis.settings.register_profile("motet", deadline=None)  # how long an example takes is the machine's business
hypothesis.settings.load_profile("motet")


@pytest.fixture(scope="session")
def small_recording():
    """Counts of ten neurons, four classes that they tell apart, and a velocity: ragged trials."""
    from motet.data.recording import Recording

    rng = np.random.default_rng(0)
    direction = np.arange(48) % 4
    tuning = rng.normal(size=(4, 10))
    lengths = rng.integers(4, 8, 48)
    speed = [np.sin(np.pi * (np.arange(n) + 0.5) / n) for n in lengths]
    angle = direction * np.pi / 2
    velocity = [np.stack([np.cos(a) * s, np.sin(a) * s], axis=-1) for a, s in zip(angle, speed, strict=True)]
    counts = [rng.poisson(np.exp(0.5 + tuning[d][:, None] * (0.4 + s))) for d, s in zip(direction, speed, strict=True)]
    return Recording.from_trials(
        counts, targets={"direction": direction, "velocity": velocity}, name="small", bin_seconds=0.1, subject="s"
    )
