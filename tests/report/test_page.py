from __future__ import annotations

import base64
import json
import re
from importlib import resources

import numpy as np
import pytest

from motet.errors import InputError
from motet.report import interactive, page
from motet.report.page import Plot, Tab, Table, Words, in_plot, packed, tag

EVIL = "<script>window.ran = 1</script>"
LINK = '"><img src=x onerror="window.ran = 2">'
rng = np.random.default_rng(0)
SCORES = [
    {"method": EVIL, "kind": "model", "value": 0.9, "low": 0.8, "high": 0.95, "best_rival": "lda", "p_holm": 0.1}
    | {"difference": 0.1, "difference_low": -0.1, "difference_high": 0.3},
    {"method": "lda", "kind": "rival", "value": 0.8, "low": np.nan, "high": np.nan, "best_rival": "lda"}
    | dict.fromkeys(("difference", "difference_low", "difference_high", "p_holm"), np.nan),
]
CLASSES = [EVIL, "left", "right"]
COURSES = rng.normal(size=(3, 4, 5))  # class, individual, time
IDS = [EVIL, LINK, "<b>c</b>", "d"]


def all_plots():
    """One of every kind, of names that would like to be more."""
    seconds, truth = np.arange(5) / 10, rng.integers(3, size=20)
    p = rng.dirichlet(np.ones(3), size=(20, 5))
    names = np.array([EVIL, EVIL, "b", "b"])
    measures = {"permutation": (np.ones(4), np.zeros(4))}
    return [
        interactive.scores(SCORES, "accuracy", {EVIL: [0.8, 0.9]}),
        interactive.differences(SCORES, "accuracy"),
        interactive.confusion(np.array(CLASSES)[truth], np.array(CLASSES)[truth[::-1]], CLASSES),
        interactive.reliability(p[:, 0].max(axis=1), truth == 0),
        interactive.probabilities(p[:, 0], truth, CLASSES),
        interactive.courses_decoded(
            COURSES.swapaxes(1, 2), COURSES.swapaxes(1, 2), IDS[:3], seconds, IDS, np.full(4, 0.1)
        ),
        interactive.scatter_decoded(COURSES[:, :, 0], COURSES[:, :, 1], IDS),
        interactive.class_courses(p[:2], np.zeros((2, 5), dtype=int), IDS[:2], seconds, CLASSES),
        interactive.responses(COURSES, np.full(COURSES.shape, np.nan), seconds, IDS, CLASSES, LINK, "Hz"),
        interactive.plane(
            rng.normal(size=(4, 2)), np.array([0.5, 0.2]), IDS, names, recordings=names, about={LINK: IDS},
            group_name=LINK, title=EVIL, pairs=[(0, 2)],
        ),
        interactive.matches(
            [(COURSES[:, 0], COURSES[:, 1])], [EVIL], seconds, CLASSES, (EVIL, LINK), target="t", unit="Hz"
        ),
        *interactive.importance(measures, rng.normal(size=(4, 5)), IDS, seconds, "R²"),
        interactive.curves({EVIL: ([1, 2], [0.1, np.nan])}, title=LINK, x_name="epoch", y_name="loss"),
    ]  # fmt: skip


def test_a_name_is_text_wherever_it_stands_in_the_page():
    pytest.importorskip("plotly")
    table = Table(["name", LINK], [[EVIL, LINK]], EVIL)
    whole = page.page(
        EVIL, [LINK], [Tab(EVIL, [[*all_plots(), table, Words(EVIL), Words(LINK, is_code=True)]])], [EVIL]
    )
    assert EVIL not in whole
    assert LINK not in whole
    assert not re.search("<(script>window|img|b>)", whole)
    (figures,) = re.findall(r'<script type="application/json" id="figures">(.*?)</script>', whole, re.DOTALL)
    assert "<" not in figures
    assert "window.ran" in figures  # as text, with its marks escaped: plotly.js reads some
    assert "<script" not in str(json.loads(figures)[0]["layout"])


def test_text_that_plotly_reads_has_no_marks():
    for plot in all_plots():
        inside = json.dumps([plot.traces, plot.layout, list(plot.choices.values())], default=lambda one: one.tolist())
        assert not re.search(r"<(?!br>|extra>|/extra>)", inside), plot.title
    assert in_plot("<b>\x07") == "&lt;b&gt;\\x07"


def test_plotly_knows_every_part_of_every_figure():
    graph = pytest.importorskip("plotly.graph_objects")

    def painted(value):
        if isinstance(value, dict):
            return {key: painted(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [painted(one) for one in value]
        return "#123456" if isinstance(value, str) and re.match(r"var\(|ramp\(", value) else value

    for plot in all_plots():
        assert plot.says
        graph.Figure(painted(list(plot.traces)), painted(dict(plot.layout)))
        for traces in plot.choices.values():
            assert len(traces) == len(plot.traces)
            graph.Figure([{**painted(a), **painted(b)} for a, b in zip(plot.traces, traces, strict=True)])


@pytest.mark.parametrize("array", [np.arange(3), np.array([300, -4]), np.array([[0.5, np.nan], [2.0, -1.0]])])
def test_packed_numbers_are_what_they_were(array):
    found = packed(array)
    values = np.frombuffer(base64.b64decode(found["bdata"]), dtype=f"<{found['dtype']}")
    np.testing.assert_array_equal(values.reshape(array.shape), array)
    assert found.get("shape", "") == ("2, 2" if array.ndim == 2 else "")


def test_attributes_are_escaped_and_absent_ones_left_out():
    assert tag("p", "a", title='"', hidden=False, id=None) == '<p title="&quot;">a</p>'


def luminance(colour):
    parts = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_and_lines_stand_out_in_light_and_in_dark():
    style = resources.files("motet.report").joinpath("page.css").read_text("utf-8")
    themes = [
        dict(re.findall(r"(--\w+): (#\w{6})", block)) for block in re.findall(r"\{([^{}]*--paper:[^{}]*)\}", style)
    ]
    light, dark, dark_by_default = themes
    assert dark == dark_by_default
    for theme in (light, dark):
        for ground in ("--paper", "--card"):
            assert min(contrast(theme[ink], theme[ground]) for ink in ("--ink", "--faint", "--accent")) >= 4.5
            lines = ("--grey", "--best", *(f"--k{n}" for n in range(8)), *(f"--r{n}" for n in range(5)))
            assert min(contrast(theme[line], theme[ground]) for line in lines) >= 3


def test_the_script_of_a_page_begins_with_what_is_drawn_alone_and_is_whole_if_built_otherwise():
    pytest.importorskip("plotly")
    begins = re.findall(r"\.register\(\[([^\]]*)\]\);[^;]*;return [^;]*;\}\)\(\)", page._plotly_script())
    assert [len(one.split(",")) for one in begins] == [len(page.KINDS)]
    assert {trace["type"] for plot in all_plots() for trace in plot.traces} <= {"scatter", *page.KINDS}
    built = 'var B=W((e,t)=>{t.exports={moduleType:"trace",name:"KIND"}});var b=W((e,t)=>{t.exports=B()});'
    (bar, heatmap), maps = (built.replace("KIND", kind) for kind in page.KINDS), "var m=W((e,t)=>{});"
    heatmap = heatmap.replace("B", "H").replace("b=", "h=")
    assert page._with_kinds_alone(f"{bar}{heatmap}{maps}P.register([b(),h(),m()])") == (
        f"{bar}{heatmap}{maps}P.register([b(),h()])"
    )
    for other in (f"{bar}{maps}P.register([b(),m()])", f"{bar}{heatmap}P.register([m()])", "P.register(all)", ""):
        assert page._with_kinds_alone(other) == other


def test_a_page_without_plotly_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    page._plotly_script.cache_clear()
    with pytest.raises(InputError, match=r"pip install 'motet\[report\]'"):
        page.page("a", [], [Tab("b", [[Plot("c", "d", [], {})]])], ["e"])
    page._plotly_script.cache_clear()
