from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.eit import EIT, EITSettings
from motet.training.objectives import ObjectiveSettings, Target, hidden, known_rows, make_objective

SETTINGS = ObjectiveSettings(latent_width=4, individual_weight=0.5)


def built(recording, *targets, settings=SETTINGS):
    dataset = PopulationDataset(recording)
    torch.manual_seed(0)
    model = EIT(EITSettings(width=8), individual_ids=recording.individual_ids).eval()
    learned = [Target.fit(dataset, name) for name in targets]
    objective = make_objective(learned, width=8, ids=recording.individual_ids, settings=settings).eval()
    batch = objective.prepare(dataset).batch()
    return model, objective, batch


def test_a_loss_is_that_of_the_population_and_half_that_of_the_individuals(small_recording):
    model, objective, batch = built(small_recording, "direction")
    classify = objective.parts[0]
    individual, population = classify.read(model(batch), batch)
    labels = batch.targets["direction"]
    expected = F.cross_entropy(population, labels) + 0.5 * F.cross_entropy(individual, labels)
    torch.testing.assert_close(objective.loss(model(batch), batch), expected)


def test_a_quantity_counts_where_it_is_observed_and_known(small_recording):
    model, objective, batch = built(small_recording, "velocity")
    regress = objective.parts[0]
    individual, population = regress.read(model(batch), batch)
    truth = small_recording.targets["velocity"]
    known = known_rows(small_recording, "velocity")
    mean, std = truth[known].mean(axis=0), np.sqrt(((truth[known] - truth[known].mean(axis=0)) ** 2).mean())
    expected = [
        (((out.detach().numpy() - (truth - mean) / std)[known]) ** 2).mean() for out in (population, individual)
    ]
    np.testing.assert_allclose(objective.loss(model(batch), batch).item(), expected[0] + 0.5 * expected[1], rtol=1e-4)
    prediction = objective.predict(model(batch), batch)["velocity"]
    np.testing.assert_allclose(
        prediction.detach().numpy(),
        (0.5 * (individual + population)).detach().numpy() * std + mean,
        rtol=1e-3,
        atol=1e-5,
    )


def test_targets_of_hidden_bins_and_unknown_targets_change_nothing(small_recording):
    model, objective, batch = built(small_recording, "velocity", "direction")
    changed = {name: target.clone() for name, target in batch.targets.items()}
    changed["velocity"][~batch.bin_is_observed] = 1e6
    torch.testing.assert_close(
        objective.loss(model(batch), batch.replace(targets=changed)), objective.loss(model(batch), batch)
    )


def test_a_label_that_training_never_saw_is_unknown_to_the_loss(small_recording):
    model, objective, _ = built(small_recording, "direction")
    strange = dataclasses.replace(
        small_recording, targets={"direction": np.where(np.arange(48) < 10, 9, small_recording.targets["direction"])}
    )
    batch = objective.prepare(PopulationDataset(strange)).batch()
    assert batch.targets["direction"][:10].tolist() == [-1] * 10
    kept = objective.prepare(PopulationDataset(strange)).batch(np.arange(10, 48))
    torch.testing.assert_close(objective.loss(model(batch), batch), objective.loss(model(kept), kept))


def test_weights_of_targets_weigh_their_losses(small_recording):
    dataset = PopulationDataset(small_recording)
    learned = [Target.fit(dataset, "direction"), Target.fit(dataset, "velocity", weight=0.3)]
    torch.manual_seed(0)
    model = EIT(EITSettings(width=8), individual_ids=small_recording.individual_ids).eval()
    joint = make_objective(learned, width=8, ids=small_recording.individual_ids, settings=SETTINGS).eval()
    batch = joint.prepare(dataset).batch()
    encoding = model(batch)
    parts = [part.loss(encoding, batch) for part in joint.parts]
    torch.testing.assert_close(joint.loss(encoding, batch), parts[0] + 0.3 * parts[1])


def test_padding_never_changes_a_prediction(small_recording):
    model, objective, _ = built(small_recording, "direction", "velocity")
    dataset = objective.prepare(PopulationDataset(small_recording))
    alone, among = dataset.batch([3]), dataset.batch()
    one, many = (objective.predict(model(batch), batch) for batch in (alone, among))
    torch.testing.assert_close(one["direction"][0], many["direction"][3], rtol=1e-4, atol=1e-6)
    n_bins = alone.values.shape[2]
    torch.testing.assert_close(one["velocity"][0], many["velocity"][3, :n_bins], rtol=1e-4, atol=1e-5)


def test_hiding_is_reproducible_spares_some_and_leaves_what_is_not_observed_at_zero(small_recording):
    batch = PopulationDataset(small_recording).batch()
    settings = ObjectiveSettings(hidden_individuals=(0.3, 0.5), noise=0.7)
    first, again = (hidden(batch, settings, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first.values, again.values)
    assert 5 <= first.values.shape[1] <= 7
    assert not first.values[~first.observed].any()
    kept = first.positions[0]
    noise = (first.values - batch.values[:, kept])[first.observed]
    assert abs(float(noise.std()) - 0.7) < 0.05
    nothing = ObjectiveSettings(hidden_individuals=(0.0, 0.0), noise=0.0)
    assert torch.equal(hidden(batch, nothing, torch.Generator()).values, batch.values)


def test_what_a_model_knows_of_individuals_is_right_after_hiding(small_recording):
    model, objective, batch = built(small_recording, "direction")
    kept = torch.tensor([7, 2, 4])
    subset = PopulationDataset(small_recording.select(individuals=kept.numpy())).batch()
    few = batch.keep_individuals(kept)
    one, other = (objective.predict(model(b), b)["direction"] for b in (few, subset))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("targets", "name", "words"),
    [
        ({"y": np.zeros(6, dtype=int)}, "y", "1 class"),
        ({"y": np.zeros((6, 2), dtype=int)}, "y", "one label"),
        ({"y": np.full(6, np.nan)}, "y", "not known"),
        ({"y": np.zeros((6, 3))}, "y", "per individual"),
        ({"y": np.arange(6)}, "x", "unknown target"),
    ],
)
def test_bad_targets_are_one_clear_error(targets, name, words):
    recording = Recording.from_trials(
        np.ones((6, 3, 4)), targets=targets, target_levels={"y": "individual" if "individual" in words else "trial"}
    )
    with pytest.raises(InputError, match=words):
        Target.fit(PopulationDataset(recording), name)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["l", "r", None, "l"], ("l", "r")),
        ([7, None, 9, 7], (7, 9)),
        ([True, None, False, True], (0, 1)),
        ([np.uint64(2**53 + 1), np.uint64(2**53), None, np.uint64(2**53 + 1)], (2**53, 2**53 + 1)),
        (np.ma.masked_equal(np.array([1, 3, 9, 1], ">i2"), 9), (1, 3)),
        (np.array([b"l", b"r", b"", b"l"]), ("l", "r")),
        (np.array([0.0, 1.0, np.nan, 0.0], np.float16), (0.0, 1.0)),
    ],
)
def test_unknown_labels_are_no_class_and_are_not_learned_from(labels, classes):
    recording = Recording.from_trials(np.ones((4, 2, 3)), targets={"side": labels})
    target = Target.fit(PopulationDataset(recording), "side", kind="class")
    assert target.classes == classes
    objective = make_objective([target], width=4, ids=recording.individual_ids, settings=SETTINGS)
    codes = objective.prepare(PopulationDataset(recording)).batch().targets["side"]
    known = known_rows(recording, "side")
    assert known.sum() == 3
    np.testing.assert_array_equal(np.asarray(classes)[codes[known]], recording.targets["side"][known])
    assert (codes[~known] == -1).all()


def test_labels_of_another_kind_than_in_training_are_refused():
    text = Recording.from_trials(np.ones((4, 2, 3)), targets={"side": list("lrlr")})
    whole = Recording.from_trials(np.ones((4, 2, 3)), targets={"side": [0, 1, 0, 1]})
    target = Target.fit(PopulationDataset(text), "side")
    objective = make_objective([target], width=4, ids=text.individual_ids, settings=SETTINGS)
    with pytest.raises(InputError, match="'side' is of type int64, and was of type <U1 in training"):
        objective.prepare(PopulationDataset(whole))


@pytest.mark.parametrize(("offset", "scale"), [(1.7e9, 1.0), (-1e12, 50.0), (0.0, 1e-40)])
def test_quantities_are_learned_alike_whatever_their_origin_and_unit(offset, scale):
    speed = np.random.default_rng(0).normal(size=(12, 3)).round(2)
    values = np.random.default_rng(1).poisson(2.0, (12, 2, 3))

    def losses(quantity):
        recording = Recording.from_trials(values, targets={"speed": quantity}, target_levels={"speed": "bin"})
        model, objective, batch = built(recording, "speed")
        predictions = objective.predict(model(batch), batch)
        return objective.loss(model(batch), batch).item(), objective.score([predictions], [batch]), predictions["speed"]

    (loss, score, near), (far_loss, far_score, far) = losses(speed), losses(offset + scale * speed)
    assert far_loss == pytest.approx(loss, rel=1e-4)
    assert far_score == pytest.approx(score, abs=1e-4)
    assert far.dtype == torch.float64
    np.testing.assert_allclose((far.detach() - offset) / scale, near.detach(), atol=1e-3)


def test_the_score_of_a_target_that_does_not_vary_is_nan():
    recording = Recording.from_trials(np.ones((4, 2, 3)), targets={"speed": np.array([0.1, 0.4, 0.2, 0.3])})
    model, objective, _ = built(recording, "speed")
    flat = dataclasses.replace(recording, targets={"speed": np.full(4, 0.1)})
    batch = objective.prepare(PopulationDataset(flat)).batch()
    assert np.isnan(objective.score([objective.predict(model(batch), batch)], [batch]))
