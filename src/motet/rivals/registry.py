"""All rivals by name. A new one needs an entry here and nothing else."""

from __future__ import annotations

from motet.rivals.alignment import ALIGNED
from motet.rivals.decoders import DECODERS
from motet.rivals.empirical_bayes import EMPIRICAL_BAYES
from motet.rivals.few_shot_classes import CLASS_RIVALS
from motet.rivals.few_shot_courses import COURSE_RIVALS
from motet.rivals.kalman import KALMAN
from motet.rivals.method import Question, Rival
from motet.rivals.motion import MOTION_RIVALS
from motet.rivals.networks import NETWORKS
from motet.rivals.pair_scores import PAIR_RULES
from motet.rivals.places import PLACES
from motet.rivals.reference import REFERENCES
from motet.rivals.templates import TEMPLATES

RIVALS: dict[str, Rival] = {
    rival.name: rival
    for rival in (
        *DECODERS,
        KALMAN,
        PLACES,
        *TEMPLATES,
        *NETWORKS,
        *REFERENCES,
        *PAIR_RULES.values(),
        *MOTION_RIVALS,
        *CLASS_RIVALS,
        *EMPIRICAL_BAYES,
        *ALIGNED,
        *COURSE_RIVALS,
    )
}
"""The name of a row of a table → the rival."""


def rivals_of(question: Question, *, thorough: bool = True) -> list[Rival]:
    """The rivals that answer a question, in the order of the registry; without the thorough ones, if so wished."""
    return [rival for rival in RIVALS.values() if rival.answers(question) and (thorough or not rival.is_thorough)]
