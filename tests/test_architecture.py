"""The house keeps its shape: floors, a light import, the public names."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

import motet

SOURCE = Path(motet.__file__).parent
# From the ground up; a module imports its own floor or a lower one.
FLOORS = [
    {
        "errors",
        "files",
        "given",
        "late",
        "matching",
        "memory",
        "metrics",
        "names",
        "plain",
        "progress",
        "settings",
        "statistics",
        "transport",
        "trial_sums",
    },
    {"data"},
    {"systems", "report"},
    {"models"},
    {"training"},
    {"rivals"},
    {"estimators"},
    {"tasks"},
    {"cli", "__main__"},
]
PUBLIC = [
    "Alignment", "Batch", "EIT", "EITClassifier", "EITEncoder", "EITForecaster", "EITInteractions", "EITReference",
    "EITRegressor", "EITSettings", "Encoding", "EpisodeSettings", "ForecastSettings", "InputError",
    "InteractionSettings", "MotionSettings", "ObjectiveSettings", "PairSettings", "PopulationDataset", "Preprocess",
    "PreprocessSettings", "Recording", "Run", "TrainingSettings", "TuningSettings", "align", "fetch",
    "list_recordings", "load", "read_recording", "recover_interactions", "simulate", "write_recording",
]  # fmt: skip


def floor_of(module: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if module in floor)


def imports_upwards(source: str, module: str) -> list[str]:
    """The modules that a module imports from above its own floor."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        parts = [name.split(".") for name in names if name.startswith("motet.")]
        found += [p[1] for p in parts if p[1] in set().union(*FLOORS) and floor_of(p[1]) > floor_of(module)]
    return found


def test_a_module_imports_its_own_floor_or_a_lower_one():
    for path in SOURCE.rglob("*.py"):
        module = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if module != "__init__":
            assert imports_upwards(path.read_text(), module) == [], path


def imports_of(source: str, modules: Collection[str]) -> set[str]:
    """The modules of motet that a module imports, at its top, inside functions or for types alone."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inside & modules) or {node.module}
    return found & set(modules)


def circle(imports: Mapping[str, Collection[str]]) -> list[str]:
    """Modules that import each other in a circle; empty if there is none."""
    left = {module: set(imported) for module, imported in imports.items()}
    while free := [module for module, imported in left.items() if not imported & left.keys()]:
        for module in free:
            del left[module]
    return sorted(left)


def test_no_modules_import_each_other_in_a_circle_inside_a_folder_either():
    names = {}
    for path in SOURCE.rglob("*.py"):
        parts = ("motet", *path.relative_to(SOURCE).with_suffix("").parts)
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    names.pop("motet")  # which imports lazily
    assert circle({name: imports_of(source, names.keys()) for name, source in names.items()}) == []


def test_the_test_of_circles_sees_one():
    sources = {
        "motet.a": "def f():\n    from motet import b",
        "motet.b": "from motet.c import x",
        "motet.c": "import motet.a",
    }
    imports = {name: imports_of(source, sources.keys()) for name, source in sources.items()}
    assert circle(imports) == ["motet.a", "motet.b", "motet.c"]
    assert circle({**imports, "motet.c": set()}) == []


def test_figures_are_drawn_from_recordings_and_arrays_alone():
    allowed = FLOORS[0] | {"data", "report"}
    for path in (SOURCE / "report").glob("*.py"):
        imported = {name.split(".")[1] for name in re.findall(r"^\s*from (motet\.\w+)", path.read_text(), re.MULTILINE)}
        assert imported <= allowed, path


def test_the_floor_test_sees_a_planted_fault():
    assert imports_upwards("from motet.tasks.decode import decode", "models") == ["tasks", "tasks"]
    assert imports_upwards("def f():\n    import motet.cli", "data") == ["cli"]


@pytest.mark.parametrize("command", ["import motet", "from motet.cli import main; main(['--help'])"])
def test_importing_motet_and_its_help_needs_nothing_heavy(command):
    heavy = {"torch", "numpy", "scipy", "sklearn", "matplotlib", "lightning_fabric", "jsonargparse", "rich", "pooch"}
    script = f"import sys; {command}; print('|'.join(sys.modules))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert not heavy & {name.split(".")[0] for name in output.splitlines()[-1].split("|")}


def test_what_is_imported_late_is_where_it_is_said_to_be_and_draws():
    homes = [
        home for path in SOURCE.rglob("*.py") for home in re.findall(r"= Late\(\"(motet[^\"]+)\"", path.read_text())
    ]
    assert homes == ["motet.report.plots:RecordingPlots"]  # figures alone may be above what they show
    for module, _, name in (home.partition(":") for home in homes):
        assert hasattr(importlib.import_module(module), name)


def test_the_public_names_are_these():
    assert motet.__all__ == PUBLIC
    assert all(getattr(motet, name).__module__.startswith("motet.") for name in PUBLIC)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        motet.nothing  # noqa: B018


def test_every_module_says_what_it_is():
    for path in SOURCE.rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), path


def test_no_pickle_is_loaded():
    for path in SOURCE.rglob("*.py"):
        text = path.read_text()
        assert "weights_only=False" not in text
        assert "allow_pickle=True" not in text
        assert not re.search(r"import pickle\b|from pickle |\b(cloudpickle|joblib|dill|marshal|shelve)\b", text), path
