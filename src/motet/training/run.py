"""A `Run`: the folder that one piece of work leaves, and from which everything later starts."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor

from motet.errors import InputError
from motet.files import atomic_path, write_text

FORMAT = "1"
Fields = TypeVar("Fields")


class Run:
    """A folder of plain files: settings, history, weights, results, environment.

    | file | content |
    |---|---|
    | `settings.yaml` | what was asked for |
    | `environment.json` | versions of what computed it |
    | `history.csv` | loss and score of each epoch |
    | `checkpoint.safetensors` | the state of unfinished training |
    | `weights.safetensors` | the trained model, with all that is needed to use it |
    | `results.json` | scores |
    | `figures/` | PNG and SVG |

    Every write is atomic and no file is a pickle.

    Args:
        folder: made when something is first written.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        try:
            is_file = self.folder.exists() and not self.folder.is_dir()
        except OSError as error:  # such as a name that is too long
            raise InputError(
                f"{self.folder} cannot be a run's folder ({error.strerror}); choose another name."
            ) from error
        if is_file:
            raise InputError(f"{self.folder} is a file; a run needs a folder: choose another name.")

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def part(self, name: str) -> Run:
        """A run inside this one, such as a fold of a cross-validation."""
        return Run(self.folder / name)

    @property
    def figures(self) -> Path:
        return self.folder / "figures"

    # ------------------------------------------------------------------ settings, results, history

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Write what was asked for, and the versions of what will compute it.

        Settings that another version of motet did not know are not compared; nor are any as long as the folder holds
        no work.

        Args:
            settings: by name; a dataclass is compared field by field.

        Raises:
            InputError: if the folder holds a run with other settings.
        """
        if self.has_settings and self.has_work:
            changed = list(_changed(self.read_settings(), settings))
            if changed:
                raise InputError(
                    f"{self.folder} holds a run with other settings ({', '.join(sorted(changed))} differ); "
                    "choose another folder, or delete that one."
                )
            return
        write_text(self.folder / "settings.yaml", yaml.safe_dump(as_plain(settings), sort_keys=False))
        packages = ("motet", "torch", "numpy", "scipy", "scikit-learn", "lightning-fabric")
        environment = {
            "python": sys.version.split()[0],
            "platform": platform.platform(),
            **{package: version(package) for package in packages},
        }
        write_text(self.folder / "environment.json", json.dumps(environment, indent=2) + "\n")

    @property
    def has_settings(self) -> bool:
        return (self.folder / "settings.yaml").exists()

    @property
    def has_work(self) -> bool:
        """Whether anything was computed here, or in a part."""
        return any(next(self.folder.rglob(name), None) for name in ("results.json", "*.safetensors"))

    def read_settings(self) -> dict[str, Any]:
        try:
            return _as_dict(yaml.safe_load(self._read("settings.yaml")))
        except (yaml.YAMLError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.folder}/settings.yaml is damaged ({error}); restore it or choose another run."
            ) from error

    def write_results(self, results: Mapping[str, Any]) -> None:
        write_text(self.folder / "results.json", json.dumps(as_plain(results), indent=2) + "\n")

    def read_results(self) -> dict[str, Any]:
        try:
            return _as_dict(json.loads(self._read("results.json")))
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.folder}/results.json is damaged ({error}); delete it and run again.") from error

    @property
    def has_results(self) -> bool:
        return (self.folder / "results.json").exists()

    @property
    def has_history(self) -> bool:
        return (self.folder / "history.csv").exists()

    def write_history(self, rows: Sequence[Mapping[str, float]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.folder / "history.csv", text.getvalue())

    def read_history(self) -> dict[str, list[float]]:
        """One list per column of the history."""
        try:
            rows = list(csv.DictReader(io.StringIO(self._read("history.csv"))))
            return {key: [float(row[key]) for row in rows] for key in rows[0]}
        except (csv.Error, IndexError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self.folder}/history.csv is damaged ({error}); delete it and run again.") from error

    def _read(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{self.folder / name} is damaged ({error}); delete it and run again.") from error
        except OSError as error:
            raise InputError(f"{self.folder} has no readable {name}; give the folder of a finished run.") from error

    # ------------------------------------------------------------------ tensors

    def write_tensors(self, name: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Write tensors, with a JSON description of them, as `<name>.safetensors`."""
        metadata = {"format": FORMAT, "about": json.dumps(as_plain(about))}
        contiguous = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
        with atomic_path(self.folder / f"{name}.safetensors") as temporary:
            try:
                safetensors.torch.save_file(contiguous, temporary, metadata=metadata)
            except SafetensorError as error:  # its own wrapping of a full disk
                raise OSError(str(error)) from error

    def read_tensors(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What `write_tensors` wrote.

        Raises:
            InputError: if the file is absent, damaged, or of another version.
        """
        path = self.folder / f"{name}.safetensors"
        if not path.exists():
            raise InputError(f"{self.folder} has no {path.name}; give the folder of a finished run.")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
            about = json.loads(metadata.get("about", "{}"))
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}); restore it, or delete it and run again.") from error
        if metadata.get("format") != FORMAT:
            raise InputError(
                f"{path} has format {metadata.get('format')!r}; this version of motet reads {FORMAT!r}: "
                "use the version that wrote it (environment.json), or train again."
            )
        return tensors, about

    def has_tensors(self, name: str) -> bool:
        return (self.folder / f"{name}.safetensors").exists()

    def delete_tensors(self, name: str) -> None:
        (self.folder / f"{name}.safetensors").unlink(missing_ok=True)


def _as_dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"it holds {type(value).__name__}, not names and values")
    return value


def _changed(before: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    """Dotted names of the settings that both know and that differ."""
    for key in before.keys() & settings.keys():
        old, new = before[key], settings[key]
        if dataclasses.is_dataclass(new) and isinstance(old, Mapping):
            fields = {field.name: getattr(new, field.name) for field in dataclasses.fields(new)}
            yield from (f"{key}.{name}" for name in _changed(old, fields))
        elif old != as_plain(new):
            yield key


def as_plain(value: Any) -> Any:
    """Settings and results as what YAML and JSON hold: dicts, lists, numbers, strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    return value


def from_plain(kind: type[Fields], fields: Mapping[str, Any]) -> Fields:
    """The dataclass whose fields were written as YAML or JSON, which have lists for tuples."""
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})
