from typing import TYPE_CHECKING

import pytest

from gateway.identity import claims
from gateway.identity.outcomes import CredentialFault
from gateway.model import reasons
from gateway.model.caller import Actor

if TYPE_CHECKING:
    from gateway.model.wire import Json

GATEWAY = "https://gateway.example/mcp"
TRUST = claims.Trust(frozenset({"https://idp.example", "spiffe://corp"}), frozenset({GATEWAY}))


def nested(depth: int) -> "Json":
    link: dict[str, Json] = {"sub": "a0"}
    for number in range(1, depth):
        link = {"sub": f"a{number}", "act": link}
    return link


def test_a_chain_is_read_with_the_present_actor_first():
    before: Json = {"sub": "spiffe://corp/before", "act": {"sub": "first"}}
    act: Json = {"sub": "now", "iss": "https://idp.example", "act": before}
    assert claims.read_chain(act, TRUST) == (
        Actor("now", "https://idp.example"),
        Actor("spiffe://corp/before", None),
        Actor("first", None),
    )


def test_eight_links_are_read_and_nine_are_refused():
    links = claims.read_chain(nested(8), TRUST)
    assert not isinstance(links, CredentialFault)
    assert len(links) == 8
    assert claims.read_chain(nested(9), TRUST) == CredentialFault(
        reasons.IDENTITY_DELEGATION, "the delegation chain is longer than 8 links"
    )


@pytest.mark.parametrize(
    "act",
    [
        None,
        "agent",
        [],
        [{"sub": "a"}],
        {},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "a\nb"},
        {"sub": "spiffe://corp"},
        {"sub": "spiffe://corp/a/"},
        {"sub": "SPIFFE://corp/a"},
        {"sub": "a", "act": None},
        {"sub": "a", "act": {}},
        {"sub": "a", "act": {"iss": "https://idp.example"}},
        {"sub": "a", "iss": "https://evil.example"},
        {"sub": "a", "iss": None},
        {"sub": "a", "iss": ["https://idp.example"]},
        {"sub": "a", "act": {"sub": "b", "iss": "https://evil.example"}},
    ],
)
def test_a_link_that_is_not_sound_refuses_the_chain(act: "Json"):
    result = claims.read_chain(act, TRUST)
    assert isinstance(result, CredentialFault)
    assert result.code == "identity/delegation"


def test_links_that_were_made_out_to_the_next_actor_pass():
    act: Json = {"sub": "b", "aud": [GATEWAY, "other"], "act": {"sub": "a", "aud": "b"}}
    assert claims.read_chain(act, TRUST) == (Actor("b", None), Actor("a", None))


@pytest.mark.parametrize(
    "act",
    [
        {"sub": "b", "act": {"sub": "a", "aud": "c"}},
        {"sub": "b", "act": {"sub": "a", "aud": [GATEWAY]}},
        {"sub": "b", "act": {"sub": "a", "aud": []}},
        {"sub": "b", "act": {"sub": "a", "aud": ["b", 7]}},
        {"sub": "b", "act": {"sub": "a", "aud": None}},
        {"sub": "b", "aud": "https://other.example/mcp"},
        {"sub": "c", "act": {"sub": "b", "aud": "c", "act": {"sub": "a", "aud": "c"}}},
    ],
)
def test_spliced_links_are_refused(act: "Json"):
    result = claims.read_chain(act, TRUST)
    assert isinstance(result, CredentialFault)
    assert result.detail == "a link of the delegation chain was made out to somebody else than the next actor"


@pytest.mark.parametrize("may_act", [{"sub": "a"}, {"sub": "a", "iss": "https://idp.example"}, {"sub": "a", "x": 1}])
def test_may_act_that_names_the_present_actor_passes(may_act: "Json"):
    assert claims.permits(may_act, Actor("a", "https://idp.example")) is None


@pytest.mark.parametrize(
    "may_act",
    [None, "a", [], {}, {"client_id": "a"}, {"sub": 7}, {"sub": ["a"]}, {"sub": "b"}, {"sub": "a", "iss": "https://x"}],
)
def test_may_act_that_names_another_or_nobody_is_refused(may_act: "Json"):
    fault = claims.permits(may_act, Actor("a", "https://idp.example"))
    assert fault is not None
    assert fault.code == "identity/delegation"
