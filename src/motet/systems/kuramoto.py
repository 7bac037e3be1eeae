"""Oscillators that pull each other's phase (Kuramoto), as in Kipf et al., ICML 2018 ("Neural Relational Inference")."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.recording import Recording
from motet.settings import Count
from motet.systems.integrate import one_step
from motet.systems.interacting import (
    Array,
    GroupSize,
    SimulationSettings,
    check_each_once,
    in_parts,
    random_graphs,
    system_recording,
)
from motet.systems.laws import Law

LAW = Law("kuramoto", space="phase")
BIN_SECONDS = 0.1
# The paper looks at every tenth of steps of 0.01 s. Two steps per bin of order 8 give phases to 1e-8.
STEPS_PER_BIN = 2
FREQUENCIES = (1.0, 10.0)  # radians per second
PART_NUMBERS = 1 << 14  # pairs that are simulated at once: they should stay in the cache


@dataclasses.dataclass(frozen=True)
class KuramotoSettings(SimulationSettings):
    """Oscillators that pull each other's phase; one recording per number of oscillators.

    dφ_i/dt = ω_i + Σ_j k_ij sin(φ_j - φ_i), ω from 1 to 10, k_ij = k_ji 0 or 1 at equal odds, phases from 0 to 2π.

    Attributes:
        n_oscillators: one recording for each number, named "kuramoto/5".
        n_trials: per recording; each has another graph.
        n_bins: of 0.1 s.
        noise: standard deviation of what is added to phases, in radians, and to rates, in radians per second.
        with_frequency: the natural frequency ω is a feature, as in the paper.
        seed: same settings, same recordings; with another noise, the same oscillators.
    """

    n_oscillators: tuple[GroupSize, ...] = (5,)
    n_bins: Count = 49
    with_frequency: bool = True

    def check(self) -> None:
        check_each_once("n_oscillators", self.n_oscillators)


def simulate_kuramoto(settings: KuramotoSettings = KuramotoSettings()) -> list[Recording]:
    """Simulate coupled oscillators: one recording per number of them.

    Values are cos φ, sin φ, dφ/dt and, as asked, ω. Targets: "interacts" and "coupling" per pair, "frequency" ω per
    individual. The paper also scales each oscillator's dφ/dt to -1 … 1; here it is in radians per second.

    Example:
        >>> simulate_kuramoto(KuramotoSettings(n_trials=8, n_bins=12))[0]
        Recording('kuramoto/5': 8 trials × 5 individuals × 12 bins of 0.1 s × 4 features; targets: \
interacts per pair, coupling per pair, frequency per individual)
    """
    return [_record(n, settings) for n in settings.n_oscillators]


def oscillator_phases(phase: Array, frequency: Array, coupling: Array, *, n_bins: int) -> tuple[Array, Array]:
    """Phases and their exact rates, (trial, oscillator, bin), by Dormand and Prince's method of order 8.

    Args:
        phase: (trial, oscillator) in the first bin.
        frequency: (trial, oscillator) in radians per second.
        coupling: (trial, oscillator, oscillator) the pull that the first feels toward the second.
        n_bins: of 0.1 s.
    """
    phase, frequency = np.ascontiguousarray(phase.T), np.ascontiguousarray(frequency.T)  # (oscillator, trial)
    coupling = np.ascontiguousarray(coupling.transpose(1, 2, 0))

    def change(phase: Array) -> Array:
        """sin(φ_j - φ_i) = cos φ_i sin φ_j - sin φ_i cos φ_j needs a sine and a cosine per oscillator, not per pair."""
        cos, sin = np.cos(phase), np.sin(phase)
        toward = np.einsum("ijt,jt->it", coupling, sin) * cos - np.einsum("ijt,jt->it", coupling, cos) * sin
        return frequency + toward

    phases, rates = np.empty((2, n_bins, *phase.shape))
    for look in range(n_bins):
        phases[look], rates[look] = phase, change(phase)
        for _ in range(STEPS_PER_BIN if look < n_bins - 1 else 0):
            phase = one_step(change, phase, BIN_SECONDS / STEPS_PER_BIN)
    return phases.transpose(2, 1, 0), rates.transpose(2, 1, 0)


def _record(n: int, settings: KuramotoSettings) -> Recording:
    rng = np.random.default_rng([settings.seed, n])
    graphs = random_graphs(settings.n_trials, n, rng)
    frequency = rng.uniform(*FREQUENCIES, (settings.n_trials, n))
    phases, rates = in_parts(
        lambda *start: oscillator_phases(*start, n_bins=settings.n_bins),
        rng.uniform(0, 2 * np.pi, (settings.n_trials, n)),
        frequency,
        graphs.astype(np.float64),
        size=max(64, PART_NUMBERS // n**2),
        what=f"kuramoto/{n}",
    )
    if settings.noise:
        phases = phases + settings.noise * rng.standard_normal(phases.shape)
        rates = rates + settings.noise * rng.standard_normal(rates.shape)
    features = [np.cos(phases), np.sin(phases), rates]
    if settings.with_frequency:
        features.append(np.broadcast_to(frequency[..., None], phases.shape))
    targets: dict[str, NDArray[Any]] = {"interacts": graphs, "coupling": 1.0 * graphs, "frequency": frequency}
    return system_recording(f"kuramoto/{n}", np.stack(features, axis=-1), targets, bin_seconds=BIN_SECONDS, law=LAW)
