"""Two desks on the same records: a question of one is answered at the other, and an approval is used once."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from gateway.authority.approvals.index import PER_CALLER
from gateway.authority.approvals.model import Approval, ApproverRule, Person
from gateway.authority.approvals.state import NoticeDelivery, read_fact
from gateway.model.decision import Reason
from tests.unit.authority.approvals.making import ALICE, BOB, DESCRIPTION, no, question, yes
from tests.unit.authority.approvals.shared.desks import ASKER, ReplicaDesk
from tests.unit.history.recording import AGENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model.wire import JsonObject
    from tests.unit.clock import Clock

Both = tuple[ReplicaDesk, ReplicaDesk]
ROUNDS = 20


async def test_a_question_asked_at_one_gateway_is_answered_at_the_other_and_wakes_the_held_call(both: Both):
    a, b = both
    asked = await a.ask()
    waiting = asyncio.create_task(a.desk.wait("q1", 60.0))
    await asyncio.sleep(0)
    assert (await b.get()) == asked
    assert await b.desk.describe("q1") == DESCRIPTION
    await b.grant()
    await a.desk.follow()
    woken = await waiting

    assert woken is not None
    assert woken.state == "granted"
    assert await a.pass_once("q1", "call-1")
    assert (await b.get()).state == "used"
    assert b.desk.find(asked.question.call) is None


async def test_a_call_that_comes_again_elsewhere_finds_its_answer_before_anybody_is_asked_anew(both: Both):
    a, b = both
    await a.ask("granted")
    await a.grant("granted")
    await a.ask("denied")
    await a.desk.vote("denied", no(), "sha256:shown-denied")

    assert (await b.ask("again", call="sha256:call-granted")).id == "granted"
    assert (await b.ask("once-more", call="sha256:call-denied")).state == "denied"
    assert b.recorder.events == []


async def test_equal_calls_at_both_gateways_at_once_make_one_question(both: Both):
    for number in range(ROUNDS):
        calls = [
            each.ask(f"q{number}-{each.name}-{twin}", call=f"sha256:same-{number}", task=f"t{number}")
            for twin in range(3)
            for each in both
        ]
        assert len({asked.id for asked in await asyncio.gather(*calls)}) == 1


async def test_a_caller_asks_so_much_at_once_over_all_gateways(both: Both):
    each = PER_CALLER * 3 // 4
    asked = await asyncio.gather(
        *(
            desk.desk.ask(question(f"q{name}{number}", requester=ASKER, task=f"t{number % 30}"), DESCRIPTION)
            for name, desk in enumerate(both)
            for number in range(each)
        )
    )

    assert sum(isinstance(one, Approval) for one in asked) == PER_CALLER
    assert {one.code for one in asked if isinstance(one, Reason)} == {"approval/budget"}


async def test_the_line_of_a_task_has_the_questions_of_all_gateways(both: Both):
    a, b = both
    for number in range(6):
        await both[number % 2].ask(f"q{number}", asked=1_000.0 + number)
    for each in both:
        await each.desk.follow()
        assert [one.id for one in each.desk.list_open() if each.desk.waits_in_line(one)] == ["q5"]
    await a.desk.vote("q1", no(), "sha256:shown-q1")
    await b.desk.follow()
    assert not b.desk.waits_in_line(await b.get("q5"))


async def test_of_racing_calls_at_both_gateways_one_has_the_approval(both: Both):
    for number in range(ROUNDS):
        identifier = f"q{number}"
        await both[0].ask(identifier, task=identifier)
        await both[number % 2].desk.follow()
        await both[number % 2].grant(identifier)
        for each in both:
            await each.desk.follow()
        claims = [
            each.desk.claim(identifier, f"{number}-{gateway}-{call}")
            for call in range(10)
            for gateway, each in enumerate(both)
        ]
        random.shuffle(claims)
        assert (await asyncio.gather(*claims)).count(True) == 1


async def test_a_late_copy_lets_no_call_pass(both: Both):
    a, b = both
    await a.ask()
    await a.grant()
    await b.desk.follow()
    assert await a.pass_once("q1", "call-1")

    # The copy of the second gateway still has the approval as granted.
    copy = b.desk.get("q1")
    assert copy is not None
    assert copy.state == "granted"
    assert not await b.desk.claim("q1", "call-2")
    assert (await b.get()).calls == ("call-1",)


async def test_an_approval_given_back_at_one_gateway_is_used_at_the_other(both: Both):
    a, b = both
    await a.ask()
    await a.grant()
    assert await a.desk.claim("q1", "call-1")
    await b.desk.follow()
    assert not await b.desk.claim("q1", "call-2")
    a.desk.give_back("q1", "call-1")
    await a.desk.sweep()

    # The copy still has the claim. So the call asks, and is told of its approval.
    assert (await b.ask("again", call="sha256:call-q1")).id == "q1"
    assert await b.pass_once("q1", "call-3")
    assert (await a.get()).calls == ("call-3",)


async def test_the_next_round_of_an_exchange_goes_on_at_another_gateway_once(both: Both):
    a, b = both
    await a.ask()
    await a.grant()
    assert await a.pass_once("q1", "call-1")
    await b.desk.follow()
    found = b.desk.find_round("sha256:operation-q1", "call-1")
    assert found is not None
    rounds = [each.desk.claim("q1", f"round-{number}", "call-1") for number, each in enumerate((a, b, a, b))]
    assert (await asyncio.gather(*rounds)).count(True) == 1


async def test_votes_of_two_people_at_two_gateways_at_once_both_count(both: Both):
    a, b = both
    for number in range(ROUNDS):
        identifier = f"q{number}"
        await a.ask(identifier, task=identifier, rule=ApproverRule(count=2))
        await b.desk.follow()
        shown = f"sha256:shown-{identifier}"
        votes = await asyncio.gather(
            a.desk.vote(identifier, yes(ALICE), shown), b.desk.vote(identifier, yes(BOB), shown)
        )
        assert all(isinstance(vote, Approval) for vote in votes)
        assert {one.person.id for one in (await a.get(identifier)).votes} == {"alice", "bob"}
        assert (await b.get(identifier)).state == "granted"


async def test_the_same_person_at_two_gateways_counts_once(both: Both):
    a, b = both
    for number in range(ROUNDS):
        identifier = f"q{number}"
        await a.ask(identifier, task=identifier, rule=ApproverRule(count=2))
        await b.desk.follow()
        shown = f"sha256:shown-{identifier}"
        twin = Person(" BOB ", "https://other.example", (), "passkey", "api")
        votes = await asyncio.gather(
            a.desk.vote(identifier, yes(BOB), shown), b.desk.vote(identifier, yes(twin), shown)
        )
        assert [vote.code for vote in votes if isinstance(vote, Reason)] == ["vote/twice"]
        assert (await a.get(identifier)).state == "pending"


async def test_of_a_yes_a_no_and_a_withdrawal_at_two_gateways_one_wins(both: Both):
    won: set[str] = set()
    for number in range(ROUNDS):
        identifier, chance = f"q{number}", random.Random(number)
        await both[0].ask(identifier, task=identifier)
        await both[1].desk.follow()
        shown = f"sha256:shown-{identifier}"
        works = [
            both[number % 2].desk.vote(identifier, yes(BOB), shown),
            both[(number + 1) % 2].desk.vote(identifier, no(ALICE), shown),
            both[chance.randrange(2)].desk.withdraw(identifier, "stopped"),
        ]
        chance.shuffle(works)
        await asyncio.gather(*works)
        found = [await each.get(identifier) for each in both]
        assert found[0] == found[1]
        won.add(found[0].state)

    assert len(won) > 1
    assert won <= {"granted", "denied", "withdrawn"}


async def test_a_vote_and_the_end_of_time_at_two_gateways_at_once(both: Both, clock: Clock):
    a, b = both
    for number in range(ROUNDS):
        identifier = f"q{number}"
        await a.ask(identifier, task=identifier, asked=clock.now, expires=clock.now + 10.0)
        await b.desk.follow()
        clock.now += 9.999
        voting = asyncio.create_task(b.desk.vote(identifier, yes(at=clock.now), f"sha256:shown-{identifier}"))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        clock.now += 0.001
        vote, _ = await asyncio.gather(voting, a.desk.sweep())
        state = (await a.get(identifier)).state
        assert state == (await b.get(identifier)).state
        assert state == ("granted" if isinstance(vote, Approval) else "expired")


async def test_a_change_that_another_gateway_overtook_is_taken_back_in_the_journal(both: Both):
    a, b = both
    for number in range(ROUNDS):
        identifier = f"q{number}"
        await a.ask(identifier, task=identifier, rule=ApproverRule(count=2))
        await b.desk.follow()
        shown = f"sha256:shown-{identifier}"
        await asyncio.gather(a.desk.vote(identifier, yes(ALICE), shown), b.desk.vote(identifier, yes(BOB), shown))
    entries = [*a.recorder.entries, *b.recorder.entries]

    for number in range(ROUNDS):
        own = [[one for one in each.recorder.entries if one["id"] == f"q{number}"] for each in both]
        # The journals of both gateways, each without what was taken back, have the two votes.
        kept = [one for entries in own for one in _without_overtaken(entries) if "vote" in one]
        assert {one["vote"]["person"]["id"] for one in kept} == {"alice", "bob"}
        assert sorted(one["event"] for one in kept) == ["granted", "vote"]
    assert any(entry["event"] == "overtaken" for entry in entries)


def _without_overtaken(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        one
        for one, following in zip(entries, [*entries[1:], None], strict=True)
        if one["event"] != "overtaken" and (following is None or following["event"] != "overtaken")
    ]


def test_a_vote_that_was_overtaken_is_no_part_of_the_approval():
    asked: JsonObject = {"kind": "approval", "id": "q1", "event": "asked", "call": "c", "reasons": []}
    vote: JsonObject = {"kind": "approval", "id": "q1", "event": "granted"}
    alice, bob = (msgspec.to_builtins(yes(person)) for person in (ALICE, BOB))
    entries: list[JsonObject] = [asked, {**vote, "vote": alice}, {**vote, "event": "overtaken"}, {**vote, "vote": bob}]
    found = read_fact(entries, str)

    assert found is not None
    assert "bob" in str(found["approvers"])
    assert "alice" not in str(found["approvers"])


async def test_deliveries_beside_votes_are_all_kept(both: Both):
    a, b = both
    await a.ask(rule=ApproverRule(count=2))
    await b.desk.follow()
    shown = "sha256:shown-q1"
    await asyncio.gather(
        *(a.desk.note_sent("q1", NoticeDelivery(f"hook-{number}", "asked", "msg_1")) for number in range(10)),
        b.desk.vote("q1", yes(ALICE), shown),
        b.desk.vote("q1", yes(BOB), shown),
    )
    found = await b.get()
    assert (found.state, len(found.told)) == ("granted", 10)


async def test_a_channel_that_reaches_nobody_wakes_the_calls_at_all_gateways(both: Both):
    a, b = both
    await a.ask()
    waiting = asyncio.create_task(a.desk.wait("q1", 60.0))
    await b.desk.follow()
    await b.desk.mark_unreached("q1")
    await a.desk.follow()
    await waiting
    assert a.desk.is_unreached("q1")
    await b.desk.note_sent("q1", NoticeDelivery("hook", "asked", "msg_1"))
    await a.desk.follow()
    assert not a.desk.is_unreached("q1")


async def test_a_forgotten_question_is_forgotten_everywhere(both: Both, clock: Clock):
    a, b = both
    await a.ask()
    await b.desk.follow()
    clock.now = 1_950.0
    await a.desk.sweep()
    clock.now = 2_900.0
    await a.desk.sweep()
    await b.desk.follow()
    assert b.desk.get("q1") is None


# --- the end of a gateway ------------------------------------------------------------------------------


@pytest.mark.parametrize("was_counted", [False, True])
async def test_a_claim_of_a_gateway_that_has_ended_is_settled_by_the_history(
    both: Both, living: set[str], *, was_counted: bool
):
    a, b = both
    await a.ask()
    await a.grant()
    assert await a.desk.claim("q1", "call-1", job=AGENT.job)
    if was_counted:
        await a.reserve("call-1")
    await b.desk.follow()
    await b.desk.settle_lost_claims()
    assert not await b.desk.claim("q1", "call-2")
    living.discard("a")
    await b.desk.settle_lost_claims()

    assert await b.desk.claim("q1", "call-2") is not was_counted
    assert (await b.get()).calls == (("call-1",) if was_counted else ())


async def test_a_task_that_a_gateway_may_have_opened_before_its_end_is_asked_about_again(both: Both, living: set[str]):
    a, b = both
    await a.ask(sort="task", task="")
    await a.grant()
    assert await a.desk.claim("q1", "request-1")
    living.discard("a")
    await b.desk.follow()
    await b.desk.settle_lost_claims()
    assert not await b.desk.claim("q1", "request-2")


async def test_one_gateway_has_the_duty_until_its_end(start: Callable[[str], ReplicaDesk], living: set[str]):
    desks = [start(name) for name in ("a", "b", "c")]
    living.add("c")
    had = await asyncio.gather(*(each.duty.take() for each in desks))
    assert had.count(True) == 1
    first = had.index(True)
    assert await asyncio.gather(*(each.duty.take() for each in desks)) == had
    living.discard("abc"[first])
    left = [each for number, each in enumerate(desks) if number != first]
    assert (await asyncio.gather(*(each.duty.take() for each in left))).count(True) == 1
