"""A file that crashes, hangs or devours memory where it is read is one refusal, and soon."""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.io import savemat

from motet.data.readers import isolated, read_recording
from motet.data.readers.isolated import in_subprocess
from motet.data.readers.reach import arrays_of_mat
from motet.errors import InputError

# What a library of C may do to the process that reads a file with it.
READERS = """
import ctypes, os, pathlib, sys, time
import numpy as np
from motet.errors import InputError

def whole(path):
    return {"a": np.arange(6).reshape(2, 3), "b": np.array(["x", "yy"])}

def reads_nowhere(path):
    ctypes.string_at(0)

def ends(path):
    os._exit(0)

def aborts(path):
    os.abort()

def spins(path):
    while True:
        pass

def sleeps(path):
    time.sleep(1000)

def devours(path):
    return {"a": np.ones(1 << 40, np.int8)}

def devours_slowly(path):
    return {"a": b"".join(bytes(1 << 24) for _ in range(1 << 20))}

def recurses(path):
    return recurses(path)

def chatters(path):
    for _ in range(2000):
        print("x" * 1000)
        print("x" * 1000, file=sys.stderr)
    return {"a": np.ones(1)}

def gives_objects(path):
    return {"a": np.array([{}], dtype=object)}

def gives_nothing_at_all(path):
    return {}

def refuses(path):
    raise InputError(f"{path} is blue; paint it.")

def fails(path):
    raise KeyError("colour")

def sees(path):
    import resource
    return {"core": np.array(resource.getrlimit(resource.RLIMIT_CORE)[0]), "path": np.array(sys.path)}
"""


@pytest.fixture
def readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Readers in a module that only this process's path leads to."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "readers_that_fail.py").write_text(READERS)
    monkeypatch.syspath_prepend(tmp_path / "path")
    monkeypatch.delitem(sys.modules, "readers_that_fail", raising=False)
    return importlib.import_module("readers_that_fail")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file.mat").write_bytes(b"MATLAB")
    return tmp_path / "file.mat"


def test_what_is_read_comes_back_as_it_was(readers: ModuleType, path: Path) -> None:
    found = in_subprocess(readers.whole, path)
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["b"].tolist() == ["x", "yy"]
    assert in_subprocess(readers.chatters, path)["a"] == 1


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        ("reads_nowhere", "crashed"),
        ("aborts", "crashed"),
        ("ends", "crashed"),
        ("spins", "takes longer to read than 2 s"),
        ("sleeps", "takes longer to read than 2 s"),
        ("devours", "needs more than .* GiB of memory"),
        ("devours_slowly", "needs more than .* GiB of memory"),
        ("recurses", "RecursionError"),
        ("gives_objects", "array 'a' is of object"),
        ("refuses", r"^/.*file\.mat is blue; paint it\.$"),
        ("fails", "KeyError: 'colour'"),
    ],
)
def test_whatever_happens_to_the_process_is_one_refusal(
    readers: ModuleType, path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, said: str
) -> None:
    if "devours" in reader and sys.platform != "linux":
        pytest.skip("memory is limited on Linux only")
    monkeypatch.setattr(isolated, "ALLOWED_SECONDS", 2.0 if reader in ("spins", "sleeps") else 60.0)
    started = time.monotonic()
    with pytest.raises(InputError, match=said) as caught:
        in_subprocess(getattr(readers, reader), path)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 60


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")
def test_the_process_leaves_no_core_and_imports_nothing_from_where_it_stands(
    readers: ModuleType, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit(5)")
    monkeypatch.chdir(tmp_path)
    found = in_subprocess(readers.sees, path)
    assert found["core"] == 0
    assert str(tmp_path) not in found["path"].tolist()


def test_nothing_is_left_of_what_was_read(
    readers: ModuleType, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(isolated.tempfile, "tempdir", str(tmp_path / "temporary"))
    in_subprocess(readers.whole, path)
    with pytest.raises(InputError):
        in_subprocess(readers.aborts, path)
    assert not list((tmp_path / "temporary").iterdir())


def raw_reach() -> dict[str, object]:
    units = np.zeros(3, dtype=[("ts", object)])
    units["ts"] = [np.arange(0, 12, 0.1), np.array([]), np.array([3.0])]
    table = np.full((4, 13), 1.0)
    table[:, 12] = 2.0
    return {"trial_table": table, "out_struct": {"units": units, "vel": np.ones((5, 3)).cumsum(0)}}


# Single bytes of a file of 304 that scipy 1.17 follows to nowhere (all but one) or for ever (211).
ODD_BYTES = [(144, 9), (192, 5), (211, 12), (288, 14), (289, 5), (289, 255)]


@pytest.mark.parametrize(("place", "byte"), ODD_BYTES)
def test_files_that_crash_the_library_or_hang_in_it_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int, byte: int
) -> None:
    monkeypatch.setattr(isolated, "ALLOWED_SECONDS", 3.0)
    savemat(tmp_path / "odd.mat", {"x": np.array([{"a": 1.0}], dtype=object)})
    content = bytearray((tmp_path / "odd.mat").read_bytes())
    content[place] = byte
    (tmp_path / "odd.mat").write_bytes(content)
    with pytest.raises(InputError, match=r"odd\.mat (crashed|takes longer|needs more|cannot be read)"):
        read_recording(tmp_path / "odd.mat")


def test_reading_in_a_process_of_its_own_takes_little_time(tmp_path: Path) -> None:
    savemat(tmp_path / "raw.mat", raw_reach())
    before = os.times()
    in_subprocess(arrays_of_mat, tmp_path / "raw.mat")
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 1.0  # 0.35 s where it was measured, most of it for the import of scipy.io
