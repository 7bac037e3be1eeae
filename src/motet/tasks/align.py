"""Align populations: who plays the role of whom in another recording, and a check on halves of each recording.

Parts are pairs of recordings, and halves of the trials of one recording, where everybody should find itself. Before a
method sees either, individuals lose their names and are shuffled: no match can come from an id or a place.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from motet.data.dataset import PopulationDataset
from motet.data.preprocess import varies
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.alignment import Same, conditions, embedded, refuse_known_individuals
from motet.estimators.embeddings import courses_by_class
from motet.estimators.encoder import EITEncoder
from motet.matching import Embedding, Pairing, clusters, match_by_distance
from motet.metrics import Reliability
from motet.models.responses import Floats, ResponsePrior, Totals
from motet.names import in_path
from motet.report.matches import MOST_PAIRS, draw_calibration, draw_distances, draw_pairs, draw_plane
from motet.report.scores import score_comparison
from motet.rivals.matching import MATCHERS, SameIndividual, SameRole, ShuffledIndividuals, answer_of
from motet.rivals.method import Answer, Kind, MatchQuestion, Method, Say
from motet.settings import Count, Range, Seed, Settings, Whole
from motet.statistics import Score
from motet.tasks.comparison import Column, Found, Measured
from motet.tasks.evaluate import Evaluation, Part, Task, evaluate
from motet.tasks.find import find_recordings, stem
from motet.tasks.outcome import Outcome, write_columns
from motet.tasks.predict import held_estimator, load_estimator
from motet.tasks.systems import check_unlearned
from motet.training.run import Run
from motet.transport import squared_distances

ACTIVE_HZ = 1.0  # from which an individual of counts is reported apart
METHOD_OF: Mapping[Same, str] = {"individual": SameIndividual.name, "role": SameRole.name}


@dataclasses.dataclass(frozen=True)
class AlignSettings(Settings):
    """Whom to match, and how.

    Attributes:
        recordings: files, or names in the catalogue (motet data list). Of one, halves of its trials are matched, as a
            check; of several, every two are matched too.
        target: a class per trial that the recordings share, such as the direction of a reach: responses are compared
            condition by condition. By default the first there is; "none" for none.
        run: folder of a run whose model embeds individuals; its embeddings are compared beside the responses. Refused
            if it knows individuals by their names, or has learned to find them again in these very trials.
        output: the run's folder; by default "runs/align-<recording>".
        reading: options for reading the files, by name, such as {targets: [choice], columns: {individual: neuron}}.
        same: whose matches between recordings are drawn and written: whoever plays the same "role", or the same
            "individual". In halves it is the same individual.
        truth: a target per individual that recordings share, such as the type of simulated neurons: matches between
            recordings are right if it is the same. By default "type", if there is one.
        pairing: how partners of the same role are chosen: the "nearest", "one-to-one"; "unbalanced" and "relational"
            (Gromov–Wasserstein) need POT.
        bins: how many first bins of each trial are read; by default as many as all recordings have.
        halves: how often the trials of a recording are halved, in other ways.
        fdr: the rate of false matches among those that are declared.
        seed: of halves, orders and draws.
    """

    positionals: ClassVar = ("recordings",)

    recordings: tuple[str, ...]
    target: str | None = None
    run: str | None = None
    output: str | None = None
    reading: dict[str, Any] | None = None
    same: Same = "role"
    truth: str | None = None
    pairing: Pairing = "nearest"
    bins: Count | None = None
    halves: Whole = 5
    fdr: Annotated[float, Range(above=0, below=1)] = 0.05
    seed: Seed = 0

    def check(self) -> None:
        if not self.recordings:
            raise InputError("recordings is empty; give a list of one file or name at least.")
        if len(self.recordings) == 1 and self.halves == 0:
            raise InputError("halves is 0, and one recording has no other to be matched with; give several, or halves.")

    @property
    def folder(self) -> Path:
        return Path(self.output or f"runs/align-{stem(self.recordings[0])}")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Pair(Part):
    """Two populations, as methods see them in `test`, and who is whom.

    Attributes:
        a: the first, as it is.
        b: the second, as it is.
        labels: (trial,) the conditions of the trials of either.
        order: (b,) its individuals in the order in which methods see them.
        is_right: (a, b) of individuals as methods see them, who may be matched with whom; None if nobody knows.
        is_active: (a,) whether an individual is above `ACTIVE_HZ`; None if values are no counts.
    """

    test: PopulationDataset
    a: Recording
    b: Recording
    labels: tuple[NDArray[np.int64], NDArray[np.int64]]
    order: NDArray[np.int64]
    is_right: NDArray[np.bool_] | None = None
    is_active: NDArray[np.bool_] | None = None

    @property
    def are_halves(self) -> bool:
        return self.a.name == self.b.name

    @property
    def names(self) -> tuple[str, str]:
        """Of both sides."""
        return ("one half", "other half") if self.are_halves else (self.a.name, self.b.name)


class Everybody(NamedTuple):
    """All individuals of all recordings that vary, compared at once.

    Attributes:
        recordings: with these individuals alone.
        shapes: of their responses, by recording.
        distance: (individual, individual) between all.
        types: (individual,) clusters of these distances.
        preferred: (individual,) the condition of the largest response.
    """

    recordings: list[Recording]
    shapes: list[Embedding]
    distance: Floats
    types: NDArray[np.int64]
    preferred: NDArray[np.int64]


class Matched(NamedTuple):
    """Who of one side has a partner on the other, the surest first; of equally sure ones, those that vary most.

    Attributes:
        ids: (match,) of either side.
        courses: (match, condition, bin) mean responses of either side.
        confidence: (match,).
        is_declared: (match,) whether the match is claimed.
        score: (match,) how alike they are.
    """

    ids: tuple[NDArray[Any], NDArray[Any]]
    courses: tuple[Floats, Floats]
    confidence: Floats
    is_declared: NDArray[np.bool_]
    score: Floats


def align(settings: AlignSettings) -> Outcome:
    """Match individuals within and between recordings, beside rivals and chance; leaves a run with tables and figures.

    Beside them stand a table of all individuals with their types, individuals.csv, and one of the matches between every
    two recordings, matches/<a>_<b>.csv.

    Raises:
        InputError: for recordings, targets or runs that cannot be used, or do not fit each other.
    """
    task = Align(settings)
    outcome = evaluate(task)
    task.write_tables(outcome.run)
    return outcome


class Align(Task):
    """Parts are halves of each recording, and pairs of recordings; the partners of individuals are asked for."""

    columns: Mapping[str, Column] = {
        "rank_1": Column("likest is right", has_interval=True, bounds=(0.0, 1.0)),
        "rank_1_active": Column("above 1 Hz", has_interval=True, bounds=(0.0, 1.0)),
        "matched": Column("matched right", bounds=(0.0, 1.0)),
        "confidence": Column("confidence", ".2f"),
        "miscalibration": Column("miscalibration", is_error=True),
        "declared": Column("declared", ".2f"),
        "wrong": Column("wrong of declared", is_error=True),
    }
    main = "rank_1"
    test_fraction = 0.5

    def __init__(self, settings: AlignSettings) -> None:
        s = self.settings = settings
        self.dataset = find_recordings(s.recordings, s.reading)
        recordings = list(self.dataset.recordings)
        self.inputs = {"recordings": recordings}
        self.target = _condition_target(recordings, s.target)
        labels, self.n_conditions = conditions(recordings, self.target)
        self.labels = {recording.name: label for recording, label in zip(recordings, labels, strict=True)}
        self.n_bins = min(recording.n_bins for recording in recordings)
        if s.bins is not None and s.bins > self.n_bins:
            raise InputError(f"bins is {s.bins}, and a recording has {self.n_bins}; give at most as many.")
        self.n_bins = s.bins or self.n_bins
        self.truth_target = s.truth or ("type" if all("type" in r.targets for r in recordings) else None)
        self.estimator = None
        if s.run is not None:
            self.weights = Run(s.run)
            self.estimator = _loaded(self.weights, recordings)
            refuse_known_individuals(self.estimator)
        self._parts = [*self._halves(), *self._pairs()]
        shown = {
            recording.name: label
            for part in self._parts
            for recording, label in zip(part.test.recordings, part.labels, strict=True)
        }
        self.question = MatchQuestion(shown, self.n_conditions, self.n_bins, s.fdr, s.pairing, s.seed)

    # ------------------------------------------------------------------ parts

    @functools.cached_property
    def varying(self) -> list[Recording]:
        """The bins of every recording that are read, of individuals that vary in them."""
        cut = [recording.select(bins=slice(0, self.n_bins)) for recording in self.dataset.recordings]
        return [recording.select(individuals=varies([recording]).any(axis=1)) for recording in cut]

    def _halves(self) -> Iterator[Pair]:
        """Halves of the trials of every recording, alike in their conditions; of individuals that vary in both."""
        for recording in self.dataset.recordings:
            for number in range(self.settings.halves):
                rng = np.random.default_rng((self.settings.seed, number))
                order = rng.permutation(recording.n_trials)
                order = order[np.argsort(self.labels[recording.name][order], kind="stable")]
                sides = [np.sort(order[0::2]), np.sort(order[1::2])]
                if min(map(len, sides)) < 1:
                    raise InputError(f"recording {recording.name!r} has one trial, which has no halves; give more.")
                halves = [recording.select(trials=side, bins=slice(0, self.n_bins)) for side in sides]
                vary = varies(halves[:1]).any(axis=1) & varies(halves[1:]).any(axis=1)
                if not vary.any():
                    raise InputError(f"no individual of recording {recording.name!r} varies in both halves; give more.")
                name = f"halves/{in_path(recording.name)}/{number:02d}"
                a, b = (half.select(individuals=vary) for half in halves)
                first, second = (self.labels[recording.name][side] for side in sides)
                is_right = np.eye(a.n_individuals, dtype=np.bool_)
                yield self._pair(name, f"{recording.name}, halves", a, b, (first, second), is_right, rng)

    def _pairs(self) -> Iterator[Pair]:
        """Every two recordings; of individuals that vary."""
        for number, (a, b) in enumerate(itertools.combinations(self.varying, 2)):
            name = f"pairs/{in_path(a.name)}_{in_path(b.name)}"
            is_right = None
            if self.truth_target is not None:
                kinds = [_kinds(recording, self.truth_target) for recording in (a, b)]
                is_right = kinds[0][:, None] == kinds[1]
            rng = np.random.default_rng((self.settings.seed, number, 1))
            labels = self.labels[a.name], self.labels[b.name]
            yield self._pair(name, f"{a.name} – {b.name}", a, b, labels, is_right, rng)

    def _pair(
        self,
        name: str,
        section: str,
        a: Recording,
        b: Recording,
        labels: tuple[NDArray[np.int64], NDArray[np.int64]],
        is_right: NDArray[np.bool_] | None,
        rng: np.random.Generator,
    ) -> Pair:
        """Two recordings whose individuals have no names, those of the second in a random order."""
        order = rng.permutation(b.n_individuals)
        seen = PopulationDataset([nameless(a, f"{name}/a"), nameless(b.select(individuals=order), f"{name}/b")])
        sums = [Totals.of(r, label, self.n_conditions, self.n_bins) for r, label in zip((a, b), labels, strict=True)]
        is_active = None
        if all(one.are_counts for one in sums):
            counted = sums if a.name == b.name else sums[:1]  # of halves, over both
            total, n = (sum(getattr(one, field).sum(axis=(1, 2)) for one in counted) for field in ("total", "n"))
            is_active = total / np.maximum(n, 1) / a.bin_seconds > ACTIVE_HZ
        is_right = None if is_right is None else is_right[:, order]
        about: dict[str, Any] = {"order": order, "is_right": is_right, "is_active": is_active}
        return Pair(name, None, test=seen, section=section, a=a, b=b, labels=labels, **about)

    def parts(self) -> Sequence[Pair]:
        return self._parts

    def methods(self, part: Part) -> Sequence[Method]:
        """The embeddings of a run, the rules, their rivals; the controls once per section."""
        rules = [rule() for rule in MATCHERS]
        models = [] if self.estimator is None else [method(self.estimator) for method in EIT_MATCHERS]
        controls = [ShuffledIndividuals(rule()) for rule in (SameIndividual, SameRole)]
        is_first = part.name.startswith("pairs/") or part.name.endswith("/00")
        return [*models, *rules, *(controls if is_first else [])]

    def truth(self, part: Part) -> Part:
        return part

    def measure(self, answer: Answer, truth: Pair) -> Measured:
        score = answer["score"]
        scores: dict[str, float] = {}
        more: dict[str, Any] = {}
        rows = np.arange(len(score))
        if truth.is_right is not None:
            likest = truth.is_right[rows, score.argmax(axis=1)]
            scores["rank_1"] = float(likest.mean())
            if truth.is_active is not None and truth.is_active.any():
                scores["rank_1_active"] = float(likest[truth.is_active].mean())
        if "partner" in answer:
            partner, sure = answer["partner"], answer["confidence"]
            has_partner = partner >= 0
            right = None
            if truth.is_right is not None:
                right = truth.is_right[rows, partner] & has_partner
                scores["matched"] = float(right[has_partner].mean()) if has_partner.any() else 0.0
            if "is_declared" in answer:
                declared = answer["is_declared"]
                scores["declared"] = float(declared.mean())
                more["p_shared"] = float(answer["p_shared"][0])
                if bool(answer["claims_role"][0]) == truth.are_halves:
                    right = None  # it claims something else than what is known here
                elif right is not None:
                    scores["wrong"] = float((~right[declared]).mean()) if declared.any() else 0.0
            if right is not None:
                scores["confidence"] = float(sure[has_partner].mean()) if has_partner.any() else 0.0
                scores["miscalibration"] = Reliability.of(sure[has_partner], right[has_partner]).error
                more |= {"confidence": sure[has_partner].tolist(), "is_right": right[has_partner].tolist()}
        shown = {name: Score(value, None, (value,)) for name, value in scores.items()}
        return Measured(shown, None, more)

    def kept(self, ranked: Sequence[str]) -> Sequence[str]:
        return [name for name in METHOD_OF.values() if name in ranked]

    # ------------------------------------------------------------------ what people read

    def heading(self, section: str, parts: Sequence[Part]) -> str:
        (first, *_) = parts
        assert isinstance(first, Pair)
        size = f"{first.a.n_individuals} with {first.b.n_individuals} individuals"
        if first.are_halves:
            return f"{section}: {first.a.n_individuals} individuals of the first, right is the same one"
        right = f"right is the same {self.truth_target}" if self.truth_target else "nobody knows who is right"
        return f"{section}: {size}, {right}"

    def notes(self, evaluation: Evaluation) -> Iterator[str]:
        s = self.settings
        yield (
            f"Responses are compared by {self.target or 'time alone (no class per trial)'}, in {self.n_bins} bins. "
            "Individuals that never vary are left out; the others are seen without names and in random order."
        )
        yield (
            f"Declared: the share of individuals whose match is claimed at a false-discovery rate of {s.fdr:g}. "
            "Miscalibration: the mean distance of confidence from the share that is right, over tenths of confidence."
        )
        if s.halves:
            yield f"Halves: mean over {s.halves} ways to halve the trials, whose intervals allow for what they share."
        for part in self.parts():
            if not part.are_halves:
                p = self._measured(evaluation, part, s.same)["p_shared"]
                yield f"{part.section}, same {s.same}: p that nothing is shared {p:.2g}."

    def _measured(self, evaluation: Evaluation, part: Pair, same: Same) -> Mapping[str, Any]:
        """What motet's own rule left beside its scores."""
        found = evaluation.found(part, METHOD_OF[same])
        assert isinstance(found, Found), "the rule answers every question"
        return found.measured.more

    def write_tables(self, run: Run) -> None:
        """All individuals with their types, and the matches between every two recordings, surest first."""
        everybody = self.everybody
        names = [np.full(r.n_individuals, r.name) for r in everybody.recordings]
        columns = {
            "recording": np.concatenate(names),
            "individual": np.concatenate([np.asarray(r.individual_ids) for r in everybody.recordings]),
            "type": everybody.types,
        }
        if self.target is not None:
            columns[f"preferred {self.target}"] = self.classes[everybody.preferred]
        write_columns(run.folder / "individuals.csv", columns)
        evaluation = Evaluation(self, run, self.parts())
        for part in self.parts():
            if not part.are_halves:
                m = self.matches(evaluation, part)
                about = {"confidence": m.confidence, "is_declared": m.is_declared, "score": m.score}
                columns = {f"individual of {part.a.name}": m.ids[0], f"individual of {part.b.name}": m.ids[1], **about}
                write_columns(run.folder / "matches" / f"{part.name.rpartition('/')[2]}.csv", columns)

    def figures(self, evaluation: Evaluation) -> Iterator[tuple[str, Figure]]:
        for section, results in evaluation.results["sections"].items():
            parts = [part for part in self.parts() if part.section == section]
            first = parts[0]
            name = f"halves_{in_path(first.a.name)}" if first.are_halves else first.name.rpartition("/")[2]
            scores = {m: one["scores"] for m, one in results["methods"].items()}
            known = {m: np.asarray(score["rank_1"].samples) for m, score in scores.items() if "rank_1" in score}
            if known:
                kinds = {m: results["methods"][m]["kind"] for m in known}
                yield (
                    f"scores_{name}",
                    score_comparison(
                        known,
                        "likest is right",
                        rivals={m for m, kind in kinds.items() if kind == "rival"},
                        chance={m for m, kind in kinds.items() if kind == "control"},
                        title=section,
                    ),
                )
            same = self._same(first)
            if first.are_halves or (first.is_right is not None and same == "role"):
                mores = [self._measured(evaluation, part, same) for part in parts]
                sure, right = (np.concatenate([more[k] for more in mores]) for k in ("confidence", "is_right"))
                if len(sure):
                    title = f"{section}: confidence, same {same}"
                    yield f"calibration_{name}", draw_calibration(sure, right.astype(bool), title=title)
            yield f"pairs_{name}", self._draw_pairs(evaluation, first)
        yield from self._draw_all()

    def responses(self, part: Pair) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(individual, condition, bin) means of both sides, individuals as methods see them."""
        a, b = (one.total / np.where(one.n > 0, one.n, np.nan) for one in self._sums(part))
        return a, b[part.order]

    def matches(self, evaluation: Evaluation, part: Pair) -> Matched:
        """Those of motet's own rule; the same individuals in halves, and else as the settings say."""
        answer = evaluation.answer(part, METHOD_OF[self._same(part)])
        partner, sure = answer["partner"], answer["confidence"]
        courses = self.responses(part)
        spread = [np.nanstd(response, axis=(1, 2)) for response in courses]
        i = np.flatnonzero(partner >= 0)
        i = i[np.lexsort((-np.minimum(spread[0][i], spread[1][partner[i]]), -sure[i]))]
        j = partner[i]
        ids = np.asarray(part.a.individual_ids)[i], np.asarray(part.b.individual_ids)[part.order[j]]
        return Matched(ids, (courses[0][i], courses[1][j]), sure[i], answer["is_declared"][i], answer["score"][i, j])

    def _same(self, part: Pair) -> Same:
        return "individual" if part.are_halves else self.settings.same

    def _draw_pairs(self, evaluation: Evaluation, part: Pair) -> Figure:
        """The surest matches of a part, their mean rates by condition."""
        m = self.matches(evaluation, part)
        n = min(len(m.confidence), MOST_PAIRS)
        sums = self._sums(part)
        unit = "firing rate (Hz)" if sums[0].are_counts else "mean value"
        scale = part.a.bin_seconds if sums[0].are_counts else 1.0
        captions = [
            f"{_own(str(m.ids[0][k]), part.a)} ~ {_own(str(m.ids[1][k]), part.b)}\n{m.confidence[k]:.2f}"
            + ("" if m.is_declared[k] else ", not declared")
            for k in range(n)
        ]
        return draw_pairs(
            [(m.courses[0][k] / scale, m.courses[1][k] / scale) for k in range(n)],
            captions,
            self.classes,
            (np.arange(self.n_bins) + 0.5) * part.a.bin_seconds,
            part.names,
            target=self.target or "",
            unit=unit,
            title=f"{part.section}: surest matches, same {self._same(part)}",
        )

    def _draw_all(self) -> Iterator[tuple[str, Figure]]:
        """Distances within and between recordings sorted by type, and everybody in one plane."""
        everybody = self.everybody
        names = [recording.name for recording in everybody.recordings]
        edges = np.cumsum([0, *map(len, everybody.shapes)])
        parts = [slice(*pair) for pair in itertools.pairwise(edges)]
        for i, j in itertools.combinations(range(len(names)), 2) if len(names) > 1 else [(0, 0)]:
            figure = draw_distances(
                everybody.distance[parts[i], parts[j]],
                everybody.types[parts[i]],
                everybody.types[parts[j]],
                (names[i], names[j]),
                title=f"{everybody.types.max() + 1} types of response",
            )
            yield "_".join(["distances", *(in_path(names[k]) for k in sorted({i, j}))]), figure
        figure = draw_plane(
            [one.mean for one in everybody.shapes],
            names,
            [everybody.preferred[part] for part in parts],
            self.classes,
            target=self.target or "",
            title="shapes of responses",
        )
        yield "plane", figure

    @functools.cached_property
    def everybody(self) -> Everybody:
        """All individuals of all recordings that vary, compared at once."""
        recordings = self.varying
        sums = [Totals.of(r, self.labels[r.name], self.n_conditions, self.n_bins) for r in recordings]
        prior, responses = ResponsePrior.fit(sums)
        shapes = [prior.shapes(one) for one in responses]
        together = Embedding(
            *(np.concatenate([getattr(one, name) for one in shapes]) for name in ("mean", "covariance"))
        )
        distance = together.distance(together)
        preferred = [prior.courses(one, self.n_bins).mean(axis=2).argmax(axis=1) for one in responses]
        return Everybody(recordings, shapes, distance, clusters(distance), np.concatenate(preferred))

    def _sums(self, part: Pair) -> list[Totals]:
        """Sums of both sides, individuals as they are."""
        return [
            Totals.of(recording, label, self.n_conditions, self.n_bins)
            for recording, label in zip((part.a, part.b), part.labels, strict=True)
        ]

    @property
    def classes(self) -> NDArray[Any]:
        """Labels of the conditions."""
        if self.target is None:
            return np.array(["all trials"])
        first = self.dataset.recordings[0]
        labels, codes = first.targets[self.target], self.labels[first.name]
        return np.array([labels[codes == k][0] for k in range(self.n_conditions)])


def _loaded(run: Run, recordings: Sequence[Recording]) -> Any:
    """What embeds individuals; if it learned to find them again, then in other trials."""
    if held_estimator(run) != EITEncoder.__name__:
        return load_estimator(run)
    encoder = EITEncoder.load(run)
    if "views" in encoder.uses_:
        check_unlearned(run, recordings)
    return encoder


def nameless(recording: Recording, name: str) -> Recording:
    """The recording under another name, its individuals numbered: no id says who they are."""
    ids = tuple(f"{name}/{place}" for place in range(recording.n_individuals))
    trials = np.arange(recording.n_trials)
    return dataclasses.replace(recording, name=name, individual_ids=ids, subject="unknown", trial_ids=trials)


def _condition_target(recordings: Sequence[Recording], target: str | None) -> str | None:
    """The target that says the condition of a trial: as asked, or the first class per trial that all share."""
    if target == "none":
        return None
    if target is not None:
        return target
    first = recordings[0]
    for name in first.targets:
        goals = [r.targets[name] for r in recordings if r.target_levels.get(name) == "trial"]
        if len(goals) == len(recordings) and all(g.ndim == 1 and g.dtype.kind in "biU" for g in goals):
            return name
    return None


def _kinds(recording: Recording, target: str) -> NDArray[Any]:
    """(individual,) a target that says what individuals are."""
    goal = recording.target(target)
    if recording.target_levels[target] != "individual" or goal.ndim != 2 or goal.dtype.kind == "f":
        raise InputError(
            f"target {target!r} of recording {recording.name!r} is {goal.dtype} per {recording.target_levels[target]}; "
            "truth is a class per individual: give such a target, or none."
        )
    if (goal != goal[:1]).any():
        raise InputError(
            f"target {target!r} of recording {recording.name!r} changes between trials; give one that does not."
        )
    return goal[0]


def _own(individual: str, recording: Recording) -> str:
    own = individual.removeprefix(f"{recording.name}/")
    return own if len(own) <= 10 else f"…{own[-9:]}"


# ------------------------------------------------------------------ embeddings of a run


class EITDistance(Method):
    """How far apart the embeddings of two individuals are, over all trials and times: Wasserstein-2."""

    name = "eit"
    kind: Kind = "model"

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        self.about: Mapping[str, Any] = {}

    @property
    def n_parameters(self) -> int:
        return int(self.estimator.n_parameters_)

    def fit(
        self, train: PopulationDataset | None, question: Any, *, run: Run | None = None, say: Say | None = None
    ) -> EITDistance:
        self.question: MatchQuestion = question
        return self

    def predict(self, test: PopulationDataset) -> Answer:
        a, b = (embedded(encoding)[0] for encoding in self.estimator.encode(test))
        q = self.question
        matches = match_by_distance(a, b, pairing=q.pairing, fdr=q.fdr, seed=q.seed)
        return answer_of(matches, claims_role=True)


class EITCourses(EITDistance):
    """How far apart the mean embeddings are, condition by condition and bin by bin."""

    name = "eit, by condition"

    def predict(self, test: PopulationDataset) -> Answer:
        return {"score": -np.sqrt(self.squares(test))}

    def squares(self, test: PopulationDataset) -> Floats:
        """(a, b) squared distances."""
        q = self.question
        a, b = (
            courses_by_class(encoding["individual"][:, :, : q.n_bins], q.labels[recording.name], q.n_conditions)
            for recording, encoding in zip(test.recordings, self.estimator.encode(test), strict=True)
        )
        return squared_distances(a, b)


class RuleAndEIT(EITCourses):
    """The Bayes factor of responses, and the likelihood of embeddings that lie as far apart as nearest ones do."""

    name = "bayes factor + eit"

    def predict(self, test: PopulationDataset) -> Answer:
        rule = SameIndividual().fit(None, self.question).predict(test)["score"]
        squares = self.squares(test)
        return {"score": rule - squares / (2 * max(float(np.median(squares.min(axis=1))), 1e-300))}


EIT_MATCHERS: tuple[type[EITDistance], ...] = (EITDistance, EITCourses, RuleAndEIT)
