"""The one training loop: any model, any objective, on Lightning Fabric.

The random numbers of an epoch are a function of the seed and the epoch alone, and the whole state after an epoch is
one file. So training that was interrupted anywhere continues from its last checkpoint to the weights that it would have
had, bit for bit (on one CPU process).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from motet.data.batch import Batch
from motet.data.dataset import PopulationDataset
from motet.errors import InputError
from motet.training.objectives import Objective
from motet.training.optimizer import TableAdam
from motet.training.run import Run, as_plain


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained.

    Attributes:
        max_epochs: passes over the training trials; the learning rate falls to zero at the last one.
        batch_trials: trials per step.
        learning_rate: of AdamW, at its highest.
        table_learning_rate: of what belongs to single individuals, at its highest (see `TableAdam`).
        weight_decay: of AdamW, on matrices (not on biases, norms, scales or individuals' own weights).
        warmup_fraction: of the steps, over which the learning rate rises.
        gradient_clip: largest norm of the gradient.
        averaging: decay per step of the running mean of the weights, which is what is evaluated and kept; 0 for none.
        validation: fraction of the training trials held out to choose the best epoch; 0 keeps the last.
        patience: epochs without a better validation loss after which training stops.
        checkpoint_seconds: least time between two checkpoints.
        accelerator: "cpu", "gpu" or "auto".
        devices: processes (or GPUs) per machine.
        n_nodes: machines.
        precision: "32-true", or mixed precision.
        compile: whether to compile the model with torch.compile.
        tensorboard: whether to write TensorBoard events too (needs motet[tensorboard]).
    """

    max_epochs: int = 100
    batch_trials: int = 32
    learning_rate: float = 3e-3
    table_learning_rate: float = 3e-2
    weight_decay: float = 0.1
    warmup_fraction: float = 0.1
    gradient_clip: float = 1.0
    averaging: float = 0.98
    validation: float = 0.1
    patience: int = 50
    checkpoint_seconds: float = 2.0
    accelerator: Literal["cpu", "gpu", "auto"] = "cpu"
    devices: int = 1
    n_nodes: int = 1
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    compile: bool = False
    tensorboard: bool = False

    def __post_init__(self) -> None:
        least = {"max_epochs": 1, "batch_trials": 1, "patience": 1, "devices": 1, "n_nodes": 1}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InputError(f"training.{name} is {getattr(self, name)}; give at least {lowest}.")
        if (
            not min(self.learning_rate, self.table_learning_rate) > 0
            or not self.gradient_clip > 0
            or self.weight_decay < 0
        ):
            raise InputError("learning rates and gradient_clip must be above 0, weight_decay not below.")
        for name in ("averaging", "validation", "warmup_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"training.{name} is {getattr(self, name)}; give a number from 0 to below 1.")


@dataclasses.dataclass(frozen=True)
class Epoch:
    """What one epoch came to; a row of the history. Validation figures are NaN without a validation part."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_score: float
    learning_rate: float
    seconds: float


class Learner(nn.Module):
    """A model and its objective: from a batch to a loss."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch) -> Tensor:
        return self.objective.loss(self.model(batch), batch)


def train(
    learner: Learner,
    dataset: PopulationDataset,
    validation: PopulationDataset | None,
    settings: TrainingSettings,
    *,
    seed: int,
    run: Run | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train in place; the learner ends with its best weights (its last, without validation).

    Args:
        learner: see `Learner`.
        dataset: the training trials, as the model reads them.
        validation: trials to choose the best epoch by.
        settings: see `TrainingSettings`.
        seed: of order, dropout and hiding.
        run: where the checkpoint, the history and TensorBoard events go; training continues from its checkpoint.
        on_epoch: called after every epoch.

    Returns:
        The history.

    Raises:
        InputError: if the run's checkpoint is of other settings or data; if the loss is no longer finite.
    """
    state = _State(learner, settings, _fingerprint(learner, dataset, validation, settings, seed))
    if run is not None and run.has_tensors("checkpoint"):
        state.read(run)
    n_steps = math.ceil(len(dataset) / settings.batch_trials)
    with _fabric(settings) as fabric, _tensorboard(settings, run, state.epoch) as log:
        state.to(fabric.device)
        wrapped, optimizer = _setup(fabric, learner, state.optimizer, settings)
        last_saved = time.monotonic()
        while not state.is_finished:
            started = time.monotonic()
            epoch = state.epoch
            generator = torch.Generator().manual_seed(_epoch_seed(seed, epoch))
            order = torch.randperm(len(dataset), generator=generator).numpy()
            losses = []
            learner.train()
            with _forked_randomness(_epoch_seed(seed, epoch) + fabric.global_rank, fabric.device):
                for step in range(n_steps):
                    fraction = _schedule(settings, epoch * n_steps + step, settings.max_epochs * n_steps)
                    trials = order[step * settings.batch_trials : (step + 1) * settings.batch_trials]
                    trials = trials[fabric.global_rank :: fabric.world_size] if fabric.world_size > 1 else trials
                    if len(trials) == 0:  # every process must take every step
                        trials = order[:1]
                    batch = learner.objective.hide(dataset.batch(trials), generator).to(fabric.device)
                    for group in optimizer.param_groups:
                        group["lr"] = group["peak"] * fraction
                    loss = wrapped(batch)
                    fabric.backward(loss)
                    fabric.clip_gradients(wrapped, optimizer, max_norm=settings.gradient_clip, error_if_nonfinite=False)
                    optimizer.step()
                    optimizer.zero_grad()
                    state.average()
                    losses.append(loss.detach())
            train_loss = float(fabric.all_reduce(torch.stack(losses).mean(), reduce_op="mean"))
            if not math.isfinite(train_loss):
                raise InputError(
                    f"the loss is {train_loss} in epoch {epoch + 1}; lower training.learning_rate, or check the "
                    "values for extremes."
                )
            with state.averaged_weights():
                loss_score = (
                    evaluate(learner, validation, settings.batch_trials) if validation else (math.nan, math.nan)
                )
            row = Epoch(
                epoch + 1, train_loss, *loss_score, fraction * settings.learning_rate, time.monotonic() - started
            )
            state.end_epoch(row)
            if run is not None and fabric.is_global_zero:
                if state.is_finished or time.monotonic() - last_saved >= settings.checkpoint_seconds:
                    state.write(run)
                    last_saved = time.monotonic()
                log(row)
            if on_epoch is not None and fabric.is_global_zero:
                on_epoch(row)
        state.to(torch.device("cpu"))
    state.load_best()
    learner.eval()
    return state.history


@torch.no_grad()
def evaluate(learner: Learner, dataset: PopulationDataset, batch_trials: int) -> tuple[float, float]:
    """Loss and score of a learner, without dropout or hiding."""
    learner.eval()
    device = next(learner.parameters()).device
    losses, outputs, batches = [], [], []
    for start in range(0, len(dataset), batch_trials):
        batch = dataset.batch(np.arange(start, min(start + batch_trials, len(dataset)))).to(device)
        encoding = learner.model(batch)
        losses.append(float(learner.objective.loss(encoding, batch)) * len(batch))
        outputs.append(learner.objective.predict(encoding, batch))
        batches.append(batch)
    return sum(losses) / len(dataset), learner.objective.score(outputs, batches)


class _State:
    """All that training needs to go on: weights, their mean, the best so far, the optimiser, the history."""

    def __init__(self, learner: Learner, settings: TrainingSettings, fingerprint: str) -> None:
        self.learner = learner
        self.settings = settings
        self.fingerprint = fingerprint
        self.optimizer = TableAdam(
            learner,
            learning_rate=settings.learning_rate,
            table_learning_rate=settings.table_learning_rate,
            weight_decay=settings.weight_decay,
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
        return self.epoch >= self.settings.max_epochs or (self.epoch > 0 and waited >= self.settings.patience)

    def to(self, device: torch.device) -> None:
        self.learner.to(device)
        for tensors in (self.mean, self.best):
            tensors.update({name: tensor.to(device) for name, tensor in tensors.items()})
        for slots in self.optimizer.state.values():
            slots.update({key: value.to(device) if value.ndim else value for key, value in slots.items()})

    @torch.no_grad()
    def average(self) -> None:
        """Move the mean weights towards the present ones; early on the mean is over all steps so far."""
        slots = next(iter(self.optimizer.state.values()))
        n_steps = float(slots["step"])
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

    def end_epoch(self, row: Epoch) -> None:
        self.history.append(row)
        lowest = min((r.validation_loss for r in self.history[:-1]), default=math.inf)
        if math.isnan(row.validation_loss) or row.validation_loss < lowest:
            self.best_epoch = self.epoch
            self.best = {name: tensor.clone() for name, tensor in self.mean.items()}

    def load_best(self) -> None:
        self._load(self.best)

    @torch.no_grad()
    def _load(self, tensors: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(tensors[name])

    def write(self, run: Run) -> None:
        names = {id(p): name for name, p in self.parameters.items()}
        tensors = {f"weights/{name}": p for name, p in self.parameters.items()}
        tensors |= {f"mean/{name}": tensor for name, tensor in self.mean.items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        for parameter, slots in self.optimizer.state.items():
            tensors |= {f"optimizer/{key}/{names[id(parameter)]}": value for key, value in slots.items()}
        about = {"fingerprint": self.fingerprint, "best_epoch": self.best_epoch, "history": self.history}
        run.write_tensors("checkpoint", tensors, about)
        run.write_history([dataclasses.asdict(row) for row in self.history])

    def read(self, run: Run) -> None:
        tensors, about = run.read_tensors("checkpoint")
        if about.get("fingerprint") != self.fingerprint:
            raise InputError(
                f"{run.folder} holds training of other data or settings; choose another folder, or delete "
                "its checkpoint.safetensors to begin again."
            )
        part: dict[str, dict[str, Tensor]] = {"weights": {}, "mean": {}, "best": {}, "optimizer": {}}
        for key, tensor in tensors.items():
            kind, name = key.split("/", 1)
            part[kind][name] = tensor
        self._load(part["weights"])
        self.mean = {name: part["mean"][name] for name in self.parameters}
        self.best = {name: part["best"][name] for name in self.parameters}
        self.best_epoch = about["best_epoch"]
        self.history = [Epoch(**row) for row in about["history"]]
        for name, parameter in self.parameters.items():
            slots = {key.split("/", 1)[0]: t for key, t in part["optimizer"].items() if key.split("/", 1)[1] == name}
            if slots:
                self.optimizer.state[parameter] = slots


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def _schedule(settings: TrainingSettings, step: int, n_steps: int) -> float:
    """The share of the highest learning rate: it rises linearly, then falls as half a cosine."""
    n_warmup = settings.warmup_fraction * n_steps
    if step < n_warmup:
        return (step + 1) / (n_warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - n_warmup) / (n_steps - n_warmup)))


@contextlib.contextmanager
def _forked_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout draws from the global generator: lend it a seed, and put it back as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def _fabric(settings: TrainingSettings) -> Iterator[Fabric]:
    several = settings.devices * settings.n_nodes > 1
    try:
        fabric = Fabric(
            accelerator=settings.accelerator,
            devices=settings.devices,
            num_nodes=settings.n_nodes,
            precision=settings.precision,
            strategy="ddp" if several else "auto",
        )
        fabric.launch()
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"cannot train on accelerator={settings.accelerator!r} with devices={settings.devices}, "
            f"precision={settings.precision!r} ({error}); choose what this machine has, such as accelerator='cpu'."
        ) from error
    yield fabric


def _setup(fabric: Fabric, learner: Learner, optimizer: torch.optim.Optimizer, settings: TrainingSettings) -> Any:
    module = torch.compile(learner, dynamic=True) if settings.compile else learner
    return fabric.setup(module, optimizer)


@contextlib.contextmanager
def _tensorboard(settings: TrainingSettings, run: Run | None, epoch: int) -> Iterator[Callable[[Epoch], None]]:
    if not settings.tensorboard or run is None:
        yield lambda row: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "training.tensorboard needs TensorBoard; install it: pip install 'motet[tensorboard]'."
        ) from error

    with SummaryWriter(str(run.folder / "tensorboard"), purge_step=epoch + 1) as writer:  # type: ignore[no-untyped-call]

        def log(row: Epoch) -> None:
            for name, value in dataclasses.asdict(row).items():
                if name != "epoch" and math.isfinite(value):
                    writer.add_scalar(name, value, row.epoch)  # type: ignore[no-untyped-call]

        yield log


def _fingerprint(
    learner: Learner,
    dataset: PopulationDataset,
    validation: PopulationDataset | None,
    settings: TrainingSettings,
    seed: int,
) -> str:
    """Changes with anything that would change the weights."""
    digest = hashlib.blake2b(digest_size=16)
    irrelevant = {"checkpoint_seconds", "tensorboard"}
    kept = {key: value for key, value in as_plain(settings).items() if key not in irrelevant}
    digest.update(json.dumps([kept, seed, repr(learner)], sort_keys=True).encode())
    for part in (dataset, validation):
        for recording in part.recordings if part is not None else ():
            digest.update(json.dumps(recording.individual_ids).encode())
            for array in (recording.values, recording.observed, *recording.targets.values()):
                digest.update(np.ascontiguousarray(array).tobytes() if array.dtype.kind != "U" else str(array).encode())
    for parameter in learner.parameters():
        digest.update(parameter.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
