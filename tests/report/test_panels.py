"""Trials that are shown are a fair choice of all."""

from __future__ import annotations

import numpy as np

from motet.report.panels import spread_from_best


def test_best_to_worst_shows_each_once_and_the_unknown_last() -> None:
    assert spread_from_best([2.0, np.nan, 1.0], 9).tolist() == [2, 0, 1]
    assert spread_from_best(np.arange(11)[::-1], 3).tolist() == [10, 5, 0]
