"""The readers of one list of leaves, beside walks of their own on generated arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from random import Random
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.credentials.examples import example
from gateway.base.json import walk
from gateway.base.json.walk import leaves
from gateway.inspection import inspector as inspection
from gateway.inspection.credentials import ordinary, origins, ruleset
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.index import CredentialIndex
from gateway.inspection.credentials.known_spots import KnownSpots
from gateway.inspection.credentials.origins import KnownOrigins
from gateway.inspection.destinations.find import followable
from gateway.inspection.inspector import Inspector
from gateway.inspection.label_cases import labelled_for_call
from gateway.inspection.results import build_code_requests
from gateway.inspection.words.grounds import Grounds, grounds
from gateway.model.call import Call
from gateway.model.content import CallContent
from gateway.model.target import Effect, Labels, Target
from gateway.model.wire import Json, JsonObject
from gateway.record.journal.records import record_arguments

DETECTOR = Detector(ruleset.load(), Fingerprints(b"k" * 32))
OF = DETECTOR.fingerprints
SECRET = example("ghp_{w:30}{crc62}", Random(1))
GOAL = "Read the report of Ada at https://www.site.example/report and the notes of Bob"
TEXTS = st.sampled_from(
    ["ada", "Bob", "report", "the notes", "https://www.site.example/report", "eve", "", " ", SECRET]
)
NAMES = st.sampled_from(["path", "to", "a-b", "", "a b", "Ünï", "x" * 40, SECRET, "a/b", "~"])
VALUES = st.recursive(
    TEXTS | st.integers(-9, 10**9) | st.booleans() | st.none() | st.floats(0, 9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=9,
)
ARGUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)
LONG = st.integers(20, 40).map(lambda size: {"path": ["ada"] * size})
KEY = b"j" * 32


def all_values(value: Json) -> Iterator[Json]:
    """Yield each value in a document, itself among them."""
    yield value
    if isinstance(value, Mapping):
        for item in value.values():
            yield from all_values(item)
    elif isinstance(value, list):
        for item in value:
            yield from all_values(item)


def all_names(value: Json) -> Iterator[str]:
    for item in all_values(value):
        if isinstance(item, Mapping):
            yield from item


def named(arguments: JsonObject, goal: Grounds) -> bool | None:
    """Return whether the goal names each text, by a walk of its own."""
    values = list(all_values(arguments))
    said = [item for item in values if isinstance(item, str)]
    plain = all(inspection._MEMBER.fullmatch(name) for name in all_names(arguments))
    if len(values) > inspection.MAX_LOOKED_UP or not plain:
        return False
    if not all(goal.caseless and goal.names(followable(text) or text) for text in said):
        return False
    return True if said else None


@given(ARGUMENTS | LONG, st.sampled_from([GOAL, None]))
@settings(max_examples=500, deadline=None)
def test_a_goal_names_the_leaves_if_it_names_each_text(arguments: dict[str, Json], goal: str | None):
    given_by = grounds(goal, None)

    assert inspection._named(leaves(arguments), given_by) is named(arguments, given_by)


@given(ARGUMENTS)
def test_all_values_are_counted_and_blanks_are_noted(arguments: dict[str, Json]):
    walked, values = leaves(arguments), list(all_values(arguments))

    assert walked.values == len(values)
    assert walked.has_blank is ("" in [item for item in values if isinstance(item, str)] or "" in all_names(arguments))


def test_arguments_with_too_many_bytes_are_not_named(monkeypatch: pytest.MonkeyPatch):
    arguments: JsonObject = {"path": "ada", "to": "bob"}
    assert inspection._named(leaves(arguments), grounds(GOAL, None)) is True

    monkeypatch.setattr(walk, "MAX_BYTES", 8)

    assert inspection._named(leaves(arguments), grounds(GOAL, None)) is False


KNOWN = [KnownSpots(DETECTOR, [CredentialIndex({OF.of(SECRET): OF.shingles(SECRET)})]), KnownSpots(DETECTOR, [])]


@given(ARGUMENTS, st.sampled_from(KNOWN))
@settings(max_examples=133, deadline=None)
def test_leaves_hold_a_known_credential_if_their_value_does(arguments: dict[str, Json], known: KnownSpots):
    assert known.holds_leaves(leaves(arguments)) is known.holds_any(arguments)


@given(ARGUMENTS, st.sampled_from(KNOWN))
def test_the_record_is_the_same_with_leaves_made_before(arguments: dict[str, Json], known: KnownSpots):
    alone = record_arguments(arguments, "full", key=KEY, known=known)

    assert record_arguments(arguments, "full", key=KEY, known=known, walked=leaves(arguments)) == alone
    assert SECRET not in str(alone)


def target(name: str = "send", labels: Labels | None = None, kind: Any = "tool") -> Target:
    return Target(kind, "mail", name, "mail", labels=labels or Labels(Effect.READ))


def uncommon(arguments: JsonObject) -> bool:
    said = [str(item) for item in all_values(arguments) if type(item) in {str, int, float}]
    return any(map(ordinary.has_uncommon, (*said, *all_names(arguments))))


@given(ARGUMENTS)
def test_a_call_may_hold_a_lost_credential_if_any_text_or_name_is_uncommon(arguments: dict[str, Json]):
    content, shown = CallContent(), KnownOrigins().of("owner")

    assert shown is None
    assert origins._may_hold_lost(content, leaves(arguments), Mock()) is uncommon(arguments)


def test_more_than_is_walked_may_hold_a_lost_credential(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(walk, "MAX_BYTES", 4)

    assert origins._may_hold_lost(CallContent(), leaves({"a": "the", "b": "and"}), Mock())


@pytest.mark.parametrize("kind", ["tool", "resource", "prompt"])
@pytest.mark.parametrize("assumed", [frozenset[str](), frozenset({"effect"})])
@pytest.mark.parametrize("effect", list(Effect))
@pytest.mark.parametrize(
    "name", ["send", "request_code", "sendOtp", "request-new-verification-code", "request_code" + "_" * 200, "x" * 200]
)
def test_each_result_that_may_tell_of_a_code_is_searched_for_it(
    name: str, effect: Effect, assumed: frozenset[str], kind: Any
):
    labels = replace(Labels(effect), assumed=assumed)
    called = target(name, labels, kind)
    looked = Inspector(KEY, DETECTOR).result(Call("tools/call", called, {}), Mock(goal=None, contract=None))

    assert (looked.requests is None) is (build_code_requests(called) is None)


@pytest.mark.parametrize("arguments", [{}, {"query": "select 1"}])
def test_a_target_without_cases_keeps_its_labels(arguments: JsonObject):
    """The pipeline asks for no case of such a target."""
    called = target()

    assert labelled_for_call(called, arguments) is called
