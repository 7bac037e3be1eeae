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
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording, without_targets
from motet.errors import InputError
from motet.estimators.courses import courses, mean_of_courses
from motet.estimators.decoders import EITClassifier, EITRegressor
from motet.estimators.encoder import EITEncoder
from motet.given import is_known
from motet.metrics import r2
from motet.models.ring import placements
from motet.models.tuning import Reads
from motet.names import in_path
from motet.report.few_shot import draw_few_shot, draw_pairs
from motet.rivals.few_shot import Decode, FewShot, FittedFewShot
from motet.rivals.method import Answer, Draw, Fitted, Kind, Method, Say, TargetQuestion, TransferQuestion
from motet.rivals.registry import rivals_of
from motet.rivals.shuffled import Shuffled, with_shuffled_targets
from motet.rivals.true_tuning import TrueTuning
from motet.settings import Count, Whole
from motet.statistics import Score, blockwise, markdown
from motet.tasks.across import AcrossSettings, Case
from motet.tasks.comparison import Column, Measured
from motet.tasks.evaluate import Evaluation, Part, Task, evaluate
from motet.tasks.find import stem
from motet.tasks.outcome import Outcome
from motet.tasks.systems import check_unlearned, made
from motet.training.history import Epoch
from motet.training.run import Run
from motet.training.settings import TrainingSettings
from motet.trial_sums import BOUNDS

Unlabelled = Literal["none", "others", "tested"]
Way = Literal["context", "readout", "fine-tune", "scratch", "continued"]
Shots = Whole | Literal["all"]
WORDS: Mapping[Unlabelled, str] = {
    "none": "labelled trials only",
    "others": "half of the other trials without labels, tested on the other half",
    "tested": "the tested trials are there without labels",
}
MODEL, RULE, UNTRAINED, EMBEDDINGS = "tuning + eit", "tuning", "tuning, not pretrained", "eit alone"
TRAINED: Mapping[Way, str] = {
    "readout": "eit, new readout",
    "fine-tune": "eit, fine-tuned",
    "scratch": "decoder, from scratch",
    "continued": "decoder, continued from others",
}
CONTINUED_STEPS = 1200  # of a decoder on what is learned from
N_FOLDS = 5  # of a recording, all but one of which are labelled
COURSES, CORRECTED = "tuning, courses", "tuning and empirical bayes, courses + kernel ridge"
METRIC = {"class": "accuracy", "quantity": "R²"}


@dataclasses.dataclass(frozen=True)
class TransferSettings(AcrossSettings):
    """Which populations to decode from a few of their trials.

    Attributes:
        recordings: files, or names in the catalogue; `across` says which of them are learned from, and which are new.
        output: the run's folder; by default "runs/transfer-<recording>".
        k: labelled trials of each class; "all": five folds, in turn tested, with all others labelled. 0: there is no
            label at all, so that classes on a circle are known up to its rotations and reflections: the score is at
            chance, and a column says how good the best of them is.
        unlabelled: "none": only labelled trials are there. "others": half of the other trials too, without labels, and
            the other half is tested. "tested": so are the tested trials themselves.
        draws: of labelled trials.
        ways: of adapting the model. "context": in closed form. "readout": a readout is trained on the frozen encoder,
            the paper's probe. "fine-tune": the encoder is trained with it. "scratch": a decoder as anybody would fit
            it, rule and committee included, to the labelled trials alone. "continued": the same, which begins with the
            weights of a decoder of what is learned from. Those that are trained look at no unlabelled trials.
        adapting: how the ways that are trained are trained; see TrainingSettings.
        rivals: whether classical decoders get the same trials, and a readout in closed form that learned nothing.
        control: whether the model is also adapted to shuffled labels, to show chance.
    """

    target: str = dataclasses.field()
    k: tuple[Shots, ...] = (1, 2, 3)
    unlabelled: tuple[Unlabelled, ...] = ("none", "others", "tested")
    draws: Count = 20
    ways: tuple[Way, ...] = ("context",)
    adapting: TrainingSettings = TrainingSettings()
    rivals: bool = True
    control: bool = True

    def check(self) -> None:
        super().check()
        if not self.k or not self.unlabelled or not self.ways:
            raise InputError("k, unlabelled and ways name what is asked; give one of each at least.")
        if self.ways == ("context",) and self.adapting != TrainingSettings():
            raise InputError(
                "adapting says how ways are trained, and ways is [context] alone; give others, or neither."
            )
        if self.across == "targets" and 0 in self.k:
            raise InputError("k is 0, and across='targets' hides classes that labels alone can tell; give 1 or more.")
        if len(set(self.ways)) < len(self.ways):
            raise InputError(f"ways is {list(self.ways)}; give each once.")
        for name, training in (("training", self.training), ("adapting", self.adapting)):
            if training.devices * training.n_nodes > 1:
                raise InputError(
                    f"{name}.devices × n_nodes is {training.devices * training.n_nodes}; here it is 1: pretrain with "
                    "motet pretrain on as many as you like, and give --encoder."
                )
        if "all" in self.k and self.unlabelled != ("none",):
            raise InputError("k is 'all', and leaves no trials without labels; give unlabelled='[none]'.")
        if 0 in self.k and ("none" in self.unlabelled or self.ways != ("context",)):
            raise InputError(
                "k is 0, and there is nothing to learn from but trials without labels; give "
                "unlabelled='[others,tested]' and ways='[context]'."
            )

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


def _with_bins_of(settings: TransferSettings) -> TransferSettings:
    """The settings, with as many bins as the encoder was pretrained with, unless they say how many."""
    if settings.encoder is None or settings.bins is not None:
        return settings
    run = Run(settings.encoder)
    kept = run.read_settings().get("bins") if run.has_settings else None
    return dataclasses.replace(settings, bins=kept)


class Asked(NamedTuple):
    """What one section of the table is about."""

    case: str
    k: int | Literal["all"]
    unlabelled: Unlabelled


class Transfer(Task):
    """Parts are cases × labelled trials × what is there without labels; draws are within a part."""

    def __init__(self, settings: TransferSettings) -> None:
        s = self.settings = _with_bins_of(settings)
        found = [s.found(name) for name in s.recordings]
        self.goal = _goal(found[0], s.target)
        self.by = self.goal.class_target or s.target
        self.metric = METRIC[self.goal.kind]
        bounds = BOUNDS["accuracy" if self.goal.kind == "class" else "r2"]
        self.columns = {
            "score": Column(self.metric, has_interval=True, bounds=bounds),
            "worst": Column("worst draw", form=".2f", bounds=bounds),
        }
        if 0 in s.k:
            self.columns["placed"] = Column("up to rotation, reflection", has_interval=True, bounds=bounds)
        self._check_goal()
        cut = s.cut if self.goal.kind == "class" else lambda recording: recording
        recordings = [cut(recording) for recording in found]
        dataset = PopulationDataset(recordings)
        self.inputs = {"recordings": dataset.recordings}
        self.run = Run(s.folder)
        self.cases = {case.name: case for case in s.cases(recordings, self.by)}
        self._tests = {name: PopulationDataset(case.new) for name, case in self.cases.items()}
        self._trains: dict[str, PopulationDataset | None]
        if s.encoder is None:
            self.training = s.training
            trains = {case.source: case.train for case in self.cases.values()}
            self._trains = {source: PopulationDataset(train) for source, train in trains.items()}
        else:
            self.weights = Run(s.encoder)
            check_unlearned(self.weights, dataset.recordings)
            train = self._pretrained_on(self.weights) if s.rivals or "continued" in s.ways else None
            self._trains = dict.fromkeys((case.source for case in self.cases.values()), train)
        self._encoders: dict[str, EITEncoder] = {}
        self._decoders: dict[str, EITClassifier | EITRegressor] = {}
        self._classes = np.unique(np.concatenate([_labels(case.new, self.by) for case in self.cases.values()]))
        if self.weights is not None and (goal := EITEncoder.load(self.weights).target_) is not None:
            self._classes = np.union1d(self._classes, np.asarray(goal.classes))
        self.asked = {
            self._name(asked): (asked, self._question(asked))
            for asked in (Asked(name, k, how) for name in self.cases for k in s.k for how in s.unlabelled)
        }

    def _check_goal(self) -> None:
        """Refuse what there is for a class only."""
        if self.goal.kind == "class":
            return
        s = self.settings
        if 0 in s.k:
            raise InputError(f"k is 0, and {s.target!r} is a quantity; give 1 or more.")
        if {"readout", "fine-tune"} & {*s.ways}:
            raise InputError(
                f"ways is {list(s.ways)}, and {s.target!r} is a quantity; give context, scratch or continued."
            )
        if not s.design.reads_quantities:
            raise InputError(f"across={s.across!r} is for a class per trial, and {s.target!r} is a quantity per bin.")

    def _pretrained_on(self, run: Run) -> PopulationDataset:
        """What rivals learn from: the recordings that the encoder learned from."""
        kept = run.read_settings() if run.has_settings else {}
        try:
            as_then = dataclasses.replace(self.settings, **{name: kept[name] for name in ("reading", "bins")})
            found = [as_then.found(name) for name in kept["recordings"]]
            return PopulationDataset([as_then.cut(one) if self.goal.kind == "class" else one for one in found])
        except (InputError, KeyError, TypeError) as error:
            raise InputError(
                f"rivals, and ways='[continued]', learn from what {run.folder} was pretrained on, which cannot be read "
                f"({error}); give rivals=false, and other ways."
            ) from error

    @staticmethod
    def _name(asked: Asked) -> str:
        return f"parts/{in_path(asked.case)}/k{asked.k}-{asked.unlabelled}"

    def _question(self, asked: Asked) -> TransferQuestion:
        case = self.cases[asked.case]
        self.goal.read(case.new)
        draws = tuple(_draws(case, self.goal, asked, self.settings.draws, self.settings.seed))
        return TransferQuestion(self.goal, draws, asked.unlabelled == "tested", self._period(case.source) or None)

    @functools.cache  # noqa: B019 (a task lives as long as its verb)
    def _period(self, source: str) -> float:
        """Of the classes on a circle, found where the encoder is trained; 0 for none."""
        if self.weights is not None:
            encoder = EITEncoder.load(self.weights)
            if encoder.period_ is not None:
                return float(encoder.period_)
            if self.settings.period is not None:
                return self.settings.period
            if self._trains[source] is not None:
                return encoder.found_period(self._cut(source), self.by)
            raise InputError(
                f"{self.weights.folder} learned without labels, so that nothing says whether classes lie on a circle; "
                "give period: how much once around is, or 0."
            )
        return float(self._made().found_period(self._cut(source)))

    def _made(self) -> EITEncoder:
        """The encoder, not yet trained: of the class."""
        encoder: EITEncoder = made(EITEncoder, self.settings)
        return encoder.set_params(target=self.by)

    def _cut(self, source: str) -> PopulationDataset:
        """What an encoder is trained on: trials of equally many bins."""
        train = self._trains[source]
        assert train is not None
        return train if self.goal.kind == "class" else train.map(self.settings.cut)

    # ------------------------------------------------------------------ what evaluate asks

    def parts(self) -> Sequence[Part]:
        return [
            Part(
                name,
                self._trains[self.cases[asked.case].source],
                self._tests[asked.case],
                section=name.partition("/")[2],
            )
            for name, (asked, _) in self.asked.items()
        ]

    def question_of(self, part: Part) -> TransferQuestion:
        return self.asked[part.name][1]

    def methods(self, part: Part) -> Sequence[Method]:
        s = self.settings
        models = [method for way in s.ways for method in self._models(part, way)]
        question, oracle = self.question_of(part), TrueTuning()
        has_labels = question.draws[0].labelled is not None
        control = ShuffledLabels(models[0]) if has_labels else ShuffledAnswers(models[0])
        rivals = rivals_of(question) if s.rivals and has_labels else []
        knows = oracle.answers(question, self.cases[self.asked[part.name][0].case].new)
        return [*models, *rivals, *([oracle] if knows else []), *([control] if s.control else [])]

    def _models(self, part: Part, way: Way) -> list[Method]:
        """The rows of one way of adapting the model."""
        s, encoder = self.settings, functools.partial(self._encoder, part)
        if way in ("scratch", "continued"):
            new = self._new_decoder()
            start = functools.partial(self._decoder, part) if way == "continued" else lambda say: None

            def trained(say: Say | None, labelled: Recording) -> EITClassifier | EITRegressor:
                return clone(new).fit(labelled, start=start(say), on_epoch=_quietly)

            return [Trained(TRAINED[way], trained)]
        if way in ("readout", "fine-tune"):

            def adapted(say: Say | None, labelled: Recording) -> EITClassifier:
                return encoder(say).adapt(labelled, way=way, training=s.adapting, on_epoch=_quietly)

            return [Trained(TRAINED[way], adapted)]
        if self.goal.kind == "quantity":
            return [Courses(COURSES, encoder), Courses(CORRECTED, encoder, is_whole=True)]
        has_learned = not self._learned_unlabelled()
        whole: list[Method] = [Adapted(MODEL, encoder)] if s.tuning.embedding_channels and has_learned else []
        ablated = [Adapted(EMBEDDINGS, encoder, reads="embeddings")] if whole else []
        if has_learned:
            ablated.append(Adapted(UNTRAINED, lambda say: encoder(say).before_training(), reads="roots"))
        return [*whole, Adapted(RULE, encoder, reads="roots"), *(ablated if s.rivals else [])]

    @functools.cache  # noqa: B019
    def _learned_unlabelled(self) -> bool:
        """Whether the encoder learns without labels: nothing teaches the readout to read it."""
        if self.weights is not None:
            return "context" not in EITEncoder.load(self.weights).uses_
        return "context" not in self.settings.objective.uses(has_target=True)

    def truth(self, part: Part) -> list[NDArray[Any]]:
        """(tested, …) for each draw; NaN where a quantity is not observed."""
        asked, question = self.asked[part.name]
        recording = self.cases[asked.case].new
        truth = recording.target(self.goal.target)
        if self.goal.kind == "quantity":
            observed = recording.bin_is_observed.reshape(*recording.bin_is_observed.shape, *(1,) * (truth.ndim - 2))
            truth = np.where(observed, truth, np.nan)
        return [truth[draw.tested] for draw in question.draws]

    def measure(self, answer: Answer, truth: list[NDArray[Any]]) -> Measured:
        score = _accuracy if self.goal.kind == "class" else _r2
        draws = [score(found, true) for found, true in zip(answer["prediction"], truth, strict=True)]
        mean = blockwise(float(np.mean(draws)), draws, bounds=self.columns["score"].bounds)
        scores = {"score": mean, "worst": Score(min(draws))}
        if "placed" in self.columns:
            draws = [self._placed(found, true) for found, true in zip(answer["prediction"], truth, strict=True)]
            scores["placed"] = blockwise(float(np.mean(draws)), draws, bounds=self.columns["placed"].bounds)
        return Measured(scores)

    def _placed(self, prediction: NDArray[Any], truth: NDArray[Any]) -> float:
        """Accuracy after the best rotation or reflection of the classes."""
        code = np.minimum(np.searchsorted(self._classes, prediction), len(self._classes) - 1)
        return max(_accuracy(self._classes[way][code], truth) for way in placements(len(self._classes)))

    def kept(self, ranked: Sequence[str]) -> Sequence[str]:
        return []

    def _encoder(self, part: Part, say: Say | None) -> EITEncoder:
        """The encoder of a part: the one that was given, or pretrained on what is learned from, once."""
        name = self.cases[self.asked[part.name][0].case].source
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

    def _new_decoder(self) -> EITClassifier | EITRegressor:
        """A decoder of the target, not yet trained, with the settings of the encoder's model."""
        s = self.settings
        model = s.model if self.weights is None else EITEncoder.load(self.weights).model
        kind = EITClassifier if self.goal.kind == "class" else EITRegressor
        known = dataclasses.replace(model, identity="learned")
        return kind(self.goal.target, model=known, training=s.adapting, seed=s.seed)

    def _decoder(self, part: Part, say: Say | None) -> EITClassifier | EITRegressor:
        """A decoder of what is learned from, trained once."""
        name = self.cases[self.asked[part.name][0].case].source
        if name not in self._decoders:
            run, decoder = self.run.part(f"continued/{in_path(name)}"), self._new_decoder()
            if not run.has_tensors("weights"):
                training = self.settings.adapting
                if training.max_steps is None:
                    training = dataclasses.replace(training, max_steps=CONTINUED_STEPS)
                decoder.set_params(members=1, rule="none", training=training)
                train = self._trains[name]
                assert train is not None
                decoder.fit(train, run=run, on_epoch=_quietly).save(run)
                run.delete_tensors("checkpoint")
            self._decoders[name] = type(decoder).load(run)
        return self._decoders[name]

    # ------------------------------------------------------------------ what people read

    def heading(self, section: str, parts: Sequence[Part]) -> str:
        asked, question = self.asked[parts[0].name]
        case, first = self.cases[asked.case], question.draws[0]
        if asked.k == 0:
            few = f"no label at all; {WORDS[asked.unlabelled].replace('other trials', 'trials')}"
        elif asked.k == "all":
            few = "all other trials labelled"
        else:
            few = f"{asked.k} labelled trial{'s' * (asked.k > 1)} of each class; {WORDS[asked.unlabelled]}"
        about = f", {case.about}" if case.about else ""
        draws = f"{len(question.draws)} {'folds' if asked.k == 'all' else 'draws'}"
        of = f"{case.new.name}{about} ({case.new.n_individuals} individuals)"
        return f"{of}: {few} ({len(first.tested)} tested, {draws})"

    def notes(self, evaluation: Evaluation) -> Iterator[str]:
        yield "Mean over draws of labelled trials, with its 95 % interval over draws; differences are paired by draw."
        if self.goal.kind == "class":
            yield f"'{RULE}' is the readout on root counts alone; '{MODEL}' reads embeddings beside them."
            if 0 in self.settings.k:
                yield (
                    "Without any label classes are known up to rotations and reflections of their circle: the score is "
                    "at chance, and another column is the accuracy in the best of them, which chance has too."
                )
            if "readout" in self.settings.ways:
                yield f"'{TRAINED['readout']}' is the paper's probe: a linear readout, trained on the frozen encoder."
        else:
            yield f"Causal. '{COURSES}': '{RULE}', on the bins so far, decides among mean courses by {self.by}."
            yield f"'{CORRECTED}': the mean of what courses say by it and by empirical Bayes, each with kernel ridge."

        if any(case.share for case in self.cases.values()):
            yield from (
                "",
                markdown([["", "method", "individuals", "share of the score of all"], *self._shares(evaluation)]),
            )

    def _scores(self, evaluation: Evaluation) -> Iterator[tuple[Asked, str, tuple[float, ...]]]:
        """What was asked, of whom, and the score of every draw; controls are left out."""
        for name, (asked, _) in self.asked.items():
            for method, found in evaluation.results["sections"][name.partition("/")[2]]["methods"].items():
                if found["kind"] in ("model", "rival"):
                    yield asked, method, found["scores"]["score"].samples

    def _shares(self, evaluation: Evaluation) -> Iterator[list[str]]:
        """How far scores of some individuals are those of all."""
        means = {(asked, method): float(np.mean(draws)) for asked, method, draws in self._scores(evaluation)}
        for (asked, method), mean in means.items():
            case = self.cases[asked.case]
            every = [other.name for other in self.cases.values() if (other.new.name, other.share) == (case.new.name, 1)]
            if case.share in (None, 1) or method not in self._own or not every:
                continue
            whole = means[asked._replace(case=every[0]), method]
            what = f"{case.new.name}, k = {asked.k}, {asked.unlabelled}"
            yield [what, method, str(case.new.n_individuals), f"{mean / whole:.3f}"]

    @property
    def _own(self) -> tuple[str, ...]:
        own = (MODEL, RULE) if self.goal.kind == "class" else (COURSES, CORRECTED)
        return (*own, *TRAINED.values())

    def figures(self, evaluation: Evaluation) -> Iterator[tuple[str, Figure]]:
        s = self.settings
        has_shares = all(case.share for case in self.cases.values())
        for how in s.unlabelled:
            curves: dict[str, dict[str, dict[Any, tuple[float, ...]]]] = {}
            shares: dict[Any, dict[str, dict[str, dict[float, tuple[float, ...]]]]] = {}
            for asked, method, draws in self._scores(evaluation):
                if asked.unlabelled == how and asked.k != 0:
                    case = self.cases[asked.case]
                    curves.setdefault(case.name, {}).setdefault(method, {})[asked.k] = draws
                    if case.share:
                        of_k = shares.setdefault(asked.k, {}).setdefault(case.new.name, {})
                        of_k.setdefault(method, {})[case.share] = draws
            if not curves:  # no score without labels
                continue
            look: dict[str, Any] = {"models": self._own, "title": WORDS[how]}
            if s.across == "pairs":
                yield f"pairs_{how}", self._pairs(curves, WORDS[how])
            elif has_shares:
                for k, scores in shares.items():
                    yield (
                        f"individuals_k{k}_{how}",
                        draw_few_shot(scores, self.metric, places="share of individuals", **look),
                    )
            else:
                yield f"few_shot_{how}", draw_few_shot(curves, self.metric, **look)

    def _pairs(self, scores: Any, title: str) -> Figure:
        """Of the first of the model's rows: a matrix for every k."""
        method = next(name for name in self._own if name in next(iter(scores.values())))
        names = list(dict.fromkeys(case.new.name for case in self.cases.values()))
        matrices: dict[str, NDArray[np.float64]] = {}
        for case in self.cases.values():
            place = names.index(case.train[0].name), names.index(case.new.name)
            for k, draws in scores[case.name][method].items():
                matrix = matrices.setdefault(f"k = {k}", np.full((len(names), len(names)), np.nan))
                matrix[place] = np.mean(draws)
        return draw_pairs(matrices, names, f"{self.metric} of '{method}'", title=title)


def _labels(recording: Recording, target: str) -> NDArray[Any]:
    """Labels, where they are known."""
    labels = recording.target(target)
    return np.asarray(labels[is_known(labels)])


def _quietly(row: Epoch) -> None:
    """No bar of its own for each training."""


def _draws(case: Case, goal: TargetQuestion, asked: Asked, n: int, seed: int) -> Iterator[Draw]:
    """Labelled, unlabelled and tested trials, the same for every method."""
    recording = case.new
    by = goal.class_target or goal.target
    labels = recording.target(by)
    known = np.flatnonzero(is_known(labels))
    classes, counts = np.unique(labels[known], return_counts=True)
    if len(classes) < 2:
        raise InputError(f"recording {recording.name!r} has one class of {by!r}; give trials of two at least.")
    most = N_FOLDS - 1 if asked.k == "all" else asked.k
    if counts.min() <= most:
        raise InputError(
            f"recording {recording.name!r} has {counts.min()} trials of class {classes[counts.argmin()]} of "
            f"{by!r}, and k is {asked.k}; give a smaller k."
        )
    may = np.ones(len(labels), dtype=bool) if case.is_tested is None else case.is_tested

    def draw(few: NDArray[np.int64], rest: NDArray[np.int64], n_tested: int | None = None) -> Draw:
        parts = [rest[may[rest]], rest[~may[rest]]]
        n_bare = [len(part) // 2 if asked.unlabelled == "others" else 0 for part in parts]
        bare = np.concatenate([part[:n] for part, n in zip(parts, n_bare, strict=True)])
        tested = parts[0][n_bare[0] :][:n_tested]
        if not len(few):
            labelled = None
        else:
            labelled = dataclasses.replace(
                recording.select(trials=few),
                targets={name: recording.targets[name][few] for name in {by, goal.target}},
                target_levels={name: recording.target_levels[name] for name in {by, goal.target}},
                metadata={},
            )
        unlabelled = without_targets(recording.select(trials=np.sort(bare))) if len(bare) else None
        return Draw(labelled, unlabelled, np.sort(tested))

    if asked.k == "all":
        folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed).split(known, labels[known])
        parts = [(known[few], known[rest]) for few, rest in folds]
        n_tested = min(int(may[rest].sum()) for _, rest in parts)
        yield from (draw(few, np.random.default_rng(seed).permutation(rest), n_tested) for few, rest in parts)
        return
    for number in range(n):
        rng = np.random.default_rng([seed, number, asked.k])
        few = np.concatenate([rng.permutation(known[labels[known] == label])[: asked.k] for label in classes])
        yield draw(few, rng.permutation(np.setdiff1d(known, few)))


@dataclasses.dataclass(frozen=True, eq=False)
class Adapted(Method):
    """A pretrained encoder, adapted to every draw.

    Attributes:
        name: the row of a table.
        encoder: gives the pretrained one, which is trained where it is not yet.
        reads: root counts, embeddings or both.
    """

    name: str
    encoder: Callable[[Say | None], EITEncoder]
    reads: Reads = "both"
    kind: Kind = "model"

    def fit(
        self, train: PopulationDataset | None, question: Any, *, run: Run | None = None, say: Say | None = None
    ) -> Fitted:
        encoder = self.encoder(say)

        def adapt(labelled: Recording | None, unlabelled: Recording | None) -> Decode:
            decoder = encoder.adapt(labelled, unlabelled, reads=self.reads)
            return (lambda _: decoder.predict_unlabelled()) if question.tests_together else decoder.predict

        of_roots = encoder.n_priors_ + encoder.n_moments_
        return FittedFewShot(adapt, question, of_roots if self.reads == "roots" else encoder.n_parameters_)


@dataclasses.dataclass(frozen=True, eq=False)
class Trained(Method):
    """A decoder that is trained on the labelled trials of every draw.

    Attributes:
        name: the row of a table.
        train: on labelled trials.
    """

    name: str
    train: Callable[[Say | None, Recording], EITClassifier | EITRegressor]
    kind: Kind = "model"

    def fit(
        self, train: PopulationDataset | None, question: Any, *, run: Run | None = None, say: Say | None = None
    ) -> Fitted:
        trained: dict[int, EITClassifier | EITRegressor] = {}
        for number, draw in enumerate(question.draws, start=1):
            trained[id(draw.labelled)] = self.train(say, draw.labelled)
            if say is not None:
                say(1 / len(question.draws), f"draw {number} of {len(question.draws)}")
        learner = next(iter(trained.values())).learner_
        n_parameters = sum(one.numel() for one in learner.parameters() if one.requires_grad)
        return FittedFewShot(lambda labelled, _: trained[id(labelled)].predict, question, n_parameters)


@dataclasses.dataclass(frozen=True, eq=False)
class Courses(Method):
    """Courses of the classes, which the readout of a pretrained encoder decides among.

    Attributes:
        name: the row of a table.
        encoder: as of `Adapted`.
        is_whole: whether kernel ridge adds what they leave, and empirical Bayes is asked too: the mean of both answers.
    """

    name: str
    encoder: Callable[[Say | None], EITEncoder]
    is_whole: bool = False
    kind: Kind = "model"

    def fit(
        self, train: PopulationDataset | None, question: Any, *, run: Run | None = None, say: Say | None = None
    ) -> Fitted:
        encoder = self.encoder(say)
        rival: FewShot = (mean_of_courses if self.is_whole else courses)(self.name, encoder.readout)
        before = rival.known_before(PopulationDataset(question.draws[0].labelled) if train is None else train, question)

        def adapt(labelled: Recording, unlabelled: Recording | None) -> Decode:
            return rival.adapted(before, labelled, unlabelled, question)

        return FittedFewShot(adapt, question, encoder.n_priors_)


class ShuffledLabels(Shuffled):
    """Chance: a method that is given the labelled trials with the targets of others of them."""

    what = "shuffled labels"

    def learns(self, train: PopulationDataset | None, question: Any) -> tuple[PopulationDataset | None, Any]:
        rng = np.random.default_rng(0)
        labelled = [with_shuffled_targets(draw.labelled, rng) for draw in question.draws]
        draws = tuple(dataclasses.replace(d, labelled=one) for d, one in zip(question.draws, labelled, strict=True))
        return train, dataclasses.replace(question, draws=draws)


class ShuffledAnswers(Shuffled):
    """Chance, where there are no labels: answers of a method, each given to another trial."""

    what = "shuffled answers"

    def answer(self, answer: Answer, test: PopulationDataset) -> Answer:
        return {"prediction": np.random.default_rng(0).permuted(answer["prediction"], axis=1)}


def _goal(recording: Recording, target: str) -> TargetQuestion:
    """A class per trial, or a quantity per bin with a class per trial beside it."""
    values, level = recording.target(target), recording.target_levels[target]
    by = recording.class_target(target)
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
