"""What sessions, tasks and processes are bound to: the same for each token of a caller, and another for each other caller."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.model.caller import Actor, AuthMethod, Principal, User

CALLER = Principal("agent", "https://idp.example", AuthMethod.JWT, user=User("ada"), delegation=(Actor("a", "i"),))


@pytest.mark.parametrize(
    "other",
    [
        replace(CALLER, token_id="another", scopes=frozenset({"more"}), bound=True),
        replace(CALLER, user=User("ada", ("admins",))),
        replace(CALLER, method=AuthMethod.SPIFFE_JWT),
    ],
)
def test_another_token_of_a_caller_has_its_key(other: Principal):
    assert other.key == CALLER.key


@pytest.mark.parametrize(
    "other",
    [
        replace(CALLER, id="agents"),
        replace(CALLER, issuer="https://idp.example/"),
        replace(CALLER, user=None),
        replace(CALLER, user=User("eve")),
        replace(CALLER, delegation=()),
        replace(CALLER, delegation=(Actor("a", None),)),
        replace(CALLER, delegation=(Actor("ai", ""),)),
        replace(CALLER, delegation=(Actor("a", "i"), Actor("b", "i"))),
        replace(CALLER, id="agentada", user=User("")),
    ],
)
def test_another_caller_has_another_key(other: Principal):
    assert other.key != CALLER.key


def test_the_parties_are_the_issuer_the_agent_and_the_user():
    issuer, agent, user = CALLER.parties

    assert replace(CALLER, user=None).parties == (issuer, agent)
    assert replace(CALLER, user=User("eve")).parties[:2] == (issuer, agent)
    assert replace(CALLER, id="another", delegation=()).parties[::2] == (issuer, user)
    assert {issuer, agent, user}.isdisjoint(replace(CALLER, issuer="https://other.example").parties)
    assert len({issuer, agent, user, *replace(CALLER, id="ada", user=User("agent")).parties}) == 5
    assert CALLER.key not in repr(CALLER)
