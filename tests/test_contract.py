"""What every estimator and every rival promises, each contract tested once over all of them.

`MEMBERS` says how each is fitted to small data and what it predicts. Where a contract does not hold, the member says
why; that it fails there is tested too.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, get_args

import numpy as np
import pytest
import torch
from sklearn.base import clone

from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.base import Estimator
from motet.estimators.decoders import EITClassifier, EITRegressor
from motet.estimators.encoder import EITEncoder
from motet.estimators.forecaster import EITForecaster
from motet.estimators.interactions import EITInteractions
from motet.models.eit import EITSettings
from motet.models.geometry import Geometry
from motet.models.pairs import PairSettings
from motet.models.reference import EITReference
from motet.rivals.method import Draw, MotionQuestion, PairQuestion, Rival, TargetQuestion, TransferQuestion
from motet.rivals.motion import MOTION_RIVALS, MotionRival
from motet.rivals.networks import Network
from motet.rivals.pair_scores import PAIR_RULES
from motet.rivals.pairs import PairRival
from motet.rivals.reference import ReferenceRival, train_reference
from motet.rivals.registry import RIVALS, rivals_of
from motet.systems import simulate
from motet.training.objectives import ForecastSettings
from motet.training.settings import TrainingSettings

N_CONTEXT, N_AHEAD = 9, 3

# ------------------------------------------------------------------ data


def with_gaps(recording: Recording) -> Recording:
    """In two trials an individual is missing, in two others for some bins."""
    observed = recording.observed.copy()
    observed[0, 1] = observed[3, 2] = observed[1, 0, 2:4] = observed[4, 3, 1:2] = False
    return dataclasses.replace(recording, observed=observed, values=np.where(observed[..., None], recording.values, 0))


def counts(n_trials: int, seed: int, *, subject: int = 0) -> Recording:
    """Five neurons that tell three directions and how fast a hand moves; targets of every kind and level."""
    rng = np.random.default_rng(seed)
    direction, time = np.arange(n_trials) % 3, np.arange(6)
    speed = np.sin(np.pi * (time + 0.5) / 6) * rng.uniform(0.5, 1.5, (n_trials, 1))
    angle = 2 * np.pi * direction[:, None] / 3
    tuning = np.random.default_rng(subject).normal(size=(3, 5))
    values = rng.poisson(np.exp(0.5 + tuning[direction][:, :, None] * (0.5 + speed[:, None])))
    targets = {
        "direction": direction,
        "is_fast": speed > 0.6,
        "peak": speed.max(axis=1),
        "velocity": np.stack([np.cos(angle) * speed, np.sin(angle) * speed], axis=-1),
    }
    ids = np.arange(n_trials) + 100 * seed
    return with_gaps(Recording.from_trials(values, targets=targets, name="counts", bin_seconds=0.1, trial_ids=ids))


@functools.cache
def data(kind: Kind) -> tuple[Recording, Recording]:
    """Trials to train on, and to test on."""
    if kind == "counts":
        return counts(30, 1), counts(6, 2)
    options: dict[str, Any] = {"n_trials": 30, "n_bins": N_CONTEXT + N_AHEAD, "noise": 0.01}
    system = {
        "bodies": ("gravity", {"groups": ("2x2",), "engine": "numpy"}),
        "phases": ("kuramoto", {"n_oscillators": (4,)}),
    }
    name, more = system[kind]
    train, test = (with_gaps(simulate(name, seed=seed, **options, **more)[0]) for seed in (1, 2))
    return train, test.select(trials=slice(0, 6), bins=slice(0, N_CONTEXT))


# ------------------------------------------------------------------ members

Kind = Literal["counts", "bodies", "phases"]
Variant = Literal["other names", "fewer", "more features"]


@dataclasses.dataclass(frozen=True)
class Member:
    """An estimator or a rival.

    Attributes:
        name: for messages.
        of: the class, or the entry of a registry, that it is made of.
        fit: to a recording, from a seed.
        predict: an array (trial, …) of a fitted member and a recording.
        kind: of data.
        axes: of the prediction, along which individuals lie.
        reads: other populations that it reads; it refuses the rest.
        fails: contracts that do not hold, by the name of their test, and why.
    """

    name: str
    of: Any
    fit: Callable[[Recording, int], Any]
    predict: Callable[[Any, Recording], np.ndarray]
    kind: Kind = "counts"
    axes: tuple[int, ...] = ()
    reads: tuple[Variant, ...] = ()
    fails: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def is_trained(self) -> bool:
        return inspect.isclass(self.of)


ANY_SYSTEM: tuple[Variant, ...] = ("other names", "fewer")


def silent(_: Any) -> None:
    """Instead of a progress bar."""


MODEL = EITSettings(width=8, n_heads=2, dropout=0.1)
TRAINING = TrainingSettings(max_steps=3, batch_trials=16, learning_rate=0.01, validation=0.2)
PAIRS = {"model": dataclasses.replace(MODEL, identity="none", token_bins=1), "pairs": PairSettings(width=8, depth=2)}
SETTINGS: Mapping[type[Estimator], dict[str, Any]] = {
    EITClassifier: {"target": "direction", "model": MODEL},
    EITRegressor: {"target": "velocity", "model": MODEL},
    EITInteractions: PAIRS,
    EITForecaster: {**PAIRS, "objective": ForecastSettings(N_CONTEXT, N_AHEAD, n_substeps=(1, 2))},
}


def estimator(of: type[Estimator], predict: str, **about: Any) -> Member:
    def fit(train: Recording, seed: int) -> Any:
        return of(**SETTINGS[of], training=TRAINING, seed=seed).fit(train, on_epoch=silent)

    return Member(of.__name__, of, fit, lambda fitted, test: getattr(fitted, predict)(test), **about)


def encoder() -> Member:
    """Adapted to the trials that it was pretrained on."""

    def fit(train: Recording, seed: int) -> EITEncoder:
        training = dataclasses.replace(TRAINING, batch_trials=32)
        model = dataclasses.replace(MODEL, identity="none")
        return EITEncoder("direction", model=model, training=training, seed=seed).fit(train, on_epoch=silent)

    def predict(fitted: EITEncoder, test: Recording) -> np.ndarray:
        return fitted.adapt(data("counts")[0]).predict_proba(test)

    return Member("EITEncoder", EITEncoder, fit, predict)


def decoder(of: Rival, target: str, level: Any) -> Member:
    kind: Any = "quantity" if target in ("peak", "velocity") else "class"
    question = TargetQuestion(target, kind, level, class_target="direction")

    def fit(train: Recording, seed: int) -> Any:
        return of.fit(PopulationDataset(train), question)

    def predict(fitted: Any, test: Recording) -> np.ndarray:
        if not hasattr(getattr(fitted, "model", None), "predict_proba"):
            return np.asarray(fitted.predict(PopulationDataset(test))["prediction"])
        inputs, rows = fitted.reading.inputs(test)
        probability = np.full((*rows.shape, len(fitted.model.classes_)), np.nan)
        probability[rows] = fitted.model.predict_proba(inputs)
        return probability

    reads: tuple[Variant, ...] = ("fewer",) if isinstance(of, Network) else ()
    return Member(f"{of.name}, {target}", of, fit, predict, reads=reads)


def few_shot(of: Rival, target: str, level: Any) -> Member:
    """Of a new population; some trials have labels, others have none, and another population is known before."""
    goal = TargetQuestion(target, "quantity" if level == "bin" else "class", level, class_target="direction")

    def fit(train: Recording, seed: int) -> Any:
        is_labelled = train.trial_ids % 2 == 0
        labelled, unlabelled = train.select(trials=is_labelled), train.select(trials=~is_labelled)
        question = TransferQuestion(goal, (Draw(labelled, unlabelled, np.arange(1)),), period=3)
        return of.fit(PopulationDataset(counts(40, 3, subject=1)), question)

    def predict(fitted: Any, test: Recording) -> np.ndarray:
        (draw,) = fitted.question.draws
        draws = (dataclasses.replace(draw, tested=np.arange(test.n_trials)),)
        asked = dataclasses.replace(fitted, question=dataclasses.replace(fitted.question, draws=draws))
        return np.asarray(asked.predict(PopulationDataset(test))["prediction"][0])

    return Member(f"{of.name}, few-shot {target}", of, fit, predict)


def pair_rival(rival: PairRival) -> Member:
    features = "none" if "none" in rival.reads else rival.reads[0]
    if rival.name == "base rate":
        features = "position"
    question = PairQuestion("interacts", (0, 1), is_directed=False, features=features)

    def fit(train: Recording, seed: int) -> Any:
        return rival.fit(PopulationDataset(train), question)

    def predict(fitted: Any, test: Recording) -> np.ndarray:
        return fitted.predict(PopulationDataset(test))["log_probability"]

    about: dict[str, Any] = {"kind": "phases" if features == "phase" else "bodies", "axes": (1, 2)}
    reads_any = features == "none" or rival.name == "base rate"
    return Member(
        rival.name, rival, fit, predict, reads=(*ANY_SYSTEM, "more features") if reads_any else ANY_SYSTEM, **about
    )


def motion_rival(rival: MotionRival) -> Member:
    def fit(train: Recording, seed: int) -> Any:
        geometry = Geometry.fit(PopulationDataset(train), MotionSettings("position"))
        question = MotionQuestion(geometry, N_CONTEXT, N_AHEAD, n_substeps=2, shoots=False)
        return rival.fit(PopulationDataset(train), question)

    def predict(fitted: Any, test: Recording) -> np.ndarray:
        return fitted.predict(PopulationDataset(test))["places"]

    fails = {}
    if rival.kind == "oracle":
        why = "the true couplings are among the targets"
        fails["test_targets_of_test_trials_are_never_read"] = why
        fails["test_absent_individuals_change_nothing_and_are_not_predicted"] = why
        fails["test_bins_after_the_end_of_all_trials_change_nothing"] = why
    return Member(rival.name, rival, fit, predict, "bodies", (1,), ANY_SYSTEM, fails)


def reference() -> Member:
    def values(recording: Recording) -> torch.Tensor:
        rates = torch.from_numpy(recording.values.swapaxes(1, 2)).float()
        return rates[..., 0] if recording.n_features == 1 else rates

    def fit(train: Recording, seed: int) -> EITReference:
        model = EITReference(train.n_individuals, 3, depth=1, n_heads=2, head_width=8, seed=seed)
        labels = torch.from_numpy(train.targets["direction"]).long()
        train_reference(model, values(train), labels, n_epochs=2, learning_rate=1e-2, seed=seed)
        return model

    def predict(model: EITReference, test: Recording) -> np.ndarray:
        with torch.no_grad():
            return model(values(test)).population.numpy()

    fails = {
        "test_individuals_in_another_order_are_found_by_name_or_refused": "it knows individuals by position",
        "test_what_was_not_observed_is_never_read": "it has no mask",
        "test_bins_after_the_end_of_all_trials_change_nothing": "it has no mask",
    }
    return Member("EITReference", EITReference, fit, predict, reads=("other names",), fails=fails)


TARGETS = (
    ("direction", "class", "trial"),
    ("is_fast", "class", "bin"),
    ("peak", "quantity", "trial"),
    ("velocity", "quantity", "bin"),
)
MEMBERS = (
    estimator(EITClassifier, "predict_proba", reads=("fewer",)),
    estimator(EITRegressor, "predict", reads=("fewer",)),
    encoder(),
    estimator(EITInteractions, "predict_log_proba", kind="bodies", axes=(1, 2), reads=ANY_SYSTEM),
    estimator(EITForecaster, "predict", kind="bodies", axes=(1,), reads=ANY_SYSTEM),
    reference(),
    *(
        decoder(of, target, level)
        for target, kind, level in TARGETS
        for of in rivals_of(TargetQuestion(target, kind, level))
    ),
    *(
        few_shot(of, target, level)
        for target, kind, level in (TARGETS[0], TARGETS[3])
        for of in rivals_of(TransferQuestion(TargetQuestion(target, kind, level), (), period=3))
    ),
    *map(pair_rival, PAIR_RULES.values()),
    *map(motion_rival, MOTION_RIVALS),
)


def of_members(*which: Callable[[Member], bool]) -> Callable[[Any], Any]:
    """Run a contract for all members, or for those of a kind; where a member says that it fails, it must."""

    def decorate(test: Any) -> Any:
        def case(member: Member) -> Any:
            why = member.fails.get(test.__name__)
            return pytest.param(
                member, id=member.name, marks=[pytest.mark.xfail(reason=why, strict=True)] if why else []
            )

        return pytest.mark.parametrize("member", [case(m) for m in MEMBERS if all(is_one(m) for is_one in which)])(test)

    return decorate


@functools.cache
def fitted(name: str) -> Any:
    member = next(member for member in MEMBERS if member.name == name)
    return member.fit(data(member.kind)[0], 0)


@functools.cache
def predicted(name: str) -> np.ndarray:
    member = next(member for member in MEMBERS if member.name == name)
    return member.predict(fitted(name), data(member.kind)[1])


def is_trained(member: Member) -> bool:
    return member.is_trained


def is_estimator(member: Member) -> bool:
    return member.is_trained and issubclass(member.of, Estimator)


def is_closed_form(member: Member) -> bool:
    return not (member.is_trained or isinstance(member.of, Network | ReferenceRival))


def is_of_systems(member: Member) -> bool:
    return bool(member.axes)


def assert_close(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * max(1.0, float(np.nanstd(wanted))))


def permuted(array: np.ndarray, order: Any, axes: tuple[int, ...]) -> np.ndarray:
    for axis in axes:
        array = array.take(order, axis=axis)
    return array


@pytest.fixture(autouse=True, scope="module")
def few_options():
    """Rules are tuned as ever, with fewer options to try, and networks are trained for a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("motet.rivals.pairs.WINDOWS", ((2, 2), (3, 2)))
        patch.setattr("motet.rivals.pairs.RIDGE_FACTORS", (1.0, 10.0))
        patch.setattr("motet.rivals.pairs.LAGS", (1, 2))
        for name, steps in (("MOST_STEPS", 4), ("N_LOOKS", 2), ("PRETRAINING_STEPS", 2)):
            patch.setattr(f"motet.rivals.networks.{name}", steps)
        patch.setattr("motet.rivals.reference.N_STEPS", 2)
        yield


# ------------------------------------------------------------------ contracts


def subclasses(kind: type) -> set[type]:
    return {kind}.union(*map(subclasses, kind.__subclasses__()))


def missing() -> list[str]:
    """Estimators and entries of registries that are no members."""
    of_motet = [e for e in subclasses(Estimator) if e.__module__.startswith("motet.")]
    estimators = [e for e in of_motet if not (inspect.isabstract(e) or e.__name__.startswith("_"))]
    tested = [member.of for member in MEMBERS]
    return [getattr(one, "name", None) or one.__name__ for one in (*estimators, *RIVALS.values()) if one not in tested]


def test_every_estimator_and_rival_is_here():
    assert missing() == []


def test_a_rival_or_estimator_that_is_not_here_is_noticed(monkeypatch):
    monkeypatch.setitem(RIVALS, "toy", dataclasses.replace(PAIR_RULES["together"], name="toy"))
    assert missing() == ["toy"]
    monkeypatch.undo()
    monkeypatch.setitem(globals(), "MEMBERS", MEMBERS[1:])
    assert missing() == ["EITClassifier"]


@of_members()
def test_individuals_in_another_order_are_found_by_name_or_refused(member):
    test = data(member.kind)[1]
    order = np.random.default_rng(3).permutation(test.n_individuals)
    try:
        found = member.predict(fitted(member.name), test.select(individuals=order))
    except InputError:
        assert not is_of_systems(member)
        return
    assert_close(found, permuted(predicted(member.name), order, member.axes))


@of_members(is_closed_form)
def test_a_closed_form_does_not_depend_on_the_order_of_training_trials_and_individuals(member):
    train, test = data(member.kind)
    rng = np.random.default_rng(4)
    individuals = rng.permutation(train.n_individuals)
    again = member.fit(train.select(trials=rng.permutation(train.n_trials), individuals=individuals), 0)
    found = member.predict(again, test.select(individuals=individuals))
    assert_close(found, permuted(predicted(member.name), individuals, member.axes))


@of_members()
def test_a_trial_is_predicted_alike_in_any_company(member):
    test = data(member.kind)[1]
    for trials in ([5, 1, 4], [3]):
        assert_close(member.predict(fitted(member.name), test.select(trials=trials)), predicted(member.name)[trials])


def garbled(self: Recording, made: Callable[[Recording], None] = Recording.__post_init__) -> None:
    """A recording has large numbers wherever nothing was observed, where `Recording` itself has zeros."""
    made(self)
    noise = np.random.default_rng(5).uniform(1e5, 1e6, self.values.shape).astype(self.values.dtype)
    object.__setattr__(self, "values", np.where(self.observed[..., None], self.values, noise))


@of_members()
def test_what_was_not_observed_is_never_read(member, monkeypatch):
    wanted, parts = predicted(member.name), data(member.kind)
    monkeypatch.setattr(Recording, "__post_init__", garbled)
    train, test = map(dataclasses.replace, parts)
    assert_close(member.predict(member.fit(train, 0), test), wanted)


def padded(recording: Recording, *, individuals: int = 0, bins: int = 0) -> Recording:
    """The recording with individuals and bins that are never observed, and no targets."""
    widths = [(0, 0), (0, individuals), (0, bins)]
    return dataclasses.replace(
        recording,
        values=np.pad(recording.values, [*widths, (0, 0)]),
        observed=np.pad(recording.observed, widths),
        individual_ids=(*recording.individual_ids, *(f"absent/{n}" for n in range(individuals))),
        targets={},
        target_levels={},
    )


@of_members()
def test_bins_after_the_end_of_all_trials_change_nothing(member):
    wanted = predicted(member.name)
    found = member.predict(fitted(member.name), padded(data(member.kind)[1], bins=2))
    assert_close(found[tuple(map(slice, wanted.shape))], wanted)


@of_members(is_of_systems)
def test_absent_individuals_change_nothing_and_are_not_predicted(member):
    wanted = predicted(member.name)
    found = member.predict(fitted(member.name), padded(data(member.kind)[1], individuals=2))
    n = wanted.shape[1]
    assert_close(permuted(found, range(n), member.axes), wanted)
    assert np.isnan(found[:, n:]).all()


def shuffled(target: np.ndarray) -> np.ndarray:
    return np.roll(target, 1, axis=0)


def replaced(target: np.ndarray) -> np.ndarray:
    return 3 * target + 1 if target.dtype.kind == "f" else (target.max() - target.astype(int)).astype(target.dtype)


@of_members()
def test_targets_of_test_trials_are_never_read(member):
    test = data(member.kind)[1]
    for change in (shuffled, replaced):
        changed = dataclasses.replace(test, targets={name: change(target) for name, target in test.targets.items()})
        assert np.array_equal(member.predict(fitted(member.name), changed), predicted(member.name), equal_nan=True)
    without = dataclasses.replace(test, targets={}, target_levels={})
    assert np.array_equal(member.predict(fitted(member.name), without), predicted(member.name), equal_nan=True)


@of_members()
def test_the_same_seed_gives_the_same_bits_in_threads_too(member):
    train, test = data(member.kind)
    seeds = [0, 0, 1] if member.is_trained else [0]

    def answer(seed: int) -> np.ndarray:
        return member.predict(member.fit(train, seed), test)

    with ThreadPoolExecutor(len(seeds)) as threads:
        found = list(threads.map(answer, seeds))
    for seed, one in zip(seeds, found, strict=True):
        assert np.array_equal(one, predicted(member.name), equal_nan=True) == (seed == 0)


@of_members(is_estimator)
def test_what_is_saved_and_loaded_predicts_the_same_bits(member, tmp_path):
    fitted(member.name).save(tmp_path / "saved")
    loaded = member.of.load(tmp_path / "saved")
    found = member.predict(loaded, data(member.kind)[1])
    assert np.array_equal(found, predicted(member.name), equal_nan=True)
    assert repr(loaded.get_params()) == repr(fitted(member.name).get_params())
    assert repr(loaded.history_) == repr(fitted(member.name).history_)


@of_members(is_estimator)
def test_bins_of_another_width_are_refused_after_loading_too(member, tmp_path):
    fitted(member.name).save(tmp_path / "saved")
    test = data(member.kind)[1]
    narrow = dataclasses.replace(test, bin_seconds=test.bin_seconds / 2)
    for one in (fitted(member.name), member.of.load(tmp_path / "saved")):
        with pytest.raises(InputError, match=f"bins of recording .* last {narrow.bin_seconds:g} s, and those of"):
            member.predict(one, narrow)


@of_members(is_estimator)
def test_settings_inside_of_settings_are_got_and_set_and_clones_share_them(member):
    made = clone(fitted(member.name))
    for name, value in made.get_params().items():
        assert made.set_params(**{name: value}).get_params()[name] == value
    twin = clone(made.set_params(model__individual_depth=2, training__max_steps=2))
    assert twin.get_params() == made.get_params()
    assert (twin.model.individual_depth, twin.training.max_steps) == (2, 2)
    assert fitted(member.name).training.max_steps == TRAINING.max_steps


def population(recording: Recording, variant: Variant) -> Recording:
    if variant == "fewer":
        return recording.select(individuals=slice(1, None))
    if variant == "other names":
        return dataclasses.replace(
            recording, individual_ids=tuple(f"other/{k}" for k in range(recording.n_individuals))
        )
    return dataclasses.replace(recording, values=np.concatenate([recording.values] * 2, axis=-1))


@of_members()
def test_another_population_is_refused_or_read(member):
    for variant in get_args(Variant):
        other = population(data(member.kind)[1], variant)
        if variant in member.reads:
            assert np.isfinite(member.predict(fitted(member.name), other)).any(), variant
        else:
            with pytest.raises(InputError):
                member.predict(fitted(member.name), other)
