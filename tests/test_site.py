"""The site holds what it should, as far as can be told without building it, which `make docs` does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import motet

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOKS = sorted(page for page in DOCS.glob("**/*.md") if "file_format: mystnb" in page.read_text())
LISTED_BY_NEIGHBOURS = ("results", "decisions")  # docs/conf.py lists what is in these folders


def toctrees() -> set[str]:
    text = "\n".join(page.read_text() for page in DOCS.glob("**/*.md"))
    return {entry for tree in re.findall(r"```\{toctree\}\n(.*?)```", text, re.DOTALL) for entry in tree.split()}


def test_every_page_is_in_a_toctree():
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.glob("**/*.md")}
    alone = {page for page in pages if page.partition("/")[0] not in LISTED_BY_NEIGHBOURS or page.endswith("README")}
    assert alone - {"index"} <= toctrees()


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.stem)
def test_the_cells_of_a_guide_are_python(page):
    cells = re.findall(r"```\{code-cell\} python\n(.*?)```", page.read_text(), re.DOTALL)
    assert cells
    for cell in cells:
        ast.parse(re.sub(r"^:\w+:.*\n|^!.*$", "", cell, flags=re.MULTILINE))


@pytest.mark.parametrize(
    "begins",
    [
        "motet.Recording.from_spikes(spike_times, ",
        "motet.Recording.from_spikes(spikes, trials)",  # of pynapple
        "motet.Recording.from_continuous(",
        "motet.Recording.from_signals(calcium, ",
        'motet.read_recording("session.nwb")',
        "motet.read_recording(frame, ",
    ],
)
def test_from_what_a_user_has_to_a_score_are_three_lines(begins):
    text = (DOCS / "guides" / "decode.md").read_text() + (DOCS.parent / "README.md").read_text()
    blocks = [block.strip().splitlines() for block in re.split(r"\n\n|^```.*$", text, flags=re.MULTILINE)]
    assert any(len(block) == 3 and begins in block[0] and ".score(test)" in block[2] for block in blocks)


def test_every_public_name_has_its_place_in_the_reference():
    named = re.findall(r"^\.\. auto\w+:: motet\.(\w+)$", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(motet.__all__)


def test_every_public_name_and_whatever_is_a_part_of_its_settings_has_an_example():
    public = {name: getattr(motet, name) for name in motet.__all__}
    assert [name for name, one in public.items() if ">>>" not in (one.__doc__ or "")] == []
    parts = {part for one in public.values() for part in getattr(one, "_part_settings", dict)().values()}
    assert parts <= set(public.values())


def test_a_figure_shows_itself_in_a_notebook():
    (animal,) = motet.simulate("population", n_subjects=1, n_trials=16, n_neurons=4)
    assert animal.plot.psths("direction")._repr_png_().startswith(b"\x89PNG")
