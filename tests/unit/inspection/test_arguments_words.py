"""Which credentials in arguments are ordinary words, and which words a call says."""

from __future__ import annotations

import base64

import pytest

from gateway.inspection.credentials import ruleset
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.words.words import digest
from gateway.model.call import Call
from gateway.model.content import Relevance
from gateway.model.target import Effect, Labels, Target
from gateway.model.wire import Json, JsonObject
from tests.unit.inspection.analysing import analyse

KEY = b"k" * 32


def call(arguments: JsonObject) -> Call:
    target = Target("tool", "crm", "find", "crm", labels=Labels(effect=Effect.READ))
    return Call("tools/call", target, arguments)


DETECTOR = Detector(ruleset.load(), Fingerprints(b"f" * 32))


def named(value: str, goal: str | None = None, **arguments: Json) -> list[tuple[str, bool, bool]]:
    """The sightings of a known credential `value`: pointer, whether it is an ordinary word, whether the goal has it."""
    known = {DETECTOR.fingerprints.of(value): DETECTOR.fingerprints.shingles(value)}
    found = analyse(call(arguments), key=KEY, goal=goal, contract=None, detector=DETECTOR, known=known)
    return sorted((item.pointer, item.word == digest(value, KEY), item.in_goal) for item in found.sightings)


def test_an_ordinary_value_that_stands_as_it_is_is_a_word():
    assert named("customer_4711_eu1", id="customer_4711_eu1") == [("/id", True, False)]
    assert named("customer_4711_eu1", body="Close customer_4711_eu1, please") == [("/body", True, False)]
    assert named("customer_4711_eu1", "Close customer_4711_eu1.", id="customer_4711_eu1") == [("/id", True, True)]
    assert named("customer_4711_eu1", "Close customer_4711_eu12.", id="customer_4711_eu1") == [("/id", True, False)]


@pytest.mark.parametrize(
    ("value", "argument"),
    [
        ("q8Zt3LmW0xR5vN1cYb6D", "q8Zt3LmW0xR5vN1cYb6D"),
        ("customer_4711_eu1", base64.b64encode(b"customer_4711_eu1").decode()),
        ("customer_4711_eu1", "customer 4711 eu1"),
        ("customer_4711_eu1", "x" * 4_096 + " customer_4711_eu1"),
    ],
)
def test_a_secret_and_a_disguised_value_are_no_word(value: str, argument: str):
    assert named(value, f"Use {value}", id=argument) == [("/id", False, False)]


def test_the_words_of_small_arguments_are_always_told_and_those_of_large_ones_if_they_are_looked_for():
    little = Relevance("none")
    assert analyse(call({"id": "quillfeather"}), key=KEY, goal=None, contract=None, relevance=little).words == {
        digest("quillfeather", KEY)
    }
    large = call({"id": "quillfeather " * 400})
    assert analyse(large, key=KEY, goal=None, contract=None, relevance=little).words is None
    assert analyse(large, key=KEY, goal=None, contract=None).words == {digest("quillfeather", KEY)}
