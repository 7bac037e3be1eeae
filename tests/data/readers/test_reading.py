"""Whatever is given as a file, and whatever is raised below a reader, is one refusal that names the file."""

from __future__ import annotations

import itertools
import os
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from motet.data.readers import read_recording
from motet.data.readers.reach import read_reach_mat, read_reach_pickle
from motet.data.readers.reading import file_reader
from motet.data.readers.sleep import read_sleep
from motet.errors import InputError

READERS = [read_recording, read_reach_mat, read_reach_pickle]
unix_only = pytest.mark.skipif(sys.platform == "win32", reason="pipes and sockets with a path are of Unix")


@unix_only
@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "socket", "circle", "device", "folder", "absent", "long"])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path, kind: str, reader: object) -> None:
    path = tmp_path / "given.npz"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "link to a pipe":
            os.mkfifo(tmp_path / "pipe")
            path.symlink_to(tmp_path / "pipe")
        case "socket":
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(path))
        case "circle":
            path.symlink_to(path)
        case "device":
            path = Path("/dev/zero")
        case "folder":
            path.mkdir()
        case "long":
            path = tmp_path / ("given" * 100)
    with pytest.raises(InputError, match="no such file" if kind == "absent" else f"give the path of|{path.name}"):
        reader(path)  # type: ignore[operator]


def test_the_second_of_two_files_is_looked_at_too(tmp_path: Path) -> None:
    np.save(tmp_path / "counts.npy", np.ones((2, 3)))
    with pytest.raises(InputError, match=r"states\.npy cannot be read \(no such file"):
        read_sleep(tmp_path / "counts.npy", tmp_path / "states.npy")


@pytest.mark.parametrize("path", ["a\0b.npz", "", None, 7])
def test_what_is_no_path_is_refused(path: object) -> None:
    with pytest.raises(InputError, match="give the path"):
        read_recording(path)  # type: ignore[arg-type]


NOISE = [b"", b"\0" * 64, b"\xff\xfe" * 40, b"PK\x03\x04", b"\x80\x04", b"CDF\x01"]
ENDINGS = [".npz", ".npy", ".pkl", ".mat", ".csv", ".csv.gz", ".tsv", ".nc", ".txt", ""]


@pytest.mark.parametrize(
    ("ending", "content"), [*itertools.product(ENDINGS, NOISE), (".mat", b"MATLAB"), (".npz", b"MATLAB 5.0")]
)
def test_a_file_of_nothing_or_of_noise_is_refused_by_name(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"noise{ending}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="noise"):
        read_recording(path)


@unix_only
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret.npz"
    np.savez(path, values=np.ones((1, 2, 3)))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root may read everything")
    with pytest.raises(InputError, match=r"secret\.npz cannot be read \(Permission denied\)"):
        read_recording(path)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "needs more memory than there is"),
        (RecursionError("too deep"), "RecursionError: too deep"),
        (OverflowError("large"), "OverflowError: large"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "UnicodeDecodeError"),
        (AttributeError("first line\nsecond line"), r"AttributeError: first line\)"),
        (KeyError("\x1b[31mred"), r"KeyError"),
        (RuntimeError("\x1b[31mred\u202e"), "RuntimeError: �\\[31mred�"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (InputError("its values are odd."), "values are odd"),
        (InputError("its name is \x1b]0;red\n."), "its name is �\\]0;red�"),
    ],
)
def test_anything_below_a_reader_is_one_refusal_of_one_line(tmp_path: Path, error: Exception, said: str) -> None:
    @file_reader
    def read(path: Path) -> None:
        raise error

    (tmp_path / "a.npy").touch()
    with pytest.raises(InputError, match=rf"a\.npy .*{said}") as caught:
        read(path=tmp_path / "a.npy")
    assert str(caught.value).isprintable()


def test_an_interrupt_passes_through_a_reader(tmp_path: Path) -> None:
    @file_reader
    def read(path: Path) -> None:
        raise KeyboardInterrupt

    (tmp_path / "a.npy").touch()
    with pytest.raises(KeyboardInterrupt):
        read(tmp_path / "a.npy")


def test_a_message_is_short_however_long_a_name_in_a_file_is(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", values=np.ones((1, 2, 3)), target_x=np.ones(1), **{"n" * 60_000: np.ones(1)})
    with pytest.raises(InputError, match="unknown array 'nnn") as caught:
        read_recording(tmp_path / "a.npz")
    assert len(str(caught.value)) < 2100
    np.savez(tmp_path / "b.npz", **{"n" * 60_000: np.ones(1)})
    with pytest.raises(InputError, match="holds nnn") as caught:
        read_recording(tmp_path / "b.npz")
    assert len(str(caught.value)) < 2100
