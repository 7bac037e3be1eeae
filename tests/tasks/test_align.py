"""`align`: no match comes from an id or a place, halves find each other, and a run holds what is promised."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest

import motet
from motet.cli import main
from motet.data.preprocess import PreprocessSettings
from motet.data.readers import write_recording
from motet.errors import InputError
from motet.models.eit import EITSettings
from motet.rivals.matching import MATCHERS, Matcher
from motet.rivals.method import Method
from motet.tasks.align import Align, AlignSettings, align
from motet.tasks.evaluate import Evaluation
from motet.tasks.pretrain import PretrainSettings, pretrain
from motet.training.objectives import ObjectiveSettings
from motet.training.settings import TrainingSettings


@pytest.fixture(autouse=True, scope="module")
def few_rounds():
    """The rule of who is who learns as ever, in fewer rounds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("motet.models.responses.N_ROUNDS", 8)
        yield


@pytest.fixture(scope="module")
def animals():
    return motet.simulate("population", n_subjects=2, n_trials=96, n_neurons=16)


@pytest.fixture(scope="module")
def files(animals, tmp_path_factory):
    folder = tmp_path_factory.mktemp("animals")
    return tuple(str(write_recording(animal, folder / f"{animal.subject}.npz")) for animal in animals)


class ById(Method):
    """Matches whom ids say: a cheat."""

    name, kind, n_parameters, about = "by id", "rival", 0, {}

    def fit(self, train, question, *, run=None, say=None):
        return self

    def predict(self, test):
        a, b = ([one.rpartition("/")[2] for one in r.individual_ids] for r in test.recordings)
        return {"score": np.array([[float(one == other) for other in b] for one in a])}


class ByPlace(ById):
    """Matches who stands at the same place: a cheat."""

    name = "by place"

    def predict(self, test):
        return {"score": np.eye(*(r.n_individuals for r in test.recordings))}


def scored(task: Align, *methods: Method) -> dict[str, list[float]]:
    """By method, how often the likest is right, part by part."""
    return {
        method.name: [
            task.measure(method.fit(None, task.question).predict(part.test), part).scores["rank_1"].value
            for part in task.parts()
        ]
        for method in methods
    }


# ------------------------------------------------------------------ guards


def test_no_match_comes_from_an_id_or_a_place(files, tmp_path):
    task = Align(AlignSettings((files[0],), output=str(tmp_path), halves=12))
    scores = scored(task, ById(), ByPlace())
    assert all(np.mean(shares) < 0.2 for shares in scores.values()), scores  # by chance 1/16


def test_ids_that_two_recordings_share_by_accident_change_nothing(animals, tmp_path):
    a, b = animals
    shared = dataclasses.replace(b, individual_ids=a.individual_ids)
    seen = []
    for number, second in enumerate((b, shared)):
        paths = tuple(
            str(write_recording(r, tmp_path / f"{number}-{name}.npz")) for name, r in (("a", a), ("b", second))
        )
        task = Align(AlignSettings(paths, output=str(tmp_path / str(number)), halves=0))
        (part,) = task.parts()
        seen.append(part.test.recordings)
    for plain, renamed in zip(*seen, strict=True):
        assert plain.individual_ids == renamed.individual_ids
        np.testing.assert_array_equal(plain.values, renamed.values)


def test_halves_share_no_trial_and_are_alike_in_their_conditions(files, tmp_path):
    task = Align(AlignSettings((files[0],), output=str(tmp_path), halves=3))
    labels = task.labels[task.dataset.recordings[0].name]
    for part in task.parts():
        first, second = (side.trial_ids for side in (part.a, part.b))
        assert not set(first) & set(second)
        assert len(first) + len(second) == 96
        np.testing.assert_array_equal(part.labels[1], labels[second])
        counts = [np.bincount(side, minlength=8) for side in part.labels]
        assert np.abs(counts[0] - counts[1]).max() <= 1
        seen = part.test.recordings[1].values
        np.testing.assert_array_equal(seen, part.b.values[:, part.order])
        assert (part.is_right.argmax(axis=1) == np.argsort(part.order)).all()


def test_a_run_that_knows_individuals_by_their_names_is_refused(animals, files, tmp_path, capsys):
    for name, model, preprocess in (
        ("identity", EITSettings(width=8, identity="learned"), PreprocessSettings(centre="shared")),
        ("statistics", EITSettings(width=8, identity="none"), PreprocessSettings()),
    ):
        decoder = motet.EITClassifier(
            "direction", model=model, preprocess=preprocess, training=TrainingSettings(max_steps=1), members=1
        )
        decoder.fit(animals[0], on_epoch=lambda row: None).save(tmp_path / name)
        words = ["align", files[0], "--run", str(tmp_path / name), "--output", str(tmp_path / "run")]
        assert main(words) == 2
        assert "everybody would find itself" in capsys.readouterr().err


def test_an_encoder_that_learned_who_is_who_is_asked_about_other_trials(animals, files, tmp_path):
    run = str(tmp_path / "encoder")
    training = TrainingSettings(max_steps=2, batch_trials=64)
    pretrain(PretrainSettings((files[0],), output=run, training=training))
    with pytest.raises(InputError, match="learned from"):
        Align(AlignSettings((files[1], files[0]), run=run, output=str(tmp_path / "same")))
    outcome = align(AlignSettings((files[1],), run=run, halves=1, output=str(tmp_path / "other")))
    assert "| eit |" in outcome.table
    encoding = motet.EITEncoder.load(run).encode(list(animals))
    assert len(motet.align(*encoding).individual_ids[0]) == 16


def test_a_match_of_other_individuals_is_wrong(files, tmp_path):
    task = Align(AlignSettings((files[0],), output=str(tmp_path), halves=1))
    (part,) = task.parts()
    right = part.is_right.argmax(axis=1)
    for partner, wrong in ((right, 0.0), (np.roll(right, 1), 1.0)):
        answer = {
            "score": np.eye(16)[partner],
            "partner": partner,
            "confidence": np.ones(16),
            "is_declared": np.ones(16, dtype=bool),
            "p_shared": np.zeros(1),
            "claims_role": np.array([False]),
        }
        scores = task.measure(answer, part).scores
        assert scores["rank_1"].value == scores["matched"].value == 1 - wrong
        assert scores["wrong"].value == wrong
        assert scores["miscalibration"].value == wrong


# ------------------------------------------------------------------ a run


def test_animals_are_aligned_from_the_command_line(animals, files, tmp_path, capsys):
    decoder = motet.EITClassifier(
        "direction",
        model=EITSettings(width=8, identity="none"),
        objective=ObjectiveSettings(readout="pooled"),
        preprocess=PreprocessSettings(centre="shared"),
        training=TrainingSettings(max_steps=1),
        members=1,
    )
    decoder.fit(animals, on_epoch=lambda row: None).save(tmp_path / "eit")
    folder = tmp_path / "run"
    words = ["align", *files, "--halves", "1", "--run", str(tmp_path / "eit"), "--output", str(folder)]
    assert main(words) == 0
    table = capsys.readouterr().out
    assert "right is the same type" in table
    sections = json.loads((folder / "results.json").read_text())["sections"]
    assert list(sections) == [
        "population/subject-1, halves",
        "population/subject-2, halves",
        "population/subject-1 – population/subject-2",
    ]
    halves, animals_table = sections["population/subject-1, halves"], list(sections.values())[-1]
    assert {"eit", "bayes factor + eit", "eit, by condition", "response distance"} <= halves["methods"].keys()
    rule, rival, chance = (
        halves["methods"][name]["scores"]["rank_1"]["value"]
        for name in ("bayes factor", "mean level", "bayes factor, shuffled")
    )
    assert rule > rival > chance
    assert halves["methods"]["bayes factor"]["scores"]["wrong"]["value"] <= 0.2
    assert animals_table["methods"]["bayes factor"]["scores"]["declared"]["value"] == 0
    (matches,) = (folder / "matches").glob("*.csv")
    rows = list(csv.DictReader(matches.open()))
    assert len(rows) == 16
    assert {row["individual of population/subject-1"] for row in rows} == set(animals[0].individual_ids)
    assert {row["individual of population/subject-2"] for row in rows} <= set(animals[1].individual_ids)
    drawn = {path.stem for path in (folder / "figures").glob("*.png")}
    assert {"plane", "distances_population-subject-1_population-subject-2"} <= drawn
    assert len(drawn) == 2 + 3 * 3
    assert main(words) == 0
    assert capsys.readouterr().out == table
    assert main([*words, "--fdr", "0.1"]) == 2
    assert "other settings" in capsys.readouterr().err


class Peak(Matcher):
    """How near the largest means are: a method, and a line of `MATCHERS`."""

    name = "peak"

    def match(self, a, b):
        peaks = [(one.total / one.n).max(axis=(1, 2)) for one in (a, b)]
        return {"score": -np.abs(np.subtract.outer(*peaks))}


def test_a_rule_of_who_is_who_is_a_method_and_a_line(files, tmp_path, monkeypatch):
    monkeypatch.setattr("motet.tasks.align.MATCHERS", (*MATCHERS, Peak))
    outcome = align(AlignSettings((files[0],), output=str(tmp_path), halves=1))
    assert "| peak |" in outcome.table


def test_the_table_of_matches_names_those_who_were_matched(files, tmp_path):
    settings = AlignSettings(files, output=str(tmp_path), halves=0, same="role")
    outcome = align(settings)
    task = Align(settings)
    (part,) = task.parts()
    answer = Evaluation(task, outcome.run, task.parts()).answer(part, "response distance")
    rows = list(csv.reader(next((tmp_path / "matches").glob("*.csv")).open()))[1:]
    best = part.a.individual_ids.index(rows[0][0])
    seen = part.test.recordings[1].values[:, answer["partner"][best]]
    named = part.b.individual_ids.index(rows[0][1])
    assert answer["confidence"][best] == answer["confidence"].max()
    np.testing.assert_array_equal(part.b.values[:, named], seen)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"halves": 0}, "halves is 0"),
        ({"bins": 11}, "has 10"),
        ({"target": "directon"}, "did you mean 'direction'"),
        ({"target": "velocity"}, "a class per trial"),
        ({"run": "nowhere"}, "nowhere"),
    ],
)
def test_what_does_not_fit_is_refused(files, tmp_path, options, why):
    with pytest.raises(InputError, match=why):
        Align(AlignSettings((files[0],), output=str(tmp_path), **options))


def test_a_truth_that_is_no_class_per_individual_is_refused(files, tmp_path):
    with pytest.raises(InputError, match="truth is a class per individual"):
        Align(AlignSettings(files, output=str(tmp_path), truth="direction"))


def test_without_a_class_per_trial_time_alone_is_compared(tmp_path):
    rate = np.random.default_rng(0).gamma(2, 2, (6, 8))
    counts = np.random.default_rng(1).poisson(rate, (40, 6, 8)).astype(float)
    path = write_recording(motet.Recording.from_trials(counts, name="plain"), tmp_path / "plain.npz")
    outcome = align(AlignSettings((str(path),), output=str(tmp_path / "run"), halves=1))
    assert "time alone" in outcome.table
    assert (tmp_path / "run" / "figures" / "plane.png").exists()
