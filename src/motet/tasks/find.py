"""Finding recordings, and runs, by what a user calls them; and what they must be to each other."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from motet import given
from motet.data.catalogue import CATALOGUE, load
from motet.data.dataset import PopulationDataset
from motet.data.leaks import found_in, refuse_leak
from motet.data.motion import ALLOWED_FEATURES, MotionSettings
from motet.data.preprocess import varies
from motet.data.readers import read_recording
from motet.data.recording import Level, Recording
from motet.errors import InputError
from motet.estimators.base import Estimator
from motet.estimators.systems import check_systems
from motet.names import in_path
from motet.training.run import Run

Kind = TypeVar("Kind", bound=Estimator)

# Points as near to the unit circle are phases; with half of them as far from it, they are none.
ON_CIRCLE, OFF_CIRCLE = 1e-3, 0.15
MOST_BESIDE = 1000  # files of a folder that a misspelt name is compared with


def find_recording(name: str, reading: Mapping[str, Any] | None = None) -> Recording:
    """The recording in a file of that name, or of that name in the catalogue.

    Args:
        name: of either.
        reading: options for reading it, by name.

    Raises:
        InputError: if there is neither, or an option is unknown.
    """
    options = dict(reading or {})
    if not all(isinstance(option, str) for option in options):
        raise InputError(f"reading is {options}; give options by their names.")
    if os.path.isfile(name):
        return read_recording(name, **options)
    if name in CATALOGUE:
        return load(name, **options)
    if os.path.lexists(name):
        return read_recording(name)  # says what it is
    beside: list[str] = []
    with contextlib.suppress(OSError, ValueError):  # no such folder either
        beside = [str(Path(name).parent / file) for file in os.listdir(Path(name).parent)[:MOST_BESIDE]]
    near = difflib.get_close_matches(name, [*CATALOGUE, *beside], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise InputError(
        f"{name:.200}: no such file, and no recording of that name in the catalogue{hint} Give the path of a file, or "
        "a name that motet data list shows."
    )


def find_recordings(names: Sequence[str], reading: Mapping[str, Any] | None = None) -> PopulationDataset:
    """Several recordings as one dataset, read alike."""
    return PopulationDataset([find_recording(name, reading) for name in names])


def stem(name: str) -> str:
    """What a folder is called after a file, or a name in the catalogue."""
    return in_path(Path(name).stem if Path(name).suffix else name)


@dataclasses.dataclass(frozen=True)
class Trials:
    """How files become trials: read with options by name, and cut into windows.

    Attributes:
        reading: options for reading.
        window: bins per window, each of which becomes a trial; None for whole trials.
        stride: bins between the starts of two windows.
    """

    reading: Mapping[str, Any] | None = None
    window: int | None = None
    stride: int = 1

    @classmethod
    def of_run(cls, run: Run, reading: Mapping[str, Any] | None = None) -> Trials:
        """As a run read and cut its recordings; whole, if only an estimator made the run.

        Args:
            run: whose settings say how.
            reading: options that stand in place of the run's.

        Raises:
            InputError: if its settings are damaged.
        """
        kept = run.read_settings() if run.has_settings else {}
        found: dict[str, Any] = {name: kept.get(name, getattr(cls, name)) for name in ("reading", "window", "stride")}
        kinds: dict[str, Any] = {"reading": dict | None, "window": int | None, "stride": int}
        if not all(isinstance(found[name], kind) for name, kind in kinds.items()):
            raise InputError(f"{run.folder}/settings.yaml is damaged ({found}); restore it or choose another run.")
        return cls(**found if reading is None else found | {"reading": reading})

    def read(self, names: Sequence[str]) -> list[Recording]:
        """Recordings of systems, of files or of the catalogue; those of one name are numbered.

        Raises:
            InputError: if one cannot be read, two hold the same trials, or one has a single individual.
        """
        recordings: list[Recording] = []
        digests: dict[str, str] = {}
        for name in names:
            found = find_recording(name, self.reading)
            if (key := digest(found)) in digests:
                raise InputError(f"{name} holds the same trials as {digests[key]}; give each once.")
            digests[key] = name
            found = cut_trials(found, None, bins=None, window=self.window, stride=self.stride)
            n_alike = sum(other.name.partition(" (")[0] == found.name for other in recordings)
            recordings.append(dataclasses.replace(found, name=f"{found.name} ({n_alike + 1})") if n_alike else found)
        if recordings:
            check_systems(PopulationDataset(recordings))
        return recordings


def load_estimator(run: Run, kind: type[Kind]) -> Kind:
    """The estimator of a run.

    Raises:
        InputError: if it holds none, or one of another kind.
    """
    _, about = run.read_tensors("weights")
    if (held := about.get("estimator")) != kind.__name__:
        raise InputError(f"{run.folder} holds a {held}, and {kind.__name__} is needed; give a run that holds one.")
    return kind.load(run)


def hold_out(
    recordings: Sequence[Recording], held_out: Sequence[Recording], fraction: float, seed: int
) -> tuple[PopulationDataset, PopulationDataset]:
    """Trials to train on and trials to validate with: those held out, or else a fraction of the recordings.

    Raises:
        InputError: if trials are in both, or there are too few.
    """
    whole = PopulationDataset(recordings)
    if held_out:
        validation = PopulationDataset(held_out)
        refuse_leak(whole, validation, what="the validation part")
        return whole, validation
    try:
        return whole.split(by="trial", test=fraction, seed=seed)
    except InputError as error:
        raise InputError(f"no trials can be held out to validate ({error}) Or give files for validation.") from error


def check_unlearned(run: Run, recordings: Sequence[Recording]) -> None:
    """Refuse test trials that the model of a run has learned from, or was chosen by."""
    if not run.has_tensors("learned_from"):
        return
    learned = run.read_tensors("learned_from")[0]["bins"].numpy().view(np.uint64)
    for recording in recordings:
        if found_in(PopulationDataset(recording), learned):
            raise InputError(
                f"{recording.name!r} holds trials that the model of {run.folder} learned from, or was chosen by; give "
                "other trials (motet simulate with another seed)."
            )


def rival_trials(run: Run, names: Sequence[str], trials: Trials, most: int | None = None) -> list[Recording]:
    """What rivals of a run's model learn from: the recordings of these names, or else those that the run learned from.

    Args:
        run: that was trained.
        names: of the recordings.
        trials: how they are read.
        most: how many first trials of each.

    Raises:
        InputError: if they cannot be read, or are not what they were.
    """
    kept = run.read_settings() if run.has_settings else {}
    advice = "give rival_recordings, or rivals=false"
    if not (chosen := names or kept.get("recordings", ())):
        raise InputError(f"{run.folder} does not say which recordings it was trained on; {advice}.")
    try:
        found = trials.read(chosen)
    except InputError as error:
        raise InputError(f"rivals learn from the training trials, which cannot be read ({error}); {advice}.") from error
    if not names and {digest(r) for r in found} - set(run.read_inputs().get("recordings", ())):
        raise InputError(f"the recordings that {run.folder} was trained on have changed since; {advice}.")
    return [recording.select(trials=slice(0, most)) for recording in found]


def check_features(recording: Recording, motion: MotionSettings, *, is_of_model: bool = False) -> None:
    """Refuse features that are not what `motion.features` says, as far as numbers tell.

    Args:
        recording: to be read.
        motion: how.
        is_of_model: whether that is settled, since a model was trained so.
    """
    fitting: dict[str, str] = {
        name: words for name, (allowed, words) in ALLOWED_FEATURES.items() if recording.n_features in allowed
    }
    why = ""
    places = recording.values[recording.observed][:, :2]
    if places.shape[1] == 2 and len(places):
        from_circle = np.abs(np.linalg.norm(places, axis=-1) - 1)
        if from_circle.max() < ON_CIRCLE:
            fitting = {"phase": ALLOWED_FEATURES["phase"][1]}
            why = ", of which the first two lie on the unit circle, as cos φ and sin φ do"
        elif np.median(from_circle) > OFF_CIRCLE:
            fitting.pop("phase", None)
    if motion.features in ("none", *fitting):
        return
    given = f"recording {recording.name!r} has {recording.n_features} features{why}"
    if is_of_model:
        needed = ALLOWED_FEATURES[motion.features][1]
        raise InputError(f"{given}; the model reads {motion.features} ({needed}): give such a recording.")
    options = [*(f"{name} ({words})" for name, words in fitting.items()), "none (no geometry is known)"]
    raise InputError(f"{given}, which are not {motion.features!r}; give motion.features={' or '.join(options)}.")


def digest(recording: Recording) -> str:
    """A text that changes with anything in a recording that could change a result."""
    found = hashlib.blake2b(digest_size=16)
    about = [recording.individual_ids, recording.bin_seconds, recording.subject]
    about += [recording.target_levels, recording.metadata]
    found.update(repr(about).encode())
    named: dict[str, Any] = {
        "values": recording.values,
        "observed": recording.observed,
        "trial_ids": recording.trial_ids,
    }
    named |= {"trial_start_seconds": recording.trial_start_seconds}
    named |= {f"target {name}": target for name, target in recording.targets.items()}
    for name, values in named.items():
        array = np.asarray(values)
        array = array.astype(str) if array.dtype.hasobject else array
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def cut_trials(
    recording: Recording, level: Level | None, *, bins: int | None, window: int | None, stride: int
) -> Recording:
    """The bins of every trial that a decoder reads, as whole trials or as windows.

    Args:
        recording: to be cut.
        level: of the target that is decoded.
        bins: how many first bins; None for as many as the shortest trial has, where the target is per trial, and for
            all otherwise.
        window: bins per window, each of which becomes a trial; None for whole trials.
        stride: bins between the starts of two windows.

    Raises:
        InputError: if nothing would be left.

    Example:
        >>> recording = Recording.from_trials(np.ones((4, 2, 6)), targets={"side": np.arange(4) % 2})
        >>> cut_trials(recording, "trial", bins=4, window=2, stride=2)
        Recording('array': 8 trials × 2 individuals × 2 bins of 1 s; targets: side per trial)
    """
    if bins is None and level == "trial":
        bins = int(recording.trial_lengths.min())
    if bins is not None and bins < 1:
        raise InputError(f"bins is {bins} for recording {recording.name!r}; give at least 1, or drop empty trials.")
    recording = recording.select(bins=slice(0, bins))
    return recording if window is None else recording.windows(window, stride=stride)


def class_target(recording: Recording, target: str) -> str | None:
    """That target if it is one class per trial, or else the first that is: what trials are grouped by."""
    per_trial = [n for n in (target, *recording.targets) if recording.target_levels.get(n) == "trial"]
    classes = (n for n in per_trial if recording.targets[n].dtype.kind in "biU" and recording.targets[n].ndim == 1)
    return next((n for n in classes if given.is_known(recording.targets[n]).any()), None)


def words(recording: Recording) -> str:
    """How much there is in a recording."""
    return f"{recording.n_trials:,} trials of {recording.n_individuals} individuals, {recording.n_bins} bins"


def describe(recording: Recording) -> str:
    """What is in a recording, in a few lines.

    Example:
        >>> import numpy as np
        >>> print(describe(Recording.from_trials(np.ones((4, 2, 3)), targets={"side": np.arange(4) % 2})))
        array, of subject unknown
        4 trials of 3 bins of 1 s, 2 individuals, 1 feature; 100.0 % observed
        values from 1 to 1, mean 1; individuals that never vary: 2
        target side per trial: 2 classes (0: 2, 1: 2)
    """
    lengths, values = recording.trial_lengths, recording.values[recording.observed]
    bins = f"{lengths.min()}" if lengths.min() == lengths.max() else f"{lengths.min()} to {lengths.max()}"
    within = recording.bin_is_observed[:, None].repeat(recording.n_individuals, axis=1)
    n_silent = int((~varies([recording]).any(axis=1)).sum())
    plural = "" if recording.n_features == 1 else "s"
    lines = [
        f"{recording.name}, of subject {recording.subject}",
        f"{recording.n_trials} trials of {bins} bins of {recording.bin_seconds:g} s, {recording.n_individuals} "
        f"individuals, {recording.n_features} feature{plural}; "
        f"{100 * recording.observed[within].mean():.1f} % observed",
        f"values from {values.min():g} to {values.max():g}, mean {values.mean():g}; "
        f"individuals that never vary: {n_silent}",
    ]
    return "\n".join([*lines, *(_describe_target(recording, name) for name in recording.targets)])


def _describe_target(recording: Recording, name: str) -> str:
    level, target = recording.target_levels[name], recording.targets[name]
    values = target[recording.bin_is_observed] if level == "bin" else target
    known = given.is_known(values)
    if level in ("individual", "pair") and values.dtype.kind == "i":
        known &= values >= 0
    head, n_unknown = f"target {name} per {level}", int(known.size - known.sum())
    tail = f", {n_unknown} unknown" if n_unknown else ""
    if not known.any():
        return f"{head}: all {n_unknown} unknown"
    if values.dtype.kind == "f":
        n_numbers = math.prod(target.shape[{"trial": 1, "bin": 2, "individual": 2, "pair": 3}[level] :])
        return f"{head}: {n_numbers} number(s), {values[known].min():g} to {values[known].max():g}{tail}"
    classes, counts = np.unique(values[known], return_counts=True)
    shown = ", ".join(f"{c}: {n}" for c, n in zip(classes[:10], counts[:10], strict=True))
    return f"{head}: {len(classes)} classes ({shown}{', …' if len(classes) > 10 else ''}){tail}"
