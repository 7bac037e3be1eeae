"""The faults that are planted can be planted, and the runner notices what is not caught."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import plant
from faults import FAULTS, Fault


def test_the_text_of_every_fault_stands_in_the_code_and_its_tests_exist():
    assert {fault.name: why for fault in FAULTS if (why := plant.misfit(fault)) is not None} == {}
    assert all(fault.stands != fault.planted for fault in FAULTS)


def test_there_are_enough_faults_and_each_has_a_name():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 40


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Fault("x", "src/motet/errors.py", "no such text", "", ("tests/test_names.py::test_no_cell_of_text_is_a_formula",)), "0 times"),
        (Fault("x", "src/motet/errors.py", "import", "", ("tests/test_names.py::test_no_cell_of_text_is_a_formula",)), "times"),
        (Fault("x", "src/motet/errors.py", "class InputError", "", ("tests/test_names.py::test_nothing",)), "no test"),
    ],
)  # fmt: skip
def test_a_fault_that_cannot_be_planted_is_an_error(fault, why):
    assert why in plant.misfit(fault)
    assert plant.verdict(fault) == plant.misfit(fault)


@pytest.mark.slow
def test_a_fault_that_no_test_notices_is_an_error_and_so_is_one_that_breaks_everything():
    tests = ("tests/test_names.py::test_no_cell_of_text_is_a_formula",)
    harmless = Fault("harmless", "src/motet/names.py", "MOST_IN_PATH = 80", "MOST_IN_PATH = 81", tests)
    broken = Fault("broken", "src/motet/names.py", "import csv\n", "import nothing_of_that_name\n", tests)
    assert "no test notices" in plant.verdict(harmless)
    assert "do not run" in plant.verdict(broken)


@pytest.mark.slow
def test_every_planted_fault_is_caught(capsys):
    assert plant.main([]) == 0, capsys.readouterr().out
