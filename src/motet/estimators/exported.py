"""A decoder as one file that needs no motet: ONNX, or a program of torch. Raw values go in, the answer comes out."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from motet.data.preprocess import Preprocess
from motet.errors import InputError
from motet.estimators.inside import SMALLEST, Inside, Prepared, one_recording
from motet.estimators.rule import EIT_PART
from motet.files import atomic_path
from motet.models.eit import EIT
from motet.models.tuning import Reads, Tuning, TuningReadout
from motet.training.objectives import Target

Format = Literal["onnx", "torch"]
SUFFIXES: Mapping[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}
KEY = "motet.json"  # of the description inside a file of torch
AXES = ("trial", "individual", "time")


class DecoderGraph(nn.Module):
    """A decoder as tensor operations.

    1. Observed: what is NaN, or said not to be observed, counts for nothing.
    2. Rules: what each says.
    3. EITs: what they say of prepared values.
    4. Answer: both by their shares; NaN where nothing is observed.

    Args:
        inside: what answers.
    """

    centre: Tensor

    def __init__(self, inside: Inside) -> None:
        super().__init__()
        self.target, self.shares = inside.target, dict(inside.shares)
        self.prepare, self.learner, self.of_rule = inside.prepare, inside.learner, inside.of_rule
        self.rules = nn.ModuleDict(dict(inside.rules))
        centre = torch.from_numpy(inside.target.centre) if not inside.target.classes else torch.zeros(0)
        self.register_buffer("centre", centre)

    def forward(
        self,
        values: Float[Tensor, "trial individual time feature"],
        observed: Bool[Tensor, "trial individual time"],
    ) -> Tensor:
        # 1. Observed
        observed = observed & ~values.isnan().any(-1)
        values = values.masked_fill(~observed[..., None], 0.0)

        # 2. Rules
        said: dict[str, Tensor] = {}
        if self.of_rule is not None:
            known, seen = self.of_rule(values, observed)
            said = {name: rule(known, seen) for name, rule in self.rules.items()}

        # 3. EITs
        prepared, seen = self.prepare(values, observed)
        found = self.learner.says(one_recording(prepared, seen))[self.target.name]
        is_observed = seen.any(1) if self.target.level == "bin" else seen.any(1).any(1)

        # 4. Answer
        t = self.target
        if t.classes:
            said[EIT_PART] = found.double().clamp(min=SMALLEST).log()
        else:
            units = (found - self.centre) / t.std
            said[EIT_PART] = units.reshape(*is_observed.shape, -1)
        answer = torch.stack([share * said[name] for name, share in self.shares.items() if name in said]).sum(0)
        answer = torch.where(is_observed[..., None], answer, torch.nan)
        if t.classes:
            return answer.log_softmax(-1).exp().float()
        return answer.reshape(*is_observed.shape, *t.shape) * t.std + self.centre


class AdaptedGraph(nn.Module):
    """A decoder fitted to a few trials of a new population, as tensor operations.

    Of a trial in which an individual is never observed, the answer is NaN.

    Args:
        preprocess: of the encoder.
        readout: pretrained.
        tuning: of the new population.
        model: of the encoder, if its embeddings are read.
        reads: what is read.
        n_bins: of a trial.
        grid: (candidate, dimension) values that are averaged; None for classes.
        shape: of such a value.
    """

    mean: Tensor
    variance: Tensor
    explains: Tensor
    log_det: Tensor
    grid: Tensor | None

    def __init__(
        self,
        *,
        preprocess: Preprocess,
        readout: TuningReadout,
        tuning: Tuning,
        model: EIT | None,
        reads: Reads,
        n_bins: int,
        grid: Any = None,
        shape: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.prepare, self.readout, self.model = Prepared(preprocess, None), readout, model
        self.reads, self.n_bins, self.shape = reads, n_bins, shape
        for name, tensor in readout.of_everybody(tuning).items():
            self.register_buffer(name, tensor)
        self.register_buffer("grid", None if grid is None else torch.from_numpy(grid))
        self.power = float(readout.log_temperature().exp())

    def forward(
        self,
        values: Float[Tensor, "trial individual time feature"],
        observed: Bool[Tensor, "trial individual time"],
    ) -> Tensor:
        observed = observed & ~values.isnan().any(-1)
        values, observed = self.prepare(values.masked_fill(~observed[..., None], 0.0), observed)
        embedding = None
        if self.model is not None:
            encoding = self.model(one_recording(values, observed))
            embedding = torch.cat((encoding.individual, encoding.population), -1)
        signals = self.readout.part_of(self.readout.signals(values[..., 0], observed, embedding), self.reads)
        away = signals.values.permute(0, 2, 1).flatten(1)[:, :, None] - self.mean  # trial, signal, candidate
        explained = torch.einsum("cfs,nsc->ncf", self.explains, away)
        distance = (away.square() / self.variance).sum(1) - explained.square().sum(2)
        probability = (-(distance + self.log_det) / 2 * self.power).softmax(1)
        probability = torch.where(signals.present.all(1)[:, None], probability, torch.nan)
        if self.grid is None:
            return probability
        return (probability @ self.grid).reshape(-1, *self.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Exported:
    """What is to be written.

    Attributes:
        graph: from values and observed to the answer.
        answer: what it is called.
        sizes: of trial, individual and time; None where any may be.
        n_features: per individual and bin.
        about: what the file says of itself, by name: plain values.
    """

    graph: nn.Module
    answer: str
    sizes: tuple[int | None, int | None, int | None]
    n_features: int
    about: Mapping[str, Any]

    def write(self, path: Path | str, format: Format | None = None) -> Path:
        """Write one file.

        Raises:
            InputError: if the format is not known by the file's name, its package is missing, or it cannot be written.
        """
        path = Path(path)
        kind = format or next((kind for kind, suffix in SUFFIXES.items() if path.suffix == suffix), None)
        if kind not in SUFFIXES:
            raise InputError(
                f"{path.name} says no format that is known; give a name that ends in {' or '.join(SUFFIXES.values())}, "
                f"or format={' or '.join(SUFFIXES)}."
            )
        if kind == "onnx":
            _needs_onnx()
        content = (self._onnx if kind == "onnx" else self._torch)()
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
        return path

    def program(self) -> torch.export.ExportedProgram:
        """The graph as torch exports it."""
        example = [size or 2 + place for place, size in enumerate((self.sizes[0], self.sizes[1], self.sizes[2]), 1)]
        values, observed = torch.ones(*example, self.n_features), torch.ones(example, dtype=torch.bool)
        free = {
            place: torch.export.Dim(name, min=1)
            for place, (name, size) in enumerate(zip(AXES, self.sizes, strict=True))
            if size is None
        }
        with _quiet(), torch.no_grad():
            return torch.export.export(self.graph.eval(), (values, observed), dynamic_shapes=(free, free))

    def _torch(self) -> bytes:
        program, file = self.program(), io.BytesIO()
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # lines of this machine's files
        with _quiet():
            torch.export.save(program, file, extra_files={KEY: json.dumps(self.about, indent=2)})
        return file.getvalue()

    def _onnx(self) -> bytes:
        with _quiet():
            made = torch.onnx.export(
                self.program(), input_names=["values", "observed"], output_names=[self.answer], verbose=False
            )
        assert made is not None
        proto = made.model_proto
        _name_axes(proto.graph)
        for part in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info):
            part.ClearField("metadata_props")  # lines of this machine's files
        for name, value in self.about.items():
            entry = proto.metadata_props.add()
            entry.key, entry.value = name, value if isinstance(value, str) else json.dumps(value)
        return bytes(proto.SerializeToString())


def _name_axes(graph: Any) -> None:
    """Axes of any size are called by what they are."""
    symbols = [dim.dim_param for dim in graph.input[0].type.tensor_type.shape.dim]
    names = {symbol: name for symbol, name in zip(symbols, AXES, strict=False) if symbol}
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_param = names[dim.dim_param]


def _needs_onnx() -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            "ONNX needs onnx and onnxscript, which are not installed; pip install 'motet[export]', or choose format "
            "'torch'."
        ) from error
    del onnx


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the notes of the exporters, which speak of their own insides."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def about_file(
    *,
    estimator: str,
    target: Target,
    answer: str,
    individual_ids: Sequence[str] | None,
    bin_seconds: float | None,
    preprocess: Preprocess,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """What a file says of itself."""
    per_bin = "trial, time" if target.level == "bin" else "trial"
    about: dict[str, Any] = {
        "motet_version": version("motet"),
        "estimator": estimator,
        "target": target.name,
        "level": target.level,
        "inputs": "values (trial, individual, time, feature) float32; observed (trial, individual, time) bool",
        "output": f"{answer} ({per_bin}{', class' if target.classes else ''}); NaN where nothing is observed",
        "individuals": "any, in any number" if individual_ids is None else list(individual_ids),
        "bin_seconds": bin_seconds,
        "preprocessing": preprocessing_words(preprocess),
        **more,
    }
    if target.classes:
        return {**about, "classes": list(target.classes)}
    return {**about, "units": "those of the target that was learned", "shape": list(target.shape)}


def preprocessing_words(preprocess: Preprocess) -> str:
    """What is done to raw values, in words."""
    s = preprocess.settings
    root = {"sqrt": "the square root", "log": "log(1 + x)", "none": "the value itself"}.get(s.transform, s.transform)
    words = [f"inside the file: {root}"]
    whose = {"individual": "its individual", "shared": "all individuals"}
    if s.centre != "none":
        words.append(f"less the training mean of {whose[s.centre]}")
    if s.scale != "none":
        words.append(f"divided by the training standard deviation of {whose[s.scale]}")
    return ", ".join(words) + "; NaN, and what observed says is not, counts for nothing. Give raw counts or values."
