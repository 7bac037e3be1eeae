"""The checker of types that all tests run under."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest
import torch
from checked_types import WrongType, check

SOURCE = Path(__file__).parents[1] / "src"
INSIDE = """
from jaxtyping import Float
from torch import Tensor
def half(n: int) -> int:
    return n / 2 if n % 2 else int(n // 2)
def beside(x: Float[Tensor, "trial width"], y: Float[Tensor, "trial width"]) -> Float[Tensor, "trial both"]:
    return x[:, :1]
def calls(function, *given):
    return function(*given)
"""


@pytest.fixture
def inside():
    """Functions as motet has them, which are not a test's own."""
    names = {}
    exec(compile(INSIDE, "inside.py", "exec"), names)
    return names["calls"], check(names["half"]), check(names["beside"])


def test_wrong_arguments_results_and_shapes_are_noticed_inside_and_only_results_in_a_test(inside):
    calls, half, beside = inside
    x, longer = torch.zeros(3, 2), torch.zeros(4, 2)
    assert calls(half, 4) == half(4.0) == 2
    assert calls(beside, x, x).shape == (3, 1)
    for wrong in ((half, 4.0), (half, 3), (beside, x, longer), (beside, x, x[0])):
        with pytest.raises(WrongType):
            calls(*wrong)
    with pytest.raises(WrongType):
        half(3)


def test_every_function_of_every_module_is_checked():
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        if name in ("motet.__main__", "motet.systems.compiled"):
            continue
        for function in vars(importlib.import_module(name)).values():
            if inspect.isfunction(function) and function.__module__ == name and function.__name__ != "<lambda>":
                assert hasattr(function, "__wrapped__"), function
