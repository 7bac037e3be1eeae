"""Decode populations that were never seen from a few labelled trials, beside rivals that get the same trials."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.courses import courses
from motet.estimators.encoder import EITEncoder
from motet.given import is_known
from motet.metrics import r2
from motet.names import in_path
from motet.report.few_shot import draw_few_shot
from motet.rivals.few_shot import Decode, FittedFewShot
from motet.rivals.method import Answer, Draw, Fitted, Kind, Method, Say, TargetQuestion, TransferQuestion
from motet.rivals.registry import rivals_of
from motet.settings import Count
from motet.statistics import Score, blockwise
from motet.tasks.comparison import Column, Measured
from motet.tasks.evaluate import Evaluation, Part, Task, evaluate, without_targets
from motet.tasks.find import class_target, stem
from motet.tasks.outcome import Outcome
from motet.tasks.pretrain import EncoderSettings
from motet.tasks.systems import check_unlearned, made
from motet.training.run import Run
from motet.trial_sums import BOUNDS

Unlabelled = Literal["none", "others", "tested"]
WORDS: Mapping[Unlabelled, str] = {
    "none": "labelled trials only",
    "others": "half of the other trials without labels, tested on the other half",
    "tested": "the tested trials are there without labels",
}
MODEL, RULE = "tuning + eit", "tuning"
COURSES, CORRECTED = "tuning, courses", "tuning, courses + kernel ridge"
METRIC = {"class": "accuracy", "quantity": "R²"}


@dataclasses.dataclass(frozen=True)
class TransferSettings(EncoderSettings):
    """Which populations to decode from a few of their trials.

    Attributes:
        recordings: files, or names in the catalogue. Each in turn is the new population; without an encoder, one is
            pretrained on the others.
        encoder: the folder of a run of motet pretrain, whose settings then count.
        output: the run's folder; by default "runs/transfer-<recording>".
        k: labelled trials of each class.
        unlabelled: "none": only labelled trials are there. "others": half of the other trials too, without labels, and
            the other half is tested. "tested": so are the tested trials themselves.
        draws: of labelled trials.
        rivals: whether classical decoders get the same trials.
        control: whether the model is also adapted to shuffled labels, to show chance.
    """

    target: str = dataclasses.field()
    encoder: str | None = None
    k: tuple[Count, ...] = (1, 2, 3)
    unlabelled: tuple[Unlabelled, ...] = ("none", "others", "tested")
    draws: Count = 20
    rivals: bool = True
    control: bool = True

    def check(self) -> None:
        super().check()
        if self.encoder is None and len(self.recordings) < 2:
            raise InputError(
                "recordings names one population, and none is left to pretrain on; give two at least, or --encoder RUN."
            )
        if not self.k or not self.unlabelled:
            raise InputError("k and unlabelled name what is asked; give one of each at least.")

    @property
    def folder(self) -> Path:
        return Path(self.output or f"runs/transfer-{stem(self.recordings[0])}")


def transfer(settings: TransferSettings) -> Outcome:
    """Decode new populations from few trials each, beside rivals and chance; leaves a run with tables and figures.

    What was finished before is kept: run it again to go on after an interruption.

    Raises:
        InputError: for recordings, runs or settings that cannot be used, or that do not fit each other.
    """
    return evaluate(Transfer(settings))


class Asked(NamedTuple):
    """What one section of the table is about."""

    recording: str
    k: int
    unlabelled: Unlabelled


class Transfer(Task):
    """Parts are new populations × labelled trials × what is there without labels; draws are within a part."""

    def __init__(self, settings: TransferSettings) -> None:
        s = self.settings = settings
        found = [s.found(name) for name in s.recordings]
        self.goal = _goal(found[0], s.target)
        self.by = self.goal.class_target or s.target
        self.metric = METRIC[self.goal.kind]
        bounds = BOUNDS["accuracy" if self.goal.kind == "class" else "r2"]
        self.columns = {
            "score": Column(self.metric, has_interval=True, bounds=bounds),
            "worst": Column("worst draw", form=".2f", bounds=bounds),
        }
        cut = s.cut if self.goal.kind == "class" else lambda recording: recording
        self.recordings = {recording.name: cut(recording) for recording in found}
        dataset = PopulationDataset(list(self.recordings.values()))
        self.inputs = {"recordings": dataset.recordings}
        self.run = Run(s.folder)
        self._tests = {name: PopulationDataset(recording) for name, recording in self.recordings.items()}
        self._trains: dict[str, PopulationDataset | None]
        if s.encoder is None:
            self.training = s.training
            self._trains = {name: self._others(name) for name in self.recordings}
        else:
            self.weights = Run(s.encoder)
            check_unlearned(self.weights, dataset.recordings)
            train = self._pretrained_on(self.weights) if s.rivals else None
            self._trains = dict.fromkeys(self.recordings, train)
        self._encoders: dict[str, EITEncoder] = {}
        self.asked = {
            self._name(asked): (asked, self._question(asked))
            for asked in (Asked(name, k, how) for name in self.recordings for k in s.k for how in s.unlabelled)
        }

    def _others(self, name: str) -> PopulationDataset:
        return PopulationDataset([recording for other, recording in self.recordings.items() if other != name])

    def _pretrained_on(self, run: Run) -> PopulationDataset:
        """What rivals learn from: the recordings that the encoder learned from."""
        kept = run.read_settings() if run.has_settings else {}
        try:
            as_then = dataclasses.replace(self.settings, **{name: kept[name] for name in ("reading", "bins")})
            found = [as_then.found(name) for name in kept["recordings"]]
            return PopulationDataset([as_then.cut(one) if self.goal.kind == "class" else one for one in found])
        except (InputError, KeyError, TypeError) as error:
            raise InputError(
                f"rivals learn from what {run.folder} was pretrained on, which cannot be read ({error}); give "
                "rivals=false."
            ) from error

    @staticmethod
    def _name(asked: Asked) -> str:
        return f"parts/{in_path(asked.recording)}/k{asked.k}-{asked.unlabelled}"

    def _question(self, asked: Asked) -> TransferQuestion:
        recording = self.recordings[asked.recording]
        self.goal.read(recording)
        draws = tuple(_draws(recording, self.goal, asked, self.settings.draws, self.settings.seed))
        return TransferQuestion(self.goal, draws, asked.unlabelled == "tested", self._period(asked.recording) or None)

    @functools.cache  # noqa: B019 (a task lives as long as its verb)
    def _period(self, name: str) -> float:
        """Of the classes on a circle, found where the encoder is trained; 0 for none."""
        if self.weights is not None:
            encoder = EITEncoder.load(self.weights)
            if encoder.period_ is not None:
                return float(encoder.period_)
            if self._trains[name] is not None:  # learned without labels
                return encoder.found_period(self._cut(name), self.by)
            asked = Asked(name, max(self.settings.k), "none")
            (draw,) = _draws(self.recordings[name], self.goal, asked, 1, self.settings.seed)
            return encoder.found_period(draw.labelled, self.by)
        return float(self._made().found_period(self._cut(name)))

    def _made(self) -> EITEncoder:
        """The encoder, not yet trained: of the class."""
        encoder: EITEncoder = made(EITEncoder, self.settings)
        return encoder.set_params(target=self.by)

    def _cut(self, name: str) -> PopulationDataset:
        """What an encoder for a population is trained on: trials of equally many bins."""
        train = self._trains[name]
        assert train is not None
        return train.map(self.settings.cut)

    # ------------------------------------------------------------------ what evaluate asks

    def parts(self) -> Sequence[Part]:
        return [
            Part(name, self._trains[asked.recording], self._tests[asked.recording], section=name.partition("/")[2])
            for name, (asked, _) in self.asked.items()
        ]

    def question_of(self, part: Part) -> TransferQuestion:
        return self.asked[part.name][1]

    def methods(self, part: Part) -> Sequence[Method]:
        s = self.settings
        encoder = functools.partial(self._encoder, part)
        models: list[Method] = [Adapted(RULE, encoder, roots_only=True)]
        if self.goal.kind == "quantity":
            models = [Courses(COURSES, encoder), Courses(CORRECTED, encoder, is_corrected=True)]
        elif self.settings.tuning.embedding_channels and not self._learned_unlabelled():
            models = [Adapted(MODEL, encoder), *models]
        control = ShuffledLabels(models[0])
        rivals = rivals_of(self.question_of(part)) if s.rivals else []
        return [*models, *rivals, *([control] if s.control else [])]

    @functools.cache  # noqa: B019
    def _learned_unlabelled(self) -> bool:
        """Whether the given encoder learned without labels: nothing has taught the readout to read it."""
        return self.weights is not None and EITEncoder.load(self.weights).n_read_ == 0

    def truth(self, part: Part) -> list[NDArray[Any]]:
        """(tested, …) for each draw; NaN where a quantity is not observed."""
        asked, question = self.asked[part.name]
        recording = self.recordings[asked.recording]
        truth = recording.target(self.goal.target)
        if self.goal.kind == "quantity":
            observed = recording.bin_is_observed.reshape(*recording.bin_is_observed.shape, *(1,) * (truth.ndim - 2))
            truth = np.where(observed, truth, np.nan)
        return [truth[draw.tested] for draw in question.draws]

    def measure(self, answer: Answer, truth: list[NDArray[Any]]) -> Measured:
        score = _accuracy if self.goal.kind == "class" else _r2
        draws = [score(found, true) for found, true in zip(answer["prediction"], truth, strict=True)]
        mean = blockwise(float(np.mean(draws)), draws, bounds=self.columns["score"].bounds)
        return Measured({"score": mean, "worst": Score(min(draws))})

    def kept(self, ranked: Sequence[str]) -> Sequence[str]:
        return []

    def _encoder(self, part: Part, say: Say | None) -> EITEncoder:
        """The encoder for a new population: the one that was given, or pretrained on the others, once."""
        name = self.asked[part.name][0].recording
        if self.weights is not None:
            name = ""
        if name not in self._encoders:
            run = self.weights or self.run.part(f"pretrained/{in_path(name)}")
            if self.weights is None and not run.has_tensors("weights"):
                encoder, train = self._made(), self._cut(name)
                n_epochs = self.settings.training.n_epochs(len(train))
                on_epoch = None if say is None else lambda row: say(1 / n_epochs, f"pretraining, {row}")
                encoder.fit(train, run=run, on_epoch=on_epoch).save(run)
                run.delete_tensors("checkpoint")
            encoder = EITEncoder.load(run)
            if encoder.target_ is None:
                encoder.period_ = self._period(name or next(iter(self._trains)))
            elif (learned := encoder.target_.name) != self.by:
                raise InputError(f"{run.folder} was pretrained to decode {learned!r}, not {self.by!r}; give another.")
            self._encoders[name] = encoder
        return self._encoders[name]

    # ------------------------------------------------------------------ what people read

    def heading(self, section: str, parts: Sequence[Part]) -> str:
        asked, question = self.asked[parts[0].name]
        recording = self.recordings[asked.recording]
        few = f"{asked.k} labelled trial{'s' if asked.k > 1 else ''} of each class; {WORDS[asked.unlabelled]}"
        return (
            f"{asked.recording} ({recording.n_individuals} individuals): {few} "
            f"({len(question.draws[0].tested)} tested, {len(question.draws)} draws)"
        )

    def notes(self, evaluation: Evaluation) -> Iterator[str]:
        yield "Mean over draws of labelled trials, with its 95 % interval over draws; differences are paired by draw."
        if self.goal.kind == "class":
            yield f"'{RULE}' is the readout on root counts alone; '{MODEL}' reads embeddings beside them."
        else:
            yield f"Causal. '{COURSES}': '{RULE}', on the bins so far, decides among mean courses by {self.by}."

    def figures(self, evaluation: Evaluation) -> Iterator[tuple[str, Figure]]:
        sections = evaluation.results["sections"]
        models = (MODEL, RULE) if self.goal.kind == "class" else (COURSES, CORRECTED)
        for how in self.settings.unlabelled:
            scores: dict[str, dict[str, dict[int, tuple[float, ...]]]] = {}
            for name, (asked, _) in self.asked.items():
                if asked.unlabelled == how:
                    for method, found in sections[name.partition("/")[2]]["methods"].items():
                        if found["kind"] == "control":
                            continue
                        of_recording = scores.setdefault(asked.recording, {})
                        of_recording.setdefault(method, {})[asked.k] = found["scores"]["score"].samples
            figure = draw_few_shot(scores, self.metric, models=models, title=WORDS[how])
            yield f"few_shot_{how}", figure


def _draws(recording: Recording, goal: TargetQuestion, asked: Asked, n: int, seed: int) -> Iterator[Draw]:
    """Labelled, unlabelled and tested trials, the same for every method."""
    by = goal.class_target or goal.target
    labels = recording.target(by)
    known = np.flatnonzero(is_known(labels))
    classes, counts = np.unique(labels[known], return_counts=True)
    if len(classes) < 2 or counts.min() <= asked.k:
        raise InputError(
            f"recording {recording.name!r} has {counts.min()} trials of class {classes[counts.argmin()]} of "
            f"{by!r}, and k is {asked.k}; give a smaller k."
            if len(classes) > 1
            else f"recording {recording.name!r} has one class of {by!r}; give trials of two at least."
        )
    for number in range(n):
        rng = np.random.default_rng([seed, number, asked.k])
        few = np.concatenate([rng.permutation(known[labels[known] == label])[: asked.k] for label in classes])
        rest = rng.permutation(np.setdiff1d(known, few))
        n_unlabelled = len(rest) // 2 if asked.unlabelled == "others" else 0
        labelled = dataclasses.replace(
            recording.select(trials=few),
            targets={name: recording.targets[name][few] for name in {by, goal.target}},
            target_levels={name: recording.target_levels[name] for name in {by, goal.target}},
            metadata={},
        )
        unlabelled = without_targets(recording.select(trials=np.sort(rest[:n_unlabelled]))) if n_unlabelled else None
        yield Draw(labelled, unlabelled, np.sort(rest[n_unlabelled:]))


@dataclasses.dataclass(frozen=True, eq=False)
class Adapted(Method):
    """A pretrained encoder, adapted to every draw.

    Attributes:
        name: the row of a table.
        encoder: gives the pretrained one, which is trained where it is not yet.
        roots_only: whether embeddings are left aside.
    """

    name: str
    encoder: Callable[[Say | None], EITEncoder]
    roots_only: bool = False
    kind: Kind = "model"

    def fit(
        self, train: PopulationDataset | None, question: Any, *, run: Run | None = None, say: Say | None = None
    ) -> Fitted:
        encoder = self.encoder(say)

        def adapt(labelled: Recording, unlabelled: Recording | None) -> Decode:
            decoder = encoder.adapt(labelled, unlabelled, roots_only=self.roots_only)
            return (lambda _: decoder.predict_unlabelled()) if question.tests_together else decoder.predict

        return FittedFewShot(adapt, question, encoder.n_priors_ if self.roots_only else encoder.n_parameters_)


@dataclasses.dataclass(frozen=True, eq=False)
class Courses(Method):
    """Courses of the classes, which the readout of a pretrained encoder decides among.

    Attributes:
        name: the row of a table.
        encoder: as of `Adapted`.
        is_corrected: whether kernel ridge adds what they leave.
    """

    name: str
    encoder: Callable[[Say | None], EITEncoder]
    is_corrected: bool = False
    kind: Kind = "model"

    def fit(
        self, train: PopulationDataset | None, question: Any, *, run: Run | None = None, say: Say | None = None
    ) -> Fitted:
        encoder = self.encoder(say)
        rival = courses(self.name, encoder.readout, is_corrected=self.is_corrected)
        before = rival.known_before(PopulationDataset(question.draws[0].labelled) if train is None else train, question)

        def adapt(labelled: Recording, unlabelled: Recording | None) -> Decode:
            return rival.adapted(before, labelled, unlabelled, question)

        return FittedFewShot(adapt, question, encoder.n_priors_, {"chosen": before.chosen})


@dataclasses.dataclass(frozen=True, eq=False)
class ShuffledLabels(Method):
    """Chance: a method that is given the labelled trials with the targets of others of them.

    Attributes:
        method: that adapts to them.
    """

    method: Method
    kind: Kind = "control"

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"{self.method.name}, shuffled labels"

    def fit(
        self, train: PopulationDataset | None, question: Any, *, run: Run | None = None, say: Say | None = None
    ) -> Fitted:
        rng = np.random.default_rng(0)
        draws = tuple(dataclasses.replace(draw, labelled=_shuffled(draw.labelled, rng)) for draw in question.draws)
        return self.method.fit(train, dataclasses.replace(question, draws=draws), run=run, say=say)


def _shuffled(labelled: Recording, rng: np.random.Generator) -> Recording:
    """The recording with the targets of its trials in another order."""
    order = rng.permutation(labelled.n_trials)
    return dataclasses.replace(labelled, targets={name: target[order] for name, target in labelled.targets.items()})


def _goal(recording: Recording, target: str) -> TargetQuestion:
    """A class per trial, or a quantity per bin with a class per trial beside it."""
    values, level = recording.target(target), recording.target_levels[target]
    by = class_target(recording, target)
    if values.dtype.kind == "f" and level == "bin" and by is not None:
        return TargetQuestion(target, "quantity", "bin", by)
    if by == target:
        return TargetQuestion(target, "class", "trial")
    raise InputError(
        f"target {target!r} of {recording.name!r} is {values.dtype} per {level}; give one class per trial, or a "
        "quantity per bin in a recording that has one class per trial too."
    )


def _accuracy(prediction: NDArray[Any], truth: NDArray[Any]) -> float:
    return float((prediction == truth).mean())


def _r2(prediction: NDArray[Any], truth: NDArray[Any]) -> float:
    known = np.isfinite(truth).reshape(*truth.shape[:2], -1).all(-1)
    return r2(prediction=prediction[known], target=truth[known])
