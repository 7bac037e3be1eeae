from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch

from motet.data.motion import MotionSettings
from motet.data.readers import write_recording
from motet.data.readers.write_trajectories import write_trajectories_csv
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.interactions import EITInteractions
from motet.models.eit import EITSettings
from motet.models.pairs import PairSettings
from motet.rivals.method import PairQuestion
from motet.rivals.pair_scores import PAIR_RULES
from motet.rivals.registry import RIVALS
from motet.statistics import Score
from motet.systems import simulate
from motet.tasks import recover as recover_module
from motet.tasks.find import find_recording
from motet.tasks.graph_scores import GraphTruth, score_graph, score_state
from motet.tasks.interactions import (
    EvaluateInteractions,
    EvaluateInteractionsSettings,
    TrainInteractions,
    TrainInteractionsSettings,
    draw_sizes,
    evaluate_interactions,
    shuffled_individuals,
    train_interactions,
)
from motet.tasks.recover import RecoverInteractionsSettings, recover
from motet.tasks.systems import check_features
from motet.training import loop
from motet.training.objectives import InteractionSettings
from motet.training.run import Run
from motet.training.settings import TrainingSettings

WHOLE = "eit + force fit + pair geometry"
CONTROL, MEAN = f"{WHOLE}, shuffled individuals", "mean of the training trials"
QUESTION = PairQuestion("interacts", (0, 1), is_directed=False, features="position")
TRAINING = TrainingSettings(max_steps=2, batch_trials=16, validation=0.25)
QUICK = {
    "model": EITSettings(width=8, identity="none", token_bins=1),
    "pairs": PairSettings(width=8, depth=1),
    "training": TRAINING,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Files of pairs and triplets to train on, and of three sizes to test on."""
    folder = tmp_path_factory.mktemp("data")
    options = {"n_bins": 8, "noise": 0.01, "engine": "numpy"}
    train = simulate("gravity", groups=("2x2", "2x3"), n_trials=24, **options)
    test = simulate("gravity", groups=("2x2", "3x2", "2x4"), n_trials=12, seed=1, **options)
    for recording, part in [(r, "train") for r in train] + [(r, "test") for r in test]:
        write_recording(recording, folder / f"{part}-{recording.name.rpartition('/')[2]}.npz")
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """The folder of a finished training."""
    files = (str(data / "train-2x2.npz"), str(data / "train-2x3.npz"))
    output = str(tmp_path_factory.mktemp("runs") / "gravity")
    return train_interactions(TrainInteractionsSettings(files, states=("mass",), output=output, **QUICK)).run.folder


@pytest.fixture
def without_figures(monkeypatch):
    for task in (TrainInteractions, EvaluateInteractions):
        monkeypatch.setattr(task, "figures", lambda *_: iter(()))
    monkeypatch.setattr(recover_module, "save_figure", lambda *_: ())


def method_of(found, section, method=WHOLE):
    return found.results["sections"][section]["methods"][method]


@pytest.fixture
def save(tmp_path):
    def write(values, name="own", **fields):
        recording = Recording.from_trials(values, name=name, **{"bin_seconds": 10 / 49, **fields})
        return str(write_recording(recording, tmp_path / f"{name}.npz"))

    return write


def moving(n_trials=8, n_individuals=4, n_bins=8, n_features=2, seed=0):
    return np.random.default_rng(seed).normal(size=(n_trials, n_individuals, n_bins, n_features)).cumsum(axis=2)


def graphs(n_trials=8, n_individuals=4, n_types=2, seed=0):
    upper = np.triu(np.random.default_rng(seed).integers(n_types, size=(n_trials, n_individuals, n_individuals)), k=1)
    return upper + upper.swapaxes(1, 2) - np.eye(n_individuals, dtype=int)


# ------------------------------------------------------------------ train


def test_training_leaves_a_model_a_table_of_the_validation_part_and_figures(run):
    results = json.loads((run / "results.json").read_text())
    assert results["part"] == "validation"
    assert results["trained_on"] == {"n_trials": 36, "n_individuals": [4, 6], "n_bins": [8, 8], "is_grouped": True}
    assert list(results["sections"]) == ["gravity/2x2", "gravity/2x3"]
    scores = results["sections"]["gravity/2x3"]["methods"][WHOLE]["scores"]
    assert {"auroc", "average_precision", "log_loss", "adjusted_rand", "mass r2", "mass error"} <= scores.keys()
    assert list(results["sections"]["gravity/2x2"]["methods"]) == [WHOLE, "mean of the training trials"]
    table = (run / "table.md").read_text()
    assert "which chose the epoch" in table
    assert table.count("(6 trials of ") == 2
    for file in ("settings.yaml", "weights.safetensors", "history.csv", "figures/learning_curve.png"):
        assert (run / file).exists()
    assert (run / "figures" / "calibration.svg").stat().st_size > 5000
    assert not (run / "checkpoint.safetensors").exists()


def test_training_again_computes_nothing_and_other_settings_are_refused(data, run):
    files = (str(data / "train-2x2.npz"), str(data / "train-2x3.npz"))
    settings = TrainInteractionsSettings(files, states=("mass",), output=str(run), **QUICK)
    stamps = {path: path.stat().st_mtime_ns for path in run.iterdir()}
    assert train_interactions(settings).results == json.loads((run / "results.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    with pytest.raises(InputError, match=r"other settings \(seed differ"):
        train_interactions(dataclasses.replace(settings, seed=1))
    with pytest.raises(InputError, match="content of recordings is not what it was"):
        train_interactions(dataclasses.replace(settings, recordings=files[:1]))


def test_training_that_was_interrupted_ends_with_the_same_weights(data, tmp_path, monkeypatch, without_figures):
    training = dataclasses.replace(TRAINING, max_steps=4, checkpoint_seconds=0.0)
    settings = TrainInteractionsSettings(
        (str(data / "train-2x2.npz"),), output=str(tmp_path / "whole"), **{**QUICK, "training": training}
    )
    whole = train_interactions(settings)
    evaluate, seen = loop.evaluate, []

    def interrupted(*given):
        seen.append(given)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return evaluate(*given)

    monkeypatch.setattr(loop, "evaluate", interrupted)
    settings = dataclasses.replace(settings, output=str(tmp_path / "stopped"))
    with pytest.raises(KeyboardInterrupt):
        train_interactions(settings)
    assert Run(settings.folder).has_tensors("checkpoint")
    stopped = train_interactions(settings)
    first, second = (Run(found.run.folder).read_tensors("weights")[0] for found in (whole, stopped))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert len(seen) == 3  # one epoch before, the one that stopped, and that one again


def test_recordings_that_changed_are_refused(data, tmp_path, save, without_figures):
    files = (save(moving(), targets={"interacts": graphs()}),)
    settings = TrainInteractionsSettings(files, output=str(tmp_path / "run"), **QUICK)
    train_interactions(settings)
    save(moving() + 1, targets={"interacts": graphs()})
    with pytest.raises(InputError, match="not what it was"):
        train_interactions(settings)


def test_files_may_validate_in_place_of_a_part(data, tmp_path, without_figures):
    settings = TrainInteractionsSettings(
        (str(data / "train-2x2.npz"),),
        validation=(str(data / "train-2x3.npz"),),
        output=str(tmp_path / "run"),
        **{**QUICK, "training": dataclasses.replace(TRAINING, validation=0.0)},
    )
    found = train_interactions(settings)
    assert found.results["trained_on"]["n_trials"] == 24
    assert list(found.results["sections"]) == ["gravity/2x3"]
    with pytest.raises(InputError, match="the validation part.*was trained on"):
        train_interactions(dataclasses.replace(settings, validation=settings.recordings, output=str(tmp_path / "no")))


def test_recordings_of_one_name_are_numbered_and_twins_refused(data, tmp_path, without_figures):
    files = tuple(str(data / name) for name in ("train-2x2.npz", "test-2x2.npz"))
    found = train_interactions(TrainInteractionsSettings(files, output=str(tmp_path / "run"), **QUICK))
    assert list(found.results["sections"]) == ["gravity/2x2", "gravity/2x2 (2)"]
    with pytest.raises(InputError, match="the same trials as"):
        train_interactions(TrainInteractionsSettings(files + files[:1], output=str(tmp_path / "no"), **QUICK))


@pytest.mark.parametrize(
    ("values", "fields", "change", "message"),
    [
        (moving(n_individuals=1), {}, {}, "an interaction takes two"),
        (moving(), {}, {}, "unknown target 'interacts'"),
        (moving(), {"targets": {"interacts": np.arange(8)}}, {}, "per trial; give one per pair"),
        (moving(), {"targets": {"interacts": np.ones((8, 4, 4), int)}}, {}, "has 1 class"),
        (moving(), {"targets": {"interacts": graphs()}}, {"states": ("mass",)}, "unknown target 'mass'"),
        (moving(), {"targets": {"interacts": np.triu(graphs(), 1)}}, {}, "two orders"),
        (moving(n_trials=1), {"targets": {"interacts": graphs(1)}}, {}, "give files for validation"),
        (moving(n_features=4), {"targets": {"interacts": graphs()}}, {}, "motion.features=position-velocity"),
        (moving(), {"targets": {"interacts": graphs()}}, {"window": 99}, "windows of 99"),
        (moving(), {"targets": {"interacts": graphs()}}, {"reading": {"bins": 3}}, "unknown option"),
        (moving() * 0, {"targets": {"interacts": graphs()}}, {}, "no individual moves"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_and_then_corrected(values, fields, change, message, save, tmp_path):
    settings = TrainInteractionsSettings((save(values, **fields),), output=str(tmp_path / "run"), **QUICK)
    with pytest.raises(InputError, match=message):
        train_interactions(dataclasses.replace(settings, **change))
    assert not Run(settings.folder).has_work


@pytest.mark.parametrize(
    "change",
    [
        {"recordings": ()},
        {"recordings": "a.npz"},
        {"window": 0},
        {"stride": 0},
        {"seed": -1},
        {"training": TrainingSettings(validation=0.0)},
        {"states": "mass"},
    ],
)
def test_training_settings_that_mean_nothing_are_refused_by_name(change):
    name = "validation" if "training" in change else next(iter(change))
    with pytest.raises(InputError, match=name):
        TrainInteractionsSettings(**{"recordings": ("a.npz",), **change})


@pytest.mark.parametrize(
    ("system", "features"),
    [
        ("gravity", "position"),
        ("springs", "position-velocity"),
        ("kuramoto", "phase"),
        ("charged", "position-velocity"),
    ],
)
def test_features_are_told_apart_as_far_as_numbers_can(system, features):
    recording = simulate(system, n_trials=4, n_bins=8)[0]
    check_features(recording, MotionSettings(features=features))
    check_features(recording, MotionSettings(features="none"))
    for other in {"position", "position-velocity", "phase"} - {features}:
        if (system, other) == ("gravity", "position-velocity"):
            continue  # one coordinate and its velocity, for all that numbers tell
        with pytest.raises(InputError, match=f"motion.features=.*{features}"):
            check_features(recording, MotionSettings(features=other))
        with pytest.raises(InputError, match=f"the model reads {other}"):
            check_features(recording, MotionSettings(features=other), is_of_model=True)


# ------------------------------------------------------------------ evaluate


BASE_RATE = "base rate"
RULES = ("third-law", "force-fit-gravity", "correlation")


@pytest.fixture(scope="module", autouse=True)
def few_rules():
    with pytest.MonkeyPatch.context() as patch:
        for rival in PAIR_RULES.values():
            if rival.name not in (*RULES, BASE_RATE):
                patch.delitem(RIVALS, rival.name)
        yield


@pytest.fixture(scope="module")
def evaluated(data, run):
    """An evaluation at three sizes."""
    files = tuple(str(data / f"test-{size}.npz") for size in ("2x2", "3x2", "2x4"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EvaluateInteractions, "figures", lambda *_: iter(()))
        return evaluate_interactions(EvaluateInteractionsSettings(str(run), files, name="sizes"))


def test_an_evaluation_has_the_model_rivals_and_chance_in_one_table(evaluated):
    found = evaluated.results["sections"]["gravity/3x2"]
    methods = found["methods"]
    assert next(iter(methods)) == WHOLE
    assert set(methods) == {WHOLE, *RULES, BASE_RATE, "mean of the training trials", CONTROL}
    assert methods[BASE_RATE]["scores"]["auroc"]["value"] == 0.5
    assert methods[BASE_RATE]["scores"]["edge_accuracy"]["value"] == pytest.approx(0.8)  # all without an edge
    assert methods[BASE_RATE]["scores"]["average_precision"]["value"] == pytest.approx(0.2)
    auroc = {name: method["scores"]["auroc"]["value"] for name, method in methods.items() if name != MEAN}
    assert found["best_rival"] == max((BASE_RATE, *RULES), key=auroc.__getitem__)
    assert auroc["force-fit-gravity"] > 0.7
    assert {"mass r2", "mass error"} <= methods[WHOLE]["scores"].keys()
    assert methods[MEAN]["scores"].keys() == {"mass r2", "mass error"}
    assert f"| {WHOLE} |" in evaluated.table
    assert "24 of gravity/2x2; 24 of gravity/2x3" in evaluated.table
    assert evaluated.table.count("## gravity/") == 3


def test_the_control_of_a_model_that_knows_is_chance(data, run, without_figures, monkeypatch):
    known = find_recording(str(data / "test-3x2.npz"))
    truth = GraphTruth.of(known, QUESTION)
    monkeypatch.setattr(EITInteractions, "predict_log_proba", lambda self, test: certain(truth))
    settings = EvaluateInteractionsSettings(str(run), (str(data / "test-3x2.npz"),), name="knows", rivals=False)
    found = evaluate_interactions(settings)
    auroc = [method_of(found, "gravity/3x2", name)["scores"]["auroc"]["value"] for name in (WHOLE, CONTROL)]
    assert auroc[0] == 1
    assert abs(auroc[1] - 0.5) < 0.15


def test_an_evaluation_draws_graphs_curves_calibration_embeddings_and_states(data, run):
    settings = EvaluateInteractionsSettings(str(run), (str(data / "test-3x2.npz"),))
    figures = evaluate_interactions(settings).run.figures
    assert {path.name for path in figures.iterdir()} == {
        f"{name}.{ending}"
        for name in ("graph", "roc", "embeddings", "mass", "calibration")
        for ending in ("png", "svg")
    }
    assert all(path.stat().st_size > 5000 for path in figures.iterdir())


def test_scores_at_three_sizes_are_drawn_against_size(data, evaluated):
    sizes = {"gravity/2x2": 4, "gravity/3x2": 6, "gravity/2x4": 8}
    results = json.loads((evaluated.run.folder / "results.json").read_text())
    for section in results["sections"].values():
        for method in section["methods"].values():
            method["scores"] = {name: Score(**score) for name, score in method["scores"].items()}
    figures = dict(draw_sizes(results, sizes, WHOLE))
    assert set(figures) == {"size_average_precision", "size_adjusted_rand"}
    (axes,) = figures["size_average_precision"].axes
    assert axes.lines[0].get_xdata().tolist() == [4, 6, 8]
    of_two = {name: results["sections"][name] for name in ("gravity/2x2", "gravity/3x2")}
    assert dict(draw_sizes({**results, "sections": of_two}, sizes, WHOLE)) == {}


def test_a_finished_evaluation_is_read_not_repeated(data, run, evaluated):
    files = tuple(str(data / f"test-{size}.npz") for size in ("2x2", "3x2", "2x4"))
    stamps = {path: path.stat().st_mtime_ns for path in evaluated.run.folder.iterdir()}
    settings = EvaluateInteractionsSettings(str(run), files, name="sizes")
    assert evaluate_interactions(settings).table == evaluated.table
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    with pytest.raises(InputError, match="other settings"):
        evaluate_interactions(dataclasses.replace(settings, rivals=False))


def test_training_trials_are_not_tested_on_nor_learned_from_by_rules_if_tested_on(data, run, without_figures):
    train, test = str(data / "train-2x2.npz"), str(data / "test-2x2.npz")
    with pytest.raises(InputError, match="learned from"):
        evaluate_interactions(EvaluateInteractionsSettings(str(run), (test, train)))
    with pytest.raises(InputError, match="was trained on"):
        evaluate_interactions(EvaluateInteractionsSettings(str(run), (test,), rival_recordings=(test,)))


def test_training_trials_are_found_again_however_they_are_cut_and_called(data, run, tmp_path, without_figures):
    train = find_recording(str(data / "train-2x2.npz"))
    cut = dataclasses.replace(train.select(trials=slice(3, 9), bins=slice(1, 7)), name="new")
    path = write_recording(cut, tmp_path / "new.npz")
    with pytest.raises(InputError, match="learned from"):
        evaluate_interactions(EvaluateInteractionsSettings(str(run), (str(path),), rivals=False))


def test_rules_learn_from_no_more_trials_than_asked(data, run, without_figures):
    settings = EvaluateInteractionsSettings(str(run), (str(data / "test-2x2.npz"),), name="few", rival_trials=5)
    assert evaluate_interactions(settings).results["rivals_learn_from"] == {"gravity/2x2": 5, "gravity/2x3": 5}


def test_training_files_that_are_gone_are_named_with_what_to_do(data, run, tmp_path, save, without_figures):
    files = (save(moving(), targets={"interacts": graphs()}),)
    found = train_interactions(TrainInteractionsSettings(files, output=str(tmp_path / "run"), **QUICK))
    settings = EvaluateInteractionsSettings(str(found.run.folder), (str(data / "test-2x2.npz"),), control=False)
    save(moving() + 1, targets={"interacts": graphs()})
    with pytest.raises(InputError, match="changed since; give rival_recordings"):
        evaluate_interactions(settings)
    (tmp_path / "own.npz").unlink()
    with pytest.raises(InputError, match="cannot be read.*rivals=false"):
        evaluate_interactions(settings)
    assert list(evaluate_interactions(dataclasses.replace(settings, rivals=False)).results["sections"]) == [
        "gravity/2x2"
    ]


@pytest.mark.parametrize(
    ("values", "fields", "message"),
    [
        (moving(n_features=3), {"targets": {"interacts": graphs()}}, "3 features"),
        (moving(), {"targets": {"interacts": graphs()}, "bin_seconds": 0.5}, "resample"),
        (moving(n_individuals=1), {}, "an interaction takes two"),
        (moving(), {}, "unknown target of recording 'own' 'interacts'"),
        (moving(), {"targets": {"interacts": graphs(n_types=3)}}, "has edge type 2; the model knows 0, 1"),
        (moving(), {"targets": {"interacts": np.full((8, 4, 4), -1)}}, "motet interactions recover"),
        (
            moving(),
            {"targets": {"interacts": graphs()[:, :, :1, None] * np.ones(4)[:, None]}},
            "one whole number per pair",
        ),
    ],
)
def test_recordings_that_a_model_cannot_be_scored_on_are_refused(values, fields, message, run, save, without_figures):
    with pytest.raises(InputError, match=message):
        evaluate_interactions(EvaluateInteractionsSettings(str(run), (save(values, **fields),), rivals=False))


@pytest.mark.parametrize(
    "change", [{"rival_trials": 0}, {"name": "a/b"}, {"recordings": ()}, {"rivals": False, "rival_recordings": ("a",)}]
)
def test_evaluation_settings_that_mean_nothing_are_refused_by_name(change):
    with pytest.raises(InputError, match=list(change)[-1]):
        EvaluateInteractionsSettings(**{"run": "run", "recordings": ("a.npz",), **change})


def test_another_kind_of_run_is_refused(tmp_path, small_recording):
    from motet.estimators.decoders import EITClassifier

    decoder = EITClassifier("direction", model=EITSettings(width=8), members=1, training=TrainingSettings(max_steps=1))
    decoder.fit(small_recording).save(tmp_path / "run")
    with pytest.raises(InputError, match="holds a EITClassifier, and EITInteractions is needed"):
        recover(RecoverInteractionsSettings(str(tmp_path / "run"), "own.npz"))
    with pytest.raises(InputError, match=r"no weights\.safetensors"):
        recover(RecoverInteractionsSettings(str(tmp_path / "none"), "own.npz"))


# ------------------------------------------------------------------ recover


@pytest.fixture
def shoal(tmp_path):
    """A table of somebody's own, with names of their own."""
    recording = simulate("gravity", groups=("3x2",), n_trials=2, n_bins=8, seed=5)[0]
    path = write_trajectories_csv(recording, tmp_path / "shoal.csv", features=["x", "y"], leave_out=recording.targets)
    path.write_text(path.read_text().replace("individual", "fish", 1))
    return str(path)


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_table_of_trajectories_becomes_tables_of_pairs_groups_and_states_and_a_picture(run, shoal, tmp_path):
    reading = {"columns": {"individual": "fish"}}
    found = recover(RecoverInteractionsSettings(str(run), shoal, str(tmp_path / "out"), reading))
    assert [path.name for path in found.files] == ["pairs.csv", "groups.csv", "states.csv", "graph.png", "graph.svg"]
    pairs, groups, states = (rows(path) for path in found.files[:3])
    assert len(pairs) == 2 * 15
    assert list(pairs[0]) == ["trial", "individual_a", "individual_b", "probability"]
    assert all(0 < float(row["probability"]) < 1 for row in pairs)
    assert [list(groups[0]), list(states[0])] == [["trial", "individual", "group"], ["trial", "individual", "mass"]]
    assert len(groups) == len(states) == 12
    recovery = EITInteractions.load(run)
    from motet.data.readers import read_recording

    expected = recovery.predict_proba(read_recording(shoal, **reading))[0, 0, 1]
    assert float(pairs[0]["probability"]) == pytest.approx(expected)
    assert found.files[3].stat().st_size > 5000
    assert found.notes == ()
    with pytest.raises(InputError, match="no column 'individual'"):
        recover(RecoverInteractionsSettings(str(run), shoal))


def test_long_trials_are_read_in_windows_and_a_note_says_so(run, tmp_path, save, without_figures):
    file = save(moving(n_trials=2, n_individuals=8, n_bins=24))
    whole = recover(RecoverInteractionsSettings(str(run), file))
    assert whole.files[0].parent == run / "recovered" / "own"
    assert "trials have 24 bins, those of training had 8" in str(whole)
    assert "there are 8 individuals, in training there were 4 to 6" in str(whole)
    cut = recover(RecoverInteractionsSettings(str(run), file, str(tmp_path / "cut"), window=8))
    pairs = rows(cut.files[0])
    assert len(pairs) == 6 * 28
    assert sorted({float(row["start_seconds"]) for row in pairs if row["trial"] == "0"}) == pytest.approx(
        [0, 80 / 49, 160 / 49]
    )
    with pytest.raises(InputError, match="give window too"):
        recover(RecoverInteractionsSettings(str(run), file, stride=4))


def test_absent_individuals_are_in_no_table(run, tmp_path, save, without_figures):
    values = moving(n_trials=2)
    values[1, 3] = np.nan
    found = recover(RecoverInteractionsSettings(str(run), save(values), str(tmp_path / "out")))
    assert [len(rows(path)) for path in found.files[:3]] == [6 + 3, 7, 7]


def test_edge_types_are_all_told_and_random_graphs_have_no_groups(tmp_path, save, without_figures):
    files = (save(moving(16), targets={"interacts": graphs(16, n_types=3)}),)
    found = train_interactions(TrainInteractionsSettings(files, output=str(tmp_path / "run"), **QUICK))
    scores = method_of(found, "own")["scores"]
    assert {"edge_accuracy", "log_loss"} <= scores.keys()
    assert "adjusted_rand" not in scores
    test = save(moving(8, 5, seed=3), name="test", targets={"interacts": graphs(8, 5, n_types=3, seed=3)})
    evaluated = evaluate_interactions(EvaluateInteractionsSettings(str(found.run.folder), (test,)))
    assert method_of(evaluated, "test", BASE_RATE)["scores"]["log_loss"]["value"] == pytest.approx(np.log(3), abs=0.2)
    recovered = recover(RecoverInteractionsSettings(str(found.run.folder), test))
    assert [path.name for path in recovered.files] == ["pairs.csv"]
    for row in rows(recovered.files[0]):
        told = [float(row[f"p({label})"]) for label in (0, 1, 2)]
        assert sum(told) == pytest.approx(1)
        assert row["type"] == str(np.argmax(told))
        assert float(row["probability"]) == pytest.approx(told[1] + told[2])


def test_directed_graphs_tell_both_orders(tmp_path, save, without_figures):
    truth = np.random.default_rng(0).integers(2, size=(16, 4, 4))
    files = (save(moving(16), targets={"interacts": truth}),)
    settings = TrainInteractionsSettings(
        files, output=str(tmp_path / "run"), objective=InteractionSettings(is_directed=True), **QUICK
    )
    found = train_interactions(settings)
    recovered = recover(RecoverInteractionsSettings(str(found.run.folder), save(moving(1), name="test")))
    found_pairs = rows(recovered.files[0])
    assert len(found_pairs) == 12
    recording = find_recording(save(moving(1), name="test"))
    probability = EITInteractions.load(found.run.folder).predict_proba(recording)[0]
    place = {name: number for number, name in enumerate(recording.individual_ids)}
    for pair in found_pairs:  # probability[i, j] is that j acts on i
        expected = probability[place[pair["target"]], place[pair["source"]]]
        assert float(pair["probability"]) == pytest.approx(expected, rel=1e-4)
    assert abs(probability - probability.T)[~np.eye(4, dtype=bool)].max() > 1e-3


def test_an_estimator_that_was_saved_by_hand_recovers_too(data, tmp_path, save, without_figures):
    from motet.data.readers import read_recording

    recovery = EITInteractions(**{**QUICK, "training": TrainingSettings(max_steps=1)})
    recovery.fit(read_recording(data / "train-2x2.npz")).save(tmp_path / "run")
    found = recover(RecoverInteractionsSettings(str(tmp_path / "run"), save(moving(1))))
    assert [path.name for path in found.files] == ["pairs.csv", "groups.csv"]


# ------------------------------------------------------------------ scores


def certain(truth, sureness=4.0):
    """Log-probabilities of a method that knows."""
    odds = np.where(truth.types > 0, sureness, -sureness)
    return np.stack([-np.logaddexp(0, odds), -np.logaddexp(0, -odds)], axis=-1)


@pytest.fixture
def truth():
    return GraphTruth.of(simulate("gravity", groups=("2x3",), n_trials=30)[0], QUESTION)


def test_who_knows_the_truth_scores_as_well_as_can_be(truth):
    scores = {name: score.value for name, score in score_graph(certain(truth), truth).items()}
    error = np.log1p(np.exp(-4))
    assert scores.pop("log_loss") == pytest.approx(error)
    assert scores.pop("calibration_error") == pytest.approx(1 - np.exp(-error))
    assert set(scores.values()) == {1.0}
    assert len(scores) == 6


def test_a_method_that_knows_nothing_scores_chance_and_its_interval_holds_it(truth):
    rng = np.random.default_rng(0)
    odds = rng.normal(size=truth.types.shape)
    odds = odds + odds.swapaxes(1, 2)
    scores = score_graph(np.stack([-np.logaddexp(0, odds), -np.logaddexp(0, -odds)], axis=-1), truth)
    low, high = scores["auroc"].interval
    assert low < 0.5 < high
    assert len(scores["auroc"].samples) == 10


def test_shuffled_individuals_keep_their_graphs_and_lose_who_is_who(truth):
    observed = np.ones((30, 6), dtype=bool)
    observed[0, 2] = False
    source = shuffled_individuals(observed, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(source, axis=1), np.arange(6)[None].repeat(30, axis=0))
    assert source[0, 2] == 2  # who is absent stays where it is
    assert (source != np.arange(6)).mean() > 0.5


def test_groups_are_told_only_where_edges_join_all_members_of_groups_and_no_others():
    chain = np.array([[-1, 1, 0], [1, -1, 1], [0, 1, -1]])
    pair = np.array([[-1, 1, 0], [1, -1, 0], [0, 0, -1]])

    def groups(*targets):
        recording = Recording.from_trials(np.ones((len(targets), 3, 5)), targets={"interacts": np.array(targets)})
        return GraphTruth.of(recording, QUESTION).groups

    np.testing.assert_array_equal(groups(pair, pair), [[0, 0, 2]] * 2)
    assert groups(pair, chain) is None
    assert groups(pair, np.where(pair == 0, -1, pair)) is None


def test_unknown_pairs_and_absent_individuals_do_not_count():
    values = np.ones((2, 3, 5))
    values[1, 2] = np.nan
    target = np.array([[[-1, 1, 0], [1, -1, -1], [0, -1, -1]], [[-1, 1, 0], [1, -1, 0], [0, 0, -1]]])
    found = GraphTruth.of(Recording.from_trials(values, targets={"interacts": target}), QUESTION)
    assert found.counted.sum((1, 2)).tolist() == [2, 1]
    assert found.groups is None


def test_two_orders_of_a_pair_count_twice_only_where_they_differ_or_the_model_is_directed():
    recording = Recording.from_trials(np.ones((1, 3, 5)), targets={"interacts": graphs(1, 3)})
    directed = dataclasses.replace(QUESTION, is_directed=True)
    counted = [GraphTruth.of(recording, question).counted.sum() for question in (QUESTION, directed)]
    assert counted == [3, 6]
    one_way = np.array([[[-1, 1, 0], [0, -1, 0], [0, 0, -1]]])
    lopsided = Recording.from_trials(np.ones((1, 3, 5)), targets={"interacts": one_way})
    assert GraphTruth.of(lopsided, QUESTION).counted.sum() == 6


def test_windows_of_one_trial_are_in_one_block():
    recording = Recording.from_trials(np.ones((12, 3, 9)), targets={"interacts": graphs(12, 3)}).windows(3)
    blocks = GraphTruth.of(recording, QUESTION).blocks
    np.testing.assert_array_equal(np.sort(np.concatenate(blocks)), np.arange(recording.n_trials))
    ids = [set(recording.trial_ids[block]) for block in blocks]
    assert sum(map(len, ids)) == len(set.union(*ids)) == 12


def test_states_are_scored_where_they_are_known():
    recording = Recording.from_trials(
        np.ones((2, 2, 5)), targets={"mass": [[1.0, 2.0], [3.0, np.nan]], "interacts": graphs(2, 2)},
        target_levels={"mass": "individual"},
    )  # fmt: skip
    scores = score_state(
        "mass", np.array([[1.5, 2.0], [3.0, 7.0]]), GraphTruth.of(recording, QUESTION, states=["mass"])
    )
    assert scores["mass r2"].value == pytest.approx(1 - 0.25 / 2)
    assert scores["mass error"].value == 0
    assert scores["mass r2"].interval is None  # one block has a single value
