"""Pretrain on the populations that one has; `motet transfer` then decodes others."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from matplotlib.figure import Figure

from motet.data.dataset import PopulationDataset
from motet.data.preprocess import PreprocessSettings
from motet.data.recording import Recording, without_targets
from motet.errors import InputError
from motet.estimators.encoder import EITEncoder
from motet.models.eit import EITSettings
from motet.models.tuning import TuningSettings
from motet.report.scores import learning_curve
from motet.rivals.method import Answer, Method
from motet.settings import Count, NonNegative, Seed, Settings
from motet.statistics import markdown
from motet.tasks.comparison import Column, Measured
from motet.tasks.evaluate import OWN, Evaluation, Part, Task, evaluate
from motet.tasks.find import find_recording, stem
from motet.tasks.models import Trained
from motet.tasks.outcome import Outcome
from motet.tasks.systems import made
from motet.training.history import as_columns
from motet.training.objectives import EpisodeSettings, Masked, Views
from motet.training.settings import TrainingSettings

MOST_BINS = 8  # of a trial, unless more or fewer are asked for


@dataclasses.dataclass(frozen=True)
class EncoderSettings(Settings):
    """What a target is, and how an encoder learns to decode it from few trials.

    Attributes:
        target: a class per trial; to transfer, also a quantity per bin.
        reading: options for reading the files, by name, such as {targets: [choice], columns: {individual: neuron}}.
        bins: how many first bins of each trial are read; by default as many as the shortest trial of its recording has,
            and 8 at most.
        period: where classes lie on a circle, once around; 0 for none, by default found (see EITEncoder).
        seed: of everything random.
        model: see EITSettings.
        tuning: see TuningSettings.
        objective: see EpisodeSettings.
        training: see TrainingSettings.
        preprocess: see PreprocessSettings.
    """

    positionals: ClassVar = ("recordings",)

    recordings: tuple[str, ...]
    target: str | None = None
    output: str | None = None
    reading: dict[str, Any] | None = None
    bins: Count | None = None
    period: NonNegative | None = None
    seed: Seed = 0
    model: EITSettings = EITSettings(identity="none")
    tuning: TuningSettings = TuningSettings()
    objective: EpisodeSettings = EpisodeSettings()
    training: TrainingSettings = TrainingSettings(max_steps=100, batch_trials=256)
    preprocess: PreprocessSettings = PreprocessSettings("sqrt", "none", "none")

    def check(self) -> None:
        if not self.recordings:
            raise InputError("recordings is empty; give a list of one file or name at least.")

    def found(self, name: str) -> Recording:
        """A recording with the target, if there is one; without any, no label is looked at."""
        recording = find_recording(name, self.reading)
        if self.target is None:
            return without_targets(recording)
        recording.target(self.target)
        return recording

    def cut(self, recording: Recording) -> Recording:
        """Its trials cut to equally many bins."""
        n_bins = self.bins or min(MOST_BINS, int(recording.trial_lengths.min()))
        return recording.select(bins=slice(0, n_bins), trials=recording.trial_lengths >= n_bins)


@dataclasses.dataclass(frozen=True)
class PretrainSettings(EncoderSettings):
    """What to pretrain on, and how: recordings of any sizes, with a target or without.

    Attributes:
        recordings: files, or names in the catalogue; best of several animals.
        target: a class per trial, to be decoded from few trials. Without, no label is looked at: the encoder learns to
            predict hidden values and to tell individuals apart (objective.learn).
        output: the run's folder; by default "runs/pretrain-<recording>".
    """

    @property
    def folder(self) -> Path:
        return Path(self.output or f"runs/pretrain-{stem(self.recordings[0])}")


def pretrain(settings: PretrainSettings) -> Outcome:
    """Learn from some populations how to decode another from few trials, or to see them without labels; leaves a run.

    What was finished before is kept: run it again to go on after an interruption.

    Raises:
        InputError: for recordings, targets or settings that cannot be used.
    """
    return evaluate(Pretrain(settings))


class Pretrain(Task):
    """One training; what it is worth, `motet transfer` shows on other populations."""

    columns: Mapping[str, Column] = {}

    def __init__(self, settings: PretrainSettings) -> None:
        self.settings = settings
        self.dataset = PopulationDataset([settings.cut(settings.found(name)) for name in settings.recordings])
        self.inputs = {"recordings": self.dataset.recordings}
        self.training = settings.training

    def parts(self) -> Sequence[Part]:
        return [Part(OWN, self.dataset, None)]

    def methods(self, part: Part) -> Sequence[Method]:
        return [Trained(lambda: made(EITEncoder, self.settings), _no_answer)]

    def truth(self, part: Part) -> Any:
        raise AssertionError("nothing is tested")

    def measure(self, answer: Answer, truth: Any) -> Measured:
        raise AssertionError("nothing is tested")

    def _encoder(self, evaluation: Evaluation) -> EITEncoder:
        return EITEncoder.load(evaluation.run)

    def notes(self, evaluation: Evaluation) -> Iterator[str]:
        encoder = self._encoder(evaluation)
        n_neurons = ", ".join(str(recording.n_individuals) for recording in self.dataset.recordings)
        seconds = sum(row.seconds for row in encoder.history_)
        classes = "none, no label was looked at"
        if encoder.target_ is not None:
            period = f"on a circle of {encoder.period_:g}" if encoder.period_ else "no geometry"
            classes = f"{len(encoder.target_.classes)}, {period}"
        yield markdown(
            [
                ["learned", "recordings", "trials", "individuals", "classes", "parameters", "fit (s)"],
                [
                    "; ".join(encoder.learned_words),
                    str(len(self.dataset.recordings)),
                    str(len(self.dataset)),
                    n_neurons,
                    classes,
                    f"{encoder.n_parameters_:,}",
                    f"{seconds:.0f}",
                ],
            ]
        )
        yield ""
        for name, value in encoder.scores_.items():
            yield f"{name}, of the validation part: {value:.3f}{self._beside(name)}"
        if not encoder.scores_:
            yield "No part of the trials was held out to validate (training.validation)."
        yield ""
        yield "What it is worth in other populations: motet transfer RECORDING --encoder RUN."

    def figures(self, evaluation: Evaluation) -> Iterator[tuple[str, Figure]]:
        encoder = self._encoder(evaluation)
        score_name, title = encoder.learner_.objective.score_name, " and ".join(encoder.learned_words)
        yield "learning_curve", learning_curve(as_columns(encoder.history_), score_name=score_name, title=title)

    def _beside(self, score_name: str) -> str:
        """What a score is to be compared with."""
        if score_name == Masked.score_name:
            return " (0: each individual's average)"
        if score_name == Views.score_name:
            sizes = [recording.n_individuals for recording in self.dataset.recordings]
            return f" (chance: {len(sizes) / sum(sizes):.3f})"
        return ""


def _no_answer(estimator: Any, test: PopulationDataset) -> Answer:
    raise AssertionError("an encoder answers after it is adapted")
