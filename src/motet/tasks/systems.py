"""What the verbs of systems share, whatever they ask: how they read, are set, train and evaluate."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from motet.data.dataset import PopulationDataset
from motet.data.leaks import found_in, refuse_leak
from motet.data.motion import ALLOWED_FEATURES, MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.systems import PAIR_MODEL, PAIR_TRAINING, SystemEstimator, check_systems
from motet.models.eit import EITSettings
from motet.models.pairs import PairSettings
from motet.names import in_markdown
from motet.rivals.method import Answer
from motet.settings import Seed, Settings
from motet.tasks.evaluate import Part, Task, part_name
from motet.tasks.find import cut_trials, digest, find_recording, stem
from motet.tasks.models import Loaded, Trained
from motet.training.run import Run
from motet.training.settings import TrainingSettings

Kind = TypeVar("Kind", bound=SystemEstimator)

# Points as near to the unit circle are phases; with half of them as far from it, they are none.
ON_CIRCLE, OFF_CIRCLE = 1e-3, 0.15


# ------------------------------------------------------------------ settings


@dataclasses.dataclass(frozen=True)
class TrainSettings(Settings):
    """What to learn from, and how.

    Attributes:
        recordings: files (motet simulate; CSV, npz or nc of your own), or names in the catalogue; several are learned
            together, best of several sizes.
        target: per pair, the edge type: 0 for none.
        output: the run's folder; by default in runs, after the verb and the first recording.
        validation: files to choose the best epoch by (and to calibrate probabilities on), best of several sizes; in
            place of a part of the recordings, as large as training.validation says.
        reading: options for reading the files, by name, such as {columns: {individual: fish}, bin_seconds: 0.1}.
        seed: of everything random.
        model: see EITSettings.
        pairs: see PairSettings.
        motion: see MotionSettings; motion.features says what the features of a recording are.
        training: see TrainingSettings.
    """

    positionals: ClassVar = ("recordings",)

    recordings: tuple[str, ...]
    target: str = "interacts"
    output: str | None = None
    validation: tuple[str, ...] = ()
    reading: dict[str, Any] | None = None
    seed: Seed = 0
    model: EITSettings = PAIR_MODEL
    pairs: PairSettings = PairSettings()
    motion: MotionSettings = MotionSettings()
    training: TrainingSettings = dataclasses.replace(PAIR_TRAINING, validation=0.1)

    def check(self) -> None:
        if not self.recordings:
            raise InputError("recordings is empty; give a list of one file or name at least.")


@dataclasses.dataclass(frozen=True)
class EvaluateSettings(Settings):
    """What to evaluate, and beside what.

    Attributes:
        run: folder of a run that was trained; trials are read and cut as it read and cut them.
        recordings: files, or names in the catalogue, of any sizes.
        name: of the evaluation, a folder in the run's evaluations; by default that of the first recording.
        rivals: whether closed-form rivals stand beside the model. One that cannot read a recording is left out, and
            the table says why.
        rival_recordings: files that rivals learn from; by default those that the run was trained on.
        reading: options for reading the files, by name; by default those of the run.
    """

    positionals: ClassVar = ("run", "recordings")

    run: str
    recordings: tuple[str, ...]
    name: str | None = None
    rivals: bool = True
    rival_recordings: tuple[str, ...] = ()
    reading: dict[str, Any] | None = None

    def check(self) -> None:
        if not self.recordings:
            raise InputError("recordings is empty; give a list of one file or name at least.")
        if self.rival_recordings and not self.rivals:
            raise InputError("rival_recordings is given, but rivals is false; leave one of them out.")
        if self.name is not None and (not self.name or Path(self.name).name != self.name):
            raise InputError(f"name is {self.name!r}; give the name of a folder, such as 'large'.")

    @property
    def folder(self) -> Path:
        return Path(self.run) / "evaluations" / (self.name or stem(self.recordings[0]))


# ------------------------------------------------------------------ tasks


class SystemTask(Task, Generic[Kind]):
    """Parts are recordings of systems, about which the model of a run is asked.

    Attributes:
        kind: of estimator.
        run: that holds the model.
        tests: recordings whose truth is known.
        train: what rivals learn from.
    """

    kind: ClassVar[type[Any]]
    run: Run
    tests: Sequence[Recording] = ()
    train: PopulationDataset | None = None

    @staticmethod
    @abc.abstractmethod
    def answers(estimator: Any, test: PopulationDataset) -> Answer:
        """What an estimator answers."""

    @functools.cached_property
    def estimator(self) -> Kind:
        return load_estimator(self.run, self.kind)

    @property
    def model(self) -> Loaded:
        return Loaded(lambda: self.estimator, self.answers, self.estimator.method)

    def parts(self) -> Sequence[Part]:
        return [Part(part_name(r), self.train, PopulationDataset(r), r.name) for r in self.tests]

    def heading(self, section: str, parts: Sequence[Part]) -> str:
        return f"{in_markdown(section)} ({words(only(parts[0]))})"


class TrainTask(SystemTask[Kind]):
    """The model of a run is trained.

    Args:
        settings: what the user asked for; the estimator's settings are those of the same name.

    Attributes:
        recordings: to train on.
        held_out: to validate with, if they are given.
    """

    def __init__(self, settings: Any) -> None:
        self.settings, self.training = settings, settings.training
        self.run = Run(settings.folder)
        trials = Trials(settings.reading, getattr(settings, "window", None), getattr(settings, "stride", 1))
        self.recordings, self.held_out = trials.read(settings.recordings), trials.read(settings.validation)
        self.inputs = {"recordings": self.recordings, "validation": self.held_out}
        for recording in (*self.recordings, *self.held_out):
            check_features(recording, settings.motion)
        if self.held_out:
            learned, validation = PopulationDataset(self.recordings), PopulationDataset(self.held_out)
            refuse_leak(learned, validation, what="the validation part")

    def made(self) -> Any:
        """The estimator, not yet fitted."""
        return made(self.kind, self.settings)

    def trained(self, validation: PopulationDataset | None) -> Trained:
        """The method that is trained, with these trials to choose the best epoch by."""
        return Trained(self.made, self.answers, self.made().method, validation=validation)


class EvaluateTask(SystemTask[Kind]):
    """A trained model is asked about recordings, beside rivals.

    Args:
        settings: what the user asked for.
        trials: how files become trials; by default as the run's did.
        most: how many first trials of each recording rivals learn from.
    """

    def __init__(self, settings: Any, trials: Trials, *, most: int | None = None) -> None:
        self.settings = settings
        self.run = self.weights = Run(settings.run)
        self.tests = trials.read(settings.recordings)
        for recording in self.tests:
            check_features(recording, self.estimator.motion, is_of_model=True)
        check_unlearned(self.run, self.tests)
        found = rival_trials(self.run, settings.rival_recordings, trials) if settings.rivals else []
        self.learned_from = [recording.select(trials=slice(0, most)) for recording in found]
        self.train = PopulationDataset(self.learned_from) if found else None
        self.inputs = {"recordings": self.tests, "rival_recordings": found}


def made(kind: type[Any], settings: Any) -> Any:
    """An estimator whose settings are those of the same name."""
    names = kind._get_param_names()
    return kind(**{name: getattr(settings, name) for name in names if hasattr(settings, name)})


def only(part: Part) -> Recording:
    """The recording of a part that is tested on."""
    assert part.test is not None
    return part.test.recordings[0]


# ------------------------------------------------------------------ runs and recordings


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


def rival_trials(run: Run, names: Sequence[str], trials: Trials) -> list[Recording]:
    """What rivals of a run's model learn from: the recordings of these names, or else those that the run learned from.

    Args:
        run: that was trained.
        names: of the recordings.
        trials: how they are read.

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
    return found


def check_features(recording: Recording, motion: MotionSettings, *, is_of_model: bool = False) -> None:
    """Refuse features that are not what `motion.features` says, as far as numbers show.

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


def words(recording: Recording) -> str:
    """How much there is in a recording."""
    return f"{recording.n_trials:,} trials of {recording.n_individuals} individuals, {recording.n_bins} bins"
