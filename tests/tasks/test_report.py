"""The report of a run, seen by a browser where there is one, and the table of its scores."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from browser import browser

from motet.data.readers import write_recording
from motet.errors import InputError
from motet.models.eit import EITSettings
from motet.report.scores import score_comparison
from motet.tasks.align import Align, AlignSettings, align
from motet.tasks.decode import Decode, DecodeSettings, decode
from motet.tasks.report import ReportSettings, report
from motet.training.run import Run
from motet.training.settings import TrainingSettings

EVIL = "<script>window.ran=1</script>"
QUICK = {
    "folds": 2,
    "control": False,
    "model": EITSettings(width=8, n_heads=1),
    "training": TrainingSettings(max_steps=2),
    "rule": "none",
    "members": 1,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, small_recording):
    """Runs of a recording whose names would like to be more: a class, a quantity, and an alignment."""
    pytest.importorskip("plotly")
    folder = tmp_path_factory.mktemp("runs")
    ids = tuple(f'{EVIL}"{k}' for k in range(small_recording.n_individuals))
    side = np.array([EVIL, "<b>left"])[small_recording.targets["direction"] % 2]
    targets = {"side": side, "velocity": small_recording.targets["velocity"]}
    named = dataclasses.replace(
        small_recording,
        name=EVIL,
        individual_ids=ids,
        targets=targets,
        target_levels={"side": "trial", "velocity": "bin"},
    )
    file = str(write_recording(named, folder / "evil.npz"))
    with pytest.MonkeyPatch.context() as patch:  # one figure will do, and they are what takes time
        patch.setattr(Decode, "figures", _one_figure)
        patch.setattr(Align, "figures", _one_figure)
        _make(folder, file)
    return folder


def _one_figure(*_):
    yield "scores", score_comparison({EVIL: [0.5]}, "accuracy")


def _make(folder, file):
    decode(DecodeSettings((file,), "side", str(folder / "class"), rivals=("majority", "lda"), **QUICK))
    decode(DecodeSettings((file,), "velocity", str(folder / "quantity"), rivals=("mean", "ridge"), **QUICK))
    align(AlignSettings((file,), output=str(folder / "align"), halves=1))


def written(*runs, **settings):
    """The page, and its tabs."""
    (file,) = report(ReportSettings(tuple(map(str, runs)), **settings)).files
    whole = file.read_text("utf-8")
    return file, whole, re.findall(r'role="tab" [^>]*>([^<]*)<', whole)


def test_a_report_shows_what_a_run_has_and_no_tab_for_what_it_has_not(folder):
    shared = ["Responses", "Individuals", "Learning", "Figures", "Settings"]
    assert written(folder / "class")[2] == ["Scores", "Confusion", "Decoded", *shared]
    assert written(folder / "quantity")[2] == ["Scores", "Decoded", *shared]
    assert written(folder / "align")[2] == ["Scores", "Responses", "Individuals", "Matches", "Figures", "Settings"]


def test_a_report_runs_in_a_browser_without_an_error_a_request_or_a_name_that_acts(folder, tmp_path):
    files = [written(folder / "align")[0], written(folder / "class", folder / "quantity")[0]]
    with browser(tmp_path / "state") as page:
        for file, dark in zip(files, (True, False), strict=True):
            page.open(file, dark=dark)
            assert page.seconds < 2
            assert file.stat().st_size < 8e6
            n_tabs = page.value("document.querySelectorAll('[role=tab]').length")
            page.value("document.querySelector('[role=tab]').focus()")
            for number in range(1, n_tabs + 1):  # the arrow goes around, and every tab is drawn
                page.press("ArrowRight")
                at = number % n_tabs
                assert page.value("document.activeElement.id") == f"tab-{at}"
                assert page.value("document.querySelectorAll('[role=tab][tabindex=\"0\"]').length") == 1
                page.wait(f"[...document.querySelectorAll('#panel-{at} .plot')].every((one) => one.dataset.drawn)")
                assert page.value(f"document.querySelectorAll('#panel-{at} .plot .main-svg').length > 0 || !document"
                                  f".querySelector('#panel-{at} .plot')")  # fmt: skip
                assert page.value("document.querySelectorAll('.panel:not([hidden])').length") == 1
            page.press("End")
            assert page.value("document.activeElement.id") == f"tab-{n_tabs - 1}"
            before = page.value("getComputedStyle(document.body).backgroundColor")
            page.value("document.getElementById('theme').click()")
            assert page.value("getComputedStyle(document.body).backgroundColor") != before
            assert page.value("window.ran") is None
        page.open(files[1], width=390, height=844)
        assert page.value("document.documentElement.scrollWidth") <= 390
        page.value(
            "[...document.querySelectorAll('[role=tab]')].find((one) => one.textContent === 'Responses').click()"
        )
        page.value("(() => { const list = document.querySelector('.panel:not([hidden]) select'); list.value = '1'; "
                   "list.dispatchEvent(new Event('change')); })()")  # fmt: skip
        assert page.said == []


def test_what_needs_recordings_that_are_gone_or_others_is_left_out_and_said(folder, tmp_path):
    run = shutil.copytree(folder / "class", tmp_path / "run")
    inputs = json.loads((run / "inputs.json").read_text())
    (run / "inputs.json").write_text(json.dumps({**inputs, "recordings": ["another"]}))
    _, whole, tabs = written(run)
    assert tabs == ["Scores", "Learning", "Figures", "Settings"]
    assert "they are not those that it was made of" in whole
    settings = (run / "settings.yaml").read_text().replace("evil.npz", "gone.npz")
    (run / "settings.yaml").write_text(settings)
    assert written(run)[2] == tabs
    with pytest.raises(InputError, match="holds no finished run"):
        written(tmp_path)
    with pytest.raises(InputError, match="3 runs were given"):
        written(run, run, run)


def test_importance_is_computed_when_it_is_asked_for_and_kept(folder, tmp_path):
    run = shutil.copytree(folder / "class", tmp_path / "run")
    assert "Importance" in written(run, importance=True)[2]
    before = (run / "importance" / "results.json").stat().st_mtime_ns
    assert "Importance" in written(run, importance=True)[2]
    assert (run / "importance" / "results.json").stat().st_mtime_ns == before


def test_the_command_in_a_report_is_the_one_that_made_it(folder):
    _, whole, _ = written(folder / "class")
    (command,) = re.findall(r"<pre [^>]*>(motet decode [^<]*)</pre>", whole)
    assert command.endswith(
        "--target side --folds 2 --rivals &#x27;[&quot;majority&quot;, &quot;lda&quot;]&#x27; --control false "
        "--model.width 8 --training.max_steps 2 --rule none --members 1"
    )


def test_the_table_of_a_run_has_a_row_for_every_method_and_score(folder):
    run = Run(folder / "class")
    (section,) = run.read_results()["sections"].values()
    table = run.table()
    assert len(table) == sum(len(method["scores"]) for method in section["methods"].values())
    lda = table[(table.method == "lda") & table.is_main].iloc[0]
    assert lda.value == section["methods"]["lda"]["scores"]["accuracy"]["value"]
    eit = table[(table.method == "eit") & table.is_main].iloc[0]
    assert eit.p_holm == section["methods"]["eit"]["p_holm"]
    assert (eit.difference_low, eit.difference_high) == tuple(section["methods"]["eit"]["difference_interval"])
    with pytest.raises(InputError, match="holds no scores of methods"):
        run.part("folds/00/eit").table()
