from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.history.events import Released, Settled, ShownCredential, Touch, make_opening
from gateway.history.facts import depth_of, facts
from gateway.history.fold import apply
from gateway.history.reach import WINDOW
from gateway.history.state import ENDLESS, TaskState
from gateway.model.caller import Actor, AuthMethod, Principal
from gateway.model.content import CallContent, Sighting
from gateway.model.facts import SessionFacts, TaskLabels
from gateway.model.target import Role, Sensitivity, Target
from tests.unit.history.made_events import make_observed, make_reserved

TOUCHES = st.builds(
    Touch,
    audience=st.sampled_from(["a", "b", "c"]),
    write=st.booleans(),
    tenant=st.sampled_from([None, "x", "y"]),
    environment=st.sampled_from([None, "staging", "production"]),
    behind=st.sampled_from([(), ("d",), ("d", "e")]),
)


def _reserve(state: TaskState, call: str, audience: str, at: float = 0, **fields: Any) -> None:
    touch = Touch(audience, write=False, tenant=None, environment=None)
    apply(state, make_reserved(call, state.number + 1, at, touch, **fields))


def test_the_first_call_is_in_its_own_facts():
    state = TaskState()
    touch = Touch("mail", write=True, tenant="acme", environment=None)
    apply(state, make_reserved("c", 1, 0, touch, destinations=(7,)))

    assert facts(state, 0, call="c", content=CallContent(destinations={7: "a@b.example"}), depth=3) == SessionFacts(
        calls=1,
        in_flight=1,
        audiences=frozenset({"mail"}),
        write_audiences=frozenset({"mail"}),
        tenants=frozenset({"acme"}),
        environments=frozenset(),
        denials=0,
        audiences_in_window=frozenset({"mail"}),
        destinations=1,
        call_destinations=("a@b.example",),
        depth=3,
        spread=0,
        credentials=(),
        labels=TaskLabels(untrusted=False, confidentiality=Sensitivity.PUBLIC),
        ungrounded=(),
        followed=(),
        approvals_used=0,
        unnamed_destinations=1,
        own_destinations=0,
        raises={},
    )


@pytest.mark.parametrize(("behind", "depth"), [(None, 2), (("crm", "mail"), 3), ((), None)])
def test_an_aggregator_is_one_hand_more(behind: tuple[str, ...] | None, depth: int | None):
    who = Actor("a", "https://idp.example")
    principal = Principal("agent", "https://idp.example", AuthMethod.JWT, delegation=(who, who))

    assert depth_of(principal, Target("tool", "hub", "use", "hub", aggregates=behind)) == depth


@pytest.mark.parametrize(
    ("above", "depth"),
    [((), 2), (("worker",), 2), (("lead", "worker"), 2), (("boss", "lead", "boss"), 3), (("boss", "chief"), 4)],
)
def test_an_agent_of_a_task_above_is_one_hand_more_unless_the_token_names_it(above: tuple[str, ...], depth: int):
    issuer = "https://idp.example"
    delegation = (Actor("worker", issuer), Actor("lead", issuer))
    principal = Principal("worker", issuer, AuthMethod.JWT, delegation=delegation)

    assert depth_of(principal, Target("tool", "crm", "find", "crm"), above) == depth
    assert depth_of(principal, Target("tool", "hub", "find", "hub", aggregates=()), above) is None


def test_an_agent_behind_a_tool_is_one_hand_more():
    principal = Principal(
        "agent", "https://idp.example", AuthMethod.JWT, delegation=(Actor("a", "https://idp.example"),)
    )

    assert depth_of(principal, Target("tool", "aide", "ask", "aide", is_agent=True)) == 2
    assert depth_of(principal, Target("tool", "aide", "ask", "aide", aggregates=("crm",), is_agent=True)) == 3
    assert depth_of(principal, Target("tool", "aide", "ask", "aide", aggregates=(), is_agent=True)) is None


def test_the_systems_behind_an_aggregator_are_touched_with_it():
    state = TaskState()
    hub = Touch("hub", write=True, tenant=None, environment=None, behind=("crm", "mail"))
    apply(state, make_reserved("c", 1, 0, hub))
    open_, everything = facts(state, 10**6), frozenset({"hub", "crm", "mail"})
    apply(state, Settled("c"))
    settled, later = facts(state, WINDOW), facts(state, WINDOW + 1)

    for known in (open_, settled, later):
        assert (known.audiences, known.write_audiences) == (everything, everything)
    assert [known.audiences_in_window for known in (open_, settled, later)] == [everything, everything, frozenset()]


def test_a_credential_that_stands_in_the_goal_is_the_users():
    state = TaskState()
    named = Sighting("f1", "named-password", "/password", Role.CREDENTIAL)
    elsewhere = Sighting("f1", "named-password", "/note", Role.CONTENT)
    in_a_grounded_url = Sighting("f1", "named-password", "/url", Role.DESTINATION)
    decoded = Sighting("f2", "named-password", "/password", Role.CREDENTIAL, form="base64")
    _reserve(state, "c", "bank", credentials=("f1", "f2"))
    content = CallContent(
        sightings=(named, elsewhere, decoded, in_a_grounded_url), grounded=frozenset({"/password", "/url"})
    )

    found = facts(state, 0, call="c", content=content).credentials

    assert found is not None
    assert [credential.origin.kind for credential in found] == ["user", "unknown", "unknown", "unknown"]


def test_a_credential_that_another_task_was_shown_is_that_systems_whatever_the_goal_says():
    state = TaskState()
    apply(state, make_opening((), (ShownCredential("f1"),)))
    _reserve(state, "c", "bank", credentials=("f1", "f2"))
    told = Sighting("f1", "named-password", "/password", Role.CREDENTIAL, shown_by="vault")
    named = Sighting("f2", "named-password", "/pin", Role.CREDENTIAL, shown_by="vault")
    content = CallContent(sightings=(told, named), grounded=frozenset({"/password", "/pin"}))

    found = facts(state, 0, call="c", content=content).credentials

    assert found is not None
    assert [(one.origin.kind, one.origin.audience) for one in found] == [("result", "vault")] * 2


def test_a_credential_that_this_task_was_shown_too_is_of_the_system_that_showed_it_here():
    state = TaskState()
    _reserve(state, "1", "files")
    apply(state, make_observed("1", (ShownCredential("f1"),)))
    apply(state, Settled("1"))
    _reserve(state, "2", "bank", credentials=("f1",))
    content = CallContent(sightings=(Sighting("f1", "jwt", "/x", shown_by="vault"),))

    found = facts(state, 0, call="2", content=content).credentials

    assert found is not None
    assert [(one.origin.kind, one.origin.audience, one.origin.call) for one in found] == [("result", "files", 1)]


def test_a_credential_of_a_result_stays_one_though_the_goal_has_it_too():
    state = TaskState()
    _reserve(state, "1", "files")
    apply(state, make_observed("1", (ShownCredential("f1"),)))
    apply(state, Settled("1"))
    _reserve(state, "2", "bank", credentials=("f1",))
    named = Sighting("f1", "named-password", "/password", Role.CREDENTIAL)
    content = CallContent(sightings=(named,), grounded=frozenset({"/password"}))

    found = facts(state, 0, call="2", content=content).credentials

    assert found is not None
    assert [(credential.origin.kind, credential.origin.audience) for credential in found] == [("result", "files")]


def test_without_a_call_only_what_was_is_in_the_facts():
    known = facts(TaskState(), 0)

    assert (known.calls, known.in_flight, known.audiences) == (0, 0, frozenset())
    assert (known.credentials, known.call_destinations, known.ungrounded, known.depth) == (None, None, None, None)
    assert known.followed is None


def test_a_system_leaves_the_window_when_its_last_call_began_long_enough_ago():
    state = TaskState()
    for call, audience, at in [("1", "a", 0), ("2", "b", 50), ("3", "a", 20)]:
        _reserve(state, call, audience, at)
        apply(state, Settled(call))

    def window(now: float) -> frozenset[str] | None:
        return facts(state, now).audiences_in_window

    assert window(20 + WINDOW) == {"a", "b"}
    assert window(20 + WINDOW + 0.1) == {"b"}
    assert window(1000) == frozenset()


def test_a_call_that_is_open_is_in_the_window_however_long():
    state = TaskState()
    _reserve(state, "1", "a", 0)

    assert facts(state, 10_000).audiences_in_window == {"a"}


def test_a_clock_that_goes_back_takes_nothing_out_of_the_window():
    state = TaskState()
    _reserve(state, "1", "a", 500)
    apply(state, Settled("1"))
    _reserve(state, "2", "a", 0)
    apply(state, Settled("2"))

    assert facts(state, 0).audiences_in_window == {"a"}
    assert facts(state, 500 + WINDOW).audiences_in_window == {"a"}


@given(st.lists(st.tuples(TOUCHES, st.sampled_from(["settle", "deny", "drop", "leave"]))))
def test_facts_are_those_of_the_calls_that_were_not_taken_back(history: list[tuple[Touch, str]]):
    state = TaskState()
    for number, (touch, end) in enumerate(history, 1):
        call = str(number)
        apply(state, make_reserved(call, number, 0, touch))
        if end == "settle":
            apply(state, Settled(call))
        elif end != "leave":
            apply(state, Released(call, denied=end == "deny"))

    known = facts(state, 0)

    counted = [touch for touch, end in history if end in {"settle", "leave"}]
    assert known.calls == len(counted)
    assert known.in_flight == sum(end == "leave" for _, end in history)
    assert known.audiences == {system for touch in counted for system in (touch.audience, *touch.behind)}
    assert known.write_audiences == {
        system for touch in counted if touch.write for system in (touch.audience, *touch.behind)
    }
    assert known.tenants == {touch.tenant for touch in counted} - {None}
    assert known.environments == {touch.environment for touch in counted} - {None}
    assert known.denials == sum(end == "deny" for _, end in history)


# --- handles -------------------------------------------------------------------------------------------


def _presented(state: TaskState, handle: str) -> list[tuple[str, str | None, int | None, int]]:
    _reserve(state, "c-2", "billing", credentials=("f1",))
    content = CallContent(sightings=(Sighting("f1", "jwt", "/token", Role.CREDENTIAL, "handle", handle=handle),))
    found = facts(state, 0, call="c-2", content=content).credentials
    assert found is not None
    return [(item.origin.kind, item.origin.audience, item.origin.call, item.chain_depth) for item in found]


def _shown(audience: str) -> TaskState:
    state = TaskState()
    _reserve(state, "c-1", audience)
    return apply(state, make_observed("c-1", credentials=(ShownCredential("f1"),)))


def test_a_credential_behind_a_handle_is_of_the_audience_of_the_handle():
    assert _presented(_shown("crm"), "crm") == [("result", "crm", 1, 0)]


def test_what_another_system_has_shown_first_is_that_ones_too():
    assert _presented(_shown("mail"), "crm") == [("result", "crm", None, 0), ("result", "mail", 1, 0)]


def test_of_a_handle_that_came_outside_of_calls_the_worst_is_assumed():
    state = TaskState()
    assert _presented(state, "crm") == [("result", "crm", None, ENDLESS)]
    content = CallContent(sightings=(Sighting("f1", "jwt", handle="crm"),))
    known = facts(state, 0, call="c-2", content=content).credentials
    assert known is not None
    assert [fact.minted_in_task for fact in known] == [True]


def test_a_handle_for_what_the_user_gave_is_still_of_its_audience():
    state = apply(TaskState(), make_opening((), (ShownCredential("f1"),)))

    assert _presented(state, "crm") == [("result", "crm", None, 0)]
