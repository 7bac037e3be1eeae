"""What is learned from beforehand, and what is new: the designs of a transfer.

A design makes cases of recordings. In none of them does a trial, or an individual, that is tested stand in what was
learned from: where both are of one recording, its trials and its individuals are parted before anything else.
A new design is a function, a line of `DESIGNS` and its name in `Across`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from motet.data.dataset import PopulationDataset
from motet.data.leaks import by_individual, fingerprint, found_in
from motet.data.recording import Recording
from motet.errors import InputError
from motet.given import is_known
from motet.settings import Count, Share
from motet.tasks.pretrain import EncoderSettings

Across = Literal["recordings", "pairs", "targets", "time", "bins", "halves", "subsets", "rest"]


@dataclasses.dataclass(frozen=True)
class AcrossSettings(EncoderSettings):
    """What is learned from beforehand, and what is new.

    Attributes:
        across: "recordings": each recording in turn is new, and the others are learned from. "pairs": one is learned
            from, another is new. As "recordings", but: "targets": some classes alone are learned from, the others are
            tested. "time": the first half of trials is learned from, the second half of others is new. "bins": bins
            are twice as wide in what is new, and the reverse. "subsets": parts of the new population are seen.
            "rest": some individuals of the new population are learned from too, its others are new. "halves": one half
            of a recording's individuals is learned from, the other half is new, in other trials.
        encoder: the folder of a run of motet pretrain, which stands in place of what would be learned from; its model
            and number of bins then count.
        seen_classes: of "targets", how many classes are learned from, evenly spaced; by default 4.
        fractions: of "subsets", how much of the individuals is seen; by default 0.1, 0.25, 0.5 and 1.
        known_individuals: of "rest", how many individuals are learned from; by default 40.
    """

    across: Across = "recordings"
    encoder: str | None = None
    seen_classes: tuple[Count, ...] | None = None
    fractions: tuple[Share, ...] | None = None
    known_individuals: Count | None = None

    @property
    def design(self) -> Design:
        return DESIGNS[self.across]

    def check(self) -> None:
        super().check()
        design = self.design
        if self.encoder is not None and not design.takes_encoder:
            raise InputError(f"across={self.across!r} says what is learned from; leave the encoder {self.encoder} out.")
        if self.encoder is None and len(self.recordings) < design.fewest:
            raise InputError(
                f"recordings names one population, and none is left to pretrain on; give {design.fewest} at least"
                + (", or --encoder RUN." if design.takes_encoder else ".")
            )
        for name, value in self._options.items():
            if value is not None and name not in design.options:
                users = " or ".join(repr(key) for key, design in DESIGNS.items() if name in design.options)
                raise InputError(f"{name} is {value}, and across is {self.across!r}; it belongs to across={users}.")
            if value == ():
                raise InputError(f"{name} is empty; give one number at least.")

    @property
    def _options(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in sorted({n for d in DESIGNS.values() for n in d.options})}

    def cases(self, recordings: Sequence[Recording], by: str) -> list[Case]:
        """The cases of the design.

        Args:
            recordings: all of them, cut to the bins that are read.
            by: the target of one class per trial.

        Raises:
            InputError: if the recordings do not suffice.
        """
        found = list(self.design.cases(recordings, by, self))
        for case in found if self.encoder is None else ():
            case.check()
        return found


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """What is learned from, and what is new.

    Attributes:
        name: of the case, which may be a part of a path.
        source: the name of what is learned from; cases that learn from the same share an encoder.
        train: that.
        new: the recording that is calibrated and tested.
        is_tested: (trial,) of it, which trials may be tested; None for all.
        share: of the individuals of its recording, how many it has; None where that is not asked.
        about: what a heading says of it.
    """

    name: str
    source: str
    train: Sequence[Recording]
    new: Recording
    is_tested: NDArray[np.bool_] | None = None
    share: float | None = None
    about: str = ""

    def check(self) -> None:
        """Refuse trials, and individuals, of one recording on both sides, whatever its name."""
        for known in (recording for recording in self.train if recording.name == self.new.name):
            for what, theirs, ours in (
                ("trial", known.trial_ids, self.new.trial_ids),
                ("individual", known.individual_ids, self.new.individual_ids),
            ):
                if shared := sorted({*map(str, theirs)} & {*map(str, ours)}):
                    raise InputError(
                        f"{self.name}: {what} {shared[0]!r} of {self.new.name!r} is learned from and tested, as are "
                        f"{len(shared) - 1} others; part them."
                    )
        learned = fingerprint(PopulationDataset([by_individual(known) for known in self.train]), most=None)
        if found_in(PopulationDataset(by_individual(self.new)), learned):
            raise InputError(
                f"{self.name}: some individuals of {self.new.name!r} stand, in the same trials, in recordings that are "
                "learned from, under other names; give recordings that share none."
            )


class Design(NamedTuple):
    """A way of parting what is learned from and what is new.

    Attributes:
        cases: from recordings, the target of one class per trial, and settings.
        options: settings that are its own.
        fewest: recordings that it needs.
        takes_encoder: whether an encoder that was pretrained before can stand in place of what is learned from.
        reads_quantities: whether a target per bin can be asked for.
    """

    cases: Callable[[Sequence[Recording], str, AcrossSettings], Iterator[Case]]
    options: tuple[str, ...] = ()
    fewest: int = 2
    takes_encoder: bool = False
    reads_quantities: bool = False


def _others(recordings: Sequence[Recording]) -> Iterator[tuple[Recording, list[Recording]]]:
    """Each recording, with the others."""
    for new in recordings:
        yield new, [recording for recording in recordings if recording is not new]


def _recordings(recordings: Sequence[Recording], by: str, settings: AcrossSettings) -> Iterator[Case]:
    for new, others in _others(recordings):
        yield Case(new.name, new.name, others, new)


def _pairs(recordings: Sequence[Recording], by: str, settings: AcrossSettings) -> Iterator[Case]:
    for new, others in _others(recordings):
        for known in others:
            yield Case(f"{new.name}-after-{known.name}", f"of-{known.name}", [known], new, about=f"after {known.name}")


def _targets(recordings: Sequence[Recording], by: str, settings: AcrossSettings) -> Iterator[Case]:
    classes = np.unique(np.concatenate([r.target(by)[is_known(r.target(by))] for r in recordings]))
    if settings.period is None:
        raise InputError(
            f"across='targets' hides classes, so that it cannot be found whether they lie on a circle; give period "
            f"({len(classes)} if the {len(classes)} classes go once around, 0 for no geometry)."
        )
    for n_seen in settings.seen_classes or (4,):
        if not 2 <= n_seen < len(classes):
            raise InputError(f"seen_classes is {n_seen}, and there are {len(classes)} classes; give 2 or more, fewer.")
        seen = classes[np.arange(n_seen) * len(classes) // n_seen]
        for new, others in _others(recordings):
            yield Case(
                f"{new.name}-{n_seen}-classes-seen",
                f"{new.name}-{n_seen}-classes",
                [other.select(trials=np.isin(other.target(by), seen)) for other in others],
                new,
                is_tested=~np.isin(new.target(by), seen),
                about=f"tested on {len(classes) - n_seen} classes not learned from, decided among all {len(classes)}",
            )


def _time(recordings: Sequence[Recording], by: str, settings: AcrossSettings) -> Iterator[Case]:
    for new, others in _others(recordings):
        early, late = [_half(other, is_late=False) for other in others], _half(new, is_late=True)
        yield Case(f"{new.name}-late", new.name, early, late, about="late bins, after early ones of the others")


def _half(recording: Recording, *, is_late: bool) -> Recording:
    """One half of the bins."""
    half = recording.n_bins // 2
    if not half:
        raise InputError(f"recording {recording.name!r} has one bin; across='time' needs two at least.")
    start = recording.n_bins - half if is_late else 0
    return recording.select(bins=slice(start, start + half))


def _bins(recordings: Sequence[Recording], by: str, settings: AcrossSettings) -> Iterator[Case]:
    even = [recording.select(bins=slice(0, max(1, recording.n_bins // 2 * 2))) for recording in recordings]
    wide = [recording.rebinned(2) for recording in even]
    for known, asked in ((even, wide), (wide, even)):
        for place, new in enumerate(asked):
            train = [*known[:place], *known[place + 1 :]]
            after, now = f"{train[0].bin_seconds:g}", f"{new.bin_seconds:g}"
            about = f"bins of {now} s, after {after} s in the others"
            yield Case(f"{new.name}-{after}-to-{now}-s", f"{new.name}-{after}-s", train, new, about=about)


def _subsets(recordings: Sequence[Recording], by: str, settings: AcrossSettings) -> Iterator[Case]:
    for new, others in _others(recordings):
        order = np.random.default_rng(settings.seed).permutation(new.n_individuals)
        for share in sorted(set(settings.fractions or (0.1, 0.25, 0.5, 1.0))):
            seen = new.select(individuals=np.sort(order[: max(1, round(share * len(order)))]))
            percent = f"{100 * share:g}"
            about = f"{percent} % of its individuals"
            yield Case(f"{new.name}-{percent}-percent", new.name, others, seen, share=share, about=about)


def _halves(recordings: Sequence[Recording], by: str, settings: AcrossSettings) -> Iterator[Case]:
    for whole in recordings:
        known, new = _parted(whole, by, settings.seed, whole.n_individuals // 2)
        about = f"after {known.n_individuals} others in {known.n_trials} other trials"
        yield Case(f"{whole.name}-half", whole.name, [known], new, about=about)


def _rest(recordings: Sequence[Recording], by: str, settings: AcrossSettings) -> Iterator[Case]:
    n_known = settings.known_individuals or 40
    for whole, others in _others(recordings):
        known, new = _parted(whole, by, settings.seed, n_known)
        every = whole.select(trials=np.isin(whole.trial_ids, new.trial_ids))
        share = new.n_individuals / whole.n_individuals
        about = f"after {n_known} others of it in other trials"
        source = f"{whole.name}-and-{n_known}-of-it"
        yield Case(f"{whole.name}-rest", source, [*others, known], new, share=share, about=about)
        yield Case(f"{whole.name}-all", whole.name, others, every, share=1.0, about="all individuals")


def _parted(recording: Recording, by: str, seed: int, n_known: int) -> tuple[Recording, Recording]:
    """So many individuals in one half of the trials, and the others in the other half."""
    if not 0 < n_known < recording.n_individuals:
        raise InputError(f"recording {recording.name!r} has {recording.n_individuals} individuals; none is left over.")
    first, second = PopulationDataset(recording).split(by="trial", test=0.5, stratify=by, seed=seed)
    order = np.random.default_rng(seed).permutation(recording.n_individuals)
    return (
        first.recordings[0].select(individuals=np.sort(order[:n_known])),
        second.recordings[0].select(individuals=np.sort(order[n_known:])),
    )


DESIGNS: dict[Across, Design] = {
    "recordings": Design(_recordings, takes_encoder=True, reads_quantities=True),
    "pairs": Design(_pairs, reads_quantities=True),
    "targets": Design(_targets, ("seen_classes",)),
    "time": Design(_time),
    "bins": Design(_bins),
    "halves": Design(_halves, fewest=1, reads_quantities=True),
    "subsets": Design(_subsets, ("fractions",), takes_encoder=True, reads_quantities=True),
    "rest": Design(_rest, ("known_individuals",), reads_quantities=True),
}
