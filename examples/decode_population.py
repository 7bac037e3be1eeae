"""Decode reaches from a simulated population, see who of rule and EIT says what, and look at what was learned.

No download. Run it from anywhere: python examples/decode_population.py
"""

from __future__ import annotations

import motet
from motet.report.neurons import informative_individuals


def main() -> None:
    subject = motet.simulate("population", n_subjects=1, n_trials=120, n_neurons=40, seed=1)[0]
    print(subject)
    train, test = motet.PopulationDataset([subject]).split(by="trial", test=0.25, stratify="direction", seed=0)

    decoder = motet.EITClassifier("direction", training=motet.TrainingSettings(max_steps=100)).fit(train)
    truth = test.recordings[0].target("direction")
    right = {whom: (decoder.predict(test, whom=whom) == truth).mean() for whom in ("rule", "eit", "both")}
    print("   ".join(f"{whom} {share:.2f}" for whom, share in right.items()), "  chance 0.12")
    print("their shares:", {name: round(share, 2) for name, share in decoder.shares_.both.items()})

    # Every individual keeps its own embedding, before and after it met the others.
    encoding = decoder.encode(test)[0]
    print("embeddings (trial, individual, time, width):", encoding["population"].shape)
    print("most informative:", [subject.individual_ids[i] for i in informative_individuals(subject, "direction", 3)])


if __name__ == "__main__":
    main()
