"""What a stop covers: names as they stand, at their issuer, and nothing beside."""

from __future__ import annotations

import pytest

from gateway.authority.stops.model import Parties, Selection, Stop, StopRegister
from gateway.model.caller import Actor, AuthMethod, Principal, User

IDP, OTHER = "https://idp.example", "https://other.example"
ALONE = Principal("triage", IDP, AuthMethod.JWT)
FOR_ALICE = Principal("triage", IDP, AuthMethod.JWT, user=User("alice"))
DELEGATED = Principal(
    "mailer", IDP, AuthMethod.JWT, user=User("alice"), delegation=(Actor("mailer", None), Actor("planner", OTHER))
)
ELSEWHERE = Principal("triage", OTHER, AuthMethod.JWT)
ALICE = Principal("alice", IDP, AuthMethod.JWT)


@pytest.mark.parametrize(
    ("chosen", "covered"),
    [
        (Selection("agent", "triage"), {"alone", "for alice", "elsewhere"}),
        (Selection("agent", "triage", IDP), {"alone", "for alice"}),
        (Selection("agent", "triage", OTHER), {"elsewhere"}),
        (Selection("agent", "planner"), {"delegated"}),
        (Selection("agent", "planner", OTHER), {"delegated"}),
        (Selection("agent", "planner", IDP), set[str]()),
        (Selection("agent", "mailer", IDP), {"delegated"}),
        (Selection("agent", "alice"), {"alice"}),
        (Selection("user", "alice"), {"for alice", "delegated", "alice"}),
        (Selection("user", "alice", OTHER), set[str]()),
        (Selection("user", "triage"), {"alone", "elsewhere"}),
        (Selection("all"), {"alone", "for alice", "delegated", "elsewhere", "alice"}),
        *(
            (Selection("agent", name), set[str]())
            for name in ("Triage", "triage ", "tri*", "*", "", "ｔriage", "triag")
        ),
    ],
)
def test_a_stop_covers_the_callers_of_its_name_at_its_issuer(chosen: Selection, covered: set[str]):
    callers = {
        "alone": ALONE, "for alice": FOR_ALICE, "delegated": DELEGATED, "elsewhere": ELSEWHERE, "alice": ALICE,
    }  # fmt: skip
    register = StopRegister()
    register.put(_stop("s1", chosen))

    assert {name for name, caller in callers.items() if register.find(caller) is not None} == covered
    assert {name for name, caller in callers.items() if chosen.covers(Parties.of(caller))} == covered


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        (Selection("upstream", "mail"), [("mail", None), ("mail", "t1"), ("mail", "t2")]),
        (Selection("task", "t1"), [("mail", "t1"), ("crm", "t1")]),
        (Selection("task", "t"), []),
        (Selection("upstream", "*"), []),
    ],
)
def test_a_stop_of_a_system_or_a_task_covers_its_requests_alone(chosen: Selection, found: list[tuple[str, str | None]]):
    register = StopRegister()
    register.put(_stop("s1", chosen))
    asked = [(upstream, task) for upstream in ("mail", "crm") for task in (None, "t1", "t2")]

    assert [each for each in asked if register.find(ALONE, *each) is not None] == found
    assert register.find(ALONE) is None


def test_one_of_two_stops_that_cover_a_call_leaves_the_other():
    register = StopRegister()
    for number, chosen in enumerate((Selection("agent", "triage"), Selection("agent", "triage"), Selection("all"))):
        register.put(_stop(f"s{number}", chosen))

    for identifier in ("s2", "s0"):
        assert register.remove(identifier) is not None
        assert register.find(ALONE) is not None
    assert register.remove("s0") is None
    assert register.remove("s1") is not None
    assert register.find(ALONE) is None
    assert not register.stops


def _stop(identifier: str, chosen: Selection) -> Stop:
    return Stop(identifier, chosen, 1.0, None, "a test", {"id": "account 0"})
