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

from motet.data.preprocess import PreprocessSettings
from motet.errors import InputError
from motet.estimators.inside import Answer, Inside, logs, one_recording
from motet.estimators.rule import EIT_PART
from motet.estimators.stream import Memory, StepGraph
from motet.files import atomic_path
from motet.models.step import Past
from motet.training.objectives import Target

Format = Literal["onnx", "torch"]
SUFFIXES: Mapping[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}
KEY = "motet.json"  # of the description inside a file of torch
AXES = ("trial", "individual", "time")
STEP_INPUTS = (
    "values (individual, feature) float32 and observed (individual,) bool of the next bin, and what is remembered: "
    "zeros at the start of a trial, the axis bin being 0 long, and then next_… of the bin before"
)


class DecoderGraph(nn.Module):
    """A decoder as tensor operations.

    1. Observed: what is NaN, or said not to be observed, counts for nothing.
    2. Rules: what each says.
    3. EITs: what they say of prepared values.
    4. Answer: both by their shares; NaN where nothing is observed.

    Args:
        inside: what answers.
    """

    def __init__(self, inside: Inside) -> None:
        super().__init__()
        self.target, self.answer = inside.target, Answer(inside)
        self.prepare, self.learner, self.of_rule = inside.prepare, inside.learner, inside.of_rule
        self.rules = nn.ModuleDict(dict(inside.rules))

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
        prepared, seen = (values, observed) if self.prepare is None else self.prepare(values, observed)
        is_observed = seen.any(1) if self.target.level == "bin" else seen.any(1).any(1)
        if self.learner is not None:
            found = self.learner.says(one_recording(prepared, seen))[self.target.name]
            if self.target.classes:
                said[EIT_PART] = logs(found)
            else:
                said[EIT_PART] = ((found - self.answer.centre) / self.target.std).reshape(*is_observed.shape, -1)

        # 4. Answer
        return self.answer(said, is_observed)


class StepFile(nn.Module):
    """One step of a stream as tensor operations: a bin and what is remembered, to the answer and what then is.

    A trial begins with zeros, of which those that grow with the trial have no bin yet.

    Args:
        graph: that reads bin by bin.
    """

    def __init__(self, graph: StepGraph) -> None:
        super().__init__()
        self.decoder, self.first = graph, graph.start()
        self.past = None if graph.steps is None else graph.steps.start()
        self.begins_otherwise = {name: [bool((one != 0).any()) for one in parts] for name, parts in self.first.items()}

    def remembered(self, n_bins: int) -> dict[str, Tensor]:
        """An example of what is remembered after some bins, by name."""
        past = self.past and Past(self.past.recent, [one.new_zeros(n_bins, *one.shape[1:]) for one in self.past.kept])
        return self._named(torch.tensor(n_bins), past, self.first)

    def grows(self, name: str) -> bool:
        """Whether what is remembered under a name has a row for every bin so far."""
        return name.startswith("past_")

    def forward(
        self,
        values: Float[Tensor, "individual feature"],
        observed: Bool[Tensor, " individual"],
        state: dict[str, Tensor],
    ) -> tuple[Tensor, ...]:
        observed = observed & ~values.isnan().any(-1)
        values = values.masked_fill(~observed[..., None], 0.0)
        time = state["time"]
        past = None
        if self.past is not None:
            past = Past(state["recent"], [one for name, one in state.items() if self.grows(name)])
        memory = {
            name: tuple(
                torch.where(time == 0, one, state[f"{name}_{place}"]) if is_other else state[f"{name}_{place}"]
                for place, (one, is_other) in enumerate(zip(parts, self.begins_otherwise[name], strict=True))
            )
            for name, parts in self.first.items()
        }
        answer = self.decoder(values, observed, time, [] if past is None else [(0, past)], memory)
        return answer, *self._named(time + 1, past, memory).values()

    def _named(self, time: Tensor, past: Past | None, memory: Memory) -> dict[str, Tensor]:
        named = {"time": time}
        if past is not None:
            named |= {"recent": past.recent, "past_observed": past.kept[0]}
            named |= {f"past_{('keys', 'values')[n % 2]}_{n // 2}": one for n, one in enumerate(past.kept[1:])}
        return named | {f"{name}_{place}": one for name, parts in memory.items() for place, one in enumerate(parts)}


@dataclasses.dataclass(frozen=True, eq=False)
class Exported:
    """What is to be written.

    Attributes:
        graph: from inputs to outputs.
        inputs: an example of each, by name; those of what is remembered are one dictionary, which comes last.
        outputs: what they are called.
        free: of an input, names of the axes that may be of any size; in the example they are of 2 at least.
        about: what the file says of itself, by name: plain values.
    """

    graph: nn.Module
    inputs: Mapping[str, Tensor | dict[str, Tensor]]
    outputs: Sequence[str]
    free: Mapping[str, Mapping[int, str]]
    about: Mapping[str, Any]

    @classmethod
    def of_trials(cls, inside: Inside, about: Mapping[str, Any], n_bins: int | None = None) -> Exported:
        """From values and observed of whole trials to the answer; of any number of bins, if it is not given."""
        ids = inside.individual_ids
        sizes = (None, None if ids is None else len(ids), n_bins)
        example = [size or 2 + place for place, size in enumerate(sizes, 1)]
        values, observed = torch.ones(*example, inside.n_features), torch.ones(example, dtype=torch.bool)
        free = {place: name for place, (name, size) in enumerate(zip(AXES, sizes, strict=True)) if size is None}
        inputs = {"values": values, "observed": observed}
        return cls(DecoderGraph(inside), inputs, [answer_name(inside.target)], dict.fromkeys(inputs, free), about)

    @classmethod
    def of_a_step(cls, inside: Inside, about: Mapping[str, Any]) -> Exported:
        """From values and observed of the next bin, and what is remembered, to the answer and what then is."""
        file, ids = StepFile(StepGraph(inside)), inside.individual_ids
        assert ids is not None, "individuals are named"
        state = file.remembered(3)
        inputs: dict[str, Tensor | dict[str, Tensor]] = {
            "values": torch.ones(len(ids), inside.n_features),
            "observed": torch.ones(len(ids), dtype=torch.bool),
            "state": state,
        }
        outputs = [answer_name(inside.target), *(f"next_{name}" for name in state)]
        about = {**about, "inputs": STEP_INPUTS}
        return cls(file, inputs, outputs, {name: {0: "bin"} for name in state if file.grows(name)}, about)

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
        dims = {name: torch.export.Dim(name, min=0) for axes in self.free.values() for name in axes.values()}

        def shapes(name: str, one: Any) -> Any:
            if isinstance(one, dict):
                return {key: shapes(key, value) for key, value in one.items()}
            return {place: dims[axis] for place, axis in self.free.get(name, {}).items()}

        free = tuple(shapes(name, one) for name, one in self.inputs.items())
        with _quiet(), torch.no_grad():
            return torch.export.export(self.graph.eval(), tuple(self.inputs.values()), dynamic_shapes=free)

    @property
    def input_names(self) -> list[str]:
        """Of all tensors that go in."""
        return [key for name, one in self.inputs.items() for key in (one if isinstance(one, dict) else [name])]

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
                self.program(), input_names=self.input_names, output_names=list(self.outputs), verbose=False
            )
        assert made is not None
        proto = made.model_proto
        _name_axes(proto.graph, self.free)
        for part in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info):
            part.ClearField("metadata_props")  # lines of this machine's files
        for name, value in self.about.items():
            entry = proto.metadata_props.add()
            entry.key, entry.value = name, value if isinstance(value, str) else json.dumps(value)
        return bytes(proto.SerializeToString())


def _name_axes(graph: Any, free: Mapping[str, Mapping[int, str]]) -> None:
    """Axes of any size are called by what they are."""
    names = {
        value.type.tensor_type.shape.dim[place].dim_param: axis
        for value in graph.input
        for place, axis in free.get(value.name, {}).items()
    }
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


def answer_name(target: Target) -> str:
    """What the answer is called."""
    return "probability" if target.classes else "prediction"


def about_file(
    inside: Inside,
    *,
    estimator: str,
    bin_seconds: float | None,
    preprocessing: PreprocessSettings,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """What a file says of itself."""
    target, ids = inside.target, inside.individual_ids
    axes = ("trial, time" if target.level == "bin" else "trial") + (", class" if target.classes else "")
    about: dict[str, Any] = {
        "motet_version": version("motet"),
        "estimator": estimator,
        "target": target.name,
        "level": target.level,
        "inputs": "values (trial, individual, time, feature) float32; observed (trial, individual, time) bool",
        "output": f"{answer_name(target)} ({axes}); NaN where nothing is observed",
        "individuals": "any, in any number" if ids is None else list(ids),
        "bin_seconds": bin_seconds,
        "preprocessing": preprocessing_words(preprocessing),
        **more,
    }
    if target.classes:
        return {**about, "classes": list(target.classes)}
    return {**about, "units": "those of the target that was learned", "shape": list(target.shape)}


def preprocessing_words(s: PreprocessSettings) -> str:
    """What is done to raw values, in words."""
    root = {"sqrt": "the square root", "log": "log(1 + x)", "none": "the value itself"}.get(s.transform, s.transform)
    words = [f"inside the file: {root}"]
    whose = {"individual": "its individual", "shared": "all individuals"}
    if s.centre != "none":
        words.append(f"less the training mean of {whose[s.centre]}")
    if s.scale != "none":
        words.append(f"divided by the training standard deviation of {whose[s.scale]}")
    return ", ".join(words) + "; NaN, and what observed says is not, counts for nothing. Give raw counts or values."
