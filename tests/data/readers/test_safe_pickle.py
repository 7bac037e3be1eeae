"""The reader of pickles is a machine with few instructions: no program makes, calls or changes anything else."""

from __future__ import annotations

import io
import pickle
import pickletools
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from motet import memory
from motet.data.readers import reach, read_recording
from motet.data.readers.safe_pickle import load_reach_pickle
from motet.errors import InputError

DATA = b"ctorch_geometric.data.data\nData\n"
STORE = b"ctorch_geometric.data.storage\nGlobalStorage\n"
ORDERED = b"ccollections\nOrderedDict\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
LOAD = b"ctorch.storage\n_load_from_bytes\n"
STATE = b"}X\x01\x00\x00\x00aK\x01s"


def storage(tensor: torch.Tensor) -> bytes:
    """The instructions that make the numbers of a tensor."""
    file = io.BytesIO()
    torch.save(tensor._typed_storage(), file, _use_new_zipfile_serialization=False)
    content = file.getvalue()
    return LOAD + b"B" + len(content).to_bytes(4, "little") + content + b"\x85R"


def text(word: bytes) -> bytes:
    return b"X" + len(word).to_bytes(4, "little") + word


def rebuild(numbers: bytes, offset: object, shape: object, stride: object) -> bytes:
    """The instructions that make a tensor of numbers."""
    rest = [pickle.dumps(part, protocol=2)[2:-1] for part in (offset, shape, stride)]
    return REBUILD + b"(" + numbers + b"".join(rest) + b"\x89" + ORDERED + b")RtR"


def program(instructions: bytes) -> bytes:
    return b"\x80\x02" + instructions + b"."


ONES = storage(torch.ones(4))
FORGERIES = {
    "the state of a function": REBUILD + STATE + b"b",
    "the state of a call": LOAD + STATE + b"b",
    "the state of a class": DATA + STATE + b"b",
    "the state of a dict": ORDERED + b")R" + STATE + b"b",
    "the state of an array": ONES + STATE + b"b",
    "the state of a tensor": rebuild(ONES, 0, (4,), (1,)) + STATE + b"b",
    "the state of a list": b"]" + STATE + b"b",
    "the state of a text": b"X\x01\x00\x00\x00a" + STATE + b"b",
    "slots of an object": DATA + b")\x81" + b"N" + STATE + b"\x86b",
    "an object's state that is no dict": DATA + b")\x81" + b"]b",
    "an object made with arguments": DATA + b"K\x01\x85\x81",
    "an object made of a function": REBUILD + b")\x81",
    "an object made of a dict": ORDERED + b")R" + b")\x81",
    "an object that is called": DATA + b")R",
    "a text that is called": b"X\x01\x00\x00\x00a)R",
    "a call without a tuple": LOAD + b"]R",
    "a storage of text": LOAD + b"X\x01\x00\x00\x00a\x85R",
    "a storage of a list": LOAD + b"]\x85R",
    "a storage of nothing": LOAD + b"B\x00\x00\x00\x00\x85R",
    "a storage of objects": LOAD + ONES[len(LOAD) :].replace(b"FloatStorage", b"OtherStorage"),
    "a storage of the other byte order": ONES.replace(b"\x88", b"\x89"),
    "a tensor of a dict": rebuild(b"}", 0, (1,), (1,)),
    "a tensor of an object": rebuild(DATA + b")\x81", 0, (1,), (1,)),
    "a tensor of bytes": rebuild(b"B\x04\x00\x00\x00aaaa", 0, (1,), (1,)),
    "a tensor that repeats a number": rebuild(ONES, 0, (5,), (0,)),
    "a tensor of 74 GiB": rebuild(ONES, 0, (20_000, 1_000_000), (0, 0)),
    "a tensor of two reaches": rebuild(ONES, 0, (3, 3), (1, 1)),
    "a tensor that ends beyond": rebuild(ONES, 1, (4,), (1,)),
    "a tensor that begins before": rebuild(ONES, -1, (1,), (1,)),
    "a tensor that runs backwards": rebuild(ONES, 3, (4,), (-1,)),
    "a tensor of negative length": rebuild(ONES, 0, (-4, -1), (1, 1)),
    "a tensor of numbers of 100 bits": rebuild(ONES, 0, (1,), (2**100,)),
    "a tensor far away": rebuild(ONES, 2**62, (1,), (1,)),
    "a tensor of true": rebuild(ONES, 0, (True,), (True,)),
    "a tensor of halves": rebuild(ONES, 0, (1.0,), (1,)),
    "a tensor of a list": rebuild(ONES, 0, [4], [1]),
    "a tensor of a hundred axes": rebuild(ONES, 0, (1,) * 100, (0,) * 100),
    "a tensor with a step too many": rebuild(ONES, 0, (4,), (1, 1)),
    "a key that is a tuple": b"}" + b"K\x01\x85K\x01s",
    "a key that is a list": b"}(]K\x01u",
    "a key without a value": b"}(X\x01\x00\x00\x00au",
    "an item of no list": b"}K\x01a",
    "items of no list": b"}(K\x01e",
    "a pair of no dict": b"]X\x01\x00\x00\x00aK\x01s",
    "less than a pair": b"K\x01\x86",
    "a tuple without a mark": b"K\x01t",
    "a memory that is not there": b"h\x07",
    "a memory that is far away": b"j\xff\xff\xff\xff",
    "nothing": b"",
    "a name of numbers": b"K\x01K\x01\x93",
    "a name with a dot": b"ctorch_geometric.data.data\nData.__init__\n",
    "a name in another module": b"cnumpy\nndarray\n",
    "a built-in": b"cbuiltins\ndict\n",
    "a name of a storage, outside": b"ctorch\nFloatStorage\n",
    "a name by its number": b"\x82\x01",
    "an instance": b"(itorch_geometric.data.data\nData\n",
    "an object of a class": b"(" + DATA + b"o",
    "an object with keywords": DATA + b")}\x92",
    "a set": b"\x8f",
    "a quoted text": b"S'a'\n",
    "a buffer": b"\x97",
    "a long number": b"\x8b\xff\xff\xff\x7f",
    "a long text": b"\x8d" + b"\xff" * 8,
    "a long frame": b"\x95" + b"\xff" * 8 + b"\x8e" + b"\xff" * 8,
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_a_program_that_asks_for_more_than_data_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "forged.pkl"
    path.write_bytes(program(FORGERIES[name]))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"forged\.pkl is (damaged|a pickle that asks for .* refuses to run code)"):
            read_recording(path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_the_instructions_that_these_programs_are_made_of_do_work(tmp_path: Path) -> None:
    path = tmp_path / "right.pkl"
    for made, numbers in (
        (rebuild(ONES, 0, (2, 2), (2, 1)), np.ones((2, 2), np.float32)),
        (rebuild(storage(torch.arange(6)), 1, (2, 2), (1, 2)), np.array([[1, 3], [2, 4]])),
        (rebuild(storage(torch.zeros(0)), 0, (0, 3), (3, 1)), np.zeros((0, 3), np.float32)),
    ):
        path.write_bytes(program(made))
        assert load_reach_pickle(path).dtype == numbers.dtype
        assert np.array_equal(load_reach_pickle(path), numbers)
    path.write_bytes(program(DATA + b")\x81" + STATE + b"b"))
    assert load_reach_pickle(path).state == {"a": 1}


def test_deep_and_endless_programs_are_read_without_recursion(tmp_path: Path) -> None:
    path = tmp_path / "deep.pkl"
    for instructions in (b"]" * 20_000 + b"a" * 19_999, b"(" * 20_000 + b"t" * 20_000, b"]q\x00h\x00a"):
        path.write_bytes(program(instructions))
        load_reach_pickle(path)
        with pytest.raises(InputError, match=r"deep\.pkl"):
            read_recording(path)


def test_a_storage_that_many_trials_share_takes_no_more_memory_than_it_holds(tmp_path: Path) -> None:
    def mapping(shape: tuple[int, int]) -> bytes:
        fields = {b"x": rebuild(b"h\xc8", 0, shape, (shape[1], 1)), b"y": labels, b"timestep": labels}
        return b"}" + b"".join(text(key) + field + b"s" for key, field in fields.items())

    def trial(shape: tuple[int, int]) -> bytes:
        store = STORE + b")\x81}" + text(b"_mapping") + mapping(shape) + b"sb"
        return DATA + b")\x81}" + text(b"_store") + store + b"sb"

    labels = rebuild(storage(torch.zeros(20, dtype=torch.long)), 0, (20,), (1,))
    one = trial((20, 500))
    path = tmp_path / "shared.pkl"
    for trials, refused in ((one, False), (one * 30, True), (one + b"q\xc9" + b"h\xc9" * 3000, True)):
        shared = text(b"numbers") + storage(torch.zeros(20, 500)) + b"q\xc8s"
        path.write_bytes(program(b"}" + shared + text(b"data") + b"](" + trials + b"es"))
        if refused:
            with pytest.raises(InputError, match=r"shared\.pkl .*larger than the file"):
                read_recording(path)
        else:
            assert read_recording(path).values.shape == (1, 500, 20, 1)


def test_trials_that_padding_makes_enormous_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 1 << 20)
    trials = [reach._Trial(row, 0.0, np.zeros((n, 5)), np.arange(n), {}) for row, n in enumerate((1, 1, 9000))]
    with pytest.raises(InputError, match="3 trials of up to 9000 bins of 5 units would take .* of memory"):
        reach._recording(trials, name="a", minimum_speed=None)


# The child notes what all that a program could get hold of is, mutates, reads, and looks again.
FUZZ = """
import pathlib, random, sys
import numpy as np
from motet.data.readers import safe_pickle
from motet.data.readers import read_recording
from motet.errors import InputError
if sys.platform == "linux":
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))

base, path, n_mutations = pathlib.Path(sys.argv[1]).read_bytes(), pathlib.Path(sys.argv[2]), int(sys.argv[3])
generator = random.Random(0)
pieces = [bytes.fromhex(piece) for piece in sys.argv[4].split()]

def mutated(content):
    content = bytearray(content)
    for _ in range(generator.choice([1, 1, 2, 5])):
        place = generator.randrange(len(content))
        match generator.randrange(6):
            case 0: content[place] ^= 1 << generator.randrange(8)
            case 1: content[place] = generator.randrange(256)
            case 2: content[place:place] = generator.choice(pieces)
            case 3: del content[place:place + generator.randrange(1, 9)]
            case 4: content[place:place] = content[(start := generator.randrange(len(content))):start + 40]
            case 5: del content[max(place, 1):]
    return bytes(content)

kinds = [np.ndarray, np.dtype, dict, list, tuple, str, safe_pickle.StoredObject]
functions = [safe_pickle._storage, safe_pickle._tensor, safe_pickle._ordered_dict]
state = lambda: [{name: id(value) for name, value in vars(one).items()} for one in kinds + functions]
before, n_refused = state(), 0
for _ in range(n_mutations):
    path.write_bytes(mutated(base))
    try:
        read_recording(path)
    except InputError as error:
        n_refused += 1
        assert str(path) in str(error), error
assert state() == before
print(n_refused)
"""


@pytest.mark.parametrize("n_mutations", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_no_mutation_of_a_program_does_more_than_be_refused(tmp_path: Path, n_mutations: int) -> None:
    instructions = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
    pieces = [*instructions, *FORGERIES.values(), DATA, STORE, ORDERED, REBUILD, LOAD, STATE, STATE + b"b", b"b", b"R"]
    base = tmp_path / "base.pkl"
    trial = b"}" + text(b"x") + rebuild(storage(torch.full((4,), 10.0)), 0, (2, 2), (2, 1)) + b"s"
    for key in (b"y", b"timestep"):
        trial += text(key) + rebuild(storage(torch.zeros(2, dtype=torch.long)), 0, (2,), (1,)) + b"s"
    store = STORE + b")\x81q\x01}" + text(b"_mapping") + trial + b"sb"
    whole = b"}" + text(b"data") + b"](" + DATA + b")\x81q\x02}" + text(b"_store") + store + b"sbes"
    base.write_bytes(program(whole))
    assert read_recording(base).values.shape == (1, 2, 2, 1)
    arguments = [base, tmp_path / "mutated.pkl", n_mutations, " ".join(piece.hex() for piece in pieces if piece)]
    command = [sys.executable, "-X", "faulthandler", "-c", FUZZ, *map(str, arguments)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    assert n_mutations / 2 < int(found.stdout) < n_mutations
