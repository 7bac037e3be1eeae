"""Settings: what each kind of field takes, and what is refused with one clear sentence."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import pytest

from motet.errors import InputError
from motet.settings import Count, Fraction, NonNegative, Positive, Seed, Settings, Share, Whole


@dataclasses.dataclass(frozen=True)
class Chosen(Settings, role="chosen"):
    """Settings of every kind that is checked."""

    mode: Literal["fast", "slow"] = "fast"
    maybe: Literal["x", "y"] | None = None
    width: int = 4
    rate: float = 0.5
    is_on: bool = False
    span: tuple[float, float] = (0.0, 1.0)
    sizes: int | tuple[int, ...] = 3
    limit: int | None = None
    name: str = "n"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mode": np.str_("slow"), "maybe": "y", "width": np.int64(3), "rate": 2, "is_on": True},
        {"rate": np.float32(0.5), "span": [0, 1], "sizes": (1, 2, 3), "limit": 4},
        {"rate": float("inf"), "sizes": ()},
    ],
)
def test_settings_of_their_kind_pass(settings):
    Chosen(**settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mode": "fst"}, "chosen.mode 'fst'; did you mean 'fast'\\? Allowed: fast, slow"),
        ({"mode": 3}, "chosen.mode is 3; give fast or slow"),
        ({"mode": None}, "chosen.mode is None"),
        ({"maybe": "z"}, "Allowed: x, y"),
        ({"width": 2.5}, "chosen.width is 2.5; give a whole number"),
        ({"width": True}, "chosen.width is True"),
        ({"width": "4"}, "chosen.width is '4'"),
        ({"width": None}, "chosen.width is None"),
        ({"rate": float("nan")}, "chosen.rate is nan; give a number"),
        ({"rate": "fast"}, "chosen.rate"),
        ({"rate": False}, "chosen.rate is False"),
        ({"is_on": "no"}, "give True or False"),
        ({"span": (0.0, 1.0, 2.0)}, "chosen.span.*give \\(a number; a number\\)"),
        ({"span": 0.5}, "chosen.span is 0.5"),
        ({"span": (0.0, float("nan"))}, "chosen.span"),
        ({"sizes": (1, 2.5)}, "give a whole number or \\(a whole number; …\\)"),
        ({"limit": 1.5}, "give a whole number or None"),
    ],
)
def test_a_setting_of_another_kind_is_one_clear_error(settings, words):
    with pytest.raises(InputError, match=words):
        Chosen(**settings)


@dataclasses.dataclass(frozen=True)
class Bounded(Settings, role="bounded"):
    """Settings of every range."""

    count: Count = 1
    whole: Whole = 0
    seed: Seed = 0
    positive: Positive = 1.0
    weight: NonNegative = 0.0
    fraction: Fraction = 0.0
    share: Share = 1.0


@pytest.mark.parametrize(
    ("field", "inside", "outside"),
    [
        ("count", [1, 10**9], [0, -1]),
        ("whole", [0, 5], [-1]),
        ("seed", [0, 2**32 - 1], [-1, 2**32]),
        ("positive", [1e-300, 3], [0.0, -1.0, float("inf")]),
        ("weight", [0.0, 1e9], [-1e-9, float("inf")]),
        ("fraction", [0.0, 0.999], [1.0, -0.1]),
        ("share", [1.0, 1e-9], [0.0, 1.1]),
    ],
)
def test_a_number_is_inside_the_range_that_stands_beside_its_type(field, inside, outside):
    for value in inside:
        Bounded(**{field: value})
    for value in outside:
        with pytest.raises(InputError, match=f"bounded.{field} is .*; give a"):
            Bounded(**{field: value})
