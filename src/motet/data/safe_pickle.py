"""Opening the public reach pickles without letting them run code.

A pickle is a program: it may name any function and call it. This reader admits the few names that the public
files need and puts something harmless in the place of each; another name is refused before it is even looked
up. Neither torch_geometric, which made the files, nor torch is needed.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from motet.errors import InputError


class StoredObject:
    """Stands in for an object of torch_geometric: holds its state and does nothing."""

    state: Any = None

    # A pickle may set the state of the class itself too; without this method that would change it for good.
    def __setstate__(self, state: Any) -> None:
        self.state = state


def load_reach_pickle(path: Path) -> Any:
    """What a reach pickle holds, with tensors as arrays and torch_geometric's objects as `StoredObject`.

    Raises:
        InputError: if the pickle asks for anything else than its data, or is damaged.
    """
    try:
        with path.open("rb") as file:
            return _Unpickler(file, _IN_FILE).load()
    except InputError as error:
        raise InputError(f"{path} {error}") from None
    except Exception as error:  # a damaged or foreign pickle can raise almost anything
        raise InputError(
            f"{path} is damaged, or not a pickle of the public reach recordings "
            f"({type(error).__name__}: {error}); get the file again."
        ) from error


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, admitted: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(file)
        self._admitted = admitted

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._admitted:
            raise InputError(
                f"is a pickle that asks for {module}.{name}; motet refuses to run code from a file: "
                "give the public file, or save the recording with motet.write_recording."
            )
        return self._admitted[module, name]

    def persistent_load(self, pid: Any) -> Any:
        return pid


def _storage(content: bytes) -> NDArray[Any]:
    """The numbers of one tensor, flat.

    They come in torch's format of before version 1.6: five small pickles (two numbers that name the format,
    facts on the machine, a description, a list of one key), then the count and the numbers themselves.
    """
    file = io.BytesIO(content)
    magic, protocol, machine, description, _ = (_Unpickler(file, _IN_STORAGE).load() for _ in range(5))
    _, dtype, _, _, n_described, _ = description
    if (magic, protocol) != (0x1950A86A20F9469CFC6C, 1001) or not machine["little_endian"]:
        raise ValueError("a tensor is not in the format of the public files")
    n_stored = int.from_bytes(file.read(8), "little")
    numbers = np.frombuffer(file.read(), dtype)
    if not len(numbers) == n_stored == n_described:
        raise ValueError(f"a tensor of {n_described} numbers has {len(numbers)}")
    return numbers


def _tensor(
    storage: NDArray[Any], offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> NDArray[Any]:
    """The array of that shape; numpy refuses one that reaches beyond the storage."""
    size = storage.itemsize
    return np.ndarray(shape, storage.dtype, storage.data, offset * size, [step * size for step in stride])


_IN_FILE: dict[tuple[str, str], Any] = {
    ("torch_geometric.data.data", "Data"): StoredObject,
    ("torch_geometric.data.storage", "GlobalStorage"): StoredObject,
    ("collections", "OrderedDict"): OrderedDict,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
}
_IN_STORAGE = {("torch", "FloatStorage"): "<f4", ("torch", "LongStorage"): "<i8"}
