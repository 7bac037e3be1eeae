"""A `Run`: the folder that one piece of work leaves, and from which everything later starts."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import logging
import platform
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from motet.errors import InputError, lacking_extra
from motet.files import atomic_path, locked_folder, write_text
from motet.plain import as_plain, digest, read_json, read_yaml, to_yaml
from motet.training.scores import COLUMNS, score_rows

FORMAT = "4"
ADVICE = "restore it, or delete it and run again"
# What changes no result: wall-clock time, and how often and where progress is kept.
NEVER_MATTERS = frozenset({"seconds", "checkpoint_seconds", "tensorboard"})


class Run:
    """A folder of plain files: settings, history, weights, results, environment.

    - `settings.yaml`: what was asked for
    - `inputs.json`: digests of what was read
    - `environment.json`: versions of what computed it
    - `history.csv`: loss and score of each epoch
    - `checkpoint.safetensors`: the state of unfinished training
    - `weights.safetensors`: the trained model, with all that is needed to use it
    - `results.json`: scores
    - `figures/`: PNG and SVG

    Every write is atomic and no file is a pickle.

    Args:
        folder: made when something is first written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = Run(folder)
        ...     run.write_settings({"target": "direction"})
        ...     run.read_settings()
        {'target': 'direction'}
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._is_claimed = False
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
        """A run inside this one, such as a fold of a cross-validation; claimed with it."""
        part = Run(self.folder / name)
        part._is_claimed = self._is_claimed
        return part

    @property
    def figures(self) -> Path:
        return self.folder / "figures"

    # ------------------------------------------------------------------ one command at a time

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder, so that no other command or process writes in it for as long as the block lasts.

        Whoever holds it may claim it again. Work that is refused before anything was computed leaves no settings, and
        no folder.

        Raises:
            InputError: at once, if another command works in the folder, or it cannot be written.
        """
        if self._is_claimed:
            yield
            return
        is_new = not self.has_settings
        with locked_folder(self.folder):
            self._is_claimed = True
            try:
                yield
            except InputError:
                if is_new and not self.has_work:
                    for name in ("settings.yaml", "inputs.json", "environment.json"):
                        (self.folder / name).unlink(missing_ok=True)
                raise
            finally:
                self._is_claimed = False

    # ------------------------------------------------------------------ settings, results, history

    def write_settings(
        self,
        settings: Mapping[str, Any],
        inputs: Mapping[str, list[str]] | None = None,
        *,
        paths: Collection[str] = (),
    ) -> None:
        """Write what was asked for, of which inputs, and what computes it.

        Settings that another version of motet did not know are not compared; nor are any as long as the folder holds
        no work, and never those that change no result.

        Args:
            settings: by name; a dataclass is compared field by field.
            inputs: digests of what is read, by role.
            paths: names of the settings that say where something is; it is known by its digest.

        Raises:
            InputError: if the folder holds a run with other settings, or of other inputs.
        """
        if self.has_work:
            if not self.has_settings:
                raise InputError(
                    f"{self.folder} holds work and no settings.yaml that says of what; choose another folder."
                )
            leave_out = NEVER_MATTERS | set(paths)
            changed = list(_changed(self.read_settings(), settings, leave_out))
            if changed:
                raise InputError(
                    f"{self.folder} holds a run with other settings ({', '.join(sorted(changed))} differ); "
                    "choose another folder, or delete that one."
                )
            before = self.read_inputs()
            if other := [role for role, held in (inputs or {}).items() if before.get(role, held) != held]:
                raise InputError(
                    f"the content of {' and '.join(other)} is not what it was when {self.folder} was begun; choose "
                    "another folder, or delete that one."
                )
        else:
            write_text(self.folder / "settings.yaml", to_yaml(as_plain(settings)))
            for name in ("inputs.json", "environment.json"):
                (self.folder / name).unlink(missing_ok=True)
        if inputs and not (self.folder / "inputs.json").exists():
            self._write_json("inputs.json", inputs)
        if not self.is_finished:
            self._write_environment()

    def _write_environment(self) -> None:
        """Keep what computes; if the run was begun with something else, say so."""
        present = environment()
        if not (self.folder / "environment.json").exists():
            self._write_json("environment.json", present)
            return
        begun = self._read_named("environment.json", read_json)
        continued = begun.get("continued_with", [])
        if not isinstance(continued, list):
            raise InputError(f"{self.folder}/environment.json is damaged ({continued}); delete it and run again.")
        other = {key: value for key, value in present.items() if begun.get(key) != value}
        if not other or other in continued:
            return
        self._write_json("environment.json", {**begun, "continued_with": [*continued, other]})
        changes = ", ".join(f"{key} {begun.get(key)} → {value}" for key, value in other.items())
        logging.getLogger(__name__).warning(
            f"note: {self.folder} was begun with another environment ({changes}); last digits may differ."
        )

    def read_environment(self) -> dict[str, Any]:
        """What computed it."""
        return self._read_named("environment.json", read_json)

    @property
    def has_settings(self) -> bool:
        return (self.folder / "settings.yaml").exists()

    @property
    def has_work(self) -> bool:
        """Whether anything was computed here, or in a part."""
        return any(next(self.folder.rglob(name), None) for name in ("results.json", "*.safetensors"))

    def read_settings(self) -> dict[str, Any]:
        return self._read_named("settings.yaml", read_yaml, advice="restore it, or choose another folder")

    def read_inputs(self) -> dict[str, list[str]]:
        """Digests of what the run read, by role; empty if nothing is known of them.

        Raises:
            InputError: if the file is damaged.
        """
        if not (self.folder / "inputs.json").exists():
            return {}
        inputs = self._read_named("inputs.json", read_json)
        if not all(isinstance(some, list) and all(isinstance(one, str) for one in some) for some in inputs.values()):
            raise InputError(f"{self.folder}/inputs.json is damaged; restore it, or choose another run.")
        return inputs

    def write_results(self, results: Mapping[str, Any]) -> None:
        self._write_json("results.json", results)

    def read_results(self) -> dict[str, Any]:
        return self._read_named("results.json", read_json)

    @property
    def has_results(self) -> bool:
        return (self.folder / "results.json").exists()

    def read_scores(self) -> list[dict[str, Any]]:
        """A row for each section, method and score that the run holds: `motet.training.scores.COLUMNS`.

        Raises:
            InputError: if it has no results of methods that were compared.
        """
        return score_rows(self.read_scored(), where=str(self.folder))

    def read_scored(self) -> dict[str, Any]:
        """Results, or those of a benchmark."""
        name = "benchmark.json" if (self.folder / "benchmark.json").exists() else "results.json"
        return self._read_named(name, read_json)

    def table(self) -> Any:
        """The scores as a pandas DataFrame, in long form: a row for each section, method and score.

        Columns are section, method, kind, score, is_main (whether methods are compared by it), value and its interval
        (low, high), the difference from the best rival (difference, difference_low, difference_high, p_holm,
        best_rival), n_train, n_parameters, fit_seconds and predict_seconds; NaN is what is not known.

        Raises:
            InputError: if pandas is not installed, or the run has no results of methods that were compared.

        Example:
            >>> import tempfile
            >>> run = Run(tempfile.mkdtemp())
            >>> methods = {"lda": {"kind": "rival", "scores": {"accuracy": {"value": 0.5, "interval": None}}}}
            >>> run.write_results({"sections": {"": {"best_rival": "lda", "methods": methods}}})
            >>> run.table()[["method", "score", "value"]].values.tolist()
            [['lda', 'accuracy', 0.5]]
        """
        rows = self.read_scores()
        try:
            import pandas
        except ImportError as error:
            raise lacking_extra("tables", "Run.table() gives a DataFrame of pandas") from error
        return pandas.DataFrame(rows, columns=list(COLUMNS))

    def write_table(self, table: str) -> None:
        write_text(self.folder / "table.md", table + "\n")

    def read_table(self) -> str:
        return self._read("table.md").rstrip("\n")

    @property
    def is_finished(self) -> bool:
        """Whether results and their table are there, which are written last."""
        return self.has_results and (self.folder / "table.md").exists()

    def write_history(self, history: Sequence[Any]) -> None:
        """Keep loss and score of each epoch for people to read; motet reads them from beside weights."""
        rows, text = as_plain(history), io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        path, content = self.folder / "history.csv", text.getvalue()
        if not path.is_file() or path.read_bytes() != content.encode():
            write_text(path, content)

    def _read(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{self.folder / name} is damaged ({error}); delete it and run again.") from error
        except OSError as error:
            raise InputError(f"{self.folder} has no readable {name}; give the folder of a finished run.") from error

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        write_text(self.folder / name, json.dumps(as_plain(content), indent=2) + "\n")

    def _read_named(self, name: str, read: Callable[..., Any], *, advice: str = ADVICE) -> dict[str, Any]:
        """Names and values of a text file."""
        content = read(self._read(name), what=str(self.folder / name), advice=advice)
        if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
            raise InputError(f"{self.folder / name} holds {type(content).__name__}, not names and values; {advice}.")
        return content

    # ------------------------------------------------------------------ tensors

    def write_tensors(self, name: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Write tensors, with a JSON description of them and a digest of all, as `<name>.safetensors`.

        The digest is the same for all that computed the same: `NEVER_MATTERS` names what it leaves out.
        """
        contiguous = {  # of one entry or none, a tensor may be contiguous with any strides
            key: torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach()) for key, tensor in tensors.items()
        }
        plain = json.loads(json.dumps(as_plain(about)))
        described = {"format": FORMAT, "digest": _digest(contiguous, plain), "about": plain}
        # One entry, since the order of several is another each time.
        content = safetensors.torch.save(contiguous, metadata={"motet": json.dumps(described)})
        with atomic_path(self.folder / f"{name}.safetensors") as temporary:
            temporary.write_bytes(content)

    def read_tensors(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What `write_tensors` wrote.

        Raises:
            InputError: if the file is absent, of another version, or not what was written.
        """
        described, tensors = self._open_tensors(name)
        if described["digest"] != _digest(tensors, described["about"]):
            raise InputError(
                f"{self.folder / name}.safetensors is damaged (it does not hold what was written); {ADVICE}."
            )
        return tensors, described["about"]

    def digest(self, name: str) -> str:
        """That of the tensors, as the file says; the same for all that computed the same."""
        return str(self._open_tensors(name, are_read=False)[0]["digest"])

    def _open_tensors(self, name: str, *, are_read: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Description and tensors of a file, as they stand there."""
        path = self.folder / f"{name}.safetensors"
        if not path.is_file():
            raise InputError(f"{self.folder} has no {path.name}; give the folder of a finished run.")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys() if are_read}  # noqa: SIM118 (not a dict)
        except (SafetensorError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}); {ADVICE}.") from error
        described = read_json(metadata.get("motet", "{}"), what=f"the description in {path}", advice=ADVICE)
        found = described.get("format", metadata.get("format")) if isinstance(described, dict) else None
        if found != FORMAT:
            raise InputError(
                f"{path} has format {found!r}; this version of motet reads {FORMAT!r}: use the version that wrote it "
                "(environment.json), or train again."
            )
        if described.keys() != {"format", "digest", "about"} or not isinstance(described["about"], dict):
            raise InputError(f"{path} is damaged (its description lacks something); {ADVICE}.")
        if metadata.keys() != {"motet"}:
            raise InputError(f"{path} is damaged (it has other metadata than motet's); {ADVICE}.")
        return described, tensors

    def has_tensors(self, name: str) -> bool:
        return (self.folder / f"{name}.safetensors").exists()

    def delete_tensors(self, name: str) -> None:
        (self.folder / f"{name}.safetensors").unlink(missing_ok=True)


def environment() -> dict[str, Any]:
    """What computes: versions, and what else decides the last digits of numbers."""
    packages = ("motet", "torch", "numpy", "scipy", "scikit-learn", "lightning-fabric")
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        **{package: version(package) for package in packages},
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "matmul_precision": torch.get_float32_matmul_precision(),
    }


def _digest(tensors: Mapping[str, Tensor], about: Any) -> str:
    arrays = {
        repr((name, str(tensor.dtype), tuple(tensor.shape))): tensor.reshape(-1).view(torch.uint8).numpy()
        for name, tensor in tensors.items()
    }
    return digest(about, arrays, leave_out=NEVER_MATTERS)


def _changed(before: Mapping[str, Any], settings: Mapping[str, Any], leave_out: Collection[str]) -> Iterator[str]:
    """Dotted names of the settings that both know and that differ."""
    for key in before.keys() & settings.keys() - set(leave_out):
        old, new = before[key], settings[key]
        if dataclasses.is_dataclass(new) and isinstance(old, Mapping):
            fields = {field.name: getattr(new, field.name) for field in dataclasses.fields(new)}
            yield from (f"{key}.{name}" for name in _changed(old, fields, NEVER_MATTERS))
        elif old != as_plain(new):
            yield key
