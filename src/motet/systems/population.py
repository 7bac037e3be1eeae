"""A simulated neural population: several subjects reach to targets, each seen through neurons of its own.

The embedded default, which needs no download. The subjects share the reach dynamics and the types of
tuning, and no neuron: each is another random draw. The type of every neuron is known, so that the matching
of neurons between subjects, and the transfer of a decoder from one to another, have a ground truth.

A trial starts when the target appears. After a reaction time the hand makes a minimum-jerk reach (Flash and
Hogan, J. Neurosci. 1985). The log-rate of a neuron is linear in what its type follows, plus a gain that
all neurons share in a trial and noise that they share from bin to bin; spikes are Poisson. Reaction time,
speed and gain vary from trial to trial: a decoder that follows them has an advantage over a linear one.

By default all neurons share one gain and follow the hand exactly, in time. Recorded ones do not, and `make demo`
decodes neurons that are as variable as those of cortex. What it sets was chosen from what is known of cortex and from
how counts vary and correlate here, before anything was decoded and without looking at any method's score:

- `neuron_gain_variability` 0.3, beside the shared gain of 0.25: from trial to trial a neuron's gain varies by about 0.4
  of its mean, in part with that of others (Goris, Movshon & Simoncelli, Nat. Neurosci. 17, 2014).
- `latency_jitter_seconds` 0.03: activity foretells the hand to within tens of milliseconds, not exactly (Kaufman et
  al., eNeuro 3, 2016).
- `shared_noise` 0.2, as by default: fluctuations of 0.2 s that neurons share in three dimensions.

So the counts of a neuron in the 0.3 s about the onset, in trials of one direction, have a variance of 1.6 times their
mean (median) and a correlation of 0.11 with those of another (mean; 0.2 over the whole trial); in cortex it is 0.1 to
0.2 (Cohen & Kohn, Nat. Neurosci. 14, 2011).
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray

from motet.data.recording import Recording
from motet.errors import InputError
from motet.plain import from_plain
from motet.settings import Count, Range, Seed, Settings

Array = NDArray[np.float64]

REACH_CM = 8.0
PEAK_SPEED_CM_S = 30.0
REACTION_SECONDS = 0.3
# A minimum-jerk reach over distance d in time T peaks at 1.875 d / T.
PEAK_OF_MEAN_SPEED = 1.875
# Ragged trials last this long after the hand has stopped.
HOLD_SECONDS = 0.1
# Motor cortex mostly leads the hand; with bins of 0.1 s these are lags of 0, 1 or 2 bins.
LEAD_SECONDS = (-0.05, 0.2)
PLAN_RISE_SECONDS = 0.1
RAMP_SECONDS = 0.12
# Width of the sharp tuning: a concentration of 5 falls to half of its peak 30 degrees away.
CONCENTRATION = 5.0
# The noise that neurons share has this many dimensions and this memory.
N_SHARED_FACTORS = 3
SHARED_NOISE_SECONDS = 0.2
# Between neurons, as a fraction of the mean.
BASELINE_VARIATION = 0.5
DEPTH_VARIATION = 0.4
# Refractoriness: no neuron fires faster.
CEILING_HZ = 200.0
METADATA = "population"  # of a recording: the settings that it was simulated with

Variation = Annotated[float, Range(least=0, most=1)]


class NeuronType(NamedTuple):
    """A type of neuron: the fraction of every subject's neurons, and how strongly it follows what it follows.

    `depth` is the mean change of the log-rate where that is at its full size (a reach of mean peak speed, the target's
    distance, the preferred direction).
    """

    name: str
    share: float
    depth: float


# The target "type" of a recording is a position here. Speed and ramp neurons are excited or suppressed at equal odds.
TYPES = (
    NeuronType("velocity", share=0.3, depth=0.9),  # cosine tuning to the hand's velocity
    NeuronType("preparatory", share=0.15, depth=1.6),  # von Mises tuning to the target, until the hand is on its way
    NeuronType("speed", share=0.1, depth=0.9),  # whatever the direction
    NeuronType("position", share=0.15, depth=0.7),  # cosine tuning to the hand's position
    NeuronType("ramp", share=0.15, depth=0.9),  # a step around the onset of movement, the same for all directions
    NeuronType("untuned", share=0.15, depth=0.0),  # shared gain and noise only
)


@dataclasses.dataclass(frozen=True)
class PopulationSettings(Settings):
    """What `simulate_population` simulates.

    Attributes:
        n_subjects: subjects, one recording each.
        n_trials: reaches per subject.
        n_neurons: neurons per subject, or the smallest and the largest number, drawn per subject.
        n_directions: targets, evenly spaced on a circle and equally frequent.
        n_bins: bins per trial; the longest trial where trials are ragged.
        bin_seconds: width of a bin.
        baseline_rate_hz: mean over neurons of the rate at rest; neurons differ log-normally.
        gain_variability: standard deviation over trials of the gain shared by all neurons, whose mean is 1.
        neuron_gain_variability: standard deviation over trials of a gain that each neuron has for itself, of mean 1.
        shared_noise: standard deviation of the log-rate due to the low-dimensional noise that neurons share.
        reaction_jitter_seconds: standard deviation of the reaction time, whose mean is 0.3 s.
        latency_jitter_seconds: standard deviation over trials of the time by which all neurons are earlier, or later,
            than the hand says; the hand does not show it.
        speed_variability: standard deviation of the peak speed as a fraction of its mean, 30 cm/s.
        curvature_cm: standard deviation of the sideways bow of a reach at its middle; reaches are 8 cm long.
        trials_are_ragged: a trial ends 0.1 s after the hand has stopped, not after `n_bins`.
        seed: same settings, same recordings.
    """

    n_subjects: Count = 3
    n_trials: Count = 200
    n_neurons: Count | tuple[Count, Count] = 80
    n_directions: Count = 8
    n_bins: Count = 10
    bin_seconds: Annotated[float, Range(least=0.001, most=1)] = 0.1
    baseline_rate_hz: Annotated[float, Range(least=0.01, most=CEILING_HZ)] = 12.0
    gain_variability: Variation = 0.25
    neuron_gain_variability: Variation = 0.0
    shared_noise: Variation = 0.2
    reaction_jitter_seconds: Variation = 0.1
    latency_jitter_seconds: Variation = 0.0
    speed_variability: Variation = 0.2
    curvature_cm: Annotated[float, Range(least=0, most=REACH_CM)] = 0.8
    trials_are_ragged: bool = False
    seed: Seed = 0

    def check(self) -> None:
        if isinstance(self.n_neurons, tuple) and self.n_neurons[0] > self.n_neurons[1]:
            raise InputError(f"n_neurons is {self.n_neurons!r}; give (smallest, largest).")


def simulate_population(settings: PopulationSettings = PopulationSettings()) -> list[Recording]:
    """Simulate subjects who reach to targets: one recording of spike counts per subject.

    Values are counts per bin, (trial, neuron, time, 1). Targets: "direction" per trial, an integer from 0 to
    n_directions - 1 (counter-clockwise from the right); "velocity" per bin, (trial, time, 2), the mean over
    the bin in cm/s; "position" per bin, (trial, time, 2), at the end of the bin in cm; "type" per
    individual, a position in `TYPES`. Metadata say how they were made (`expected_counts`). A subject does not depend
    on how many others are simulated. Names do not tell seeds apart: do not put the recordings of two seeds into one
    dataset.

    Example:
        >>> recordings = simulate_population(PopulationSettings(n_trials=16, n_neurons=20))
        >>> recordings[0]
        Recording('population/subject-1': 16 trials × 20 individuals × 10 bins of 0.1 s; targets: \
direction per trial, velocity per bin, position per bin, type per individual)
    """
    return [_record(subject, settings, number) for number, subject in enumerate(_subjects(settings), start=1)]


def population_rates(settings: PopulationSettings = PopulationSettings()) -> list[Array]:
    """The firing rates behind `simulate_population`: per subject (trial, neuron, time) in Hz.

    Given the same settings, the counts were drawn from Poisson(rate × bin_seconds).
    """
    return [subject.rates_hz for subject in _subjects(settings)]


def is_simulated(recording: Recording) -> bool:
    """Whether a recording says how its population was simulated."""
    return METADATA in recording.metadata


def expected_counts(recording: Recording, *, n_trials: int, seed: int = 0) -> Array:
    """What to expect of the individuals of a simulated recording, in so many new trials of each direction.

    Returns:
        (direction, trial, individual, time) means of counts, in the bins of the recording: those of the simulation, or
        wider ones. Each trial has a reaction time, a speed, a latency, a shared gain and shared noise of its own;
        gains of single neurons, too many to average over, are at their mean of 1.

    Raises:
        InputError: if the recording does not say how it was simulated.
    """
    what = f"metadata {METADATA!r} of recording {recording.name!r}"
    if not is_simulated(recording):
        raise InputError(f"there is no {what}; give one that motet simulate population made.")
    made = dict(recording.metadata[METADATA])
    number = from_plain(int, made.pop("subject", None), what=what)
    settings = from_plain(PopulationSettings, made, what=what)
    stream = np.random.SeedSequence(settings.seed).spawn(settings.n_subjects)[number - 1]
    new = dataclasses.replace(settings, n_trials=n_trials * settings.n_directions, neuron_gain_variability=0.0)
    neurons, rng = _Neurons(settings, np.random.default_rng(stream)), np.random.default_rng(seed)
    reaches = _Reaches(new, rng)
    rates_hz = _rates(new, neurons, reaches, rng)[np.argsort(reaches.direction, kind="stable")]

    width = round(recording.bin_seconds / settings.bin_seconds)
    trial_seconds = settings.n_bins * settings.bin_seconds
    start_seconds = float(recording.trial_start_seconds[0] - recording.trial_ids[0] * trial_seconds)
    first = round(start_seconds / settings.bin_seconds)
    chosen = [int(name.rpartition("/")[2]) for name in recording.individual_ids]
    rates_hz = rates_hz[:, chosen, first : first + width * recording.n_bins]
    counts = rates_hz.reshape(len(rates_hz), len(chosen), recording.n_bins, width).sum(axis=3) * settings.bin_seconds
    return counts.reshape(settings.n_directions, n_trials, len(chosen), recording.n_bins)


class _Reaches:
    """What the hand does: one entry per trial."""

    def __init__(self, settings: PopulationSettings, rng: np.random.Generator) -> None:
        n_trials = settings.n_trials
        self.direction = rng.permutation(np.arange(n_trials) % settings.n_directions)
        self.angle = self.direction * (2 * np.pi / settings.n_directions)
        peak_speed = PEAK_SPEED_CM_S * _log_normal(rng, settings.speed_variability, n_trials)
        self.duration_seconds = PEAK_OF_MEAN_SPEED * REACH_CM / peak_speed
        jitter = settings.reaction_jitter_seconds / REACTION_SECONDS
        self.onset_seconds = REACTION_SECONDS * _log_normal(rng, jitter, n_trials)
        self.bow_cm = settings.curvature_cm * rng.standard_normal(n_trials)

    def later(self, seconds: Array) -> _Reaches:
        """The same reaches, begun later by (trial,) seconds."""
        moved = copy.copy(self)
        moved.onset_seconds = self.onset_seconds + seconds
        return moved

    def progress(self, seconds: Array) -> Array:
        """Fraction of the reach's duration that has passed: (trial, time) in 0 … 1."""
        return np.clip((seconds - self.onset_seconds[:, None]) / self.duration_seconds[:, None], 0.0, 1.0)

    def position(self, seconds: Array) -> Array:
        """Position of the hand in cm, (trial, 2, time): minimum jerk along the reach, a bow across it."""
        tau = self.progress(seconds)
        along = REACH_CM * _minimum_jerk(tau)
        across = self.bow_cm[:, None] * (4 * tau * (1 - tau)) ** 3
        cosine, sine = np.cos(self.angle)[:, None], np.sin(self.angle)[:, None]
        return np.stack([along * cosine - across * sine, along * sine + across * cosine], axis=1)


class _Neurons:
    """What the neurons follow: one entry per neuron."""

    def __init__(self, settings: PopulationSettings, rng: np.random.Generator) -> None:
        sizes = settings.n_neurons
        n_neurons = int(rng.integers(*sizes, endpoint=True)) if isinstance(sizes, tuple) else sizes
        quantiles = (np.arange(n_neurons) + 0.5) / n_neurons
        self.type = rng.permutation(np.searchsorted(np.cumsum([kind.share for kind in TYPES])[:-1], quantiles))
        loadings = rng.standard_normal((n_neurons, N_SHARED_FACTORS)) / math.sqrt(N_SHARED_FACTORS)
        self.loadings = settings.shared_noise * loadings
        self.baseline_hz = settings.baseline_rate_hz * _log_normal(rng, BASELINE_VARIATION, n_neurons)
        depth = np.array([kind.depth for kind in TYPES])[self.type]
        self.depth = depth * _log_normal(rng, DEPTH_VARIATION, n_neurons)
        self.preferred_angle = rng.uniform(0, 2 * np.pi, n_neurons)
        self.sign = rng.choice([-1.0, 1.0], n_neurons)
        self.lead_bins = np.rint(rng.uniform(*LEAD_SECONDS, n_neurons) / settings.bin_seconds).astype(np.int64)

    def are(self, name: str) -> NDArray[np.bool_]:
        """(neuron,): whether a neuron is of the type of that name."""
        return np.equal(self.type, [kind.name for kind in TYPES].index(name))

    def modulation(self, reaches: _Reaches, edges: Array) -> Array:
        """Change of the log-rate, (trial, neuron, time), for the bins between `edges` in seconds."""
        centres = (edges[1:] + edges[:-1]) / 2
        position = reaches.position(edges)
        velocity = np.diff(position) / np.diff(edges) / PEAK_SPEED_CM_S
        speed = np.linalg.norm(velocity, axis=1, keepdims=True)
        ramp = (1 + np.tanh((centres - reaches.onset_seconds[:, None]) / RAMP_SECONDS)) / 2
        state = np.concatenate([velocity, speed, position[..., 1:] / REACH_CM, ramp[:, None]], axis=1)
        preferred = np.stack([np.cos(self.preferred_angle), np.sin(self.preferred_angle)])
        followed = {"velocity": preferred, "speed": self.sign, "position": preferred, "ramp": self.sign}
        weights = np.vstack([self.are(name) * weight for name, weight in followed.items()]).T
        distance = reaches.angle[:, None] - self.preferred_angle
        tuning = self.are("preparatory") * np.exp(CONCENTRATION * (np.cos(distance) - 1))
        plan = 1 - np.exp(-np.maximum(centres, 0) / PLAN_RISE_SECONDS)
        plan = plan * (1 - _minimum_jerk(reaches.progress(centres)))
        modulation: Array = self.depth[:, None] * (weights @ state + tuning[..., None] * plan[:, None])
        return modulation


class _Subject(NamedTuple):
    """One simulated subject; rates and counts are (trial, neuron, time)."""

    reaches: _Reaches
    neurons: _Neurons
    rates_hz: Array
    counts: NDArray[np.int64]


def _subjects(settings: PopulationSettings) -> Iterator[_Subject]:
    """Every subject from a stream of its own, so that it stays the same whatever the others are."""
    for stream in np.random.SeedSequence(settings.seed).spawn(settings.n_subjects):
        rng = np.random.default_rng(stream)
        neurons, reaches = _Neurons(settings, rng), _Reaches(settings, rng)
        rates_hz = _rates(settings, neurons, reaches, rng)
        yield _Subject(reaches, neurons, rates_hz, counts=rng.poisson(rates_hz * settings.bin_seconds))


def _rates(settings: PopulationSettings, neurons: _Neurons, reaches: _Reaches, rng: np.random.Generator) -> Array:
    """Rates in Hz, (trial, neuron, time): baseline × gains of the trial × exp(modulation + shared noise)."""
    own = rng.spawn(1)[0]  # so that what is added by these settings changes nothing else
    latency = settings.latency_jitter_seconds * own.standard_normal(settings.n_trials)
    bins = np.arange(settings.n_bins)
    margin = math.ceil(max(map(abs, LEAD_SECONDS)) / settings.bin_seconds)
    edges = np.arange(-margin, settings.n_bins + margin + 1.0) * settings.bin_seconds
    shifted = margin + bins + neurons.lead_bins[:, None]
    modulation = np.take_along_axis(neurons.modulation(reaches.later(latency), edges), shifted[None], axis=2)

    memory = np.exp(-np.abs(bins[:, None] - bins) * settings.bin_seconds / SHARED_NOISE_SECONDS)
    white = rng.standard_normal((settings.n_trials, N_SHARED_FACTORS, settings.n_bins))
    noise = neurons.loadings @ (white @ np.linalg.cholesky(memory).T)

    gain = _log_normal(rng, settings.gain_variability, settings.n_trials)
    own_gain = _log_normal(own, settings.neuron_gain_variability, (settings.n_trials, len(neurons.baseline_hz)))
    scale_hz = gain[:, None] * own_gain * neurons.baseline_hz
    rates: Array = np.minimum(scale_hz[..., None] * np.exp(modulation + noise), CEILING_HZ)
    return rates


def _record(subject: _Subject, settings: PopulationSettings, number: int) -> Recording:
    """What is seen of a subject, and what is known about it, as a recording."""
    reaches, name = subject.reaches, f"population/subject-{number}"
    n_trials, n_neurons, n_bins = subject.counts.shape
    goes_on = np.ones((n_trials, n_bins), dtype=np.bool_)
    if settings.trials_are_ragged:
        stop_seconds = reaches.onset_seconds + reaches.duration_seconds + HOLD_SECONDS
        goes_on = np.arange(n_bins) * settings.bin_seconds < stop_seconds[:, None]
    position = reaches.position(np.arange(n_bins + 1) * settings.bin_seconds)
    hand = {"velocity": np.diff(position) / settings.bin_seconds, "position": position[..., 1:]}
    hand = {key: np.where(goes_on[..., None], target.swapaxes(1, 2), np.nan) for key, target in hand.items()}
    return Recording(
        values=np.where(goes_on[:, None], subject.counts, 0)[..., None].astype(np.float32),
        observed=np.repeat(goes_on[:, None], n_neurons, axis=1),
        individual_ids=tuple(f"{name}/{neuron}" for neuron in range(n_neurons)),
        targets={
            "direction": reaches.direction,
            **{key: target.astype(np.float32) for key, target in hand.items()},
            "type": np.broadcast_to(subject.neurons.type, (n_trials, n_neurons)),
        },
        bin_seconds=settings.bin_seconds,
        subject=f"subject-{number}",
        name=name,
        target_levels={"direction": "trial", "velocity": "bin", "position": "bin", "type": "individual"},
        metadata={METADATA: {**dataclasses.asdict(settings), "subject": number}},
    )


def _minimum_jerk(tau: Array) -> Array:
    """Fraction of the distance covered after the fraction `tau` of the time."""
    return tau**3 * (10 - 15 * tau + 6 * tau**2)


def _log_normal(rng: np.random.Generator, variation: float, size: int | tuple[int, ...]) -> Array:
    """Positive numbers of mean 1 and standard deviation `variation`."""
    variance = math.log1p(variation**2)
    return np.exp(math.sqrt(variance) * rng.standard_normal(size) - variance / 2)
