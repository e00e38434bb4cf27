"""Words of arguments where not all of them matter."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.words.words import digests
from gateway.model.call import Call
from gateway.model.content import EVERYTHING, CallContent, Relevance
from gateway.model.target import Labels, Role, Target
from gateway.model.wire import JsonObject
from tests.unit.inspection.analysing import analyse

KEY = b"k" * 32


def content(arguments: JsonObject, relevance: Relevance = EVERYTHING) -> CallContent:
    target = Target("tool", "mail", "send", "mail", labels=Labels(roles={"/to": Role.DESTINATION}))
    return analyse(Call("tools/call", target, arguments), key=KEY, goal=None, contract=None, relevance=relevance)


@given(
    st.lists(st.sampled_from(['"', " ", ",", "\n", "DE89 3704 0044 0532 0130 00", "zanzibarian", "ΣΑΣ"]), max_size=120)
)
def test_where_one_word_is_enough_no_word_is_found_that_the_whole_text_has_not(parts: list[str]):
    """However the text is cut."""
    arguments: JsonObject = {"body": "".join(parts)}
    everything = content(arguments).tokens

    one = content(arguments, Relevance("one")).tokens
    assert one <= everything
    assert bool(one) == bool(everything)


def test_where_one_word_is_enough_and_the_beginning_has_none_the_whole_text_is_looked_at():
    common, hidden = "zanzibarian, " * 100, base64.b64encode(b"albuquerquean").decode()
    trusted = digests([b"zanzibarian"], KEY)

    def beyond(text: str) -> frozenset[int]:
        return content({"body": text}, Relevance("one", trusted)).tokens - trusted

    assert beyond(common) == frozenset()
    assert beyond(f"{common[:104]}constantinople, {common}") == digests([b"constantinople"], KEY)
    assert beyond(f"{common}constantinople") == digests([b"constantinople"], KEY)
    assert beyond(f"{common}{hidden}") >= digests([b"albuquerquean"], KEY)
    assert beyond(f"constantinople, {common} uncomfortably") == digests([b"constantinople"], KEY)


def test_words_that_are_not_wanted_are_not_looked_for():
    found = content({"to": "ana@corp.example", "body": "zanzibarian"}, Relevance("none"))

    assert found.tokens == frozenset()
    assert set(found.destinations.values()) == {"ana@corp.example"}
