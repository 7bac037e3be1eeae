from __future__ import annotations

import dataclasses
import math
import time

import numpy as np
import pytest

from motet.errors import InputError
from motet.plain import as_plain, digest, from_plain, read_json, read_yaml, to_yaml

ODD_TEXTS = [
    "no", "yes", "on", "2020-01-01", "1:30", "1e-3", "007", "0x1f", "0o7", "1_000", "~", "null", "true", "TRUE", ".nan",
    "-.inf", "", " ", "=", "<<", "!x", "&a", "*a", "# no", "a: b", "- a", "é", "a\nb", "\x1b[0m", "[", "'", '"', "3.0",
]  # fmt: skip


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_text_stays_text_from_yaml_to_yaml(text):
    value = {"list": [text], "names": {text: text}}
    assert read_yaml(to_yaml(value), what="it") == value


@pytest.mark.parametrize("number", [0, -3, 10**20, 1e-5, 1e300, -0.1, 5.0, math.inf, -math.inf, True, False, None])
def test_numbers_stay_numbers_from_yaml_to_yaml(number):
    found = read_yaml(to_yaml([number]), what="it")[0]
    assert found == number
    assert type(found) is type(number)


def test_values_that_are_shared_are_written_out():
    shared = [1, 2]
    assert read_yaml(to_yaml({"a": shared, "b": shared}), what="it") == {"a": [1, 2], "b": [1, 2]}


LAUGHS = "a0: &a0 [x, x, x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 3000 + "]" * 3000, "nested"),
        ("{a: " * 3000 + "}" * 3000, "nested"),
        ("- " * 21 + "1", "nested"),
        (LAUGHS, "alias"),
        ("a: &a 1\nb: 2", "alias"),
        ("a: !!binary aGk=", "tag"),
        ("a: !!python/object/apply:os.system [ls]", "tag"),
        ("!mine 1", "tag"),
        ("x" * 1_000_001, "letters"),
        ("seed: 1\nseed: 2", "seed is given twice"),
        ("{[1]: 2}", "unhashable"),
        ("a: b: c", "line 1"),
        ("a: " + "9" * 5000, "digit"),
        ("\x00", "character"),
        ("--- a\n--- b", "document"),
        ("%YAML 9.9\n--- a", "YAML document"),
    ],
)
def test_yaml_of_any_shape_is_read_or_refused_at_once(text, reason):
    started = time.process_time()
    with pytest.raises(InputError, match=f"options.yaml cannot be read .*{reason}.*; correct it"):
        read_yaml(text, what="options.yaml")
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000 + "]" * 100_000, "[" * 21 + "]" * 21, '{"a":' * 21 + "1" + "}" * 21, "{", "9" * 5000, "a", ""],
)
def test_json_of_any_shape_is_read_or_refused(text):
    with pytest.raises(InputError, match="it cannot be read .*; restore it"):
        read_json(text, what="it", advice="restore it")


def test_as_deep_as_allowed_is_read():
    assert read_json("[" * 20 + "]" * 20, what="it") == read_yaml("[" * 20 + "]" * 20, what="it")


ABOUT, ARRAYS = {"a": 1, "rows": [{"seconds": 3.0, "loss": 1.0}]}, {"x": np.arange(6.0).reshape(2, 3), "y": np.zeros(2)}


@pytest.mark.parametrize(
    ("about", "arrays"),
    [
        ({**ABOUT, "a": 2}, ARRAYS),
        ({**ABOUT, "b": None}, ARRAYS),
        ({"a": 1, "rows": [{"seconds": 3.0, "loss": 1.5}]}, ARRAYS),
        (ABOUT, {**ARRAYS, "x": ARRAYS["x"].T}),
        (ABOUT, {**ARRAYS, "x": ARRAYS["x"].reshape(3, 2)}),
        (ABOUT, {**ARRAYS, "x": ARRAYS["x"].astype(np.float32)}),
        (ABOUT, {**ARRAYS, "x": np.where(ARRAYS["x"] == 5, np.nextafter(5, 6), ARRAYS["x"])}),
        (ABOUT, {"z": ARRAYS["x"], "y": ARRAYS["y"]}),
        (ABOUT, {"x": ARRAYS["y"], "y": ARRAYS["x"]}),
        (ABOUT, {**ARRAYS, "z": np.zeros(0)}),
    ],
)
def test_a_digest_changes_with_everything(about, arrays):
    assert digest(about, arrays) != digest(ABOUT, ARRAYS)


def test_a_digest_does_not_change_with_order_or_what_is_left_out():
    later = {"rows": [{"loss": 1.0, "seconds": 9.0}], "a": 1}
    assert digest(later, dict(reversed(ARRAYS.items())), leave_out={"seconds"}) == digest(
        ABOUT, ARRAYS, leave_out={"seconds"}
    )
    assert digest(later, ARRAYS) != digest(ABOUT, ARRAYS)


@dataclasses.dataclass(frozen=True)
class Leg:
    name: str
    metres: float = 1.0
    stops: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Journey:
    legs: tuple[Leg, ...]
    first: Leg | None = None
    notes: dict[str, float] | None = None
    days: int | tuple[str, ...] = 1


def test_dataclasses_inside_of_dataclasses_are_made_again():
    journey = Journey((Leg("a", 2.0, (1, 2)), Leg("b")), Leg("c"), {"x": 1.0}, ("monday",))
    assert from_plain(Journey, as_plain(journey)) == journey
    assert from_plain(Journey, read_yaml(to_yaml(as_plain(journey)), what="it")) == journey


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        ({"legs": [{"nam": "a"}]}, "unknown field of .*legs 'nam'; did you mean 'name'"),
        ({"legs": [{"metres": 1.0}]}, "has no name"),
        ({"legs": [{"name": 3}]}, "name is 3; give a string"),
        ({"legs": {"name": "a"}}, "legs is"),
        ({"legs": [], "first": 3}, "first is 3; give names and values"),
        ({"legs": [{"name": "a", "stops": [1.5]}]}, "stops is 1.5; give a whole number"),
        ({"legs": [], "notes": {"x": "y"}}, "notes.x is 'y'; give a number"),
        ([], "give names and values"),
    ],
)
def test_what_is_not_as_its_type_says_is_refused_by_name(plain, words):
    with pytest.raises(InputError, match=words):
        from_plain(Journey, plain)
