"""Estimators on a hub of models: pushed with a card that says what they are, and loaded from there as from a folder."""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import Any

from motet.errors import InputError
from motet.files import write_text
from motet.plain import as_plain, to_yaml
from motet.training.run import Run

WEIGHTS = "weights.safetensors"
LICENCE = "unknown"
PLACES = {"output", "run", "encoder"}  # settings that say where something is on this machine
DATA = ("recordings", "recording")


def push(
    estimator: Any, repo_id: str, *, run: Run | Path | str | None, licence: str | None, private: bool, token: str | None
) -> str:
    """Upload an estimator and its card; the address of what was made.

    Raises:
        InputError: if huggingface_hub is missing, or the hub refuses.
    """
    hub = _hub()
    read = None if run is None else run if isinstance(run, Run) else Run(run)
    card = model_card(estimator, repo_id, run=read, licence=licence)
    with tempfile.TemporaryDirectory() as folder, _said_plainly(f"{repo_id!r} cannot be pushed"):
        estimator.save(folder)
        write_text(Path(folder) / "README.md", card)
        api = _api(hub, token)
        api.create_repo(repo_id, private=private, exist_ok=True)
        return str(
            api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                allow_patterns=[WEIGHTS, "README.md"],
                commit_message=f"motet {version('motet')}",
            ).commit_url
        )


def folder_of(repo_id: Path | str, *, revision: str | None, token: str | None) -> Path:
    """The folder of an estimator: the one given, or the one that it is downloaded to.

    Raises:
        InputError: if there is neither a folder nor an estimator of that name on the hub.
    """
    if Path(repo_id).is_dir():
        return Path(repo_id)
    name = str(repo_id)
    if isinstance(repo_id, Path) or name.count("/") != 1 or name.startswith((".", "/")):
        raise InputError(f"there is no folder {name}; give one that save wrote, or owner/name of a model on the hub.")
    hub = _hub()
    with _said_plainly(f"there is no folder {name}, and {name!r} cannot be loaded from the hub"):
        path = _api(hub, token).hf_hub_download(
            name, WEIGHTS, revision=revision, cache_dir=os.environ.get("HF_HUB_CACHE")
        )
    return Path(path).parent


def model_card(estimator: Any, repo_id: str, *, run: Run | None, licence: str | None) -> str:
    """A README in Markdown, with the fields that a hub reads on top."""
    kind = type(estimator).__name__
    head = {"license": licence or LICENCE, "library_name": "motet", "tags": ["neuroscience", "time-series", "motet"]}
    settings, parts = _settings(run), ["---\n" + to_yaml(head) + "---", f"# {repo_id}"]
    targets = [target.name for target in getattr(estimator, "targets_", [])]
    what = f", which reads {', '.join(map(_code, targets))} off a population of time-series" if targets else ""
    parts.append(f"A `{kind}` of [motet](https://arxiv.org/abs/2206.06131) {version('motet')}{what}.")
    parts.append(
        "## How to use\n\n```python\nimport motet  # pip install 'motet[hub]'\n\n"
        f"model = motet.{kind}.from_pretrained({repo_id!r})\n```\n\n"
        "Weights are safetensors, settings are text; nothing of it is a pickle."
    )
    data = next((settings[name] for name in DATA if settings.get(name)), None)
    listed = [f"- {_code(PurePath(str(one)).name if _is_path(one) else one)}" for one in _several(data)]
    facts = [f"- {name}: {value}" for name, value in _facts(estimator).items()]
    parts.append("\n".join(["## Data", "", *listed, *facts]))
    if run is not None and run.is_finished:
        parts.append(f"## Scores\n\n{run.read_table()}")
    used = {name: one for name, one in settings.items() if name not in {*PLACES, *DATA}}
    used = used or as_plain(estimator.get_params(deep=False))
    parts.append(f"## Settings\n\n```yaml\n{to_yaml(used)}```")
    parts.append(f"## Licence\n\n{licence or 'Not stated; ask who published it.'}")
    return "\n\n".join(parts) + "\n"


def _settings(run: Run | None) -> dict[str, Any]:
    return run.read_settings() if run is not None and run.has_settings else {}


def _facts(estimator: Any) -> Mapping[str, Any]:
    """What an estimator knows of what it learned from."""
    ids, targets = getattr(estimator, "individual_ids_", ()), getattr(estimator, "targets_", [])
    found: dict[str, Any] = {"individuals that were learned from": len(ids)} if ids else {}
    if seconds := getattr(estimator, "bin_seconds_", None):
        found["seconds of a bin"] = f"{seconds:g}"
    if targets and targets[0].classes:
        found["classes"] = ", ".join(_code(one) for one in targets[0].classes)
    found["features of an individual in a bin"] = estimator.n_features_in_
    found["numbers that were learned"] = f"{estimator.n_parameters_:,}"
    return found


def _several(data: Any) -> list[Any]:
    return [] if data is None else list(data) if isinstance(data, list | tuple) else [data]


def _is_path(name: Any) -> bool:
    return PurePath(str(name)).suffix != "" or PurePath(str(name)).is_absolute()


def _code(text: Any) -> str:
    """Text as it is, within Markdown."""
    return "`" + str(text).replace("`", "'").replace("\n", " ") + "`"


def _hub() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise InputError(
            "the hub needs huggingface_hub, which is not installed; pip install 'motet[hub]', or use save and load."
        ) from error


def _api(hub: Any, token: str | None) -> Any:
    endpoint = os.environ.get("HF_ENDPOINT")  # as it is now, not as it was when the package was imported
    return hub.HfApi(endpoint=endpoint, token=token, library_name="motet", library_version=version("motet"))


@contextlib.contextmanager
def _said_plainly(what: str) -> Iterator[None]:
    """What the hub and the way to it refuse, as an `InputError`."""
    errors: list[type[Exception]] = [OSError, ValueError]  # those of the hub are among them
    for name in ("httpx2", "httpx"):
        with contextlib.suppress(ImportError):
            errors.append(importlib.import_module(name).HTTPError)
    try:
        yield
    except InputError:
        raise
    except tuple(errors) as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{what} ({words:.300}); see that the name is right and that you may.") from error
