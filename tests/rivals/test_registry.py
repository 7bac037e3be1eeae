"""The registry: a rival that stands in it is asked wherever its question is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from motet.data.dataset import PopulationDataset
from motet.data.readers import write_recording
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.eit import EITSettings
from motet.rivals.method import Rival, TargetQuestion
from motet.rivals.registry import RIVALS, rivals_of
from motet.tasks.decode import DecodeSettings, decode
from motet.training.settings import TrainingSettings


@dataclasses.dataclass
class Threshold:
    """Whether there are more spikes than in training, on average."""

    least: float
    n_parameters: int = 1
    about: dict = dataclasses.field(default_factory=lambda: {"chosen": {}})

    @staticmethod
    def total(dataset: PopulationDataset) -> np.ndarray:
        return dataset.recordings[0].values.sum(axis=(1, 2, 3))

    def predict(self, test: PopulationDataset) -> dict:
        return {"prediction": (self.total(test) > self.least).astype(np.int64)}


class Toy(Rival):
    name = "toy"

    def answers(self, question):
        return isinstance(question, TargetQuestion) and question.kind == "class"

    def learn(self, train, question):
        return Threshold(float(Threshold.total(train).mean()))


@pytest.fixture
def toy(monkeypatch) -> Rival:
    monkeypatch.setitem(RIVALS, "toy", Toy())
    return RIVALS["toy"]


def test_a_new_rival_is_a_row_of_a_decoding(toy, tmp_path):
    side = np.arange(24) % 2
    counts = np.random.default_rng(0).poisson(2.0, (24, 4, 6)) + 3 * side[:, None, None]
    recording = Recording.from_trials(counts, targets={"side": side}, name="small")
    decoded = decode(
        DecodeSettings(
            recordings=(str(write_recording(recording, tmp_path / "small.npz")),),
            target="side",
            output=str(tmp_path / "run"),
            folds=2,
            control=False,
            final=False,
            model=EITSettings(width=8, n_heads=1),
            training=TrainingSettings(max_steps=1),
            rule="none",
            members=1,
        )
    )
    assert "| toy | 1.000" in decoded.table


def test_a_rival_is_asked_what_it_answers_and_nothing_else(toy):
    question = TargetQuestion("side", "class", "trial")
    assert rivals_of(question)[-1] is toy
    other = TargetQuestion("speed", "quantity", "bin")
    assert toy not in rivals_of(other)
    recording = Recording.from_trials(np.ones((4, 2, 3)))
    with pytest.raises(InputError, match="toy does not answer"):
        toy.fit(PopulationDataset(recording), other)


def test_a_thorough_rival_is_asked_where_all_are_compared_at_length_only(toy):
    question = TargetQuestion("side", "class", "trial")
    assert toy in rivals_of(question, thorough=False)
    toy.is_thorough = True
    assert toy in rivals_of(question)
    assert toy not in rivals_of(question, thorough=False)


def test_a_row_of_a_table_has_the_name_of_its_rival():
    assert all(name == rival.name for name, rival in RIVALS.items())
