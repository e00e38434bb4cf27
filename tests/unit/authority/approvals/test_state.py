"""Votes, time and ends of one approval."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from gateway.authority.approvals import state
from gateway.authority.approvals.model import Approval, ApproverRule, Person
from gateway.authority.approvals.rules import merge_rules, without_recurrence
from gateway.authority.approvals.state import asked_entry, changed_entry, fold_call, fold_entry
from gateway.model.decision import Obligation, Reason
from tests.unit.authority.approvals.making import ALICE, BOB, no, question, yes

STRICT = ApproverRule(count=2, groups=("sre",), assurance="login", seconds=900.0, scopes=("once", "destination"))


def counted(approval: Approval, vote: Any, shown: str | None = None) -> Approval | Reason:
    return state.count_vote(approval, vote, shown or approval.question.shown, grant=300.0, remember=900.0)


def must(found: Approval | Reason) -> Approval:
    assert isinstance(found, Approval)
    return found


def code(found: Approval | Reason) -> str:
    assert isinstance(found, Reason)
    return found.code


def test_one_yes_grants_and_the_call_has_five_minutes():
    granted = must(counted(state.ask(question()), yes()))

    assert (granted.state, granted.granted, granted.until) == ("granted", 1_001.0, 1_301.0)


def test_two_persons_are_two_persons():
    asked = state.ask(question(rule=STRICT))
    first = must(counted(asked, yes(ALICE)))
    assert first.state == "pending"
    for same in (ALICE, structs.replace(ALICE, id=" Alice "), structs.replace(ALICE, issuer="https://other.example")):
        assert code(counted(first, yes(same))) == "vote/twice"
    assert must(counted(first, yes(BOB))).state == "granted"


MAIL = "Ursula@corp.example"


@pytest.mark.parametrize(
    ("user", "person", "is_same"),
    [
        ("0f3a-77", Person("00u1", "x", ("sre",), "login", mail="ursula@CORP.example"), True),
        ("0f3a-77", Person("ursula@corp.example", "x", ("sre",), "login"), True),
        ("ursula@corp.example", Person("00u1", "x", ("sre",), "login", mail=MAIL), True),
        ("0f3a-77", Person("00u1", "x", ("sre",), "login", mail="bob@corp.example"), False),
        ("0f3a-77", Person("00u1", "x", ("sre",), "login"), False),
    ],
)
def test_a_person_with_the_mail_of_the_user_is_the_user_under_another_id(user: str, person: Person, *, is_same: bool):
    mail = None if "@" in user else MAIL
    asked = question(rule=STRICT)
    asked = structs.replace(asked, requester=structs.replace(asked.requester, user=user, user_mail=mail))
    found = counted(state.ask(asked), yes(person))

    assert (isinstance(found, Reason) and found.code == "vote/excluded") is is_same


def test_one_person_with_two_ids_is_no_two_persons():
    first = must(counted(state.ask(question(rule=STRICT)), yes(structs.replace(ALICE, mail="alice@corp.example"))))
    for same in (structs.replace(BOB, mail="Alice@corp.example"), structs.replace(BOB, id="alice@corp.example")):
        assert code(counted(first, yes(same))) == "vote/twice"
    assert must(counted(first, yes(structs.replace(BOB, mail="bob@corp.example")))).state == "granted"


def test_one_no_is_enough_and_is_no_expiry():
    first = must(counted(state.ask(question(rule=STRICT)), yes(ALICE)))
    refused = must(counted(first, no(BOB)))

    assert refused.state == "denied"
    assert state.reason_of(refused).code == "approval/denied"
    assert "Nobody answered" not in state.reason_of(refused).message
    assert state.end_of_time(refused, 10**9).state == "denied"


@pytest.mark.parametrize(
    ("person", "wanted"),
    [
        (Person("agent", "x", ("sre",), "login"), "vote/excluded"),
        (Person("AGENT", "x", ("sre",), "login"), "vote/excluded"),
        (Person("ursula", "x", ("sre",), "login"), "vote/excluded"),
        (Person("relay", "x", ("sre",), "login"), "vote/excluded"),
        (Person("carol", "x", (), "login"), "vote/group"),
        (Person("carol", "x", ("SRE",), "login"), "vote/group"),
        (Person("carol", "x", ("sre",), "peer"), "vote/assurance"),
        (Person("carol", "x", ("sre",), "chat"), "vote/assurance"),
    ],
)
def test_whose_yes_does_not_count(person: Person, wanted: str):
    assert code(counted(state.ask(question(rule=STRICT)), yes(person))) == wanted


def test_the_user_may_refuse_the_call_of_its_own_agent():
    refused = counted(state.ask(question(rule=STRICT)), no(Person("ursula", "x", ("sre",), "login")))

    assert must(refused).state == "denied"


@pytest.mark.parametrize("scopes", [("limit",), ("once", "limit"), ("always",)])
def test_a_yes_reaches_no_further_than_the_policy_allows(scopes: Any):
    assert code(counted(state.ask(question(rule=STRICT)), yes(scopes=scopes))) == "vote/scope"


def test_the_reach_is_the_least_of_all_votes():
    first = must(counted(state.ask(question(rule=STRICT)), yes(ALICE, scopes=("once", "destination"))))
    both = must(counted(first, yes(BOB, scopes=("once", "destination"))))
    narrow = must(counted(first, yes(BOB)))

    assert both.scopes == ("once", "destination")
    assert narrow.scopes == ("once",)


@pytest.mark.parametrize(("at", "wanted"), [(1_899.999, None), (1_900.0, "vote/closed"), (1_900.001, "vote/closed")])
def test_a_vote_counts_before_the_end_of_the_time_only(at: float, wanted: str | None):
    found = counted(state.ask(question()), yes(at=at))

    assert wanted == (None if isinstance(found, Approval) else found.code)


def test_a_vote_counts_for_the_question_that_was_shown():
    assert code(counted(state.ask(question()), yes(), shown="sha256:other")) == "vote/changed"


@pytest.mark.parametrize("ended", ["granted", "denied", "used", "expired", "lapsed", "withdrawn", "void", "superseded"])
def test_a_closed_question_takes_no_vote(ended: Any):
    closed = structs.replace(state.ask(question()), state=ended)

    assert code(counted(closed, yes())) == "vote/closed"


def test_time_ends_what_is_open():
    asked = state.ask(question())
    granted = must(counted(asked, yes()))

    assert state.end_of_time(asked, 1_899.9).state == "pending"
    assert state.end_of_time(asked, 1_900.0).state == "expired"
    assert state.end_of_time(granted, 1_301.0).state == "lapsed"
    assert state.end_of_time(state.use(granted, "d2"), 10**9).state == "used"


def test_silence_is_never_told_as_a_no():
    expired = state.reason_of(state.end_of_time(state.ask(question()), 2_000.0))

    assert expired.code == "approval/expired"
    assert "No person refused this call" in expired.message


def test_the_policy_reads_people_codes_and_reach():
    granted = must(counted(state.ask(question()), yes(scopes=("once", "limit"))))

    assert state.fact_of(granted, "2026-11-28T12:00:00Z") == {
        "id": "q1",
        "digest": "sha256:call-q1",
        "approvers": [{"id": "bob", "issuer": "https://idp.example", "groups": ("sre",), "assurance": "mfa"}],
        "granted": "2026-11-28T12:00:00Z",
        "scopes": ("once", "limit"),
        "answers": ("approval/effect",),
    }


# --- the journal brings it back ----------------------------------------------------------------------


def test_an_approval_is_the_same_after_its_entries_are_read_again():
    asked = state.ask(question(rule=STRICT))
    first = must(counted(asked, yes(ALICE)))
    granted = must(counted(first, yes(BOB, at=1_002.0)))
    entries = [asked_entry(asked), changed_entry(first, 1_001.0, vote=first.votes[-1])]
    entries.append(changed_entry(granted, 1_002.0, vote=granted.votes[-1]))

    again = asked
    for entry in entries * 2:
        again = fold_entry(again, entry)
    assert again == granted
    used = fold_call(again, {"id": "d2", "effect": "allow"})
    assert used == state.use(granted, "d2")
    assert fold_call(again, {"id": "d3", "effect": "deny"}) == granted
    for entry in entries:
        assert fold_entry(used, entry).state == "used"


# --- the rule of several obligations -----------------------------------------------------------------


def obligation(**properties: Any) -> Obligation:
    return Obligation("require_approvers", properties)


def test_without_an_obligation_one_other_person_approves_once():
    assert merge_rules((), seconds=60.0) == ApproverRule(seconds=60.0)
    assert merge_rules((Obligation("limit", {"max_bytes": 1}),), seconds=60.0) == ApproverRule(seconds=60.0)


def test_of_several_obligations_the_strictest_part_of_each_holds():
    merged = merge_rules(
        (
            obligation(count=1, group="sre", exclude=["user"], assurance="mfa", scopes=["once", "destination"]),
            obligation(count=2, group="leads", exclude=[], expires_seconds=30, scopes=["once", "destination", "limit"]),
        ),
        seconds=60.0,
    )

    assert merged == ApproverRule(2, ("leads", "sre"), ("requester", "user"), "mfa", 30.0, ("once", "destination"))


def test_a_policy_shortens_the_time_and_never_lengthens_it():
    assert merge_rules((obligation(count=1, expires_seconds=10**6),), seconds=60.0).seconds == 60.0


def test_the_freshest_login_that_an_obligation_asks_for_holds():
    rules = (obligation(count=1), obligation(count=1, max_age_seconds=300), obligation(count=1, max_age_seconds=60))
    assert merge_rules(rules, seconds=60.0).max_age == 60


def test_what_an_obligation_leaves_out_is_the_narrowest():
    assert merge_rules((obligation(count=1),), seconds=60.0) == ApproverRule(seconds=60.0)


RECURRING = ["once", "recurring"]


def test_values_recur_only_if_every_obligation_says_so_and_one_for_how_long():
    long, short = obligation(count=1, scopes=RECURRING, recur_seconds=600), obligation(count=1, scopes=RECURRING)
    assert merge_rules((long, short), seconds=60.0).scopes == ("once", "recurring")
    assert merge_rules((long, short), seconds=60.0).recur_seconds == 600
    assert merge_rules((short,), seconds=60.0).scopes == ("once",)
    assert merge_rules((long, obligation(count=1, scopes=["once"])), seconds=60.0).scopes == ("once",)
    assert merge_rules((long, obligation(count=1)), seconds=60.0).scopes == ("once",)


def test_values_recur_for_the_shortest_time():
    rules = (obligation(count=1, scopes=RECURRING, recur_seconds=seconds) for seconds in (600, 60, 900))
    assert merge_rules(tuple(rules), seconds=60.0).recur_seconds == 60


def test_a_call_of_which_nothing_can_recur_has_no_such_scope():
    rule = merge_rules((obligation(count=1, scopes=RECURRING, recur_seconds=600),), seconds=60.0)
    assert without_recurrence(rule) == ApproverRule(1, seconds=60.0)
