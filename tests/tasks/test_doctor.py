from __future__ import annotations

import json

import pytest
from packaging.requirements import Requirement

from motet.cli import main
from motet.tasks import doctor
from motet.tasks.doctor import DoctorSettings


@pytest.fixture(autouse=True)
def no_data(monkeypatch, tmp_path):
    """Nothing is read but what a test says."""
    monkeypatch.delenv("MOTET_DATA", raising=False)
    monkeypatch.setattr("motet.data.catalogue.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.chdir(tmp_path)


def found(name):
    return next(one for one in doctor.doctor(DoctorSettings()).findings if one.name == name)


def test_doctor_tells_what_it_found_to_people_and_to_programs(capsys):
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "nothing is wrong" in said
    assert "motet data fetch reach/chewie-1" in said
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["is_well"]
    assert {"versions", "devices", "folders", "recordings"} <= {one["about"] for one in told["findings"]}
    assert found("cpu").state == "ok"


@pytest.mark.parametrize(
    ("needed", "extra", "state", "says", "advice"),
    [
        ("numpy>=1", "", "ok", "", ""),
        ("numpy>=99", "", "wrong", ">=99 is needed", "pip install 'numpy>=99'"),
        ("no-such-package", "", "wrong", "not installed", "pip install motet"),
        ("no-such-package", "report", "absent", "not installed", "pip install 'motet[report]'"),
        ("numpy>=99", "report", "wrong", ">=99 is needed", "pip install 'motet[report]'"),
    ],
)
def test_what_is_lacking_is_named_with_the_line_that_installs_it(monkeypatch, needed, extra, state, says, advice):
    requirement = Requirement(needed)
    monkeypatch.setattr(doctor, "requirements", lambda: {extra: [requirement]})
    finding = found(extra or requirement.name)
    assert finding.state == state
    assert says in finding.says
    assert finding.advice == advice
    assert doctor.doctor(DoctorSettings()).exit_code == (state == "wrong")


def test_folders_that_cannot_be_used_are_wrong(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MOTET_DATA", str(tmp_path / "nowhere"))
    assert main(["doctor"]) == 1
    assert "! MOTET_DATA" in capsys.readouterr().out
    monkeypatch.setenv("MOTET_DATA", str(tmp_path))
    (tmp_path / "reach").mkdir()
    (tmp_path / "reach" / "full-chewie-10032013-bin0.10-vel_thresh0.00.pkl").write_bytes(b"another")
    assert found("MOTET_DATA").state == "ok"
    assert found("reach/chewie-1").state == "wrong"
    assert "is not the public file" in found("reach/chewie-1").says


def test_every_extra_of_the_project_is_looked_for():
    assert {"fast", "ot", "xarray"} <= doctor.requirements().keys()
