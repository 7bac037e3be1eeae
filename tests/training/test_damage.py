"""Files of tensors that were changed after they were written, by accident or on purpose: one refusal each."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from motet.errors import InputError
from motet.training.run import Run

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "b": torch.arange(6.0).reshape(2, 3) + 1,
    "half": torch.ones(3, dtype=torch.bfloat16),
    "flag": torch.tensor([True, False]),
    "number": torch.tensor(3),
    "empty": torch.zeros(0, 2),
}
ABOUT = {"estimator": "x", "settings": {"rate": 0.1, "ids": ["a", "b"]}, "history": [{"loss": 1.0, "seconds": 2.0}]}


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "run")
    run.write_tensors("weights", TENSORS, ABOUT)
    return run


def path_of(run):
    return run.folder / "weights.safetensors"


def parts(content):
    """Header and data of a file."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def whole(header, data):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def described(header, **changes):
    """The header with another description."""
    plain = json.loads(header["__metadata__"]["motet"])
    return header | {"__metadata__": {"motet": json.dumps(plain | changes)}}


def test_tensors_of_every_kind_come_back(run):
    tensors, about = run.read_tensors("weights")
    assert about == ABOUT
    assert all(
        torch.equal(tensors[name], TENSORS[name]) and tensors[name].dtype == TENSORS[name].dtype for name in TENSORS
    )


def test_the_same_content_is_the_same_bytes_and_seconds_do_not_count(run, tmp_path):
    first, again, later = path_of(run).read_bytes(), Run(tmp_path / "again"), Run(tmp_path / "later")
    again.write_tensors("weights", dict(reversed(TENSORS.items())), ABOUT)
    assert path_of(again).read_bytes() == first
    more = {"settings": {**ABOUT["settings"], "checkpoint_seconds": 9.0}, "history": [{"loss": 1.0, "seconds": 7.0}]}
    later.write_tensors("weights", TENSORS, {**ABOUT, **more})
    assert later.digest("weights") == run.digest("weights")
    later.write_tensors("weights", TENSORS, {**ABOUT, "history": [{"loss": 1.5, "seconds": 2.0}]})
    assert later.digest("weights") != run.digest("weights")


def swapped(header, data):
    header["a"]["data_offsets"], header["b"]["data_offsets"] = header["b"]["data_offsets"], header["a"]["data_offsets"]
    return header, data


def renamed(header, data):
    header["a"], header["b"] = header["b"], header["a"]
    return header, data


def reshaped(header, data):
    header["a"]["shape"] = [3, 2]
    return header, data


def retyped(header, data):
    header["a"]["dtype"] = "I32"
    return header, data


def lacking_one(header, data):
    del header["empty"]
    return header, data


def with_one_more(header, data):
    header["extra"] = {"dtype": "F32", "shape": [0], "data_offsets": [len(data), len(data)]}
    return header, data


EDITS = {
    "swapped tensors": swapped,
    "exchanged names": renamed,
    "another shape": reshaped,
    "another type": retyped,
    "a tensor less": lacking_one,
    "a tensor more": with_one_more,
    "no metadata": lambda header, data: ({k: v for k, v in header.items() if k != "__metadata__"}, data),
    "more metadata": lambda header, data: (
        header | {"__metadata__": header["__metadata__"] | {"note": "mine"}},
        data,
    ),
    "another format": lambda header, data: (described(header, format="1"), data),
    "another digest": lambda header, data: (described(header, digest="0" * 32), data),
    "a digest of another kind": lambda header, data: (described(header, digest=None), data),
    "another description": lambda header, data: (described(header, about={**ABOUT, "estimator": "y"}), data),
    "another rate": lambda header, data: (described(header, about={**ABOUT, "settings": {"rate": 0.2}}), data),
    "a description of another kind": lambda header, data: (described(header, about=[ABOUT]), data),
    "no description": lambda header, data: (header | {"__metadata__": {"motet": "{"}}, data),
    "a deep description": lambda header, data: (header | {"__metadata__": {"motet": "[" * 9000}}, data),
    "a list": lambda header, data: (header | {"__metadata__": {"motet": "[]"}}, data),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_file_is_one_refusal(run, edit):
    path_of(run).write_bytes(whole(*EDITS[edit](*parts(path_of(run).read_bytes()))))
    with pytest.raises(InputError, match="weights.safetensors.*(run again|train again)"):
        run.read_tensors("weights")


def test_a_file_of_another_program_is_one_refusal(run):
    safetensors.torch.save_file(TENSORS, path_of(run))
    with pytest.raises(InputError, match="format None"):
        run.read_tensors("weights")


def test_any_byte_that_is_changed_and_any_end_that_is_lost_is_noticed(run):
    whole_file, rng = path_of(run).read_bytes(), np.random.default_rng(0)
    changed = []
    for place in rng.choice(len(whole_file), 250, replace=False):
        content = bytearray(whole_file)
        content[place] ^= 1 << int(rng.integers(8))
        changed.append(bytes(content))
    changed += [whole_file[:end] for end in rng.integers(0, len(whole_file), 50)]
    changed += [whole_file + b"\0", whole_file * 2, b"", b"\xff" * 8, whole_file[8:]]
    for content in changed:
        path_of(run).write_bytes(content)
        try:
            tensors, about = run.read_tensors("weights")
        except InputError:
            continue
        # Blanks of the header, and wall-clock seconds, are outside the digest.
        assert {**about, "history": None} == {**ABOUT, "history": None}
        assert about["history"][0].keys() == {"loss", "seconds"}
        assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_what_is_no_file_is_one_refusal(run):
    path_of(run).unlink()
    path_of(run).mkdir()
    with pytest.raises(InputError, match="has no weights.safetensors"):
        run.read_tensors("weights")
    with safe_open(path_of(_written(run.part("other"))), framework="pt") as file:
        assert list(file.metadata()) == ["motet"]


def _written(run):
    run.write_tensors("weights", TENSORS, ABOUT)
    return run
