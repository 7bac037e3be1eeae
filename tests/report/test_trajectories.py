"""The picture of a simulation shows its positions, its systems and its graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from motet.data.recording import Recording
from motet.report.style import save_figure
from motet.report.trajectories import draw_simulation
from motet.systems import simulate


def first(name: str, **options: Any) -> Recording:
    return simulate(name, n_trials=4, n_bins=12, seed=1, **options)[0]


def lines(axes: Any) -> list[LineCollection]:
    return [collection for collection in axes.collections if isinstance(collection, LineCollection)]


def test_every_body_leaves_the_path_that_it_took() -> None:
    recording = first("gravity", groups=("2x3",))
    figure = draw_simulation(recording)
    assert [axes.get_title("left") for axes in figure.axes] == ["trial 0", "trial 1", "trial 2"]
    for trial, axes in enumerate(figure.axes):
        *paths, _ = lines(axes)
        assert len(paths) == 6
        for path, values in zip(paths, recording.values[trial], strict=True):
            np.testing.assert_allclose([s[0] for s in path.get_segments()], values[:-1])
            opacity = np.asarray(path.get_colors())[:, 3]
            assert (np.diff(opacity) > 0).all()


def test_bodies_of_a_system_have_one_colour_and_are_joined() -> None:
    *paths, joined = lines(draw_simulation(first("gravity", groups=("2x3",))).axes[0])
    colours = [tuple(np.asarray(path.get_colors())[0, :3]) for path in paths]
    assert len(set(colours)) == 2
    assert len(set(colours[:3])) == len(set(colours[3:])) == 1
    assert len(joined.get_segments()) == 6


def test_charges_are_told_by_colour() -> None:
    recording = first("charged")
    figure = draw_simulation(recording)
    colours = [tuple(np.asarray(path.get_colors())[0, :3]) for path in lines(figure.axes[0])]
    charges = recording.target("charge")[0]
    assert len({(colour, charge) for colour, charge in zip(colours, charges, strict=True)}) == len(set(charges))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["charge −", "charge +"]


@pytest.mark.parametrize("name", ["springs", "kuramoto"])
def test_the_true_graph_is_beneath(name: str) -> None:
    recording = first(name)
    figure = draw_simulation(recording)
    assert len(figure.axes) == 6
    for trial, axes in enumerate(figure.axes[3:]):
        edges = lines(axes)[0].get_segments()
        assert len(edges) == np.triu(recording.target("interacts")[trial] == 1, k=1).sum()


def test_oscillators_are_drawn_by_their_rates() -> None:
    recording = first("kuramoto")
    axes = draw_simulation(recording).axes[1]
    drawn = [line.get_ydata() for line in axes.lines if len(np.asarray(line.get_xdata())) == 12]
    np.testing.assert_allclose(drawn, recording.values[1, ..., 2])


def test_panels_share_their_scale() -> None:
    figure = draw_simulation(first("gravity"))
    widths = [np.ptp(limits) for axes in figure.axes for limits in (axes.get_xlim(), axes.get_ylim())]
    np.testing.assert_allclose(widths, widths[0])


def test_what_was_not_observed_is_not_drawn() -> None:
    recording = first("gravity")
    observed = recording.observed.copy()
    observed[0, 0, :6] = False
    observed[0, 1] = False
    values = np.where(observed[..., None], recording.values, 0).astype(np.float32)
    gap = Recording(
        values, observed, recording.individual_ids, recording.targets, target_levels=recording.target_levels
    )
    axes = draw_simulation(gap).axes[0]
    first_path, absent = lines(axes)[:2]
    np.testing.assert_allclose([s[0] for s in first_path.get_segments()], recording.values[0, 0, 6:-1])
    assert not absent.get_segments()
    assert sum(len(collection.get_offsets()) for collection in axes.collections if collection not in lines(axes)) == 6


@pytest.mark.parametrize("n_bins", [1, 2])
@pytest.mark.parametrize("name", ["gravity", "kuramoto"])
def test_one_bin_is_enough(name: str, n_bins: int) -> None:
    assert draw_simulation(simulate(name, n_trials=1, n_bins=n_bins)[0]).axes


def test_the_same_recording_gives_the_same_bytes(tmp_path: Path) -> None:
    recording = first("springs")
    once, again = (save_figure(draw_simulation(recording), tmp_path, name) for name in ("once", "again"))
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]
