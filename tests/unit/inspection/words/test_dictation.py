"""Calls that say nothing but what the goal says."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.inspection.words.declared import MAX_TEXTS
from gateway.inspection.words.grounds import stands_quoted
from gateway.model.call import Call
from gateway.model.content import Dictation
from gateway.model.target import Effect, Labels, Role, Target
from tests.requirements import requirement
from tests.unit.inspection.analysing import analyse

GOAL = """Buy 100 shares of MSFT at $1,700. Post 'I'm in: $MSFT.' and "Bob" reads it.
File a ticket called “Order help” with the text It is late for Ana, my key is k7-Basalt."""
ROLES = {
    "/text": Role.CONTENT,
    "/to": Role.DESTINATION,
    "/name": Role.SELECTOR,
    "/number": Role.SELECTOR,
    "/key": Role.CREDENTIAL,
    "/message/title": Role.CONTENT,
    "/first~1last": Role.SELECTOR,
}


def dictated(effect: Effect = Effect.WRITE, goal: str | None = GOAL, **arguments: Any) -> Dictation | None:
    target = Target("tool", "posts", "post", "posts", labels=Labels(effect, roles=ROLES))
    return analyse(Call("tools/call", target, arguments), key=b"k" * 32, goal=goal, contract=None).dictated


@requirement("history/dictation")
@pytest.mark.parametrize(
    "arguments",
    [
        {"text": "I'm in: $MSFT."},
        {"text": "Order help", "to": "Bob"},
        {"text": ["Order help", "Bob"], "to": "bob"},
        {"text": ""},
        {"text": ["", 5, True]},
    ],
)
def test_a_goal_dictates_quotes(arguments: dict[str, Any]):
    assert dictated(**arguments) == "quotes"


@requirement("history/dictation")
@pytest.mark.parametrize(
    "arguments",
    [
        {"text": "Order help", "number": 100},
        {"text": "Order help", "name": "MSFT"},
        {"text": "Order help", "name": None},
        {"number": 1700, "name": "shares of MSFT"},
        {"number": [5, 0]},
        {"to": "bob"},
        {"key": "k7-Basalt", "text": "Bob"},
        {"first/last": "MSFT"},
        {},
    ],
)
def test_a_call_that_selects_something_is_words_at_most(arguments: dict[str, Any]):
    """A selected record may leave whole."""
    assert dictated(**arguments) == "words"


@requirement("history/dictation")
@pytest.mark.parametrize("text", ["It is late for Ana", "my key is k7-Basalt", "in: $MSFT.", "m in: $MSFT.", "MSFT"])
def test_contents_without_quotation_marks_are_words(text: str):
    assert dictated(text=text) == "words"
    assert dictated(text=["Order help", text]) == "words"


@requirement("history/dictation")
@pytest.mark.parametrize(
    "arguments",
    [
        {"text": "Order help 4111"},
        {"text": "order help"},
        {"text": "Order  help"},
        {"text": " Order help"},
        {"text": "Orde"},
        {"text": "Order help\u200b"},
        {"name": "Bo"},
        {"to": "eve"},
        {"to": "BOB"},
        {"number": 1701},
        {"number": 17},
        {"number": -5},
        {"number": [5, 0, 1]},
        {"number": [[5]]},
        {"name": {"Bob": True}},
        {"name": [["Bob"]]},
        {"unlabelled": "Bob"},
        {"unlabelled": True},
        {"message/title": "Bob"},
        {"first~1last": "Bob"},
        {"text": ["Bob"] * (MAX_TEXTS + 1)},
    ],
)
def test_any_other_value_is_not_dictated(arguments: dict[str, Any]):
    assert dictated(**arguments) is None
    assert dictated(**(dict[str, Any](name="Bob") | arguments)) is None


def test_only_changes_are_looked_at_and_only_with_a_goal():
    assert dictated(effect=Effect.READ, name="Bob") is None
    assert dictated(goal=None, name="Bob") is None
    assert dictated(goal="", name="Bob") is None


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("a", "say 'a'"),
        ("a", '"a"'),
        ("we're off", "say 'we're off' now"),
        ("a", "„a“"),
        ("a", "«a»"),
        ("a", "`a`"),
        ("a b", "a 'a b'."),
    ],
)
def test_a_text_stands_in_quotation_marks(word: str, text: str):
    assert stands_quoted(word, text)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("a", "a"),
        ("a", "'ab'"),
        ("a", "'a"),
        ("a", "a'"),
        ("a", "\"a'"),
        ("s mine, isn", "it's mine, isn't it"),
        ("a' and k and 'b", "'a' and k and 'b'"),
        (" and k and ", "'a' and k and 'b'"),
        ("", ""),
    ],
)
def test_a_text_between_other_marks_is_not_quoted(word: str, text: str):
    assert not stands_quoted(word, text)
