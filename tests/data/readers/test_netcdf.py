"""NetCDF files of strangers: read as xarray reads them, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import netcdf_file

from motet.data.readers import isolated, read_recording
from motet.data.readers.xarrays import dataset_of_netcdf
from motet.errors import InputError

xarray = pytest.importorskip("xarray")
h5py = pytest.importorskip("h5py")


def dataset() -> Any:
    rng = np.random.default_rng(0)
    axes = ("trial", "individual", "time")
    return xarray.Dataset(
        {
            "x": (axes, rng.normal(size=(2, 3, 4)), {"units": "cm", "of": np.arange(3), "note": "a\nb"}),
            "seen": (axes, rng.random((2, 3, 4)) > 0.5),
            "mass": ("individual", np.array([1.0, np.nan, 3.0], dtype=np.float32)),
            "day": ("time", np.array(["2020-01-01", "2020-01-02", "2020-01-05", "2021-01-01"], "M8[ns]")),
            "total": ((), 7),
        },
        coords={"time": np.arange(4) * 0.5, "individual": ["p", "q", "ü"], "kind": ("individual", ["i", "j", "kk"])},
        attrs={"title": "shoal", "numbers": np.arange(3.0)},
    )


@pytest.mark.parametrize("engine", ["scipy", "h5netcdf"])
def test_a_file_is_what_xarray_itself_reads(tmp_path: Path, engine: Any) -> None:
    path = tmp_path / "a.nc"
    encoding = {"x": {"dtype": "i2", "scale_factor": 0.01, "add_offset": 3.0, "_FillValue": -1}}
    dataset().to_netcdf(path, engine=engine, encoding=encoding)
    own, theirs = xarray.decode_cf(dataset_of_netcdf(path)).load(), xarray.load_dataset(path, engine=engine)
    assert own.identical(theirs)
    assert {name: own[name].dtype for name in own.variables} == {name: theirs[name].dtype for name in own.variables}


def external_link(file: Any, folder: Path) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.ones((3, 4))
    file["x"] = h5py.ExternalLink("other.h5", "/x")


def external_storage(file: Any, folder: Path) -> None:
    (folder / "secret").write_bytes(b"password" * 12)
    file.create_dataset("x", (3, 4), "f8", external=[(str(folder / "secret"), 0, 96)])


def virtual(file: Any, folder: Path) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.ones((3, 4))
    layout = h5py.VirtualLayout((3, 4), "f8")
    layout[:] = h5py.VirtualSource(folder / "other.h5", "x", (3, 4))
    file.create_virtual_dataset("x", layout)


def never_written(file: Any, folder: Path) -> None:
    axes = [file.create_dataset(name, data=np.arange(4)) for name in ("individual", "time")]
    x = file.create_dataset("x", (1_000_000, 1_000_000), "f8", chunks=(1000, 1000))
    for place, axis in enumerate(axes):
        axis.make_scale()
        x.dims[place].attach_scale(axis)


def circle(file: Any, folder: Path) -> None:
    file.create_group("a")["b"] = file["/"]


def link_to_nowhere(file: Any, folder: Path) -> None:
    file["x"] = h5py.SoftLink("/nowhere")


def compound(file: Any, folder: Path) -> None:
    file["individual"] = np.zeros(3, dtype=[("a", "f4"), ("b", "i4")])
    file["individual"].make_scale()


def references(file: Any, folder: Path) -> None:
    file["individual"] = np.arange(3)
    file["individual"].make_scale()
    file.create_dataset("x", (3,), dtype=h5py.ref_dtype).dims[0].attach_scale(file["individual"])


def plain(file: Any, folder: Path) -> None:
    file["x"] = np.ones((3, 4))


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        (external_link, "another file"),
        (external_storage, "another file"),
        (virtual, "another file"),
        (never_written, "GiB of memory"),
        (circle, ""),
        (link_to_nowhere, ""),
        (compound, "save it as numbers or text"),
        (references, ""),
        (plain, ""),
    ],
)
def test_a_crafted_hdf5_file_is_refused_by_name(tmp_path: Path, fill: Callable[[Any, Path], None], said: str) -> None:
    with h5py.File(tmp_path / "crafted.nc", "w") as file:
        fill(file, tmp_path)
    with pytest.raises(InputError, match=rf"crafted\.nc.*({said})"):
        read_recording(tmp_path / "crafted.nc")


def test_a_crafted_netcdf_3_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "crafted.nc"
    with netcdf_file(path, "w") as file:
        file.createDimension("individual", 3)
        file.createDimension("time", 4)
        file.createVariable("x", "f8", ("individual", "time"))[:] = np.ones((3, 4))
    assert read_recording(path).values.shape == (1, 3, 4, 1)
    content = path.read_bytes()
    at = content.index(b"individual") + 12
    for size in (0, 4, 2**31 - 1, 2**32 - 1):
        path.write_bytes(content[:at] + size.to_bytes(4, "big") + content[at + 4 :])
        with pytest.raises(InputError, match=r"crafted\.nc"):
            read_recording(path)


def test_a_file_that_hangs_the_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "ALLOWED_SECONDS", 0.01)  # less than Python needs to begin
    dataset().to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(InputError, match=r"a\.nc takes longer to read than"):
        read_recording(tmp_path / "a.nc")
