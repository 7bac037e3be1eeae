"""Reader of Epochs of MNE, as an object or a `-epo.fif` file: channels are individuals, epochs are trials.

Targets are `event`, what `event_id` calls the event of an epoch, and the columns of the metadata.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from motet import given
from motet.data.readers.frames import columns_of_frame
from motet.data.readers.reading import file_reader
from motet.data.readers.tables import listed
from motet.data.recording import Recording
from motet.errors import InputError, did_you_mean
from motet.memory import check_room
from motet.settings import Positive, check_arguments

_BYTES_PER_SAMPLE = 40  # float64 twice, float32, masks
_SAME_RATE = 1e-6


def is_epochs(source: Any, head: bytes) -> bool:
    """Whether an object is Epochs of MNE."""
    names = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(source).__mro__}
    return ("mne", "BaseEpochs") in names


def is_fif(path: Path, head: bytes) -> bool:
    """Whether a file is one of MNE."""
    return path.name.lower().endswith((".fif", ".fif.gz"))


def read_epochs(
    source: Any,
    *,
    picks: str | Sequence[str] | None = None,
    bin_seconds: Positive | None = None,
    targets: Sequence[str] | None = None,
    name: str | None = None,
    subject: str = "unknown",
) -> Recording:
    """Read Epochs.

    Args:
        source: the object, or the path of a `-epo.fif` file.
        picks: channels by name, or kinds of them ("eeg", "grad"); by default all of data that are not bad, which must
            be of one kind.
        bin_seconds: width of a bin, which has the mean of its samples; by default one sample.
        targets: which of `event` and the columns of the metadata; by default all.
        name: what the recording is called.
        subject: the person or animal.

    Raises:
        InputError: if MNE is not installed (`motet[mne]`), or channels of several kinds are meant.
    """
    check_arguments(read_epochs, {"bin_seconds": bin_seconds})
    is_file = isinstance(source, str | Path)
    epochs = _epochs_of_file(Path(source)) if is_file else source
    called = Path(source).name.removesuffix(".gz").removesuffix(".fif") if is_file else "epochs"
    if not len(epochs):
        raise InputError(f"{called} holds no epochs that are left; give some.")
    try:
        chosen = epochs.copy().pick("data" if picks is None else picks, exclude="bads")
    except ValueError as error:
        raise InputError(
            f"picks is {picks!r} ({next(iter(str(error).splitlines()), '')}); give channels or kinds."
        ) from error
    kinds = Counter(chosen.get_channel_types())
    if len(kinds) > 1:
        said = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
        raise InputError(f"{called} has channels of several kinds and units: {said}; say picks={next(iter(kinds))!r}.")
    rate = float(chosen.info["sfreq"])
    n_samples = 1 if bin_seconds is None else round(bin_seconds * rate)
    if bin_seconds is not None and (n_samples < 1 or abs(n_samples / (bin_seconds * rate) - 1) > _SAME_RATE):
        raise InputError(
            f"bin_seconds is {bin_seconds:g}, which is {bin_seconds * rate:.6g} samples at {rate:g} Hz; give a whole "
            f"number of them, such as {max(n_samples, 1) / rate:.6g}."
        )
    n_bins = len(chosen.times) // n_samples
    if not n_bins:
        raise InputError(f"bin_seconds is {bin_seconds:g}, longer than epochs of {len(chosen.times) / rate:g} s.")
    check_room(_BYTES_PER_SAMPLE * len(chosen) * len(chosen.ch_names) * len(chosen.times), what=called)
    data = chosen.get_data(copy=False)[..., : n_bins * n_samples]
    called = called if name is None else name
    found = _targets(chosen)
    for target in listed(targets, what="targets") if targets is not None else ():
        if target not in found:
            raise did_you_mean(target, found, what="target of the epochs")
    return Recording.from_trials(
        data.reshape(*data.shape[:2], n_bins, n_samples).mean(axis=-1),
        targets={key: one for key, one in found.items() if targets is None or key in targets},
        target_levels=dict.fromkeys(found if targets is None else targets, "trial"),
        individual_ids=[f"{called}/{channel}" for channel in chosen.ch_names],
        bin_seconds=n_samples / rate,
        trial_ids=np.asarray(chosen.selection, dtype=np.int64),
        trial_start_seconds=chosen.events[:, 0] / rate + chosen.tmin,
        name=called,
        subject=subject,
    )


def _targets(epochs: Any) -> dict[str, Any]:
    """`event`, and the columns of the metadata that are labels or numbers."""
    names = {code: name for name, code in epochs.event_id.items()}
    found: dict[str, Any] = {"event": np.array([names.get(code, str(code)) for code in epochs.events[:, 2].tolist()])}
    if epochs.metadata is not None:
        for name, column in columns_of_frame(epochs.metadata.reset_index(drop=True), "the metadata"):
            found[name] = given.labels(column, what=f"column {name!r} of the metadata")
    return found


@file_reader
def _epochs_of_file(path: Path) -> Any:
    try:
        import mne
    except ImportError as error:
        raise InputError(f"{path} is read by MNE, which is not installed; pip install 'motet[mne]'.") from error
    return mne.read_epochs(path, preload=True, verbose="error")
