"""Array files of strangers: what they claim is checked before memory is taken, and every lie is one refusal."""

from __future__ import annotations

import io
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motet import memory
from motet.data.readers import read_recording
from motet.errors import InputError

MAGIC = b"\x93NUMPY"


def npy(header: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode() + b"\n"
    return MAGIC + bytes(version) + len(text).to_bytes(2 if version == (1, 0) else 4, "little") + text + data


def claim(shape: str, descr: str = "'<f8'", fortran: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def archive(*members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as made:
        warnings.simplefilter("ignore")  # a name given twice
        for name, content in members:
            made.writestr(name, content)
    return file.getvalue()


ONE = npy(claim("(1, 1, 2)"), bytes(16))
IDS = {"values": np.ones((2, 3, 4))}
LIES = {
    "more_than_it_holds.npy": npy(claim("(10, 10, 10)"), bytes(16)),
    "less_than_it_holds.npy": npy(claim("(1, 1, 1)"), bytes(16)),
    "terabytes.npy": npy(claim("(1000, 1000, 1000000)"), bytes(16)),
    "beyond_64_bits.npy": npy(claim("(4294967296, 4294967296, 4294967296)"), bytes(16)),
    "negative.npy": npy(claim("(-1, -1, 2)"), bytes(16)),
    "no_bytes_each.npy": npy(claim("(1000000000000,)", "'<U0'")),
    "words_for_sizes.npy": npy(claim("('a', 1)"), bytes(16)),
    "open_bracket.npy": npy("{'descr': '<f8', 'shape': (1, (2, }", bytes(16)),
    "many_brackets.npy": npy("(" * 3000, bytes(16)),
    "many_minuses.npy": npy("-" * 3000 + "1", bytes(16)),
    "long_header.npy": npy(claim("(1, 1, 2)") + " " * 50_000, bytes(16)),
    "a_call.npy": npy(claim("(print(1), 1)"), bytes(16)),
    "a_list.npy": npy("[1, 2]", bytes(16)),
    "no_text.npy": npy(claim("(1, 1, 2)"), bytes(16)).replace(b"descr", b"\xff\xfe\x00\x01\x02"),
    "huge_text.npy": npy(claim("(1,)", "'<U2147483647'"), bytes(16)),
    "unknown_type.npy": npy(claim("(1, 1, 2)", "'<q9'"), bytes(16)),
    "structured.npy": npy(claim("(2,)", "[('a', '<f8')]"), bytes(16)),
    "nested_type.npy": npy(claim("(1,)", "[('a', '<f8', (2,))]"), bytes(16)),
    "void.npy": npy(claim("(2,)", "'|V8'"), bytes(16)),
    "objects.npy": npy(claim("(2,)", "'|O'"), bytes(16)),
    "version_3.npy": npy(claim("(1, 1, 2)"), bytes(16), version=(3, 0)),
    "version_9.npy": npy(claim("(1, 1, 2)"), bytes(16), version=(9, 9)),
    "nothing_more.npy": MAGIC,
    "no_array.npz": archive(("values.npy", b"hello")),
    "empty_member.npz": archive(("values.npy", b"")),
    "no_member.npz": b"PK\x05\x06" + bytes(18),
    "twice.npz": archive(("values.npy", ONE), ("values.npy", ONE)),
    "twice_by_ending.npz": archive(("values", ONE), ("values.npy", ONE)),
    "in_folder.npz": archive(("../values.npy", ONE)),
    "bzip2.npz": archive(("values.npy", ONE), compression=zipfile.ZIP_BZIP2),
    "lzma.npz": archive(("values.npy", ONE), compression=zipfile.ZIP_LZMA),
    "bad_header.npz": archive(("values.npy", npy("(" * 3000, bytes(16)))),
    "lying_member.npz": archive(("values.npy", npy(claim("(1, 1, 3)"), bytes(16)))),
    "encrypted.npz": archive(("values.npy", ONE)).replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01").replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
    ),
    "version_inf.npz": npz(**IDS, motet_format_version=np.inf),
    "version_nan.npz": npz(**IDS, motet_format_version=np.nan),
    "version_many.npz": npz(**IDS, motet_format_version=np.ones(3)),
    "version_text.npz": npz(**IDS, motet_format_version="one"),
    "flat_levels.npz": npz(**IDS, levels=np.array(["a", "trial"])),
    "levels_of_nothing.npz": npz(**IDS, levels=np.array([["a", "trial"]])),
    "many_widths.npz": npz(**IDS, bin_seconds=np.ones(2)),
    "width_of_text.npz": npz(**IDS, bin_seconds="wide"),
    "few_ids.npz": npz(**IDS, individual_ids=np.array(["a"])),
    "flat_ids.npz": npz(**IDS, individual_ids=np.array("a")),
    "stamped.npz": npz(**IDS, time=np.array(["now"] * 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a_crafted_array_file_is_refused_by_name_and_takes_no_memory(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(LIES[name])
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=name):
            read_recording(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_sizes_that_a_directory_lies_about_are_refused(tmp_path: Path) -> None:
    content = archive(("values.npy", ONE), compression=zipfile.ZIP_DEFLATED)
    directory = content.index(b"PK\x01\x02")
    for lie in (1, len(ONE) + 8, 2**32 - 2):
        changed = bytearray(content)
        changed[directory + 24 : directory + 28] = lie.to_bytes(4, "little")
        (tmp_path / "lie.npz").write_bytes(changed)
        with pytest.raises(InputError, match=r"lie\.npz"):
            read_recording(tmp_path / "lie.npz")


def zeros(path: Path, n_bytes: int, copies: int = 1) -> None:
    """An archive of arrays of zeros, written piece by piece."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for copy in range(copies):
            with made.open("values.npy" if not copy else f"target_{copy}.npy", "w", force_zip64=True) as member:
                member.write(npy(claim(f"(1, 1, {n_bytes})", "'|i1'")))
                for _ in range(n_bytes >> 20):
                    member.write(bytes(1 << 20))


@pytest.mark.parametrize("copies", [1, 2])
def test_an_archive_that_unpacks_to_gigabytes_is_refused_before_it_is_unpacked(tmp_path: Path, copies: int) -> None:
    zeros(tmp_path / "zeros.npz", 30 << 20, copies)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"zeros\.npz would take .* GiB of memory.*uncompressed"):
            read_recording(tmp_path / "zeros.npz")
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_a_silent_population_that_was_compressed_is_read(tmp_path: Path) -> None:
    zeros(tmp_path / "silent.npz", 10 << 20)
    assert (tmp_path / "silent.npz").stat().st_size < 20_000
    assert read_recording(tmp_path / "silent.npz").n_bins == 10 << 20


def test_arrays_larger_than_the_free_memory_are_refused_and_smaller_ones_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", np.ones((10, 10, 1000), np.float32))
    monkeypatch.setattr(memory, "available_bytes", lambda: 40 * 10**5 * 4 // 3 + 1)
    assert read_recording(tmp_path / "a.npy").n_bins == 1000
    monkeypatch.setattr(memory, "available_bytes", lambda: 40 * 10**5 * 4 // 3 - 2)
    with pytest.raises(InputError, match=r"a\.npy would take .* 75% of what is available"):
        read_recording(tmp_path / "a.npy")
