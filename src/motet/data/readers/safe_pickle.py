"""Opening the public reach pickles without Python's `pickle`, so that they can run no code.

A pickle is a program for a small machine with a stack: it may name any function, call it and change what it gets.
This module is such a machine of its own, with the instructions that the public files need and no others. It makes
numbers, text, lists, tuples, dicts, arrays of float32 or int64, and `StoredObject`; of five names that a file
may say it knows what they stand for, and any other is refused. Neither torch_geometric, which made the files, nor
torch is needed.
"""

from __future__ import annotations

import dataclasses
import io
import math
import pickletools
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from motet.errors import InputError
from motet.memory import check_room

T = TypeVar("T")
_BYTES_PER_BYTE = 200  # the most that an instruction of one byte takes


@dataclasses.dataclass(eq=False, slots=True, repr=False)
class StoredObject:
    """Stands in for an object of torch_geometric: holds its state and does nothing."""

    state: dict[str, Any] | None = None


def load_reach_pickle(path: Path) -> Any:
    """What a reach pickle holds, with tensors as arrays and torch_geometric's objects as `StoredObject`.

    Raises:
        InputError: if the pickle asks for anything else than its data, or is damaged.
    """
    check_room(_BYTES_PER_BYTE * path.stat().st_size, what=str(path))
    try:
        return _run(io.BytesIO(path.read_bytes()), _IN_FILE)
    except InputError as error:
        raise InputError(f"{path} {error}") from None
    except Exception as error:  # a damaged or foreign pickle can raise almost anything
        raise InputError(
            f"{path} is damaged, or not a pickle of the public reach recordings "
            f"({type(error).__name__}: {error!s:.200}); get the file again."
        ) from error


def numbers_in_pickle(path: Path, key: str) -> list[float]:
    """The plain numbers that a pickled dict in an `.npy` file has under a key, in any of its levels; nothing is run.

    They are what the instructions say right after they say the key.

    Raises:
        InputError: if it is no such file, or is damaged.
    """
    check_room(_BYTES_PER_BYTE * path.stat().st_size, what=str(path))
    found: list[float] = []
    names: dict[Any, Any] = {}
    is_next = False
    try:
        with path.open("rb") as file:
            npy.read_array_header_1_0(file) if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0(file)
            last: Any = None
            for instruction, argument, _ in pickletools.genops(file):
                if instruction.name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
                    names[len(names) if argument is None else argument] = last
                    continue
                last = names.get(argument) if instruction.name in ("BINGET", "LONG_BINGET") else argument
                if is_next and instruction.name in ("BINFLOAT", "BININT", "BININT1", "BININT2"):
                    found.append(float(last))
                is_next = last == key
    except Exception as error:
        raise InputError(
            f"{path} is damaged, or no pickled settings ({type(error).__name__}); copy it again."
        ) from error
    return found


def _run(file: BinaryIO, admitted: Mapping[tuple[str, str], Any]) -> Any:
    """What the next program in a file makes."""
    stack: list[Any] = []
    marked: list[list[Any]] = []  # the stacks below each mark
    memo: dict[Any, Any] = {}

    def pop_marked() -> list[Any]:
        nonlocal stack
        items, stack = stack, marked.pop()
        return items

    for instruction, argument, _ in pickletools.genops(file):
        match instruction.name:
            case "PROTO" | "FRAME" | "BINPERSID":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                marked.append(stack)
                stack = []
            case "BININT" | "BININT1" | "BININT2" | "LONG1":
                stack.append(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINBYTES" | "SHORT_BINBYTES":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[instruction.name])
            case "EMPTY_TUPLE" | "EMPTY_LIST" | "EMPTY_DICT":
                stack.append({"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}[instruction.name]())
            case "TUPLE":
                items = pop_marked()
                stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [stack.pop() for _ in range(int(instruction.name[-1]))]
                stack.append(tuple(reversed(items)))
            case "APPEND":
                item = stack.pop()
                _exactly(list, stack[-1]).append(item)
            case "APPENDS":
                items = pop_marked()
                _exactly(list, stack[-1]).extend(items)
            case "SETITEM":
                item, key = stack.pop(), stack.pop()
                _exactly(dict, stack[-1])[_exactly(str, key)] = item
            case "SETITEMS":
                items = pop_marked()
                keys = [_exactly(str, key) for key in items[::2]]
                _exactly(dict, stack[-1]).update(zip(keys, items[1::2], strict=True))
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL" | "STACK_GLOBAL":
                words = argument.split(" ") if argument else [stack.pop(), stack.pop()][::-1]
                module, name = (_exactly(str, word) for word in words)
                if (module, name) not in admitted:
                    raise _asks_for(f"{module}.{name}")
                stack.append(admitted[module, name])
            case "NEWOBJ":
                arguments, made = stack.pop(), stack.pop()
                if made is not StoredObject or arguments != ():
                    raise ValueError("an object is made of what is no class, or with arguments")
                stack.append(StoredObject())
            case "BUILD":
                state = _exactly(dict, stack.pop())
                _exactly(StoredObject, stack[-1]).state = state
            case "REDUCE":
                arguments, function = _exactly(tuple, stack.pop()), _exactly(types.FunctionType, stack.pop())
                stack.append(function(*arguments))
            case other:
                raise _asks_for(f"the instruction {other}")
    raise ValueError("it has no end")


def _asks_for(what: str) -> InputError:
    return InputError(
        f"is a pickle that asks for {what[:100]!r}; motet refuses to run code from a file: "
        "give the public file, or save the recording with motet.write_recording."
    )


def _exactly(kind: type[T], given: Any) -> T:
    if type(given) is not kind:
        raise ValueError(f"a {type(given).__name__} stands where a {kind.__name__} is needed")
    return given


def _storage(content: Any) -> NDArray[Any]:
    """The numbers of one tensor, flat.

    They come in torch's format of before version 1.6: five small pickles (two numbers that name the format,
    facts on the machine, a description, a list of one key), then the count and the numbers themselves.
    """
    file = io.BytesIO(_exactly(bytes, content))
    magic, protocol, machine, description, _ = (_run(file, _IN_STORAGE) for _ in range(5))
    _, dtype, _, _, n_described, _ = _exactly(tuple, description)
    if (magic, protocol) != (0x1950A86A20F9469CFC6C, 1001) or machine["little_endian"] is not True:
        raise ValueError("a tensor is not in the format of the public files")
    n_stored = int.from_bytes(file.read(8), "little")
    numbers = np.frombuffer(content, _DTYPES[dtype], offset=file.tell())
    if not len(numbers) == n_stored == n_described:
        raise ValueError(f"a tensor of {n_described} numbers has {len(numbers)}")
    return numbers


def _tensor(storage: Any, offset: int, shape: Any, stride: Any, requires_grad: object, hooks: object) -> NDArray[Any]:
    """The array of that shape; numpy refuses one that reaches beyond the storage."""
    numbers = _exactly(np.ndarray, storage)
    steps = (offset, *_exactly(tuple, shape), *_exactly(tuple, stride))
    if not all(type(step) is int and step >= 0 for step in steps) or math.prod(shape) > numbers.size:
        raise ValueError(f"a tensor of {numbers.size} numbers has shape {shape!s:.100} and stride {stride!s:.100}")
    size = numbers.itemsize
    return np.ndarray(shape, numbers.dtype, numbers.data, offset * size, [step * size for step in stride])


def _ordered_dict() -> dict[str, Any]:
    return {}


_IN_FILE: dict[tuple[str, str], Any] = {
    ("torch_geometric.data.data", "Data"): StoredObject,
    ("torch_geometric.data.storage", "GlobalStorage"): StoredObject,
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
}
_IN_STORAGE = {("torch", name): name for name in ("FloatStorage", "LongStorage")}
_DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}
