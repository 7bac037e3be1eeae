"""motet learns from populations of time-series, keeping sight of every individual and of the collective.

>>> import motet
>>> subject, *others = motet.simulate("population", n_trials=40, n_neurons=20)
>>> train, test = motet.PopulationDataset([subject]).split(by="trial", test=0.2, seed=0)
>>> decoder = motet.EITClassifier("direction", training=motet.TrainingSettings(max_steps=3)).fit(train)
>>> decoder.predict(test).shape
(8,)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from motet.data.batch import Batch
    from motet.data.catalogue import fetch, list_recordings, load
    from motet.data.dataset import PopulationDataset
    from motet.data.motion import MotionSettings
    from motet.data.preprocess import Preprocess, PreprocessSettings
    from motet.data.readers import read_recording, write_recording
    from motet.data.recording import Recording
    from motet.errors import InputError
    from motet.estimators.alignment import Alignment, align
    from motet.estimators.decoders import EITClassifier, EITRegressor
    from motet.estimators.encoder import EITEncoder
    from motet.estimators.forecaster import EITForecaster
    from motet.estimators.interactions import EITInteractions, recover_interactions
    from motet.models.eit import EIT, EITSettings, Encoding
    from motet.models.pairs import PairSettings
    from motet.models.reference import EITReference
    from motet.models.tuning import TuningSettings
    from motet.systems import simulate
    from motet.training.objectives import EpisodeSettings, ForecastSettings, InteractionSettings, ObjectiveSettings
    from motet.training.run import Run
    from motet.training.settings import TrainingSettings

_HOME = {
    "Alignment": "motet.estimators.alignment",
    "Batch": "motet.data.batch",
    "EIT": "motet.models.eit",
    "EITClassifier": "motet.estimators.decoders",
    "EITEncoder": "motet.estimators.encoder",
    "EITForecaster": "motet.estimators.forecaster",
    "EITInteractions": "motet.estimators.interactions",
    "EITReference": "motet.models.reference",
    "EITRegressor": "motet.estimators.decoders",
    "EITSettings": "motet.models.eit",
    "Encoding": "motet.models.eit",
    "EpisodeSettings": "motet.training.objectives",
    "ForecastSettings": "motet.training.objectives",
    "InputError": "motet.errors",
    "InteractionSettings": "motet.training.objectives",
    "MotionSettings": "motet.data.motion",
    "ObjectiveSettings": "motet.training.objectives",
    "PairSettings": "motet.models.pairs",
    "PopulationDataset": "motet.data.dataset",
    "Preprocess": "motet.data.preprocess",
    "PreprocessSettings": "motet.data.preprocess",
    "Recording": "motet.data.recording",
    "Run": "motet.training.run",
    "TrainingSettings": "motet.training.settings",
    "TuningSettings": "motet.models.tuning",
    "align": "motet.estimators.alignment",
    "fetch": "motet.data.catalogue",
    "list_recordings": "motet.data.catalogue",
    "load": "motet.data.catalogue",
    "read_recording": "motet.data.readers",
    "recover_interactions": "motet.estimators.interactions",
    "simulate": "motet.systems",
    "write_recording": "motet.data.readers",
}

__version__ = "0.1.0"
__all__ = [  # noqa: RUF022 (the list that users read)
    "Alignment", "Batch", "EIT", "EITClassifier", "EITEncoder", "EITForecaster", "EITInteractions", "EITReference",
    "EITRegressor", "EITSettings", "Encoding", "EpisodeSettings", "ForecastSettings", "InputError",
    "InteractionSettings", "MotionSettings", "ObjectiveSettings", "PairSettings", "PopulationDataset", "Preprocess",
    "PreprocessSettings", "Recording", "Run", "TrainingSettings", "TuningSettings", "align", "fetch",
    "list_recordings", "load", "read_recording", "recover_interactions", "simulate", "write_recording",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what is asked for, and nothing else: `import motet` costs milliseconds."""
    if name not in _HOME:
        raise AttributeError(f"module 'motet' has no attribute {name!r}; it has {', '.join(__all__)}.")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
