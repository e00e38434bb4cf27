from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.authority.signals.subjects import (
    ANYBODY,
    SignalSubject,
    caller_keys,
    digest_subject,
    index_keys,
    issuers_named,
    may_name,
    names,
    names_session_only,
    read_subject,
)
from gateway.model.caller import Actor, AuthMethod, Principal, User
from tests.signalling import ISSUER, account, opaque, whole

OURS = frozenset({ISSUER})
ANN = Principal(
    "agent",
    ISSUER,
    AuthMethod.JWT,
    user=User("ann", ("sre",)),
    token_id="at-1",
    session="s-1",
    email="Ann@Corp.example",
)
BOB = Principal("agent", ISSUER, AuthMethod.JWT, user=User("bob"), token_id="at-2", session="s-2")
STRANGER = Principal("agent", "https://other.example", AuthMethod.JWT, user=User("ann"), email="ann@corp.example")
DELEGATED = Principal(
    "planner", "https://other.example", AuthMethod.JWT, user=User("eve"), delegation=(Actor("helper", ISSUER),)
)
WORKLOAD = Principal("spiffe://corp/agent", "spiffe://corp", AuthMethod.SPIFFE_X509)


def subject(value: dict[str, Any]) -> SignalSubject:
    found = read_subject(value)
    assert found is not None
    return found


def named(value: dict[str, Any], *, issuers: frozenset[str] = OURS) -> str:
    """Return the names of the callers that a subject names."""
    people = {"ann": ANN, "bob": BOB, "stranger": STRANGER, "delegated": DELEGATED}
    return " ".join(name for name, principal in people.items() if names(subject(value), principal, issuers))


@pytest.mark.parametrize(
    ("value", "who"),
    [
        (account("ann"), "ann"),
        (account("agent"), "ann bob"),
        (account("nobody"), ""),
        (account("helper"), "delegated"),
        (account("ann", "https://other.example"), ""),
        (opaque("ann"), "ann"),
        (opaque("s-2"), "bob"),
        ({"format": "email", "email": "ANN@corp.EXAMPLE"}, "ann"),
        ({"format": "account", "uri": "acct:ann@corp.example"}, "ann"),
        ({"format": "jwt_id", "iss": ISSUER, "jti": "at-2"}, "bob"),
        ({"format": "phone_number", "phone_number": "+1"}, ""),
        ({"format": "aliases", "identifiers": [opaque("zed"), account("bob")]}, "bob"),
        (
            {"format": "aliases", "identifiers": [{"format": "phone_number", "phone_number": "+1"}, account("bob")]},
            "bob",
        ),
        (whole(user=account("ann"), session=opaque("s-1")), "ann"),
        (whole(user=account("ann"), session=opaque("s-9")), ""),
        (whole(user=account("ann"), session=opaque("ALL")), "ann"),
        (whole(session=opaque("s-2")), "bob"),
        (whole(session=opaque("ALL")), ""),
        (whole(user=account("ann"), tenant=opaque("t-1")), "ann"),
        (whole(tenant=opaque("t-1")), ""),
        (whole(user=account("ann"), device=account("laptop")), "ann"),
        (whole(device=account("ann")), ""),
        (whole(device={"format": "jwt_id", "iss": ISSUER, "jti": "at-2"}), "bob"),
        (whole(group=opaque("sre")), "ann"),
        (whole(user=account("ann"), application=opaque("agent")), "ann"),
        (whole(user=account("ann"), application=opaque("other")), ""),
        (whole(user={"format": "email", "email": "bob@corp.example"}, session=opaque("s-2")), "bob"),
        (whole(user=account("ann"), future=opaque("x")), "ann"),
        ({"format": "invented", "x": 1}, ""),
    ],
)
def test_a_subject_names_the_callers_that_fit_all_its_members(value: dict[str, Any], who: str):
    assert named(value) == who
    assert who == "" or may_name(subject(value))


def test_a_transmitter_cannot_speak_about_callers_of_another_issuer():
    both = OURS | {"https://other.example"}

    assert named({"format": "email", "email": "ann@corp.example"}) == "ann"
    assert named({"format": "email", "email": "ann@corp.example"}, issuers=both) == "ann stranger"
    assert issuers_named(subject(whole(user=account("x", "https://other.example")))) == {"https://other.example"}
    assert not names(SignalSubject(), STRANGER, OURS)
    assert names(SignalSubject(), ANN, OURS)


def test_a_workload_is_named_by_its_uri():
    value = subject({"format": "uri", "uri": "spiffe://corp/agent"})

    assert names(value, WORKLOAD, frozenset({"spiffe://corp"}))
    assert not names(value, ANN, OURS)


@pytest.mark.parametrize(
    ("value", "is_only"),
    [
        (account("ann"), False),
        (whole(user=account("ann"), session=opaque("s-1")), True),
        (whole(user=account("ann"), session=opaque("ALL")), False),
        ({"format": "jwt_id", "iss": ISSUER, "jti": "at-1"}, True),
    ],
)
def test_a_subject_of_one_session_is_told_from_one_of_a_user(value: dict[str, Any], is_only: bool):  # noqa: FBT001
    assert names_session_only(subject(value)) is is_only


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"format": 5},
        {"format": ""},
        {"format": "iss_sub", "iss": ISSUER},
        {"format": "iss_sub", "iss": ISSUER, "sub": ["ann"]},
        {"format": "opaque", "id": ""},
        {"format": "opaque", "id": "x" * 2049},
        {"format": "opaque", "id": "a\x00b"},
        {"format": "email"},
        {"format": "complex"},
        {"format": "complex", "user": "ann"},
        {"format": "complex", "user": {"format": "complex", "user": account("ann")}},
        {"format": "complex", "user": account("ann"), "session": {"format": "opaque"}},
        {"format": "complex", "user": account("ann"), "future": "x"},
        {"format": "aliases", "identifiers": []},
        {"format": "aliases", "identifiers": [{"format": "aliases", "identifiers": [account("ann")]}]},
        {"format": "aliases", "identifiers": [account("ann")] * 17},
        {"format": "aliases", "identifiers": [account("ann"), "bob"]},
    ],
)
def test_a_malformed_subject_is_no_subject(value: dict[str, Any]):
    assert read_subject(value) is None


def test_the_digest_of_a_subject_shows_no_address():
    found = subject({"format": "email", "email": "ann@corp.example"})

    assert digest_subject(found).startswith("sha256:")
    assert digest_subject(found) != digest_subject(subject(account("ann")))


Value = dict[str, Any]


def email(text: str) -> Value:
    return {"format": "email", "email": text}


def aliases(items: list[Value]) -> Value:
    return {"format": "aliases", "identifiers": items}


def token_id(text: str) -> Value:
    return {"format": "jwt_id", "iss": ISSUER, "jti": text}


def several(members: dict[str, Value]) -> Value:
    return whole(**members)


TEXTS = st.sampled_from(["ann", "bob", "agent", "helper", "s-1", "s-2", "at-1", "ann@corp.example", "ALL", "sre"])
PHONE: Value = {"format": "phone_number", "phone_number": "+1"}
SIMPLE: st.SearchStrategy[Value] = st.one_of(
    st.builds(account, TEXTS, st.sampled_from([ISSUER, "https://other.example"])),
    st.builds(opaque, TEXTS),
    st.builds(email, TEXTS),
    st.builds(token_id, TEXTS),
    st.just(PHONE),
)
IDENTIFIERS: st.SearchStrategy[Value] = SIMPLE | st.builds(aliases, st.lists(SIMPLE, min_size=1, max_size=3))
MEMBERS = st.sampled_from(["user", "session", "application", "group", "device", "tenant"])
SUBJECTS = IDENTIFIERS | st.builds(several, st.dictionaries(MEMBERS, IDENTIFIERS, min_size=1, max_size=3))


@settings(max_examples=166)
@given(SUBJECTS, st.sampled_from([ANN, BOB, STRANGER, DELEGATED, WORKLOAD]))
def test_the_index_leads_to_each_caller_that_a_subject_names(value: dict[str, Any], principal: Principal):
    found = subject(value)
    everybody = frozenset({ISSUER, "https://other.example", "spiffe://corp"})

    if names(found, principal, everybody):
        assert not set(index_keys(found)).isdisjoint(caller_keys(principal))
        assert may_name(found)


def test_a_subject_without_a_single_identifier_is_indexed_for_anybody():
    assert index_keys(SignalSubject()) == (ANYBODY,)
    assert index_keys(subject(whole(group=opaque("sre")))) == (ANYBODY,)
    assert index_keys(subject(whole(group=opaque("sre"), session=opaque("ALL")))) == (ANYBODY,)
