"""Training as released: it learns, a seed decides it, and nothing outside is disturbed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from motet.errors import InputError
from motet.models.reference import EITReference
from motet.rivals.reference import _check_labels, train_reference


def separable(n_windows: int = 48) -> tuple[Tensor, Tensor]:
    """Two classes told apart by which half of six individuals is above its mean."""
    labels = torch.arange(n_windows) % 2
    side = (2.0 * labels - 1)[:, None, None] * torch.tensor([1.0, 1, 1, -1, -1, -1])
    noise = torch.randn(n_windows, 2, 6, generator=torch.Generator().manual_seed(0))
    return 10 * side.expand(-1, 2, -1) + noise, labels


def small_model(dropout: float = 0.5) -> EITReference:
    return EITReference(6, 2, n_heads=2, head_width=8, dropout=dropout)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("labels", "said"),
        [
            (torch.zeros(3, dtype=torch.int64), "one int64 class per window"),
            (torch.zeros(4), "one int64 class per window"),
            (torch.tensor([0, 1, 2, 0]), "from 0 to 1"),
            (torch.tensor([0, 1, -1, 0]), "from 0 to 1"),
        ],
    )
    def test_labels_that_do_not_fit_are_refused(self, labels, said):
        # Asked of the check itself: with shapes checked as types, the trainer would refuse some even sooner.
        with pytest.raises(InputError, match=said):
            _check_labels(torch.zeros(4, 2, 3), labels, n_classes=2)

    @pytest.mark.parametrize("wrong", [{"n_epochs": 0}, {"batch_size": 0}, {"learning_rate": float("nan")}])
    def test_training_for_nothing_is_refused(self, wrong):
        values, labels = separable(4)
        with pytest.raises(InputError, match=next(iter(wrong))):
            train_reference(EITReference(6, 2), values, labels, **({"n_epochs": 1, "seed": 0} | wrong))


class TestTraining:
    def test_it_learns_a_separable_problem(self):
        values, labels = separable()
        model = small_model()
        losses = train_reference(model, values, labels, n_epochs=15, seed=0, learning_rate=3e-3)
        assert losses[-1] < 0.5 * losses[0]
        predicted = model(values).population.argmax(-1)
        assert (predicted == labels[:, None]).float().mean() > 0.95

    def test_one_seed_gives_one_model_and_another_seed_another(self):
        values, labels = separable(20)

        def trained(seed: int) -> Tensor:
            model = small_model()
            train_reference(model, values, labels, n_epochs=2, seed=seed)
            return torch.nn.utils.parameters_to_vector(model.parameters())

        assert torch.equal(trained(0), trained(0))
        assert not torch.equal(trained(0), trained(1))

    def test_the_global_random_state_is_neither_touched_nor_read(self):
        values, labels = separable(20)

        def trained(global_seed: int) -> Tensor:
            torch.manual_seed(global_seed)
            before = torch.get_rng_state()
            model = small_model()
            train_reference(model, values, labels, n_epochs=1, seed=0)
            assert torch.equal(torch.get_rng_state(), before)
            return torch.nn.utils.parameters_to_vector(model.parameters())

        assert torch.equal(trained(1), trained(2))

    def test_the_loss_is_population_plus_half_individual_with_every_bin_labelled(self):
        values, labels = separable(10)
        model = small_model(dropout=0.0)
        with torch.no_grad():
            log_p = [logits.log_softmax(-1) for logits in model(values)]
        individual, population = (-p[torch.arange(10), :, labels].mean().item() for p in log_p)
        [loss] = train_reference(model, values, labels, n_epochs=1, seed=0, batch_size=10)
        assert loss == pytest.approx(population + 0.5 * individual, abs=1e-5)

    def test_on_epoch_sees_the_epoch_the_growing_training_seconds_and_an_evaluating_model(self):
        values, labels = separable(8)
        seen: list[tuple[int, float, bool]] = []
        model = small_model()
        train_reference(
            model, values, labels, n_epochs=3, seed=0,
            on_epoch=lambda epoch, seconds, model: seen.append((epoch, seconds, model.training)),
        )  # fmt: skip
        epochs, seconds, is_training = zip(*seen, strict=True)
        assert epochs == (1, 2, 3)
        assert 0 < seconds[0] < seconds[1] < seconds[2]
        assert not any(is_training)
        assert not model.training

    def test_a_callback_that_draws_random_numbers_does_not_change_the_training(self):
        values, labels = separable(20)

        def trained(on_epoch) -> Tensor:
            model = small_model()
            train_reference(model, values, labels, n_epochs=2, seed=0, on_epoch=on_epoch)
            return torch.nn.utils.parameters_to_vector(model.parameters())

        assert torch.equal(trained(None), trained(lambda *_: torch.rand(3)))
