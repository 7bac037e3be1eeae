"""Gaps: what a series is taken to be where it was not observed."""

from __future__ import annotations

import numpy as np
import torch

from motet.data.gaps import bridged, bridged_array


def test_gaps_are_bridged_by_straight_lines_and_ends_held():
    observed = np.array([0, 1, 0, 0, 1, 1, 0], dtype=bool)
    values = np.where(observed, [9.0, 1.0, 9.0, 9.0, 4.0, 2.0, 9.0], 0)[:, None]
    found = bridged_array(values, observed)[:, 0]
    np.testing.assert_allclose(found, [1, 1, 2, 3, 4, 2, 2], rtol=1e-15)
    of_floats = bridged(torch.from_numpy(values).float(), torch.from_numpy(observed))[:, 0]
    assert of_floats.dtype == torch.float32
    np.testing.assert_allclose(of_floats.numpy(), found, rtol=1e-6)


def test_a_series_that_is_never_observed_is_zero():
    assert bridged_array(np.ones((4, 2)), np.zeros(4, dtype=bool)).tolist() == [[0, 0]] * 4
