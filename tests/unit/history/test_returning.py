"""Text that returns: a stranger's words that one task wrote, and that another reads in a system with better labels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import pytest

from gateway.base.keys.key_ring import KeyRing
from gateway.base.store.records import SealedStore
from gateway.history import Restored, rebuild
from gateway.history.returning import LEAST_OF_TEXT, MAX_OF_TEXT, ReturningText, WrittenText
from gateway.history.written_texts import WrittenTexts
from gateway.inspection.words.words import digests
from gateway.model.call import Call
from gateway.model.caller import AuthMethod, Principal, User
from gateway.model.content import CallContent, ResultContent
from gateway.model.target import Effect, Labels, Sensitivity, Target
from gateway.model.task import Task
from tests.requirements import requirement
from tests.unit.base.store.engines import open_store
from tests.unit.history.recording import Record, new_history

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.history import History
    from gateway.model.facts import SessionFacts

ISSUER = "https://idp.example"
ANN = Principal("reader", ISSUER, AuthMethod.JWT, user=User("ann"))
WRITER = replace(ANN, id="writer")
BOB = Principal("helper", ISSUER, AuthMethod.JWT, user=User("bob"))
DAY = 86_400.0
KEEP = 30 * DAY


def words(text: str) -> frozenset[int]:
    return digests([word.encode() for word in text.split()], b"k" * 32)


POISON = words("archive@evil.example evil.example forward-everything")
"""Distinctive words of a stranger's mail."""
OTHER = words("deployment-2041 northwind-eu")


@dataclass
class Place:
    """A system, as its labels have it."""

    audience: str
    trust: Literal["trusted", "untrusted"] = "trusted"
    sensitivity: Sensitivity = Sensitivity.PUBLIC
    tenant: str | None = None
    behind: tuple[str, ...] | None = None


MAIL = Place("mail", trust="untrusted")
NOTES, WIKI = Place("notes"), Place("wiki")
CRM = Place("crm", sensitivity=Sensitivity.CONFIDENTIAL)


@dataclass
class Run:
    """A gateway that looks for text that returns, and calls of several users."""

    store: SealedStore
    now: float = 1000.0
    count: int = 0
    record: Record = field(default_factory=Record)
    texts: ReturningText = field(default_factory=lambda: ReturningText(KEEP))

    def __post_init__(self) -> None:
        self.history = self.begin_history()

    def begin_history(self) -> History:
        """Begin a gateway with the records, and without memory."""
        history = new_history(lambda: self.now, idle=KEEP * 3, lifetime=KEEP * 3)
        history.ledger.written = WrittenTexts(self.store, self.texts, lambda: self.now)
        history.ledger.returning = self.texts
        return history

    async def restart(self) -> None:
        """Go on after a crash."""
        self.texts = ReturningText(KEEP)
        self.history = self.begin_history()
        rebuild(self.history, self.record.entries, Restored())
        assert self.history.ledger.written is not None
        await self.history.ledger.written.load()

    async def call(
        self,
        caller: Principal,
        place: Place,
        effect: Effect = Effect.READ,
        *,
        said: frozenset[int] = frozenset(),
        shown: frozenset[int] = frozenset(),
        is_allowed: bool = True,
        task: Task | None = None,
    ) -> SessionFacts:
        """Make a whole call, and return the facts of its decision."""
        self.count += 1
        ledger, call_id = self.history.ledger, f"c{self.count}"
        task = task or self.history.tasks.open_implicit(caller, self.now)
        labels = Labels(effect, sensitivity=place.sensitivity)
        target = Target("tool", place.audience, "use", place.audience, place.tenant, labels=labels, trust=place.trust)
        wants = ledger.relevance(task, target).words == "all"
        content = CallContent(tokens=said if wants else frozenset(), words=said)
        made = Call("tools/call", target, {})
        found = ledger.reserve(task, call_id, made, content, self.now, depth=0, principal=caller)
        user = None if caller.user is None else caller.user.id
        principal: dict[str, object] = {"key": caller.key, "id": caller.id, "issuer": caller.issuer, "user": user}
        entry = {
            "id": call_id,
            "effect": "allow" if is_allowed else "deny",
            "history": found.fields,
            "task": {"id": task.id},
        }
        self.record.append("call", {**entry, "principal": principal})  # pyright: ignore[reportArgumentType]
        if not is_allowed:
            ledger.release(task, call_id, denied=True)
            return found.facts
        ledger.let_pass(task, call_id)
        await ledger.note_written(task, call_id, content, self.now)
        assert self.history.ledger.returning is not None
        looks = shown if self.history.ledger.returning.may_return(target) else frozenset[int]()
        seen = ledger.observe(task, call_id, ResultContent(tokens=shown, words=looks))
        if seen is not None:
            self.record.append("observed", seen)
        ledger.settle(task, call_id)
        self.record.append("settled", {"id": call_id, "outcome": "completed"})
        return found.facts

    async def poison(self, place: Place = NOTES, said: frozenset[int] = POISON, reader: Principal = ANN) -> None:
        """Have an agent write into a system what a stranger's mail told it."""
        await self.call(reader, MAIL, shown=POISON)
        await self.call(reader, place, Effect.WRITE, said=said)

    async def labels(self, caller: Principal = BOB) -> tuple[bool, str]:
        """Return whether the next call of a caller is under untrusted influence, and what it has read."""
        found = (await self.call(caller, WIKI)).labels
        assert found is not None
        return found.untrusted, found.confidentiality.value


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    store = SealedStore(open_store(str(tmp_path / "records.db"), lambda: 1000.0), KeyRing(b"k" * 32))
    yield Run(store)
    store.close()


# --- what returns ------------------------------------------------------------------------------------


@requirement("history/returning")
async def test_a_poisoned_memory_that_another_user_reads_a_day_later_is_untrusted(run: Run):
    await run.poison()
    run.now += DAY
    assert await run.labels() == (False, "public")
    await run.call(BOB, NOTES, shown=POISON | OTHER)
    assert await run.labels() == (True, "public")
    task = run.history.tasks.open_implicit(BOB, run.now)
    (mark,) = run.history.states.jobs.list_marks(BOB.job)
    assert (mark.label, mark.audience, mark.agent, mark.call) == ("untrusted", "mail", "reader", "c2")
    assert run.history.tasks.find(task.id) is not None


async def test_it_returns_from_any_system_of_the_tenant_and_marks_the_whole_job(run: Run):
    await run.poison()
    await run.call(BOB, Place("tickets"), shown=POISON)
    assert await run.labels(replace(BOB, id="another agent")) == (True, "public")


async def test_it_gives_no_ground_also_to_a_task_that_has_its_label_already(run: Run):
    await run.poison()
    later = Task("later", "declared", run.now, run.now + DAY)
    run.history.tasks.open(ANN, later, ResultContent())
    await run.call(ANN, NOTES, shown=POISON, task=later)
    kept = run.history.tasks.require(later)
    state = run.history.states.load(kept)
    assert not POISON & state.trusted
    assert state.tokens.keys() >= POISON


@requirement("history/returning")
async def test_confidential_text_that_one_agent_read_and_another_wrote_stays_confidential(run: Run):
    secret = words("acme-takeover-2027 price-per-share-41")
    await run.call(ANN, CRM, shown=secret)
    await run.call(WRITER, NOTES, Effect.WRITE, said=secret | OTHER)
    await run.call(BOB, NOTES, shown=secret)
    assert await run.labels() == (False, "confidential")


async def test_a_mail_that_is_confidential_brings_both_labels_back(run: Run):
    private = replace(MAIL, sensitivity=Sensitivity.RESTRICTED)
    await run.call(ANN, private, shown=POISON)
    await run.call(ANN, NOTES, Effect.WRITE, said=POISON)
    await run.call(BOB, NOTES, shown=POISON)
    assert await run.labels() == (True, "restricted")


async def test_what_an_agent_wrote_word_by_word_returns_as_what_it_was(run: Run):
    await run.call(ANN, MAIL, shown=POISON)
    for word in POISON:
        await run.call(ANN, NOTES, Effect.WRITE, said=frozenset({word}))
    await run.call(BOB, NOTES, shown=POISON)
    assert await run.labels() == (True, "public")


@requirement("history/restart")
async def test_it_returns_after_a_crash_of_the_gateway(run: Run):
    await run.poison()
    await run.restart()
    await run.call(BOB, NOTES, shown=POISON)
    assert await run.labels() == (True, "public")
    await run.restart()
    assert await run.labels() == (True, "public")


async def test_the_words_of_a_confidential_result_outlive_a_crash_before_they_are_written(run: Run):
    secret = words("acme-takeover-2027 price-per-share-41")
    await run.call(ANN, CRM, shown=secret)
    await run.restart()
    await run.call(ANN, NOTES, Effect.WRITE, said=secret)
    await run.call(BOB, NOTES, shown=secret)
    assert await run.labels() == (False, "confidential")


# --- what does not -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shown", [OTHER, frozenset(list(POISON)[:1]), OTHER | frozenset(list(POISON)[:1])], ids=["none", "one", "one more"]
)
async def test_one_word_in_common_is_chance(run: Run, shown: frozenset[int]):
    await run.poison()
    await run.call(BOB, NOTES, shown=shown)
    assert await run.labels() == (False, "public")


async def test_another_tenant_has_texts_of_its_own(run: Run):
    await run.poison(replace(NOTES, tenant="acme"))
    for tenant in ("umbrella", None):
        await run.call(BOB, replace(NOTES, tenant=tenant), shown=POISON)
        assert await run.labels() == (False, "public")
    await run.call(BOB, replace(NOTES, tenant="acme"), shown=POISON)
    assert await run.labels() == (True, "public")


async def test_a_refused_call_has_written_nothing(run: Run):
    await run.call(ANN, MAIL, shown=POISON)
    await run.call(ANN, NOTES, Effect.WRITE, said=POISON, is_allowed=False)
    await run.call(BOB, NOTES, shown=POISON)
    assert await run.labels() == (False, "public")


async def test_a_search_writes_nothing(run: Run):
    await run.call(ANN, MAIL, shown=POISON)
    await run.call(ANN, NOTES, said=POISON)
    assert len(run.texts) == 0


async def test_own_words_of_an_agent_beside_foreign_ones_are_not_kept(run: Run):
    await run.poison(said=POISON | OTHER)
    await run.call(BOB, NOTES, shown=OTHER)
    assert await run.labels() == (False, "public")
    assert len(run.texts) == len(POISON)


async def test_a_text_is_known_for_its_time(run: Run):
    await run.poison()
    run.now += KEEP + 1
    await run.call(BOB, NOTES, shown=POISON)
    assert await run.labels() == (False, "public")
    assert run.history.ledger.written is not None
    await run.history.ledger.written.sweep()
    assert len(run.texts) == 0


async def test_an_operator_forgets_the_texts_of_a_tenant(run: Run):
    await run.poison(replace(NOTES, tenant="acme"))
    await run.poison(replace(NOTES, tenant="umbrella"))
    written = run.history.ledger.written
    assert written is not None
    assert await written.forget("acme") == 1
    assert run.texts.list_tenants() == {"umbrella": 1}
    await run.restart()
    assert run.texts.list_tenants() == {"umbrella": 1}
    assert run.history.ledger.written is not None
    assert await run.history.ledger.written.forget() == 1
    assert len(run.texts) == 0


# --- room --------------------------------------------------------------------------------------------


def text(job: str, *found: int) -> WrittenText:
    return WrittenText(job, None, b"".join(word.to_bytes(8, "little") for word in sorted(found)), (), 1.0)


def test_a_flood_of_one_job_takes_its_own_room_and_no_others():
    texts = ReturningText(KEEP, of_job=2 * LEAST_OF_TEXT, of_all=3 * LEAST_OF_TEXT)
    assert texts.add("quiet", text("quiet", 1, 2, 3)) == []
    gone = [name for number in range(10) for name in texts.add(f"f{number}", text("flood", 10 + number, 100))]
    assert gone == [f"f{number}" for number in range(8)]
    assert texts.list_ids() == ["quiet", "f8", "f9"]
    assert len(texts) == 7


def test_the_job_with_the_most_words_makes_room_for_others():
    texts = ReturningText(KEEP, of_job=3 * LEAST_OF_TEXT, of_all=3 * LEAST_OF_TEXT)
    for number in range(3):
        texts.add(f"f{number}", text("flood", number, 100))
    assert texts.add("quiet", text("quiet", 1, 2, 3)) == ["f0"]
    for name in ("f1", "f2", "quiet"):
        texts.remove(name)
    assert (len(texts), texts.of_tenant) == (0, {})


def test_a_flood_of_texts_of_one_word_is_a_flood():
    """Each text has marks and an id beside its words. So the room for some long texts is none for a hundred short ones."""
    texts = ReturningText(KEEP, of_job=64, of_all=128)
    gone = [name for number in range(100) for name in texts.add(f"f{number}", text("flood", number))]
    assert len(gone) == 100 - 64 // LEAST_OF_TEXT
    assert len(texts) == 64 // LEAST_OF_TEXT
    assert len(texts.add("long", text("flood", *range(1_000, 1_064)))) == 64 // LEAST_OF_TEXT
    assert texts.list_ids() == ["long"]


async def test_of_a_long_text_an_even_sample_is_kept(run: Run):
    long = frozenset(digests([f"word-number-{number}".encode() for number in range(400)], b"k" * 32))
    await run.call(ANN, MAIL, shown=long)
    await run.call(ANN, NOTES, Effect.WRITE, said=long)
    assert len(run.texts) == MAX_OF_TEXT
