"""Sweep: search the settings of a decoding on training trials alone, and test the best ones once.

1. The last fold is laid aside: it is tested once, at the end, with the settings that were chosen.
2. Tries: settings drawn by Optuna from the space are scored by cross-validation inside the training trials.
3. The best are kept as `best.yaml`, a valid `--config` of `motet decode`, and decode the fold that was laid aside.

Tries are kept in a storage of Optuna, by default a file in the folder: several processes (`--jobs`) share it, several
machines where it has an address (`--storage`), and the same command goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import json
import math
import os
import socket
import subprocess
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from motet.data.dataset import PopulationDataset
from motet.data.preprocess import PreprocessSettings
from motet.errors import InputError, did_you_mean, lacking_extra
from motet.files import write_text
from motet.models.eit import EITSettings
from motet.names import in_markdown, in_path
from motet.plain import as_plain, digest, to_yaml
from motet.progress import Advance, Bar, progress_bar, within_bar
from motet.report.style import save_figure
from motet.report.sweeps import draw_sweep
from motet.settings import Count, check_value
from motet.statistics import markdown
from motet.tasks.decode import HEADINGS, Decode, DecodeSettings, decode
from motet.tasks.evaluate import FAILURES, evaluate
from motet.tasks.find import digest as digest_of
from motet.tasks.find import stem
from motet.tasks.jobs import Compared, run_as_process, started
from motet.tasks.outcome import Outcome
from motet.training.objectives import ObjectiveSettings
from motet.training.run import Run
from motet.training.settings import TrainingSettings

PARTS: Mapping[str, type[Any]] = {
    "model": EITSettings,
    "objective": ObjectiveSettings,
    "training": TrainingSettings,
    "preprocess": PreprocessSettings,
}
WHOLE = ("rule", "members")  # settings beside these parts that may be searched
SPACE: Mapping[str, Any] = {
    "model.width": [8, 16, 32, 64],
    "model.individual_depth": [1, 2],
    "model.interaction_depth": [0, 1, 2],
    "model.dropout": {"low": 0.0, "high": 0.3},
    "model.token_bins": [1, 2, 4],
    "objective.noise": {"low": 0.1, "high": 2.0, "log": True},
    "training.learning_rate": {"low": 5e-4, "high": 1e-2, "log": True},
    "training.weight_decay": {"low": 1e-2, "high": 1.0, "log": True},
}
ENDS = ("low", "high", "log", "step")
GIVEN = "given"  # the settings as the user gave them
MOST_ROWS = 20  # tries in the table
FEWEST_FOR_IMPORTANCE = 4


@dataclasses.dataclass(frozen=True)
class SweepSettings(DecodeSettings):
    """What to decode, and which of its settings to search; those that are not searched are as given.

    Attributes:
        recordings: as of motet decode, with all options from target to members.
        target: as of motet decode.
        output: the folder; by default "runs/sweep-<recording>-<target>".
        folds: of which the last is laid aside, and tested once, at the end.
        space: dotted names of settings, each with a list of choices, or with low, high and perhaps log or step, such as
            {model.width: [16, 32], training.learning_rate: {low: 1e-4, high: 1e-2, log: true}}; by default widths,
            depths, dropout, tokens, noise, learning rate and weight decay.
        tries: how many settings are scored, beside those given.
        inner_folds: of the training trials, by which settings are scored.
        jobs: processes at a time.
        storage: where tries are kept, as Optuna names it, such as sqlite:///sweep.db or postgresql://…; by default a
            file in the folder. Machines that are given the same storage, recordings and settings search together.
    """

    space: dict[str, Any] | None = None
    tries: Count = 30
    inner_folds: Count = 3
    jobs: Count = 1
    storage: str | None = None

    def check(self) -> None:
        super().check()
        if self.folds < 2 or self.tested_folds is not None or self.repeats > 1:
            raise InputError("a sweep lays the last fold aside; give folds of 2 or more, no tested_folds, no repeats.")
        if self.inner_folds < 2:
            raise InputError(f"inner_folds is {self.inner_folds}; give at least 2.")
        if self.training.devices * self.training.n_nodes > 1:
            raise InputError(
                "training.devices × n_nodes is above 1; each try trains in one process: give jobs instead."
            )
        _ = self.axes

    @property
    def folder(self) -> Path:
        return Path(self.output or f"runs/sweep-{stem(self.recordings[0])}-{in_path(self.target)}")

    @functools.cached_property
    def axes(self) -> list[Axis]:
        """What is searched."""
        space = SPACE if self.space is None else self.space
        if not space:
            raise InputError("space is empty; give names of settings with choices or low and high, or leave it out.")
        return [Axis.of(name, among) for name, among in space.items()]

    def decoding(self, values: Mapping[str, Any] = {}, **other: Any) -> DecodeSettings:
        """The settings of a decoding, with some of them changed."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(DecodeSettings)}
        inside: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            part, _, field = name.partition(".")
            if field:
                inside.setdefault(part, {})[field] = tuple(value) if isinstance(value, list) else value
            else:
                fields[part] = value
        fields |= {part: dataclasses.replace(fields[part], **changed) for part, changed in inside.items()}
        return DecodeSettings(**{**fields, **other})


@dataclasses.dataclass(frozen=True)
class Axis:
    """A setting that is searched.

    Attributes:
        name: dotted.
        choices: one of which it is; empty where it is between two ends.
        low: the least.
        high: the most.
        is_log: whether it is drawn evenly on a logarithmic scale.
        step: between values, if they have steps.
        is_whole: whether it is a whole number.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_log: bool = False
    step: float | None = None
    is_whole: bool = False

    @classmethod
    def of(cls, name: str, among: Any) -> Axis:
        """From what the user gave.

        Raises:
            InputError: if there is no such setting, or it may not be what was given.
        """
        hint = _hint(name)
        if isinstance(among, list | tuple):
            for choice in among:
                check_value(name, choice, hint)
            if len({json.dumps(as_plain(choice)) for choice in among}) < max(2, len(among)):
                raise InputError(f"the choices of {name} are {list(among)}; give two or more, each once.")
            return cls(name, tuple(among))
        if not isinstance(among, Mapping) or not {"low", "high"} <= among.keys():
            raise InputError(f"{name} is searched in {among!r}; give a list of choices, or low and high.")
        if unknown := [key for key in among if key not in ENDS]:
            raise did_you_mean(str(unknown[0]), ENDS, what=f"word for {name}")
        low, high = among["low"], among["high"]
        for end in (low, high):
            check_value(name, end, hint)
        if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high)) or low >= high:
            raise InputError(f"{name} is searched from {low!r} to {high!r}; give numbers, the lower first.")
        is_whole = False
        try:
            check_value(name, low + 0.37 * (high - low), hint)
        except InputError:
            is_whole = True
        is_log, step = bool(among.get("log", False)), among.get("step")
        if is_log and (low <= 0 or step is not None):
            raise InputError(f"{name} is searched on a logarithmic scale; give low above 0, and no step.")
        if step is not None and not (isinstance(step, int if is_whole else int | float) and step > 0):
            raise InputError(f"the step of {name} is {step!r}; give a positive number, a whole one for whole numbers.")
        return cls(name, (), low, high, is_log, step, is_whole)

    def draw(self, trial: Any) -> Any:
        """A value, by a trial of Optuna."""
        if self.choices:
            return json.loads(trial.suggest_categorical(self.name, [json.dumps(as_plain(one)) for one in self.choices]))
        if self.is_whole:
            return trial.suggest_int(
                self.name, int(self.low), int(self.high), log=self.is_log, step=int(self.step or 1)
            )
        return trial.suggest_float(self.name, self.low, self.high, log=self.is_log, step=self.step)


def _hint(name: str) -> Any:
    """What a setting may be."""
    known = {f"{part}.{field.name}": part for part, kind in PARTS.items() for field in dataclasses.fields(kind)}
    if name in WHOLE:
        return typing.get_type_hints(DecodeSettings, include_extras=True)[name]
    if name not in known:
        raise did_you_mean(name, [*known, *WHOLE], what="setting to search")
    part, _, field = name.partition(".")
    return typing.get_type_hints(PARTS[part], include_extras=True)[field]


# ------------------------------------------------------------------ tries


@dataclasses.dataclass(frozen=True)
class Try:
    """Settings that were scored.

    Attributes:
        number: in order; -1 for the settings as given.
        values: by dotted name.
        score: by cross-validation inside the training trials; NaN if they could not be used.
        why: they could not.
    """

    number: int
    values: Mapping[str, Any]
    score: float
    why: str = ""


class Searched(Compared):
    """A decoding of the training trials of a fold in folds of their own: no test trial is among them.

    Args:
        settings: of these folds.
        train: the training trials.
    """

    def __init__(self, settings: DecodeSettings, train: PopulationDataset) -> None:
        self._train = train
        super().__init__(settings)
        self.inputs = {"recordings": train.recordings}

    def decoded(self, dataset: PopulationDataset) -> PopulationDataset:
        return self._train


class Search:
    """Tries of a sweep, in a process of its own or beside others.

    Args:
        settings: of the sweep.
    """

    def __init__(self, settings: SweepSettings) -> None:
        if importlib.util.find_spec("optuna") is None:
            raise lacking_extra("sweep", "a sweep draws settings with Optuna")
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.settings = settings
        self.outer = Decode(settings.decoding(tested_folds=1, final=False))
        (part,) = self.outer.parts()
        assert part.train is not None
        self.train: PopulationDataset = part.train
        self.metric = self.outer.metric
        about = {**as_plain(settings), "output": None, "storage": None, "jobs": None, "tries": None, "recordings": None}
        name = digest([about, [digest_of(recording) for recording in self.outer.inputs["recordings"]]], {})
        try:
            self.study = optuna.create_study(
                storage=self._storage(), study_name=f"motet-{name}", direction="maximize", load_if_exists=True
            )
        except Exception as error:  # of a data base, of any kind
            raise InputError(f"storage {settings.storage!r} cannot be used ({error}); give another.") from error

    def _storage(self) -> Any:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        if self.settings.storage is not None:
            return self.settings.storage
        self.settings.folder.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(self.settings.folder / "sweep.journal")))

    def score(self, values: Mapping[str, Any], name: str, bar: Bar) -> float:
        """How good settings are, by the folds inside the training trials.

        Raises:
            InputError: and other errors of `FAILURES`, if they cannot be used.
        """
        s = self.settings
        inner = {"folds": s.inner_folds, "tested_folds": None, "repeats": 1, "train_fraction": 1.0}
        alone = {"rivals": False, "control": False, "final": False}
        folder = str(s.folder / "tries" / name)
        task = Searched(s.decoding(values, **inner, **alone, metric=self.metric, output=folder), self.train)
        (section,) = evaluate(task, bar).results["sections"].values()
        if task.model not in section["methods"]:
            raise InputError(section["left_out"].get(task.model, "it gave no answer"))
        return float(as_plain(section["methods"][task.model]["scores"])[self.metric]["value"])

    def work(self, advance: Advance) -> None:
        """Score settings until there are as many as asked for; others may do so beside this."""
        import optuna
        from optuna.trial import TrialState

        self._revive()
        while (n_begun := self.n_begun()) < self.settings.tries:
            seed = (self.settings.seed + 1000003 * n_begun) % 2**32  # so that going on is as never stopping
            self.study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
            trial = self.study.ask()
            trial.set_user_attr("process", f"{socket.gethostname()}:{os.getpid()}")
            if self.n_begun(before=trial.number) >= self.settings.tries:  # others were faster
                self.study.tell(trial, state=TrialState.FAIL)
                return
            values = {axis.name: axis.draw(trial) for axis in self.settings.axes}
            name = digest(values, {})[:12]
            try:
                score = self.score(values, name, _bar_of(advance, f"try {trial.number + 1}"))
            except FAILURES as error:
                trial.set_user_attr("why", str(error)[:500])
                self.study.tell(trial, state=TrialState.PRUNED)
                continue
            self.study.tell(trial, score)

    def n_begun(self, before: float = math.inf) -> int:
        """Tries that are done or at work, of lower numbers; those that could not be used count."""
        return sum(one.state.name not in ("FAIL", "WAITING") and one.number < before for one in self._trials())

    def _trials(self) -> list[Any]:
        trials: list[Any] = self.study.get_trials(deepcopy=False)
        return trials

    def _revive(self) -> None:
        """Tries of processes of this machine that are gone are done again; what they had done is kept."""
        from optuna.trial import TrialState

        for one in self._trials():
            host, _, process = one.user_attrs.get("process", "").rpartition(":")
            if one.state == TrialState.RUNNING and host == socket.gethostname() and not _is_alive(int(process)):
                with contextlib.suppress(ValueError, RuntimeError):  # another process was first
                    self.study.tell(one.number, state=TrialState.FAIL)
                    if one.params:
                        self.study.enqueue_trial(one.params)

    def tries(self) -> list[Try]:
        """All that were done, in order."""
        done: list[Try] = []
        for one in self._trials():
            drawn = [(axis, one.params[axis.name]) for axis in self.settings.axes if axis.name in one.params]
            values = {axis.name: json.loads(value) if axis.choices else value for axis, value in drawn}
            if one.state.name == "COMPLETE":
                done.append(Try(one.number, values, float(one.value)))
            elif one.state.name == "PRUNED":
                done.append(Try(one.number, values, math.nan, one.user_attrs.get("why", "")))
        return done[: self.settings.tries]

    def importance(self) -> dict[str, float]:
        """How much of the variance of scores each setting is behind (fANOVA); empty where tries are few."""
        import optuna

        scores = {one.score for one in self.tries() if math.isfinite(one.score)}
        if len(scores) < FEWEST_FOR_IMPORTANCE:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self.settings.seed)
        found = optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        return {name: float(value) for name, value in found.items()}


def _bar_of(advance: Advance, what: str) -> Bar:
    """A bar that is a step of another, whose news say of what they are."""
    return within_bar(lambda steps, news: advance(steps, f"{what}: {news}"))


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


# ------------------------------------------------------------------ the verb


def sweep(settings: SweepSettings) -> Outcome:
    """Search settings of a decoding on training trials, and test the best on the fold laid aside; leaves best.yaml.

    What was finished before is kept: run it again to go on after an interruption, or with more tries.

    Raises:
        InputError: for recordings, targets, settings or a space that cannot be used, or if no try could be.
    """
    run = Run(settings.folder)
    with run.claimed():
        search = Search(settings)
        asked = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
        digests = {role: [digest_of(one) for one in those] for role, those in search.outer.inputs.items()}
        run.write_settings(_without(asked, "output"), digests, paths={*digests, "jobs", "storage", "tries"})
        with progress_bar("sweep", settings.tries + 2) as advance:
            given = Try(-1, {}, search.score({}, GIVEN, _bar_of(advance, "as given")))
            _work_together(search, advance)
            found = [given, *search.tries()]
            best = max((one for one in found if math.isfinite(one.score)), key=lambda one: one.score)
            chosen = settings.decoding(best.values, output=None)
            write_text(run.folder / "best.yaml", to_yaml(_without(as_plain(chosen), "output")))
            advance(0, "the best, on the fold laid aside")
            place = run.folder / "best" / digest(best.values, {})[:12]
            tested = decode(dataclasses.replace(chosen, output=str(place), tested_folds=1))
        return _left(settings, run, search, found, best, tested)


def _without(plain: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in plain.items() if key != name}


def _work_together(search: Search, advance: Advance) -> None:
    """Search in this process and in others, each with its share of the cores."""
    s = search.settings
    before = len(search.tries())
    advance(before, "tries that were done before")
    others: list[subprocess.Popen[str]] = []
    try:
        for _ in range(s.jobs - 1):
            others.append(started("motet.tasks.sweep", s, s.jobs, stdout=subprocess.DEVNULL))
        search.work(advance)
        for process in others:
            if process.wait():
                raise InputError(
                    f"a process of the sweep ended with status {process.returncode}; was there too little memory? Run "
                    "the same command again, with fewer jobs."
                )
    finally:
        for process in others:
            process.terminate()
            assert process.stdin is not None
            process.stdin.close()


def _left(
    settings: SweepSettings, run: Run, search: Search, found: Sequence[Try], best: Try, tested: Outcome
) -> Outcome:
    """Results, table and figure."""
    heading, importance = HEADINGS[search.metric], search.importance()
    results = {
        **tested.results,
        "best": best,
        "best_run": str(tested.run.folder),
        "tries": list(found),
        "importance": importance,
        "score": heading,
    }
    scores = [one.score for one in found]
    names = [axis.name for axis in settings.axes]
    figure = draw_sweep(scores, importance, score_name=f"{heading}, inner folds", title=f"sweep of {settings.target}")
    save_figure(figure, run.figures, "sweep")
    ranked = sorted(found, key=lambda one: (math.isnan(one.score), -one.score if math.isfinite(one.score) else 0.0))
    rows = [["try", f"{heading}, inner folds", *names]]
    for one in ranked[:MOST_ROWS]:
        values = [_text(one.values.get(name, "as given")) for name in names]
        rows.append([GIVEN if one.number < 0 else str(one.number + 1), _text(one.score), *values])
    (section,) = tested.results["sections"].values()
    said = as_plain(section["methods"][search.outer.model]["scores"])[search.metric]["value"]
    notes = [
        f"Scores are of {settings.inner_folds} folds inside the training trials. The fold laid aside was tested once, "
        f"with the best: {heading} {said:.3f}.",
        f"Failed: {sum(math.isnan(one.score) for one in found)} of {len(found)}. Left: {run.folder}/best.yaml, for "
        f"motet decode --config; in all its folds but the last, settings were chosen in sight of the tested trials.",
    ]
    if importance:
        notes.append(
            "Behind the scores: " + ", ".join(f"{name} {share:.0%}" for name, share in importance.items()) + "."
        )
    failed = [f"Try {one.number + 1} failed: {in_markdown(one.why, most=300)}" for one in found if one.why][:5]
    table = "\n\n".join([markdown(rows), "\n".join([*notes, *failed]), tested.table])
    write_text(run.folder / "settings.yaml", to_yaml(_without(as_plain(settings), "output")))
    run.write_results(results)
    run.write_table(table)
    return Outcome(run, table, results)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else in_markdown(str(value))


if __name__ == "__main__":
    run_as_process(SweepSettings, lambda settings: Search(settings).work(lambda steps, news: None))
