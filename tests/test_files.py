from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest

from motet.data.readers import read_recording, write_recording
from motet.data.recording import Recording
from motet.errors import InputError
from motet.files import atomic_path, locked_folder, write_text


def names(folder):
    return {path.name for path in folder.iterdir()}


# ------------------------------------------------------------------ one file


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("new")
            raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="No space left"):
        fail()
    assert names(tmp_path) == {"a.txt"}
    assert path.read_text() == "old"


@pytest.mark.parametrize("where", ["beside", "elsewhere", "through two", "not there yet"])
def test_links_are_followed(tmp_path, where):
    (tmp_path / "other").mkdir()
    real = tmp_path / ("other/real" if where != "beside" else "real")
    if where != "not there yet":
        real.write_text("old")
    link = tmp_path / "link.npz"
    (tmp_path / "middle").symlink_to(real)
    link.symlink_to(tmp_path / "middle" if where == "through two" else real)
    write_recording(Recording.from_trials(np.ones((2, 3, 4))), link)
    assert link.is_symlink()
    assert not real.is_symlink()
    assert read_recording(link).n_trials == 2
    assert names(tmp_path / "other") <= {"real"}


def test_a_link_that_leads_round_in_circles_is_refused(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(InputError, match="choose another name"):
        write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").is_symlink()


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "socket"])
@pytest.mark.parametrize("through_link", [False, True])
def test_what_is_no_regular_file_is_never_replaced(tmp_path, kind, through_link):
    place = tmp_path / "place"
    if kind == "folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        import socket

        socket.socket(socket.AF_UNIX).bind(str(place))
    else:
        place = place.parent / "null"
        place.symlink_to("/dev/null")
    if through_link:
        (tmp_path / "link").symlink_to(place)
    before = (tmp_path / place.name).lstat().st_ino
    with pytest.raises(InputError, match="is a folder|is no regular file"):
        write_text(tmp_path / "link" if through_link else place, "x")
    assert (tmp_path / place.name).lstat().st_ino == before


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_permissions_are_kept(tmp_path, mode):
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(mode)
    write_text(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_permissions_that_the_user_asks_for(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_what_is_write_protected_is_refused(tmp_path):
    path = tmp_path / "folder" / "a"
    write_text(path, "old")
    path.chmod(0o400)
    with pytest.raises(InputError, match="write-protected"):
        write_text(path, "new")
    path.parent.chmod(0o500)
    with pytest.raises(InputError, match="choose a folder that can be written"):
        write_text(path.with_name("b"), "new")
    path.parent.chmod(0o700)


def killed_while_writing(path):
    """Kill a process in the middle of a write; what it left."""
    script = (
        "import os, signal, sys\nfrom motet.files import atomic_path\nwith atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = path.parent.glob(".*.partial*")
    return left


def test_what_a_killed_write_left_goes_with_the_next_one_and_nothing_else_does(tmp_path):
    left = killed_while_writing(tmp_path / "a.txt")
    others = {".a-backup.txt", ".b-01234567.partial.txt", ".a-01234567.partial.csv", "a-01234567.partial.txt"}
    for name in others:
        (tmp_path / name).write_text("mine")
    write_text(tmp_path / "a.txt", "new")
    assert not left.exists()
    assert names(tmp_path) == {*others, "a.txt"}


def test_what_another_process_is_writing_stays(tmp_path):
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("first")
        write_text(tmp_path / "a.txt", "second")
        with locked_folder(tmp_path):
            assert temporary.exists()
        assert (tmp_path / "a.txt").read_text() == "second"
    assert (tmp_path / "a.txt").read_text() == "first"


def test_many_writers_of_one_file_all_succeed(tmp_path):
    failed = []

    def write(number):
        try:
            for _ in range(50):
                write_text(tmp_path / "a.txt", f"{number}" * 1000)
        except InputError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(set((tmp_path / "a.txt").read_text())) == 1
    assert names(tmp_path) == {"a.txt"}


# ------------------------------------------------------------------ one folder


def test_a_folder_has_one_holder_at_a_time(tmp_path):
    with locked_folder(tmp_path / "run"):
        with (
            pytest.raises(InputError, match="another motet command is working in .*run"),
            locked_folder(tmp_path / "run"),
        ):
            pass
        with locked_folder(tmp_path / "run" / "part"):
            write_text(tmp_path / "run" / "part" / "a", "x")
    with locked_folder(tmp_path / "run"):
        pass
    assert names(tmp_path / "run") == {"part"}
    assert names(tmp_path / "run" / "part") == {"a"}


def test_of_many_that_want_a_folder_at_once_one_at_a_time_gets_it(tmp_path):
    inside, most, got = [], [], []

    def work():
        for _ in range(100):
            try:
                with locked_folder(tmp_path / "a" / "b"):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
                    got.append(1)
            except InputError as error:
                assert "another motet command" in str(error)  # noqa: PT017

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got
    assert max(most) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_folder_that_was_made_and_stayed_empty_goes(tmp_path):
    with locked_folder(tmp_path / "a" / "b"):
        pass
    assert names(tmp_path) == set()


def test_a_killed_holder_holds_nothing(tmp_path):
    folder = tmp_path / "run"
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom motet.files import atomic_path, locked_folder\n"
        "with locked_folder(Path(sys.argv[1])), atomic_path(Path(sys.argv[1]) / 'deep' / 'a') as temporary:\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(folder)], check=False)
    assert names(folder) == {".lock", "deep"}
    assert len(names(folder / "deep")) == 1
    with locked_folder(folder):
        assert names(folder / "deep") == set()
    assert names(folder) == {"deep"}


def test_a_planted_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="cannot write"), locked_folder(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_system_without_locks_is_said_and_written_to(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked_folder(tmp_path / "run"):
        write_text(tmp_path / "run" / "a", "x")
    assert "has no locks" in caplog.text
    assert names(tmp_path / "run") == {"a"}
