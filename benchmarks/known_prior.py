"""How well a simulated animal is decoded from few trials by who knows the simulator, but not this animal's tuning.

    python benchmarks/known_prior.py [--neurons 40 80 150] [--k 1 3] [--particles 4096] [--trials 64] [--draws 10]

Many neurons are drawn from the simulator's own distribution, in every rotation. Those that fit the labelled trials of a
neuron say what its rates may be; reaction time, speed and gain of a trial are averaged over trials that are drawn too.
Nothing that learns from other animals, however many, can be expected to do better. Noise that neurons share from bin to
bin is left out, so that the figure is somewhat too low; more particles and trials change it little. On a GPU a minute.
"""

from __future__ import annotations

import argparse
import copy
import math

import numpy as np
import torch
from torch import Tensor

from motet.data.recording import Recording
from motet.rivals.method import Draw, TargetQuestion
from motet.systems import population, simulate
from motet.systems.population import PopulationSettings
from motet.tasks.across import Case
from motet.tasks.transfer import Asked, _draws

N_SUBJECTS, SEED, N_TRIALS = 4, 11, 160  # those of benchmarks/transfer.py
ROUNDS = 3  # of what trials were like, and what neurons are like, in turn
KEPT = 256  # particles of a neuron, by which tested trials are read
CHUNK = 512
LEAST = 1e-6


def drawn(settings: PopulationSettings, n_particles: int, n_trials: int) -> Tensor:
    """Expected counts (particle, direction, trial, time) of neurons and trials; the same trials in every direction."""
    rng, n = np.random.default_rng(0), settings.n_directions
    made = PopulationSettings(n_neurons=n_particles, n_trials=n_trials * n, n_directions=n, n_bins=settings.n_bins)
    neurons, reaches = population._Neurons(made, rng), population._Reaches(made, rng)
    trial = np.arange(n_trials * n) % n_trials
    reaches.direction = np.arange(n_trials * n) // n_trials
    reaches.angle = reaches.direction * 2 * np.pi / n
    for name in ("duration_seconds", "onset_seconds", "bow_cm"):
        setattr(reaches, name, getattr(reaches, name)[trial])
    gain = population._log_normal(rng, settings.gain_variability, n_trials)
    margin = math.ceil(max(map(abs, population.LEAD_SECONDS)) / settings.bin_seconds)
    edges = np.arange(-margin, settings.n_bins + margin + 1.0) * settings.bin_seconds
    parts = []
    for first in range(0, n_particles, CHUNK):
        some = copy.copy(neurons)
        for name, values in vars(neurons).items():
            setattr(some, name, values[first : first + CHUNK])
        shifted = margin + np.arange(settings.n_bins) + some.lead_bins[:, None]
        log_rate = np.take_along_axis(some.modulation(reaches, edges), shifted[None], axis=2)
        rate_hz = np.minimum(some.baseline_hz[:, None] * np.exp(log_rate), population.CEILING_HZ)
        counts = rate_hz.reshape(n, n_trials, -1, settings.n_bins) * settings.bin_seconds * gain[:, None, None]
        parts.append(torch.from_numpy(counts.transpose(2, 0, 1, 3)).float())
    return torch.cat(parts)


def accuracy(expected: Tensor, new: Recording, draw: Draw, generator: torch.Generator) -> float:
    """Of the tested trials of a draw."""
    device = expected.device
    log, total = expected.clamp(min=LEAST).log(), expected.sum(-1)
    n_particles, n, n_trials = total.shape
    counts, label = torch.from_numpy(new.values[..., 0]).to(device), new.target("direction").astype(int)
    assert draw.labelled is not None
    few = np.flatnonzero(np.isin(new.trial_ids, draw.labelled.trial_ids))
    classes = torch.arange(n, device=device)
    like = torch.full((len(few), n_trials), -math.log(n_trials), device=device)  # log-probability of each drawn trial

    # 1. Particles that fit the labelled trials of every neuron, and what these trials are like
    kept: list[Tensor] = []
    for step in range(ROUNDS):
        found, kept = torch.zeros_like(like), []
        for neuron in range(counts.shape[1]):
            weight, of_trials = torch.zeros(n_particles, n, device=device), []
            for place, trial in enumerate(few):
                likelihood = torch.einsum("mcjt,t->mcj", log, counts[trial, neuron]) - total
                likelihood = likelihood[:, (int(label[trial]) - classes) % n]  # in every rotation
                weight += torch.logsumexp(likelihood + like[place], -1)
                of_trials.append(likelihood)
            chosen = torch.multinomial(weight.flatten().softmax(0), KEPT, replacement=True, generator=generator)
            kept.append(chosen)
            for place, likelihood in enumerate(of_trials if step < ROUNDS - 1 else []):
                found[place] += torch.logsumexp(likelihood.reshape(-1, n_trials)[chosen], 0)
        if step < ROUNDS - 1:
            like = found.log_softmax(-1)

    # 2. Tested trials, by the mean likelihood over the particles of each neuron, and over drawn trials
    evidence = torch.zeros(len(draw.tested), n, n_trials, device=device)
    for neuron, chosen in enumerate(kept):
        particle, rotation = chosen[:, None] // n, (classes - chosen[:, None] % n) % n
        likelihood = torch.einsum("nt,mcjt->nmcj", counts[draw.tested, neuron], log[particle, rotation])
        evidence += torch.logsumexp(likelihood - total[particle, rotation], 1)
    answer = torch.logsumexp(evidence, -1).argmax(1).cpu().numpy()
    return float((answer == label[draw.tested]).mean())


def main() -> None:
    """One line per size, animal and number of labelled trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neurons", type=int, nargs="+", default=[40, 80, 150])
    parser.add_argument("--k", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--particles", type=int, default=4096)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--draws", type=int, default=10)
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for n_neurons in given.neurons:
        asked = {"n_subjects": N_SUBJECTS, "n_neurons": n_neurons, "n_trials": N_TRIALS, "seed": SEED}
        animals = simulate("population", **asked)
        expected = drawn(PopulationSettings(n_neurons=n_neurons), given.particles, given.trials).to(device)
        for animal in animals:
            case = Case(animal.name, "", (), animal)
            for k in given.k:
                question, generator = TargetQuestion("direction", "class", "trial"), torch.Generator(device)
                draws = list(_draws(case, question, Asked(animal.name, k, "none"), given.draws, 0))
                scores = [accuracy(expected, animal, draw, generator.manual_seed(0)) for draw in draws]
                print(f"{n_neurons} neurons, {animal.name}, k = {k}: {np.mean(scores):.3f}", flush=True)


if __name__ == "__main__":
    main()
