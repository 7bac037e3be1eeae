"""The objective of forecasting."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings, derive_motion
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.continuation import centre_of
from motet.models.eit import EITSettings
from motet.models.geometry import Geometry
from motet.models.pairs import PairEIT, PairSettings
from motet.models.rollout import Rollout
from motet.systems import simulate
from motet.training.objectives import FUTURE, Forecast, ForecastSettings

SETTINGS = ForecastSettings(context_bins=10, horizon_bins=6)


@pytest.fixture(scope="module")
def orbits():
    return simulate("gravity", groups=("2x2",), n_trials=12, n_bins=16, engine="numpy")[0]


def learner(recording, features="position", settings=SETTINGS):
    torch.manual_seed(0)
    geometry = Geometry.fit(PopulationDataset(recording), MotionSettings(features=features))
    model = PairEIT(EITSettings(identity="none", token_bins=1, width=8), PairSettings(width=8), geometry)
    return model, Forecast(Rollout(model.fit), settings=settings)


def batch_of(objective, recording, trials=None):
    return objective.prepare(PopulationDataset(recording)).batch(trials)


def test_the_model_sees_nothing_of_the_future(orbits):
    model, objective = learner(orbits)
    other = dataclasses.replace(orbits, values=orbits.values.copy())
    other.values[:, :, 10:] = 99.0
    first, second = batch_of(objective, orbits), batch_of(objective, other)
    assert first.values.shape[2] == 10
    assert torch.equal(first.values, second.values)
    with torch.no_grad():
        predictions = [objective.predict(model(batch), batch)[FUTURE] for batch in (first, second)]
    assert torch.equal(*predictions)
    assert not torch.equal(first.targets[FUTURE], second.targets[FUTURE])


def test_future_and_context_are_in_one_frame(orbits):
    _, objective = learner(orbits)
    batch = batch_of(objective, orbits)
    g = objective.geometry
    centre = centre_of(orbits.select(bins=slice(0, 10)), g)[:, None, None]
    places = torch.cat((batch.values[..., :2], batch.targets[FUTURE]), dim=2).numpy() * g.length + centre
    assert np.allclose(places, orbits.values, atol=1e-4)


@pytest.mark.parametrize("smooth", [False, True])
def test_the_centre_is_that_of_the_model(smooth):
    values = np.random.default_rng(0).normal(size=(5, 3, 16, 2)).cumsum(axis=2)
    values[1, 2, 4:9] = np.nan
    recording, motion = Recording.from_trials(values), MotionSettings(smooth=smooth)
    geometry = Geometry.fit(PopulationDataset(recording), motion)
    model = PairEIT(EITSettings(identity="none", width=8), PairSettings(width=8), geometry)
    batch = batch_of(Forecast(Rollout(model.fit), settings=SETTINGS), recording)
    context = recording.select(bins=slice(0, 10))
    found = batch.values[..., :2].numpy() * geometry.length + centre_of(context, geometry)[:, None, None]
    expected = derive_motion(context, motion)
    seen = expected.observed
    assert np.allclose(found[seen], expected.values[..., :2][seen], atol=1e-4)


@pytest.mark.parametrize(
    ("system", "features", "options"),
    [
        ("gravity", "position", {"groups": ("2x2",)}),
        ("springs", "position-velocity", {"n_particles": (3,)}),
        ("kuramoto", "phase", {"n_oscillators": (3,)}),
    ],
)
def test_turning_turns_context_and_future_as_one(system, features, options):
    recording = simulate(system, n_trials=6, n_bins=16, **options)[0]
    settings = dataclasses.replace(SETTINGS, shortest=1.0)
    model, objective = learner(recording, features, settings)
    batch = batch_of(objective, recording)
    turned = objective.hide(batch, torch.Generator().manual_seed(1))
    assert not torch.allclose(turned.values, batch.values)
    n_places = batch.targets[FUTURE].shape[-1]

    def steps(b):
        """Distances that each individual goes from bin to bin, across the end of the context."""
        return torch.cat((b.values[..., :n_places], b.targets[FUTURE]), dim=2).diff(dim=2).norm(dim=-1)

    assert torch.allclose(steps(turned), steps(batch), atol=1e-4)
    with torch.no_grad():
        losses = [objective.loss(model(b), b) for b in (batch, turned)]
    if system != "gravity":  # embeddings depend on the orientation, and so do couplings; the start does not
        assert all(loss.isfinite() for loss in losses)


def test_training_reads_the_end_of_contexts_and_the_start_of_horizons(orbits):
    settings = dataclasses.replace(SETTINGS, turn=False)
    _, objective = learner(orbits, settings=settings)
    batch = batch_of(objective, orbits)
    lengths = set()
    for seed in range(30):
        hidden = objective.hide(batch, torch.Generator().manual_seed(seed))
        n_context, n_ahead = hidden.values.shape[2], hidden.targets[FUTURE].shape[2]
        assert torch.equal(hidden.values, batch.values[:, :, 10 - n_context :])
        assert torch.equal(hidden.targets[FUTURE], batch.targets[FUTURE][:, :, :n_ahead])
        lengths.add((n_context, n_ahead))
    assert {n for n, _ in lengths} == {5, 6, 7, 8, 9, 10}
    assert {n for _, n in lengths} == {3, 4, 5, 6}


def test_the_loss_grows_with_error_ever_more_slowly_and_skips_what_is_unknown(orbits):
    model, objective = learner(orbits)
    batch = batch_of(objective.eval(), orbits)
    with torch.no_grad():
        encoding = model(batch)
        right = objective.predict(encoding, batch)[FUTURE]

        def loss(future):
            return float(objective.loss(encoding, batch.replace(targets={**batch.targets, FUTURE: future})))

        assert loss(right) == pytest.approx(0, abs=1e-6)
        off = [loss(right + error) for error in (0.01, 0.1, 1.0, 10.0)]
        assert off == sorted(off)
        assert off[3] - off[2] == pytest.approx(np.log(100), rel=0.01)  # a tenfold error adds a constant
        partly = right + 0.1
        partly[:, 1] = torch.nan
        assert loss(partly) == pytest.approx(off[1], rel=1e-4)
        assert np.isfinite(loss(torch.full_like(right, torch.nan)))


def test_gradients_reach_priors_and_laws_and_are_finite_where_the_future_is_unknown(orbits):
    model, objective = learner(orbits)
    batch = batch_of(objective, orbits)
    future = batch.targets[FUTURE].clone()
    future[:, 0, 2:] = torch.nan
    batch = batch.replace(targets={**batch.targets, FUTURE: future})
    objective.loss(model(batch), batch).backward()
    learned = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert all(gradient.isfinite().all() for gradient in learned.values())
    for name in ("fit.exponent", "priors.2.out.weight", "meeting.own.weight", "eit.token.weight"):
        assert learned[name].abs().max() > 0, name
    assert objective.rollout.law_logits.grad.abs().max() > 0


def test_every_law_is_learned_and_the_one_that_forecasts_better_is_followed(orbits):
    rollout = learner(orbits)[1].rollout
    torch.manual_seed(0)
    drawn = rollout.drawn_laws(4000)
    assert drawn.float().mean() == pytest.approx(0.5, abs=0.05)
    optimizer = torch.optim.SGD([rollout.law_logits], lr=0.01)
    losses = torch.where(drawn == 1, 0.1, 0.5) + 0.2 * torch.randn(4000)
    for _ in range(5):
        regret = rollout.regret(losses, drawn)
        assert float(regret.detach()) == 0
        optimizer.zero_grad()
        regret.backward()
        optimizer.step()
    assert rollout.law_logits.argmax() == 1
    assert rollout.drawn_laws(4000).float().mean() > 0.55
    strength = rollout.strength(torch.ones(2, 3, 3, 2))
    assert torch.equal(strength[..., 1], torch.ones(2, 3, 3))
    assert not strength[..., 0].any()
    of_trial = rollout.strength(torch.ones(2, 3, 3, 2), torch.tensor([0, 1]))
    assert torch.equal(of_trial[:, 0, 0], torch.eye(2))


def test_the_score_counts_places_that_are_near(orbits):
    model, objective = learner(orbits)
    batch = batch_of(objective, orbits)
    with torch.no_grad():
        prediction = objective.predict(model(batch), batch)
    exact = batch.replace(targets={**batch.targets, FUTURE: prediction[FUTURE]})
    assert objective.score([prediction], [exact]) == 1
    away = prediction[FUTURE].clone()
    away[:, 0] += 1.0
    away[:, 1] = torch.nan
    batch = batch.replace(targets={**batch.targets, FUTURE: away})
    assert objective.score([prediction], [batch]) == pytest.approx(2 / 3)


def test_absent_individuals_have_no_future(orbits):
    small = orbits.select(individuals=[0, 1, 2])
    mixed = PopulationDataset([dataclasses.replace(orbits, name="four"), dataclasses.replace(small, name="three")])
    model, objective = learner(orbits)
    batch = objective.prepare(mixed).batch([0, 12])
    assert batch.targets[FUTURE][1, 3].isnan().all()
    with torch.no_grad():
        loss = objective.loss(model(batch), batch)
        places = objective.predict(model(batch), batch)[FUTURE]
        alone = batch_of(objective, small, [0])
        assert torch.allclose(places[1, :3], objective.predict(model(alone), alone)[FUTURE][0], atol=1e-4)
    assert loss.isfinite()


def test_a_recording_without_future_has_no_target(orbits):
    _, objective = learner(orbits)
    batch = batch_of(objective, orbits.select(bins=slice(0, 10)))
    assert FUTURE not in batch.targets


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("context_bins", 3),
        ("horizon_bins", 0),
        ("stride", 0),
        ("n_substeps", (0, 4)),
        ("shortest", 0.0),
        ("tolerance", 0.0),
        ("interactions_weight", -1.0),
        ("noise", -0.1),
        ("shoot", "yes"),
    ],
)
def test_settings_that_mean_nothing_are_refused(field, value):
    with pytest.raises(InputError, match=field):
        ForecastSettings(**{field: value})


def test_recordings_of_other_features_are_refused(orbits):
    _, objective = learner(orbits)
    with pytest.raises(InputError, match="features"):
        batch_of(objective, Recording.from_trials(np.ones((2, 3, 16, 3))))
