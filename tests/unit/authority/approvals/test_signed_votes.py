"""Votes verified again from the journal's entries alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from gateway.authority.approvals import state
from gateway.authority.approvals.model import ApproverRule, Person, Vote
from gateway.authority.approvals.passkey import Passkey
from gateway.authority.approvals.passkeys import Passkeys
from gateway.authority.approvals.signed_votes import SignedVotes
from gateway.base.control.operations import OperatorName
from tests.authenticator import Authenticator
from tests.unit.authority.approvals.making import ALICE, BOB, Recorder, make_desk, question, yes
from tests.unit.base.store.keeping import sealed_store
from tests.unit.clock import Clock

RULE = ApproverRule(seconds=900.0, assurance="passkey", scopes=("once", "destination"))
Entries = list[dict[str, Any]]


@pytest.fixture
async def entries(tmp_path: Path) -> Entries:
    """Return what the journal has of two signed votes on two questions."""
    recorder, clock = Recorder(), Clock(900.0)
    passkeys = Passkeys(
        sealed_store(tmp_path, clock=clock), "https://gateway.example", append=recorder.append, now=clock
    )
    code, _ = await passkeys.invite(BOB.id, BOB.issuer, OperatorName("olga"))
    options = await passkeys.begin_registration(BOB, code)
    authenticator = Authenticator("https://gateway.example")
    assert isinstance(options, dict)
    assert isinstance(await passkeys.register(BOB, code, "laptop", authenticator.make(options)), Passkey)
    clock.now = 1_001.0
    (tmp_path / "desk").mkdir()
    desk = make_desk(tmp_path / "desk", recorder, clock)
    for identifier in ("q1", "q2"):
        asked = question(identifier, rule=RULE)
        await desk.ask(asked, {})
        request = await passkeys.begin_vote(asked, yes())
        assert isinstance(request, dict)
        signed = await passkeys.sign(asked, yes(), authenticator.sign(request))
        assert isinstance(signed, Vote)
        await desk.vote(identifier, signed, asked.shown)
    return recorder.entries


def judge(entries: Entries) -> SignedVotes:
    votes = SignedVotes()
    for entry in entries:
        votes.add(entry)
    return votes


def vote_of(entries: Entries) -> dict[str, Any]:
    return next(entry for entry in entries if "vote" in entry)["vote"]


def test_signed_votes_verify(entries: Entries):
    votes = judge(entries)

    assert (votes.verified, votes.problems) == (2, [])


def test_a_vote_that_a_gateway_made_again_is_one_vote(entries: Entries):
    """Another gateway changed the question meanwhile, so the same vote has two entries."""
    (number, *_) = [number for number, entry in enumerate(entries) if "vote" in entry]
    vote = entries[number]
    overtaken = {"kind": "approval", "id": vote["id"], "event": "overtaken"}
    other = {**vote, "vote": {**vote["vote"], "answer": "deny"}}

    again = judge([*entries[: number + 1], overtaken, *entries[number:]])
    changed = judge([*entries[: number + 1], overtaken, other, *entries[number + 1 :]])

    assert (again.verified, again.problems) == (2, [])
    assert (changed.verified, len(changed.problems)) == (2, 1)


CHANGES: dict[str, Callable[[Entries], Any]] = {
    "another answer": lambda found: vote_of(found).update(answer="deny"),
    "a wider yes": lambda found: vote_of(found).update(scopes=["once", "destination"]),
    "the end of the task": lambda found: vote_of(found).update(end_task=True),
    "another person": lambda found: vote_of(found)["person"].update(id=ALICE.id),
    "another issuer": lambda found: vote_of(found)["person"].update(issuer="https://other.example"),
    "no signature": lambda found: vote_of(found).update(signature=None),
    "a changed question": lambda found: next(one for one in found if one["event"] == "asked").update(shown="sha256:x"),
    "no registration": lambda found: found.remove(next(one for one in found if one["event"] == "registered")),
    "no question": lambda found: found.remove(next(one for one in found if one["event"] == "asked")),
    "another origin": lambda found: found[1]["key"].update(origin="https://evil.example"),
    "a later registration": lambda found: found[1]["key"].update(registered=1_000.0),
    "a removal before the vote": lambda found: found.insert(
        2, {"kind": "passkey", "event": "removed", **{name: found[1]["key"][name] for name in ("id", "registered")}}
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_record_does_not_verify(entries: Entries, change: Callable[[Entries], Any]):
    changed = copy.deepcopy(entries)
    change(changed)

    assert judge(changed).problems


def test_a_vote_that_names_a_passkey_needs_its_signature_also_without_the_question(entries: Entries):
    votes = [entry for entry in entries if "vote" in entry]
    votes[0]["vote"]["signature"] = None

    assert judge(votes[:1]).problems


def test_a_signature_put_on_another_question_does_not_verify(entries: Entries):
    changed = copy.deepcopy(entries)
    first, second = [entry for entry in changed if "vote" in entry]
    second["vote"]["signature"] = first["vote"]["signature"]

    assert [one.question for one in judge(changed).problems] == ["q2"]


@pytest.mark.parametrize("person", [ALICE, BOB], ids=("another person", "the same form again"))
def test_a_registration_that_was_taken_back_takes_no_other_back(entries: Entries, person: Person):
    """Whoever is invited may name the id of another's passkey. Two gateways may get one form."""
    again = copy.deepcopy(entries[1])
    again["key"].update(person=person.id, issuer=person.issuer, registered=901.0)
    back = {"kind": "passkey", "event": "removed", "id": again["key"]["id"], "registered": 901.0}

    assert (judge([*entries[:2], again, back, *entries[2:]]).verified, judge(entries).verified) == (2, 2)


def test_a_vote_that_was_written_again_verifies_once(entries: Entries):
    """Another gateway was first with a change: the desk takes its entry back, and writes the vote again."""
    number = next(number for number, entry in enumerate(entries) if "vote" in entry)
    vote = entries[number]
    overtaken = {"kind": "approval", "event": "overtaken", "id": vote["id"], "at": vote["at"], "task": ""}

    votes = judge([*entries[: number + 1], overtaken, vote, *entries[number + 1 :]])

    assert (votes.verified, votes.problems) == (2, [])


def test_a_vote_counts_without_a_signature_where_none_is_wanted(tmp_path: Path):
    approval = state.ask(question())
    counted = structs.replace(approval, state="granted", votes=(yes(),))
    found: Entries = [
        {"kind": "approval", **state.asked_entry(approval)},
        {"kind": "approval", **state.changed_entry(counted, 1_001.0, vote=yes())},
        {"kind": "call", "id": "1"},
    ]

    assert (judge(found).verified, judge(found).problems) == (0, [])
