"""The desk: races, time, restart and bounds."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway.authority.approvals import Desk, Times
from gateway.authority.approvals.index import PER_CALLER
from gateway.authority.approvals.model import Approval, Question, Requester
from gateway.authority.approvals.state import NoticeDelivery
from gateway.authority.approvals.store import ApprovalStore
from gateway.model.decision import Reason
from gateway.model.errors import JournalError, StoreError
from tests.unit.authority.approvals.making import ALICE, BOB, DESCRIPTION, Recorder, make_desk, no, question, yes
from tests.unit.base.store.keeping import edit, sealed_store
from tests.unit.clock import Clock


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(tmp_path: Path, recorder: Recorder, clock: Clock) -> Desk:
    return make_desk(tmp_path, recorder, clock)


async def ask(desk: Desk, identifier: str = "q1", **changes: Any) -> Approval:
    asked = await desk.ask(question(identifier, **changes), DESCRIPTION)
    assert isinstance(asked, Approval)
    return asked


async def grant(desk: Desk, identifier: str = "q1") -> Approval:
    granted = await desk.vote(identifier, yes(), f"sha256:shown-{identifier}")
    assert isinstance(granted, Approval)
    return granted


async def test_of_racing_answers_one_wins_and_the_journal_agrees(desk: Desk, recorder: Recorder):
    asked = await ask(desk)
    votes = [
        desk.vote("q1", vote, asked.question.shown) for vote in (yes(BOB), no(ALICE), yes(ALICE)) for _ in range(50)
    ]
    found = await asyncio.gather(*votes)

    (won,) = [one for one in found if isinstance(one, Approval)]
    assert recorder.events == ["asked", won.state]
    assert desk.get("q1") == won


async def test_of_racing_calls_one_has_the_approval(desk: Desk):
    await ask(desk)
    await grant(desk)

    claims = await asyncio.gather(*(desk.claim("q1", f"d{number}") for number in range(1_000)))
    assert claims.count(True) == 1
    assert desk.find("sha256:call-q1") is None
    desk.give_back("q1", f"d{claims.index(True)}")
    assert await desk.claim("q1", "d2") is True
    await desk.use("q1", "d2")
    assert desk.find("sha256:call-q1") is None


async def test_a_later_round_of_the_same_exchange_has_it_too(desk: Desk, clock: Clock):
    await ask(desk)
    await grant(desk)
    await desk.claim("q1", "d2")
    await desk.use("q1", "d2")

    found = desk.find_round("sha256:operation-q1", "d2")
    assert found is not None
    assert found.state == "used"
    assert await desk.claim("q1", "d3") is False
    assert await desk.claim("q1", "d3", "d2") is True
    assert await desk.claim("q1", "d4", "d2") is False
    await desk.use("q1", "d3")
    assert desk.find_round("sha256:operation-q1", "d2") is None
    assert desk.find_round("sha256:operation-q1", "d3") is not None
    assert desk.find_round("sha256:operation-q2", "d2") is None
    assert desk.find_round("sha256:operation-q1", "d9") is None
    clock.now += 10_000
    assert desk.find_round("sha256:operation-q1", "d3") is None


async def test_equal_calls_join_one_question(desk: Desk, recorder: Recorder):
    joined = await asyncio.gather(
        *(desk.ask(question(f"q{number}", call="sha256:same"), DESCRIPTION) for number in range(100))
    )

    assert len({one.id for one in joined if isinstance(one, Approval)}) == 1
    assert recorder.events == ["asked"]


async def test_the_sixth_question_of_a_task_waits_in_line_for_its_turn(desk: Desk):
    for number in range(7):
        await ask(desk, f"q{number}")
    await ask(desk, "other", task="t2")

    def in_line() -> list[str]:
        return [one.id for one in desk.list_open() if desk.waits_in_line(one)]

    assert in_line() == ["q5", "q6"]
    await desk.vote("q0", no(), "sha256:shown-q0")
    assert in_line() == ["q6"]
    await desk.vote("q6", no(), "sha256:shown-q6")
    assert in_line() == []


async def test_all_tasks_and_callers_of_a_tree_stand_in_one_line(desk: Desk):
    callers = [Requester(key, "agent", "https://idp.example") for key in ("k1", "k2")]
    await ask(desk, "root", task="t1", asked=1.0)
    for number in range(6):
        child = {"task": f"child-{number % 2}", "tree": "t1", "requester": callers[number % 2]}
        await ask(desk, f"q{number}", asked=2.0 + number, **child)
    await ask(desk, "other", task="t2", asked=9.0)

    assert [one.id for one in desk.list_open() if desk.waits_in_line(one)] == ["q4", "q5"]
    await desk.vote("root", no(), "sha256:shown-root")
    assert [one.id for one in desk.list_open() if desk.waits_in_line(one)] == ["q5"]


async def test_callers_without_a_task_have_a_line_each(desk: Desk):
    for number in range(8):
        await ask(desk, f"q{number}", task="", requester=Requester(f"k{number % 2}", "agent", "https://idp.example"))

    assert not any(map(desk.waits_in_line, desk.list_open()))


async def test_a_question_that_comes_late_has_its_place_by_its_time(desk: Desk):
    for number in (5, 4, 3, 2, 1, 0):
        await ask(desk, f"q{number}", asked=float(number))

    assert [one.id for one in desk.list_open() if desk.waits_in_line(one)] == ["q5"]


async def test_a_line_has_the_same_order_after_a_restart(desk: Desk, tmp_path: Path, clock: Clock):
    for number in range(7):
        await ask(desk, f"q{9 - number}", asked=1_000.0 + number)
    shutil.copytree(tmp_path, tmp_path / "later")
    later = make_desk(tmp_path / "later", Recorder(), clock)
    await later.restore()

    assert [one.id for one in later.list_open() if later.waits_in_line(one)] == ["q4", "q3"]


async def test_a_caller_asks_so_much_at_once(desk: Desk):
    for number in range(PER_CALLER):
        await ask(desk, f"q{number}", task=f"t{number % 30}")
    refused = await desk.ask(question("one-more", task="t31"), DESCRIPTION)
    assert isinstance(refused, Reason)
    assert refused.code == "approval/budget"
    await desk.vote("q0", no(), "sha256:shown-q0")
    assert isinstance(await desk.ask(question("one-more"), DESCRIPTION), Approval)


async def test_a_question_that_cannot_be_recorded_is_none(desk: Desk, recorder: Recorder):
    recorder.failing = True
    with pytest.raises(JournalError):
        await desk.ask(question(), DESCRIPTION)
    assert desk.list_open() == []
    assert desk.get("q1") is None


async def test_a_vote_that_cannot_be_recorded_does_not_count(desk: Desk, recorder: Recorder):
    asked = await ask(desk)
    recorder.failing = True
    with pytest.raises(JournalError):
        await desk.vote("q1", yes(), asked.question.shown)
    assert desk.list_open() == [asked]
    recorder.failing = False
    assert (await grant(desk)).state == "granted"


async def test_a_no_counts_although_the_person_leaves_meanwhile(tmp_path: Path, clock: Clock):
    recorder, proceed = Recorder(), asyncio.Event()

    async def append(kind: str, fields: Any) -> None:
        await recorder.append(kind, fields)
        if fields["event"] == "denied":
            await proceed.wait()

    desk = Desk(Times(900.0, 300.0, 0.05), ApprovalStore(sealed_store(tmp_path)), append=append, clock=clock)
    asked = await ask(desk)
    leaving = asyncio.create_task(desk.vote("q1", no(ALICE), asked.question.shown))
    while recorder.events[-1] != "denied":
        await asyncio.sleep(0)
    leaving.cancel()
    second = asyncio.create_task(desk.vote("q1", yes(BOB), asked.question.shown))
    await asyncio.sleep(0)
    proceed.set()
    voted = await second

    assert isinstance(voted, Reason)
    assert voted.code == "vote/closed"
    assert recorder.events == ["asked", "denied"]


async def test_a_slow_disk_keeps_the_newest_state(tmp_path: Path, recorder: Recorder, clock: Clock):
    class SlowStore(ApprovalStore):
        """The write of a yes takes until another write could have begun."""

        async def save(self, approval: Approval) -> bool:
            if approval.state == "granted":
                begun.set()
                for _ in range(50):
                    await asyncio.sleep(0)
            return await super().save(approval)

    begun = asyncio.Event()
    desk = Desk(Times(900.0, 300.0, 0.05), SlowStore(sealed_store(tmp_path)), append=recorder.append, clock=clock)
    asked = await ask(desk)
    granting = asyncio.create_task(desk.vote("q1", yes(), asked.question.shown))
    await begun.wait()
    assert await desk.claim("q1", "d2")
    await asyncio.gather(desk.use("q1", "d2"), desk.note_sent("q1", NoticeDelivery("hook", "asked", "msg_1")), granting)

    (stored,) = (await ApprovalStore(sealed_store(tmp_path)).load()).approvals
    assert (stored.state, stored.told) == ("used", ("hook",))


async def test_a_delivery_beside_a_use_brings_nothing_back(desk: Desk, recorder: Recorder):
    asked = await ask(desk)
    await grant(desk)
    await desk.claim(asked.id, "d2")
    await asyncio.gather(
        *(desk.note_sent("q1", NoticeDelivery(f"hook-{number}", "asked", "msg_1")) for number in range(20)),
        desk.use("q1", "d2"),
        *(desk.note_sent("q1", NoticeDelivery(f"late-{number}", "asked", "msg_1")) for number in range(20)),
    )

    found = desk.get("q1")
    assert found is not None
    assert (found.state, found.calls, len(found.told)) == ("used", ("d2",), 40)
    assert await desk.claim("q1", "d2") is False


async def test_all_waits_end_when_the_gateway_stops(desk: Desk):
    for number in range(3):
        await ask(desk, f"q{number}")
    waits = [asyncio.create_task(desk.wait(f"q{number}", 900.0)) for number in range(3)]
    await asyncio.sleep(0)
    desk.end_waits()

    assert [one and one.state for one in await asyncio.gather(*waits)] == ["pending"] * 3
    assert (await desk.wait("q1", 900.0)) is not None
    assert (await grant(desk, "q1")).state == "granted"


async def test_a_clock_that_is_set_back_revives_nothing(desk: Desk, clock: Clock):
    await ask(desk)
    await grant(desk)
    clock.now = 1_302.0
    assert await desk.claim("q1", "d2") is False
    clock.now = 1_001.0
    assert await desk.claim("q1", "d2") is False
    await desk.sweep()
    assert desk.list_open() == []


async def test_the_end_of_a_task_withdraws_its_questions(tmp_path: Path, recorder: Recorder, clock: Clock):
    open_tasks = {"t1"}

    def has_ended(asked: Question, _now: float) -> bool:
        return asked.task not in open_tasks

    desk = make_desk(tmp_path, recorder, clock, has_ended=has_ended)
    asked = await ask(desk)
    open_tasks.clear()
    voted = await desk.vote("q1", yes(), asked.question.shown)

    assert isinstance(voted, Reason)
    assert voted.code == "vote/closed"
    assert recorder.entries[-1]["event"] == "withdrawn"
    assert recorder.entries[-1]["cause"] == "task-ended"


async def test_a_waiting_call_hears_of_the_answer(desk: Desk):
    asked = await ask(desk)
    waiting = asyncio.create_task(desk.wait("q1", 60.0))
    await asyncio.sleep(0)
    await desk.vote("q1", no(), asked.question.shown)
    found = await waiting

    assert found is not None
    assert found.state == "denied"


async def test_a_timer_that_comes_early_tells_a_waiting_call_that_the_question_expired(desk: Desk, clock: Clock):
    await ask(desk)
    clock.now = 1_899.99
    found = await desk.wait("q1", 60.0)

    assert found is not None
    assert found.state == "expired"


async def test_a_waiting_call_that_leaves_leaves_nothing_behind(desk: Desk):
    await ask(desk)
    waiting = asyncio.create_task(desk.wait("q1", 60.0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await grant(desk)).state == "granted"


async def test_old_questions_are_forgotten_and_removed_from_the_disk(desk: Desk, clock: Clock, tmp_path: Path):
    await ask(desk)
    clock.now = 1_950.0
    await desk.sweep()
    assert desk.get("q1") is not None
    clock.now = 2_850.0
    await desk.sweep()

    assert desk.get("q1") is None
    assert (await ApprovalStore(sealed_store(tmp_path)).load()).approvals == ()


# --- restart -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [None, 2])
async def test_the_next_gateway_has_the_questions_as_the_journal_has_them(
    tmp_path: Path, recorder: Recorder, clock: Clock, position: int | None
):
    killed, found = tmp_path / "killed", tmp_path / "found"
    first = make_desk(killed, recorder, clock)
    for identifier in ("pending", "granted", "used"):
        await ask(first, identifier)
    if position is not None:
        await first.sweep(("journal", position))
    # The gateway was killed before the disk had what the journal has.
    shutil.copytree(killed, found)
    for identifier in ("granted", "used"):
        await grant(first, identifier)
    await first.claim("used", "d2")
    recorder.entries.append({"kind": "call", "id": "d2", "effect": "allow", "approval": "used"})

    second = make_desk(found, Recorder(), clock)
    stored = await second.restore()
    assert stored.seq == (position or 0)
    for entry in recorder.entries:
        second.replay(entry)
    await second.resume()

    states = {name: one.state for name in ("pending", "granted", "used") if (one := second.get(name))}
    assert states == {"pending": "pending", "granted": "granted", "used": "used"}
    assert await second.claim("granted", "d2") is True
    assert second.find("sha256:call-used") is None
    assert await second.describe("pending") == DESCRIPTION


async def test_a_position_is_not_noted_while_the_journal_knows_more(desk: Desk, tmp_path: Path):
    await ask(desk)
    await grant(desk)
    await desk.claim("q1", "d2")
    await desk.sweep(("journal", 7))
    assert (await ApprovalStore(sealed_store(tmp_path)).load()).seq == 0
    desk.give_back("q1", "d2")
    await desk.sweep(("journal", 7))
    assert (await ApprovalStore(sealed_store(tmp_path)).load()).seq == 7


async def test_no_position_passes_a_use_that_the_disk_did_not_take(desk: Desk, tmp_path: Path):
    """The next start would have the approval as granted, and would not read its use from the journal."""
    await ask(desk)
    await grant(desk)
    await desk.claim("q1", "d2")
    edit(tmp_path, "create trigger full before insert on records begin select raise(abort, 'disk is full'); end")
    edit(tmp_path, "create trigger fuller before update on records begin select raise(abort, 'disk is full'); end")
    with pytest.raises(StoreError):
        await desk.use("q1", "d2")
    with pytest.raises(StoreError):
        await desk.sweep(("journal", 7))
    edit(tmp_path, "drop trigger full")
    edit(tmp_path, "drop trigger fuller")

    assert (await ApprovalStore(sealed_store(tmp_path)).load()).seq == 0
    await desk.sweep(("journal", 7))

    stored = await ApprovalStore(sealed_store(tmp_path)).load()
    assert (stored.seq, [one.state for one in stored.approvals]) == (7, ["used"])


async def test_edited_and_swapped_rows_do_not_open(desk: Desk, tmp_path: Path):
    for identifier in ("q1", "q2", "q3"):
        await ask(desk, identifier)
    ((other,),) = edit(tmp_path, "select value from records where kind = 'approval' and id = 'q1'")
    edit(tmp_path, "update records set value = ? where kind = 'approval' and id = 'q2'", other)
    edit(tmp_path, "delete from records where kind = 'approval' and id = 'q3'")
    edit(tmp_path, "update records set kind = 'approval' where id = 'q3'")
    plain = b"".join(value for (value,) in edit(tmp_path, "select value from records"))
    found = await ApprovalStore(sealed_store(tmp_path)).load()

    assert [one.id for one in found.approvals] == ["q1"]
    assert b"files/delete" not in plain


async def test_many_questions_are_written_at_once(tmp_path: Path, recorder: Recorder, clock: Clock):
    desk = make_desk(tmp_path, recorder, clock)
    for number in range(60):
        await ask(desk, f"q{number}", task=f"t{number}", requester=Requester(f"k{number}", "agent", "x"))

    async def use(number: int) -> None:
        await grant(desk, f"q{number}")
        await desk.claim(f"q{number}", "d2")
        await asyncio.gather(
            desk.use(f"q{number}", f"d{number}"), desk.describe(f"q{number}"), desk.sweep(("j", number))
        )

    await asyncio.gather(*(use(number) for number in range(60)))

    stored = await ApprovalStore(sealed_store(tmp_path)).load()
    assert [one.state for one in stored.approvals] == ["used"] * 60


async def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        await ApprovalStore(sealed_store(tmp_path / "file")).add(Approval(question()), DESCRIPTION, 0, 2_000.0)
