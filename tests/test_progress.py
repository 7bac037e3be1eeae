from __future__ import annotations

import pytest

from motet import progress
from motet.progress import progress_bar, within_step


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_progress_is_plain_lines_now_and_then(clock, capsys):
    with progress_bar("count", 4) as advance:
        advance(1, "one")
        assert capsys.readouterr().err == ""  # over before anybody asks
        clock[0] += 61
        advance(1, "two")
        advance(0.5, "and a half")
        clock[0] += progress.LINE_SECONDS
        advance(1.5, "four")
    assert capsys.readouterr().err == "count: 50 % after 0:01:01, 0:01:01 left, two\ncount: 100 % after 0:01:31, four\n"


@pytest.mark.parametrize("parts", [[], [0.25, 0.25], [0.7, 0.7, 0.7]])
def test_a_step_of_a_bar_is_one_step_whatever_its_parts(parts):
    went = []
    with within_step(lambda steps, news: went.append(steps)) as advance:
        for part in parts:
            advance(part, "")
        assert sum(went) == pytest.approx(min(1, sum(parts)))
    assert sum(went) == pytest.approx(1)
