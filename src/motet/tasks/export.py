"""A decoder of a run as one file that needs no motet."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from motet.errors import InputError
from motet.estimators.exported import SUFFIXES, Format
from motet.estimators.rule import Said
from motet.settings import Settings
from motet.tasks.find import find_recording
from motet.tasks.predict import load_estimator
from motet.training.run import Run


@dataclasses.dataclass(frozen=True)
class ExportSettings(Settings):
    """What to write, and where.

    Attributes:
        run: folder of a run whose decoder was trained on all trials, or where one was saved.
        format: onnx, or torch for a program of torch.export.
        output: the file; by default decoder.onnx or decoder.pt2 in the run; of a step step.onnx or step.pt2.
        whom: both, or the rule or the EIT alone. Without a rule, an EIT that knows nobody reads any individuals.
        recording: a file, or a name in the catalogue, whose individuals are given, in their order; by default those
            that the decoder reads.
        reading: options for reading that file, by name.
        step: one bin of a causal decoder, with what is remembered going in and out, instead of whole trials.
    """

    positionals: ClassVar = ("run",)

    run: str
    format: Format = "onnx"
    output: str | None = None
    whom: Said = "both"
    recording: str | None = None
    reading: dict[str, Any] | None = None
    step: bool = False


def export(settings: ExportSettings) -> Path:
    """Write a run's decoder to one file, ONNX or torch, that reads raw values and needs no motet.

    Raises:
        InputError: if the run holds no decoder of a target, or it cannot be written so.
    """
    run, ids = Run(settings.run), None
    decoder = load_estimator(run)
    if settings.recording is not None:
        ids = find_recording(settings.recording, settings.reading).individual_ids
    elif settings.reading is not None:
        raise InputError("reading says how a recording is read, and none is given; give recording, or leave it out.")
    path = Path(settings.output or run.folder / f"{'step' if settings.step else 'decoder'}{SUFFIXES[settings.format]}")
    return decoder.export(path, format=settings.format, whom=settings.whom, individual_ids=ids, step=settings.step)
