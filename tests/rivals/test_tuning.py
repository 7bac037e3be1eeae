"""Tuning: one option after the other, refusals, and where it starts."""

from __future__ import annotations

import math

import pytest

from motet.errors import InputError
from motet.rivals.tuning import tune


def test_options_are_changed_one_after_the_other_until_none_gains():
    tried = []

    def loss(at):
        tried.append((at["x"], at["y"]))
        return (at["x"] - at["y"]) ** 2 + 0.1 * at["x"]

    assert tune({"x": (2, 1, 0), "y": (2, 1, 0)}, loss) == {"x": 2, "y": 2}
    assert tried == [(2, 2), (1, 2), (0, 2), (2, 1), (2, 0)]
    assert tune({"x": (2, 1, 0), "y": (2, 1, 0)}, loss, start={"x": 0, "y": 0}) == {"x": 0, "y": 0}


def test_of_equal_losses_the_first_is_kept_and_what_is_undefined_never_wins():
    assert tune({"x": (3, 1, 2)}, lambda at: 1.0) == {"x": 3}
    assert tune({"x": (3, 1, 2)}, lambda at: math.nan if at["x"] == 1 else -at["x"]) == {"x": 3}


def test_a_refused_value_is_passed_over_and_if_all_are_refused_the_first_refusal_is_raised():
    def loss(at):
        if at["x"] < 3:
            raise InputError(f"{at['x']} is too little.")
        return math.inf

    assert tune({"x": (1, 2, 3)}, loss) == {"x": 3}
    with pytest.raises(InputError, match="1 is too little"):
        tune({"x": (1, 2)}, loss)
