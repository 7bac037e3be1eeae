"""What tests of reading and writing share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from motet.data.recording import Recording


@pytest.fixture(scope="session")
def assert_same() -> Callable[[Recording, Recording], None]:
    """Whether two recordings hold the same, up to names and the last digits of a bin's length."""
    return _assert_same


def _assert_same(first: Recording, second: Recording) -> None:
    assert first.individual_ids == second.individual_ids
    assert first.bin_seconds == pytest.approx(second.bin_seconds, rel=1e-9)
    assert set(first.targets) == set(second.targets)
    for name in ("values", "observed", "trial_ids", "trial_start_seconds"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
    for name, target in first.targets.items():
        assert target.dtype.kind == second.targets[name].dtype.kind
        assert first.target_levels[name] == second.target_levels[name]
        assert np.array_equal(target, second.targets[name], equal_nan=target.dtype.kind == "f"), name
