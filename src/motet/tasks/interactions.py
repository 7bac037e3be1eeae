"""Learn who interacts with whom from systems whose truth is known."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.dataset import PopulationDataset
from motet.data.motion import ALLOWED_FEATURES, MotionSettings
from motet.data.pairs import are_pairs
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.interactions import EITInteractions
from motet.estimators.systems import PAIR_MODEL, PAIR_TRAINING, check_systems
from motet.models.eit import EITSettings
from motet.models.pairs import PairSettings
from motet.names import in_markdown, in_path
from motet.progress import progress_bar
from motet.settings import check_choices, check_seed
from motet.tasks.find import cut_trials, digest, find_recording, reading_of
from motet.tasks.interactions_scores import Truth, graph_table, score_graph, score_state, state_table, truth_of
from motet.tasks.outcome import Outcome, begin, is_first_process
from motet.training.objectives import InteractionSettings
from motet.training.run import Run
from motet.training.settings import TrainingSettings
from motet.training.state import end_training

Floats = NDArray[np.floating[Any]]

# Points as near to the unit circle are phases; with half of them as far from it, they are none.
ON_CIRCLE, OFF_CIRCLE = 1e-3, 0.15


@dataclasses.dataclass(frozen=True)
class TrainInteractionsSettings:
    """What to learn interactions from, and how.

    Attributes:
        recordings: files (motet simulate; CSV, npz or nc of your own), or names in the catalogue; several are learned
            together, best of several sizes. Each has the target.
        target: per pair, the edge type: 0 for none.
        states: targets per individual to learn beside it, such as [mass].
        output: the run's folder; by default "runs/interactions-<recording>".
        validation: files to choose the best epoch by and to calibrate probabilities on, best of several sizes; in place
            of a part of the recordings, as large as training.validation says.
        reading: options for reading the files, by name, such as {columns: {individual: fish}, bin_seconds: 0.1}.
        window: cut trials into windows of this many bins, each one a trial.
        stride: bins between the starts of two windows.
        seed: of everything random.
        model: see EITSettings.
        pairs: see PairSettings.
        motion: see MotionSettings; motion.features says what the features of a recording are.
        objective: see InteractionSettings.
        training: see TrainingSettings.
    """

    recordings: tuple[str, ...]
    target: str = "interacts"
    states: tuple[str, ...] = ()
    output: str | None = None
    validation: tuple[str, ...] = ()
    reading: dict[str, Any] | None = None
    window: int | None = None
    stride: int = 1
    seed: int = 0
    model: EITSettings = PAIR_MODEL
    pairs: PairSettings = PairSettings()
    motion: MotionSettings = MotionSettings()
    objective: InteractionSettings = InteractionSettings()
    training: TrainingSettings = dataclasses.replace(PAIR_TRAINING, validation=0.1)

    def __post_init__(self) -> None:
        check_names(self.recordings)
        check_choices(self)
        check_window(self.window, self.stride)
        check_seed(self.seed)
        if not self.validation and not self.training.validation:
            raise InputError(
                "probabilities are calibrated on trials that are not trained on, and there are none; give "
                "training.validation above 0, or files for validation."
            )

    @property
    def folder(self) -> Path:
        return Path(self.output or f"runs/interactions-{in_path(Path(self.recordings[0]).stem)}")


def train_interactions(settings: TrainInteractionsSettings) -> Outcome:
    """Learn who interacts with whom from recordings whose truth is known; leaves a run with model, table and figures.

    What was finished before is kept: run it again to go on after an interruption.

    Raises:
        InputError: for recordings, targets or settings that cannot be used.
    """
    read = functools.partial(read_trials, reading=settings.reading, window=settings.window, stride=settings.stride)
    recordings, held_out = read(settings.recordings), read(settings.validation)
    _check(recordings, held_out, settings)
    if held_out:
        train, validation = PopulationDataset(recordings), PopulationDataset(held_out)
    else:
        try:
            train, validation = PopulationDataset(recordings).split(
                by="trial", test=settings.training.validation, seed=settings.seed
            )
        except InputError as error:
            raise InputError(
                f"no trials can be held out to validate ({error}) Or give files for validation."
            ) from error
    run = Run(settings.folder)
    if not is_first_process(settings.training):
        _fit(run, train, validation, settings)
        return Outcome(run, "", {})
    with run.claimed():
        begin(run, settings, {"recordings": recordings, "validation": held_out})
        recovery = _fit(run, train, validation, settings)
        end_training(run, "weights")
        if not run.is_finished:
            _finish(run, recovery, train, validation)
        return Outcome.read(run)


def _fit(
    run: Run, train: PopulationDataset, validation: PopulationDataset, settings: TrainInteractionsSettings
) -> EITInteractions:
    """The trained model: that of the run, if it has one."""
    if run.has_tensors("weights"):
        return load_interactions(run)
    recovery = EITInteractions(
        settings.target,
        states=tuple(settings.states),
        model=settings.model,
        pairs=settings.pairs,
        motion=settings.motion,
        objective=settings.objective,
        training=dataclasses.replace(settings.training, validation=0.0),  # its part is given
        seed=settings.seed,
    ).fit(train, validation=validation, run=run)
    if is_first_process(settings.training):
        recovery.save(run)
    return recovery


def _finish(run: Run, recovery: EITInteractions, train: PopulationDataset, validation: PopulationDataset) -> None:
    """Score the validation part, and draw."""
    from motet.tasks.interactions_figures import draw_training

    known = [r for r in validation.recordings if _is_known(r, recovery.target)]
    results: dict[str, Any] = {
        "part": "validation",
        "n_parameters": recovery.n_parameters_,
        "fit_seconds": sum(row.seconds for row in recovery.history_),
        "trained_on": about_training(train, recovery),
        "recordings": {},
    }
    table = [
        "Scores of the validation part, which chose the epoch and calibrated the probabilities; those of other trials: "
        "motet interactions evaluate."
    ]
    with progress_bar("score the validation part", len(known)) as advance:
        for recording in known:
            found = score_model(recovery, recording, recovery.predict_log_proba(recording))
            results["recordings"][recording.name] = found
            table += [
                "",
                f"## {in_markdown(recording.name)} ({words(recording)})",
                "",
                graph_table(found["methods"], left_out={}),
            ]
            table += ["", state_table(found["states"])] if found["states"] else []
            advance(1, recording.name)
    draw_training(run, recovery, known)
    run.write_results(results)
    run.write_table("\n".join(table))


def score_model(recovery: EITInteractions, recording: Recording, log_probability: Floats) -> dict[str, Any]:
    """What a model scores on one recording: the graph, and the states that are known."""
    truth = truth_of(recording, recovery)
    scores = score_graph(log_probability, truth)
    about = {"n_parameters": recovery.n_parameters_, "fit_seconds": sum(row.seconds for row in recovery.history_)}
    return {
        "n_trials": recording.n_trials,
        "n_individuals": recording.n_individuals,
        "edge_fraction": float((truth.types[truth.counted] > 0).mean()),
        "is_grouped": truth.groups is not None,
        "methods": {recovery.method: {"scores": scores, **about}},
        "states": score_states(recovery, recording, truth),
    }


def score_states(recovery: EITInteractions, recording: Recording, truth: Truth) -> dict[str, Any]:
    """The scores of every state that a recording tells, of the model and of the mean of the training trials."""
    told = [target for target in recovery.state_targets_ if target.name in recording.targets]
    predicted = recovery.predict_states(recording) if told else {}
    scores = {}
    for target in told:
        known = recording.targets[target.name].astype(np.float64)
        mean = np.full(known.shape, target.mean[0])
        methods = {recovery.method: predicted[target.name].astype(np.float64), "mean of the training trials": mean}
        scores[target.name] = {name: score_state(values, known, truth.blocks) for name, values in methods.items()}
    return scores


# ------------------------------------------------------------------ recordings


def read_trials(
    names: Sequence[str], *, reading: Mapping[str, Any] | None, window: int | None, stride: int
) -> list[Recording]:
    """Recordings of files or of the catalogue, cut into windows; those of one name are numbered.

    Raises:
        InputError: if one cannot be read, or two hold the same trials.
    """
    recordings: list[Recording] = []
    digests: dict[str, str] = {}
    for name in names:
        found = find_recording(name, reading)
        if (key := digest(found)) in digests:
            raise InputError(f"{name} holds the same trials as {digests[key]}; give each once.")
        digests[key] = name
        found = cut_trials(found, None, bins=None, window=window, stride=stride)
        n_alike = sum(other.name.partition(" (")[0] == found.name for other in recordings)
        recordings.append(dataclasses.replace(found, name=f"{found.name} ({n_alike + 1})") if n_alike else found)
    if recordings:
        check_systems(PopulationDataset(recordings))
    return recordings


def how_read(run: Run) -> dict[str, Any]:
    """How a run read and cut its recordings, as `read_trials` takes it; whole, if only `EITInteractions` made the run.

    Raises:
        InputError: if its settings are damaged.
    """
    kept = run.read_settings() if run.has_settings else {}
    asked = {"reading": reading_of(run, None), "window": kept.get("window"), "stride": kept.get("stride", 1)}
    if not (isinstance(asked["window"], int | None) and isinstance(asked["stride"], int)):
        raise InputError(f"{run.folder}/settings.yaml is damaged ({asked}); restore it or choose another run.")
    return asked


def load_interactions(run: Run) -> EITInteractions:
    """The model of a run.

    Raises:
        InputError: if it holds none, or one that recovers no interactions.
    """
    _, about = run.read_tensors("weights")
    if (kind := about.get("estimator")) != EITInteractions.__name__:
        raise InputError(
            f"{run.folder} holds a {kind}, which recovers no interactions; give a run of motet interactions train."
        )
    return EITInteractions.load(run)


def about_training(train: PopulationDataset, recovery: EITInteractions) -> dict[str, Any]:
    """How many individuals and bins the trials of training had, and whether everybody interacted with their group."""
    truths = [truth_of(r, recovery) for r in train.recordings if _is_known(r, recovery.target)]
    bins = np.concatenate([recording.trial_lengths for recording in train.recordings])
    n_individuals = np.concatenate([r.observed.any(axis=2).sum(axis=1) for r in train.recordings])
    return {
        "n_trials": len(train),
        "n_individuals": np.unique(n_individuals),
        "n_bins": [int(bins.min()), int(bins.max())],
        "is_grouped": all(truth.groups is not None for truth in truths),
    }


def words(recording: Recording) -> str:
    """How much there is in a recording."""
    return f"{recording.n_trials:,} trials of {recording.n_individuals} individuals, {recording.n_bins} bins"


def check_names(names: Any) -> None:
    """Refuse anything but a list of one name at least."""
    if isinstance(names, str) or not names:
        raise InputError(f"recordings is {names!r}; give a list of one file or name at least.")


def check_window(window: int | None, stride: int) -> None:
    """Refuse windows that move by no bin, or have none."""
    for name, given in (("window", window), ("stride", stride)):
        if given is not None and given < 1:
            raise InputError(f"{name} is {given}; give at least 1.")


def _check(recordings: Sequence[Recording], held_out: Sequence[Recording], settings: TrainInteractionsSettings) -> None:
    """Refuse what would train and mean nothing."""
    trained = {digest(recording) for recording in recordings}
    for recording in held_out:
        if digest(recording) in trained:
            raise InputError(f"{recording.name!r} is in both recordings and validation; give other trials to validate.")
    for recording in (*recordings, *held_out):
        check_features(recording, settings.motion)
        target = recording.targets.get(settings.target)
        if target is not None and recording.target_levels[settings.target] == "pair" and target.dtype.kind in "biu":
            differs = (target != target.swapaxes(1, 2)).any()
            if differs and not settings.objective.is_directed:
                raise InputError(
                    f"target {settings.target!r} of recording {recording.name!r} differs between the two orders of a "
                    "pair; give objective.is_directed=true, or make them alike."
                )


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


def _is_known(recording: Recording, target: str) -> bool:
    return target in recording.targets and bool(
        (are_pairs(recording.observed) & (recording.targets[target] >= 0)).any()
    )
