"""The whole state of training: what a checkpoint holds."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from motet.data.dataset import PopulationDataset
from motet.errors import InputError
from motet.plain import as_plain, digest, from_plain
from motet.training.history import Epoch, read_history
from motet.training.learner import Learner
from motet.training.optimizer import TableAdam
from motet.training.run import NEVER_MATTERS, Run
from motet.training.settings import TrainingSettings


class TrainingState:
    """All that training needs to go on: weights, their mean, the best so far, the optimiser, the history."""

    def __init__(self, learner: Learner, settings: TrainingSettings, n_trials: int, fingerprint: str) -> None:
        self.learner = learner
        self.settings = settings
        self.n_epochs = settings.n_epochs(n_trials)
        self.fingerprint = fingerprint
        self.optimizer = TableAdam(
            learner.independent,
            learning_rate=settings.learning_rate,
            table_learning_rate=settings.table_learning_rate,
            weight_decay=settings.weight_decay,
            gradient_clip=settings.gradient_clip,
        )
        self.parameters = dict(learner.named_parameters())
        self.mean = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.best = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.best_epoch = 0
        self.history: list[Epoch] = []

    @property
    def epoch(self) -> int:
        return len(self.history)

    @property
    def is_finished(self) -> bool:
        waited = self.epoch - self.best_epoch
        return self.epoch >= self.n_epochs or (self.epoch > 0 and waited >= self.settings.patience)

    def to(self, device: torch.device) -> None:
        self.learner.to(device)
        for tensors in (self.mean, self.best):
            tensors.update({name: tensor.to(device) for name, tensor in tensors.items()})
        self.optimizer.to(device)

    def set_learning_rate(self, share: float) -> float:
        """Set every group's to a share of its highest; the one of ordinary weights."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        return self.settings.learning_rate * share

    @torch.no_grad()
    def average(self) -> None:
        """Move the mean weights towards the present ones; early on the mean is over all steps so far."""
        n_steps = int(self.optimizer.n_steps)
        decay = min(self.settings.averaging, (1 + n_steps) / (10 + n_steps))
        torch._foreach_lerp_(list(self.mean.values()), list(self.parameters.values()), 1 - decay)

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """The learner with its mean weights, for as long as the block lasts."""
        present = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._load(self.mean)
        try:
            yield
        finally:
            self._load(present)

    def end_epoch(self, row: Epoch, *, is_validated: bool) -> None:
        losses = [before.validation_loss for before in self.history]
        lowest = min(filter(math.isfinite, losses), default=math.inf)
        self.history.append(row)
        if not is_validated or row.validation_loss < lowest:
            self.best_epoch = self.epoch
            self.best = {name: tensor.clone() for name, tensor in self.mean.items()}

    def load_best(self) -> None:
        self._load(self.best)

    @torch.no_grad()
    def _load(self, tensors: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(tensors[name])

    def _tensors(self) -> dict[str, Tensor]:
        """All that changes in training, by name."""
        of_weights: dict[str, Mapping[str, Tensor]] = {"weights": self.parameters, "mean": self.mean, "best": self.best}
        tensors: dict[str, Tensor] = {
            f"{kind}/{name}": tensor for kind, some in of_weights.items() for name, tensor in some.items()
        }
        return tensors | {f"optimizer/{name}": value for name, value in self.optimizer.tensors()}

    def write(self, run: Run) -> None:
        about = {"fingerprint": self.fingerprint, "best_epoch": self.best_epoch, "history": self.history}
        run.write_tensors("checkpoint", self._tensors(), about)
        run.write_history(self.history)

    def read(self, run: Run) -> None:
        """Go on from the checkpoint of a run.

        Raises:
            InputError: if it is damaged, or of other data or settings.
        """
        tensors, about = run.read_tensors("checkpoint")
        if about.get("fingerprint") != self.fingerprint:
            raise InputError(
                f"{run.folder} holds training of other data or settings; choose another folder, or delete "
                "its checkpoint.safetensors to begin again."
            )
        own = self._tensors()
        try:
            found = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
            if found != {name: (tensor.shape, tensor.dtype) for name, tensor in own.items()}:
                raise ValueError("its tensors are not those of this model")
            history, best_epoch = read_history(about), from_plain(int, about["best_epoch"], what="best_epoch")
            if not 0 <= best_epoch <= len(history):
                raise ValueError(f"the best of {len(history)} epochs is {best_epoch}")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{run.folder}/checkpoint.safetensors holds no state of this training ({error}); delete it to begin "
                "again."
            ) from error
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[name])
        self.best_epoch, self.history = best_epoch, history


def fingerprint(
    learner: Learner,
    dataset: PopulationDataset,
    validation: PopulationDataset | None,
    settings: TrainingSettings,
    seed: int,
) -> str:
    """Changes with anything that would change the weights."""
    kept = {key: value for key, value in as_plain(settings).items() if key not in NEVER_MATTERS}
    owned = [as_plain(getattr(module, name, None)) for module in learner.modules() for name in ("settings", "target")]
    arrays = {f"weights {name}": parameter.detach().cpu().numpy() for name, parameter in learner.named_parameters()}
    ids = []
    for role, part in (("train", dataset), ("validation", validation)):
        for place, recording in enumerate(part.recordings if part is not None else ()):
            ids.append([role, recording.individual_ids])
            read = {"values": recording.values, "observed": recording.observed}
            read |= {f"target {name}": target for name, target in recording.targets.items()}
            arrays |= {f"{role} {place} {name}": array for name, array in read.items()}
    about = [kept, seed, repr(learner), owned, ids]
    return digest(json.loads(json.dumps(about, default=str)), arrays)
