"""Names are only names, wherever they go."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.cli import main
from motet.data.readers import write_recording
from motet.data.recording import Recording
from motet.names import csv_text, in_markdown, in_path, shortened, visible

ODD = [
    "$x_$",
    r"a $\frac$ b",
    "=cmd|x",
    "\x1b[31mred",
    "two\nlines",
    "../../up",
    "|a|b|",
    "*b* _i_ <script>",
    "x" * 300,
    "ü 猫",
]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_name_in_a_path_is_one_plain_part_of_it(name):
    part = in_path(name)
    assert re.fullmatch(r"[A-Za-z0-9.-]{1,90}", part) or not name.strip("/_-."), part
    assert ".." not in part
    assert Path(part).name == part


def test_names_that_differ_are_different_paths():
    names = ["a b", "a_b", "a?b", "a*b", "x" * 200, "x" * 201, "é", "è"]
    assert len({in_path(name) for name in names}) == len(names)


@given(st.text())
def test_what_is_visible_prints(name):
    assert visible(name).isprintable()
    assert len(shortened(name, 20)) <= 20


@pytest.mark.parametrize("name", ODD)
def test_a_name_stays_in_its_cell(name):
    cell = in_markdown(name)
    assert "\n" not in cell
    assert not re.search(r"(?<!\\)[|*_<`$]", cell.replace("\\\\", ""))


@pytest.mark.parametrize("formula", ["=1+1", "+cmd", "-x", "@sum", "\t=1", "'=1"])
def test_no_cell_of_text_is_a_formula(formula):
    (cell,) = next(csv.reader(io.StringIO(csv_text([formula], []))))
    assert cell == f"'{formula}"


@pytest.mark.parametrize("cell", ["-3.0", "+1e5", "a=b", "", -0.5, 7])
def test_numbers_and_other_text_are_left_alone(cell):
    assert next(csv.reader(io.StringIO(csv_text([cell, "x"], [])))) == [str(cell), "x"]


def test_recordings_targets_and_labels_of_any_name_are_decoded_and_drawn(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [name for name in ODD if "\n" not in name]
    labels = np.repeat(names, 2)
    files = []
    for number, name in enumerate(names):
        counts = np.random.default_rng(number).poisson(2, (len(labels), 3, 4))
        ids = [f"{name}/{place}" for place in range(3)]
        recording = Recording.from_trials(counts, targets={"side": labels}, individual_ids=ids, name=name)
        files.append(str(write_recording(recording, tmp_path / f"odd-{number}.npz")))
    quick = ["--folds", "2", "--training.max_steps", "2", "--rivals", "false", "--control", "false"]
    quick += ["--rule", "none", "--members", "1", "--model.width", "8"]
    assert main(["decode", *files, "--target", "side", "--output", "run", *quick]) == 0
    assert main(["predict", "run", files[0], "--output", "-"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {*(Path(file).name for file in files), "run"}
    assert (tmp_path / "run" / "figures" / "confusion_matrix.png").stat().st_size > 2000
