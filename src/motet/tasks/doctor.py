"""Doctor: what is installed, what computes, where data lies, and what is wrong with any of it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement

from motet import __version__
from motet.errors import InputError
from motet.plain import as_plain
from motet.settings import Settings

State = Literal["ok", "absent", "wrong"]
NEWEST_PYTHON_NEEDED = (3, 11)
DEVELOPERS = ("dev", "docs")  # extras that users do not miss


@dataclasses.dataclass(frozen=True)
class DoctorSettings(Settings):
    """How to tell what is found.

    Attributes:
        json: as JSON, for programs.
    """

    json: bool = False


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: of which kind it is.
        name: what it is.
        state: "ok"; "absent", where motet does without; "wrong", where it does not.
        says: what was found.
        advice: what to do.
    """

    about: str
    name: str
    state: State
    says: str
    advice: str = ""


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """All that was found.

    Attributes:
        findings: in order.
        as_json: whether it is told as JSON.
    """

    findings: tuple[Finding, ...]
    as_json: bool = False

    @property
    def exit_code(self) -> int:
        """1 if anything is wrong, else 0."""
        return int(any(finding.state == "wrong" for finding in self.findings))

    def __str__(self) -> str:
        wrong = [finding for finding in self.findings if finding.state == "wrong"]
        if self.as_json:
            return json.dumps({"is_well": not wrong, "findings": as_plain(self.findings)}, indent=2)
        lines: list[str] = []
        for about in dict.fromkeys(finding.about for finding in self.findings):
            lines += [*([""] if lines else []), about]
            for finding in (one for one in self.findings if one.about == about):
                mark = {"ok": " ", "absent": "-", "wrong": "!"}[finding.state]
                advice = f"  {finding.advice}" if finding.advice else ""
                lines.append(f"{mark} {finding.name:24s} {finding.says}{advice}".rstrip())
        said = f"{len(wrong)} wrong: {', '.join(one.name for one in wrong)}" if wrong else "nothing is wrong"
        return "\n".join([*lines, "", said])


def doctor(settings: DoctorSettings) -> Diagnosis:
    """Look at what is installed, at devices, and at the folders of data; the exit status is 1 if anything is wrong."""
    found = (*_versions(), *_extras(), *_devices(), *_folders(), *_recordings())
    return Diagnosis(found, settings.json)


# ------------------------------------------------------------------ packages


def _versions() -> Iterator[Finding]:
    about = "versions"
    is_old = sys.version_info < NEWEST_PYTHON_NEEDED
    said = f"{platform.python_version()}, {platform.platform()}"
    yield Finding(about, "python", "wrong" if is_old else "ok", said, "use 3.11 or newer" if is_old else "")
    yield Finding(about, "motet", "ok", f"{__version__}, {Path(__file__).parents[1]}")
    for requirement in requirements().get("", ()):
        yield _installed(about, requirement, missing="wrong", advice="pip install motet")


def _extras() -> Iterator[Finding]:
    """What an extra brings, and the line that installs it."""
    for extra, needed in requirements().items():
        if extra and extra not in DEVELOPERS:
            parts = [_installed("", one, missing="absent", advice="") for one in needed]
            lacking = [part for part in parts if part.state != "ok"]
            state: State = "ok" if not lacking else "wrong" if any(p.state == "wrong" for p in lacking) else "absent"
            said = ", ".join(f"{part.name} {part.says}" for part in parts)
            yield Finding("extras", extra, state, said, f"pip install 'motet[{extra}]'" if lacking else "")


def requirements() -> dict[str, list[Requirement]]:
    """What motet needs, by extra ("" for all), as the installed package says; nothing where it is not installed."""
    try:
        lines = importlib.metadata.requires("motet") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    found: dict[str, list[Requirement]] = {}
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", str(requirement.marker or ""))
        found.setdefault(extra[1] if extra else "", []).append(requirement)
    return found


def _installed(about: str, requirement: Requirement, *, missing: State, advice: str) -> Finding:
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(about, requirement.name, missing, "not installed", advice)
    if requirement.specifier.contains(version, prereleases=True):
        return Finding(about, requirement.name, "ok", version)
    upgrade = f"pip install '{requirement.name}{requirement.specifier}'"
    return Finding(about, requirement.name, "wrong", f"{version}, and {requirement.specifier} is needed", upgrade)


# ------------------------------------------------------------------ devices


def _devices() -> Iterator[Finding]:
    """What computes, each tried."""
    about = "devices"
    try:
        import torch
    except Exception as error:
        yield Finding(about, "torch", "wrong", f"cannot be imported ({error})", "pip install --force-reinstall torch")
        return
    threads = os.environ.get("OMP_NUM_THREADS")
    said = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores" + (
        f", OMP_NUM_THREADS={threads}" * bool(threads)
    )
    yield _tried(about, "cpu", "cpu", said)
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(number)
            said = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
            yield _tried(about, f"cuda:{number}", f"cuda:{number}", said)
    else:
        built = torch.version.cuda
        said = "none" if built is None else f"none that PyTorch, built for CUDA {built}, can use"
        yield Finding(about, "cuda", "absent", said)
    if torch.backends.mps.is_available():
        yield _tried(about, "mps", "mps", "Apple")
    else:
        yield Finding(about, "mps", "absent", "none")


def _tried(about: str, name: str, device: str, said: str) -> Finding:
    """A device, after a product of matrices on it was what it should be."""
    import torch

    try:
        product = torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)
        works = bool((product == 8).all())
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        return Finding(about, name, "wrong", f"{said}; does not compute ({str(error).splitlines()[0]})")
    return Finding(about, name, "ok" if works else "wrong", said if works else f"{said}; computes wrong products")


# ------------------------------------------------------------------ folders


def _folders() -> Iterator[Finding]:
    """Where data is looked for, and where files are written."""
    from motet.data.catalogue import cache_folder

    about, named = "folders", os.environ.get("MOTET_DATA")
    if named is None:
        yield Finding(about, "MOTET_DATA", "absent", "not set: recordings are downloaded into the cache")
    elif not Path(named).is_dir():
        yield Finding(about, "MOTET_DATA", "wrong", f"{named}: no such folder", "set it to a folder, or unset it")
    elif not os.access(named, os.R_OK | os.X_OK):
        yield Finding(about, "MOTET_DATA", "wrong", f"{named}: cannot be read", "allow reading it")
    else:
        yield Finding(about, "MOTET_DATA", "ok", named)
    for name, folder in {
        "cache": cache_folder(),
        "runs": Path.cwd(),
        "temporary files": Path(tempfile.gettempdir()),
    }.items():
        yield _writable(about, name, folder)


def _writable(about: str, name: str, folder: Path) -> Finding:
    """A folder, or the nearest one above it that is there, after a file was written in it."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    said = str(folder) if there == folder else f"{folder}, to be made"
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"motet")
    except OSError as error:
        return Finding(about, name, "wrong", f"{said}: cannot be written ({error.strerror})", "allow writing, or move")
    return Finding(about, name, "ok", f"{said}, can be written")


def _recordings() -> Iterator[Finding]:
    """Which recordings of the catalogue are here."""
    from motet.data.catalogue import CATALOGUE, is_here

    for name, entry in CATALOGUE.items():
        is_offered = all(file.made_from is None for file in entry.files)
        how = f"motet data fetch {name}" if is_offered else "put it where MOTET_DATA says"
        try:
            is_found = is_here(name)
        except InputError as error:
            yield Finding("recordings", name, "wrong", str(error))
            continue
        state: State = "ok" if is_found else "absent"
        yield Finding("recordings", name, state, "here" if is_found else "not here", "" if is_found else how)
