"""Values that a person approved for later tasks of the same kind, through the whole pipeline."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.authority.approvals.endorsement import EndorsementSelection
from gateway.model.decision import Decision, Reason
from gateway.model.errors import JournalError
from tests.unit.approving import BOB, REVISION, approve, pending, vote
from tests.unit.base.store.keeping import edit, put_back_endorsements, read_endorsements
from tests.unit.harness import Bench, deciding, retarget
from tests.unit.recurring import (
    BOSS,
    CAROL,
    KIND,
    RECURRING,
    SHIPPED,
    endorse,
    endorsements,
    recurring_bench,
    task_of_kind,
    told,
)

if TYPE_CHECKING:
    from gateway.model.target import Target
    from gateway.model.wire import JsonObject


@pytest.fixture
async def there(tmp_path: Path) -> AsyncGenerator[Bench]:
    async with recurring_bench(tmp_path) as started:
        yield started


async def test_a_later_task_of_the_same_kind_asks_no_more_for_the_same_values(there: Bench):
    await endorse(there, to=BOSS)
    later = await task_of_kind(there)

    assert await later.passes(to=BOSS)
    assert await later.passes(to=BOSS)

    (given,) = there.entries("endorsement")
    assert (given["event"], given["binding"]["kind"], given["pointers"]) == ("given", KIND, ["/to"])
    used: list[Any] = [entry["endorsement"] for entry in there.entries("call")[-2:]]
    assert [one["id"] for one in used] == [given["id"]] * 2
    assert BOSS not in str(given)


async def test_the_question_shows_kind_time_and_values(there: Bench):
    work = await task_of_kind(there)
    await work.passes(to=BOSS, cc="ceo@corp.example", body="hello")
    asked = pending(there)

    assert asked.question.recurrence is not None
    assert asked.question.recurrence.shown == {"/to": [BOSS], "/cc": ["ceo@corp.example"]}
    assert (asked.question.recurrence.binding.kind, asked.question.recurrence.seconds) == (KIND, 3_024_000)
    assert asked.question.rule.scopes == ("once", "destination", "limit", "recurring")


@pytest.mark.parametrize(
    "who",
    [
        {"agent": "other"},
        {"user": "other"},
        {"user": None},
        {"user": "Ursula"},
        {"kind": "monthly-report"},
        {"kind": None},
    ],
)
async def test_another_caller_or_kind_asks(there: Bench, who: dict[str, Any]):
    await endorse(there, to=BOSS)
    other = await task_of_kind(there, **who)

    assert not await other.passes(to=BOSS)


@pytest.mark.parametrize(
    "arguments",
    [
        {"to": "boss@corp.example.test"},
        {"to": "Boss@corp.example"},
        {"to": [BOSS]},
        {"to": f"{BOSS}, eve@else.example"},
        {"to": f"{BOSS} "},
        {"To": BOSS},
        {"cc": BOSS},
        {"to": BOSS, "cc": BOSS},
        {"to": BOSS, "cc": ""},
        {"to": BOSS, "amount": 5},
        {"to": BOSS, "bcc": "eve@else.example"},
        {"to": BOSS, "list": [BOSS]},
    ],
)
async def test_a_value_that_was_not_shown_asks(there: Bench, arguments: dict[str, Any]):
    await endorse(there, to=BOSS)
    later = await task_of_kind(there)

    assert not await later.passes(**arguments)
    assert await later.passes(to=BOSS)


async def test_the_form_of_a_value_counts(there: Bench):
    await endorse(there, to="josé@corp.example")
    later = await task_of_kind(there)

    assert not await later.passes(to="jose\u0301@corp.example")
    assert not await later.passes(to="JOSÉ@corp.example")
    assert await later.passes(to="josé@corp.example")


async def test_another_tool_asks(there: Bench):
    await endorse(there, to=BOSS)
    later = await task_of_kind(there)

    assert not await later.passes("stop_file", to=BOSS)


async def test_values_of_two_answers_do_not_combine(there: Bench):
    await endorse(there, to=BOSS, amount=10)
    await endorse(there, to="ann@corp.example", amount=5000)
    later = await task_of_kind(there)

    assert not await later.passes(to=BOSS, amount=5000)
    assert not await later.passes(to="ann@corp.example", amount=10)
    assert await later.passes(to=BOSS, amount=10)


async def test_a_text_may_differ_and_its_links_ask(there: Bench):
    await endorse(there, to=BOSS, body="Report 1")
    later = await task_of_kind(there)

    assert await later.passes(to=BOSS, body="Report 2")
    assert not await later.passes(to=BOSS, body="Report 3: https://attacker.example/?q=numbers")


@pytest.mark.parametrize(
    "arguments",
    [{"deep": {"To": BOSS}}, {"deep": f'{{"to": "{BOSS}"}}'}, {"list": BOSS}],
    ids=["name", "text", "single"],
)
async def test_a_value_that_readers_find_in_different_places_does_not_recur(there: Bench, arguments: dict[str, Any]):
    work = await task_of_kind(there)
    assert not await work.passes(**arguments)
    assert pending(there).question.recurrence is None
    assert "recurring" not in pending(there).question.rule.scopes


async def test_a_value_beside_a_credential_does_not_recur(there: Bench):
    work = await task_of_kind(there)
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    answer = await work.call(to=f"https://corp.example/{secret}")
    assert answer.codes[-1] == "approval/pending", answer.body
    assert pending(there).question.recurrence is None


async def test_without_a_policy_that_says_so_nothing_recurs(tmp_path: Path):
    async with recurring_bench(tmp_path, SHIPPED) as there:
        work = await task_of_kind(there)
        assert not await work.passes(to=BOSS)
        refused = await vote(there, pending(there), scopes=("once", "recurring"))

        assert isinstance(refused, Reason)
        assert refused.code == "vote/scope"
        assert pending(there).question.recurrence is None


@pytest.mark.parametrize("scopes", [("once",), ("once", "destination"), ("once", "limit")])
async def test_a_yes_without_the_scope_carries_nothing_over(there: Bench, scopes: Any):
    work = await task_of_kind(there)
    assert not await work.passes(to=BOSS)
    await approve(there, scopes=scopes)
    assert await work.passes(to=BOSS)

    assert not await (await task_of_kind(there)).passes(to=BOSS)
    assert told(there) == []


async def test_a_yes_whose_call_does_not_come_carries_nothing_over(there: Bench):
    work = await task_of_kind(there)
    assert not await work.passes(to=BOSS)
    await approve(there, scopes=("once", "recurring"))

    assert not await (await task_of_kind(there)).passes(to=BOSS)


@pytest.mark.parametrize(("second", "recorded"), [(("once", "recurring"), ["given"]), (("once",), [])])
async def test_each_of_several_persons_has_to_choose_it(tmp_path: Path, second: Any, recorded: list[str]):
    async with recurring_bench(tmp_path, RECURRING.replace("count: 1", "count: 2")) as there:
        work = await task_of_kind(there)
        assert not await work.passes(to=BOSS)
        await approve(there, BOB, scopes=("once", "recurring"))
        await approve(there, CAROL, scopes=second)
        assert await work.passes(to=BOSS)

        assert told(there) == recorded
        assert await (await task_of_kind(there)).passes(to=BOSS) is bool(recorded)


async def test_a_revoked_endorsement_asks_in_open_tasks_too(there: Bench):
    await endorse(there, to=BOSS)
    later = await task_of_kind(there)
    assert await later.passes(to=BOSS)
    (one,) = endorsements(there).list()

    assert await endorsements(there).revoke(EndorsementSelection(id=one.id), CAROL) == [one]

    assert not await later.passes(to=BOSS)
    assert endorsements(there).list() == []
    revoked = there.entries("endorsement")[-1]
    assert (revoked["event"], revoked["id"], revoked["by"]["id"]) == ("revoked", one.id, "carol")


async def test_a_call_that_is_decided_while_a_person_revokes_asks(there: Bench, monkeypatch: pytest.MonkeyPatch):
    await endorse(there, to=BOSS)
    later = await task_of_kind(there)
    decide = there.gateway.policy.decide

    async def revoke_meanwhile(document: JsonObject) -> Decision:
        decision = await decide(document)
        await endorsements(there).revoke(EndorsementSelection(all=True), CAROL)
        return decision

    monkeypatch.setattr(there.gateway.policy, "decide", revoke_meanwhile)

    assert not await later.passes(to=BOSS)
    assert "endorsement" not in there.entries("call")[-1]


async def test_time_ends_an_endorsement(there: Bench, monkeypatch: pytest.MonkeyPatch):
    await endorse(there, to=BOSS)
    later = await task_of_kind(there)
    clock, now = endorsements(there)._clock, endorsements(there).now()
    monkeypatch.setattr(clock, "_wall", lambda: now + 3_023_990)
    assert await later.passes(to=BOSS)
    monkeypatch.setattr(clock, "_wall", lambda: now + 3_024_001)
    assert not await later.passes(to=BOSS)

    monkeypatch.setattr(clock, "_wall", lambda: now)
    assert not await later.passes(to=BOSS)


async def test_a_changed_policy_ends_what_it_no_longer_allows(tmp_path: Path):
    async with recurring_bench(tmp_path) as there:
        await endorse(there, to=BOSS)
    for every in (
        SHIPPED,
        RECURRING.replace("count: 1", "count: 2"),
        RECURRING.replace("assurance: chat", "assurance: mfa"),
    ):
        async with recurring_bench(tmp_path, every) as there:
            assert not await (await task_of_kind(there)).passes(to=BOSS)
    async with recurring_bench(tmp_path) as there:
        assert await (await task_of_kind(there)).passes(to=BOSS)


async def test_a_changed_definition_ends_an_endorsement(there: Bench, monkeypatch: pytest.MonkeyPatch):
    await endorse(there, to=BOSS)
    later = await task_of_kind(there)
    target = there.gateway.catalogue.target

    def repinned(*named: Any) -> Target:
        found = target(*named)
        assert found.definition is not None
        return replace(found, definition="sha256:" + "0" * 64)

    with monkeypatch.context() as changed:
        retarget(changed, there.gateway.catalogue, repinned)
        assert not await later.passes(to=BOSS)
    assert await later.passes(to=BOSS)


async def test_other_questions_and_denials_stay(there: Bench, monkeypatch: pytest.MonkeyPatch):
    await endorse(there, to=BOSS)
    later = await task_of_kind(there)
    denied = Decision("deny", (Reason("tool/not-granted", "No."),), (), REVISION)
    with monkeypatch.context() as refusing:
        documents = deciding(there, denied, refusing)
        assert (await later.call(to=BOSS)).codes == ["tool/not-granted"]
    context: Any = documents[0]["context"]
    assert context["endorsement"]["facts"] == ["/arguments/to"]
    assert [person["id"] for person in context["endorsement"]["approvers"]] == ["bob"]
    assert endorsements(there).list()[0].used is None


async def test_endorsements_outlive_a_restart_and_a_lost_file(tmp_path: Path):
    async with recurring_bench(tmp_path) as there:
        await endorse(there, to=BOSS)
        await endorse(there, to="ann@corp.example")
        ann = endorsements(there).list()[-1]
        await endorsements(there).revoke(EndorsementSelection(id=ann.id), CAROL)
    async with recurring_bench(tmp_path) as there:
        (kept,) = endorsements(there).list()
        assert kept.shown == {"/to": [BOSS]}
        later = await task_of_kind(there)
        assert await later.passes(to=BOSS)
        assert not await later.passes(to="ann@corp.example")


async def test_a_file_that_was_changed_endorses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    async with recurring_bench(tmp_path) as there:
        await endorse(there, to=BOSS)
    for kind, identifier, _, value in read_endorsements(tmp_path / "state"):
        changed = value[:-1] + bytes([value[-1] ^ 1])
        edit(tmp_path / "state", "update records set value = ? where kind = ? and id = ?", changed, kind, identifier)
    async with recurring_bench(tmp_path) as there:
        assert "store.unreadable" in capsys.readouterr().out
        assert not await (await task_of_kind(there)).passes(to=BOSS)


async def test_an_older_file_revives_nothing_that_was_revoked(tmp_path: Path):
    async with recurring_bench(tmp_path) as there:
        await endorse(there, to=BOSS)
    older = read_endorsements(tmp_path / "state")
    async with recurring_bench(tmp_path) as there:
        await endorsements(there).revoke(EndorsementSelection(all=True), CAROL)
    put_back_endorsements(tmp_path / "state", older)
    async with recurring_bench(tmp_path) as there:
        assert endorsements(there).list() == []
        assert not await (await task_of_kind(there)).passes(to=BOSS)


async def test_a_file_beside_another_journal_endorses_nothing(tmp_path: Path):
    async with recurring_bench(tmp_path) as there:
        await endorse(there, to=BOSS)
    shutil.rmtree(tmp_path / "state/journal")
    shutil.rmtree(tmp_path / "state/history")
    async with recurring_bench(tmp_path) as there:
        assert endorsements(there).list() == []
        assert told(there) == ["withdrawn"]


async def test_a_journal_that_cannot_be_written_endorses_nothing(there: Bench, monkeypatch: pytest.MonkeyPatch):
    work = await task_of_kind(there)
    assert not await work.passes(to=BOSS)
    await approve(there, scopes=("once", "recurring"))
    append = there.gateway.journal.append

    async def failing(kind: str, fields: JsonObject) -> None:
        if kind == "endorsement":
            raise JournalError("no")
        await append(kind, fields)

    monkeypatch.setattr(endorsements(there), "_append", failing)
    assert await work.passes(to=BOSS)

    assert endorsements(there).list() == []
    assert not await (await task_of_kind(there)).passes(to=BOSS)
