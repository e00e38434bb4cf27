"""Leases: lent once for equal terms, gone from memory in the tick that ends them, and never forgotten before their proof."""

import asyncio
from pathlib import Path

import pytest
from msgspec import structs

from gateway.authority.ending import choose_pause
from gateway.authority.leases import Lent
from gateway.authority.model import BrokerRefusal, Credential, Issued, NotEnded, Proof
from gateway.model.decision import Reason
from gateway.model.errors import JournalError, StoreError
from tests.unit.authority.lending import Lending, ScriptedBroker
from tests.unit.base.store.keeping import edit


@pytest.fixture
def lending(tmp_path: Path) -> Lending:
    return Lending(tmp_path)


async def lent(lending: Lending, number: int = 1, **terms: object) -> Lent:
    answer = await lending.leases.lend("bao", lending.request(number, **terms), "d1")  # type: ignore[arg-type]
    assert isinstance(answer, Lent)
    return answer


async def refused(lending: Lending, number: int = 1, **terms: object) -> BrokerRefusal:
    answer = await lending.leases.lend("bao", lending.request(number, **terms), "d1")  # type: ignore[arg-type]
    assert isinstance(answer, BrokerRefusal)
    return answer


async def settled(lending: Lending) -> None:
    await lending.leases._ender.settle(5.0)  # pyright: ignore[reportPrivateUsage]


async def test_a_lease_is_in_the_journal_before_its_broker_is_asked(lending: Lending):
    lending.broker.gate = asyncio.Event()
    asking = asyncio.ensure_future(lent(lending))
    while not lending.broker.asked:
        await asyncio.sleep(0)

    assert lending.events() == ["requested"]
    assert lending.entries[0]["decision"] == "d1"
    assert [lease.state for lease in await lending.stored()] == ["requested"]

    lending.broker.gate.set()
    await asking
    assert lending.events() == ["requested", "issued"]
    assert lending.entries[1]["fingerprints"] == ["fp-secret-1"]


async def test_no_entry_and_no_row_has_the_value(lending: Lending):
    await lent(lending)
    lending.leases.end_task("t1", "task-completed")
    await settled(lending)

    assert all(
        "secret-1" not in str(value)
        for entry in lending.entries
        for key, value in entry.items()
        if key != "fingerprints"
    )
    rows = b"".join(path.read_bytes() for path in lending.folder.rglob("*") if path.is_file())
    assert b"secret-1" not in rows


async def test_a_thousand_parallel_calls_of_a_task_cost_one_request(lending: Lending):
    answers = await asyncio.gather(*(lent(lending, number) for number in range(1000)))

    assert lending.broker.asked == 1
    assert {answer.lease.id for answer in answers} == {"l0"}


@pytest.mark.parametrize("terms", [{"task": "t2"}, {"scope": ("write",)}])
async def test_other_terms_get_another_lease(lending: Lending, terms: dict[str, object]):
    first = await lent(lending, 1)
    second = await lent(lending, 2, **terms)

    assert first.credential != second.credential
    assert lending.broker.asked == 2


async def test_a_call_that_may_carry_less_time_does_not_carry_a_longer_lease(lending: Lending):
    long = await lent(lending, 1, seconds=600.0)
    short = await lent(lending, 2, seconds=5.0)

    assert long.lease.expires == lending.now + 600.0
    assert short.lease.expires == lending.now + 5.0
    assert (await lent(lending, 3, seconds=600.0)).lease.id == short.lease.id


async def test_a_request_for_less_time_does_not_share_the_answer_for_more(lending: Lending):
    lending.broker.gate = asyncio.Event()
    asking = [
        asyncio.ensure_future(lent(lending, number, seconds=seconds)) for number, seconds in ((1, 600.0), (2, 5.0))
    ]
    while not lending.broker.asked:
        await asyncio.sleep(0)
    lending.broker.gate.set()
    long, short = await asyncio.gather(*asking)

    assert (long.lease.id, short.lease.id) == ("l1", "l2")
    assert short.lease.expires == lending.now + 5.0


async def test_a_stop_waits_for_a_broker_that_is_being_asked(lending: Lending):
    lending.broker.gate = asyncio.Event()
    asking = asyncio.ensure_future(refused(lending))
    while not lending.broker.asked:
        await asyncio.sleep(0)
    stopping = asyncio.ensure_future(lending.leases.drain(5.0))
    await asyncio.sleep(0)
    lending.broker.gate.set()

    assert await stopping == ()
    assert (await asking).code == "credential/ended"
    assert lending.broker.ended == [("l1", Credential("secret-1"))]


async def test_the_value_is_gone_in_the_tick_that_ends_the_lease(lending: Lending):
    lending.broker.ends = [NotEnded("the broker is down")] * 100
    await lent(lending)

    assert lending.leases.end_task("t1", "task-cancelled") == 1
    assert lending.leases.find(lending.request()) is None
    await lending.leases.drain(0.0)


async def test_the_broker_gets_the_value_to_end_and_the_proof_is_recorded(lending: Lending):
    await lent(lending)
    lending.leases.end_task("t1", "task-completed")
    await settled(lending)

    assert lending.broker.ended == [("l1", Credential("secret-1"))]
    assert lending.events() == ["requested", "issued", "ending", "revoked"]
    assert lending.entries[2]["cause"] == "task-completed"
    assert lending.entries[3]["proof"]["kind"] == "lookup"
    assert await lending.stored() == ()
    assert len(lending.leases.all()) == 0


async def test_a_task_that_ends_while_its_broker_is_asked_gets_nothing(lending: Lending):
    lending.broker.gate = asyncio.Event()
    asking = asyncio.ensure_future(refused(lending))
    while not lending.broker.asked:
        await asyncio.sleep(0)
    lending.leases.end_task("t1", "task-cancelled")
    lending.broker.gate.set()

    assert (await asking).code == "credential/ended"
    await settled(lending)
    assert lending.broker.ended == [("l1", Credential("secret-1"))]
    assert lending.events()[-2:] == ["ending", "revoked"]


async def test_an_answer_for_a_closed_task_is_ended_though_nobody_told(lending: Lending):
    lending.broker.gate = asyncio.Event()
    asking = asyncio.ensure_future(refused(lending))
    while not lending.broker.asked:
        await asyncio.sleep(0)
    lending.open_tasks.clear()
    lending.broker.gate.set()

    assert (await asking).code == "credential/ended"


async def test_a_caller_that_leaves_does_not_lose_the_lease(lending: Lending):
    lending.broker.gate = asyncio.Event()
    asking = asyncio.ensure_future(lent(lending))
    while not lending.broker.asked:
        await asyncio.sleep(0)
    asking.cancel()
    lending.broker.gate.set()
    await asyncio.sleep(0.05)

    assert (await lent(lending, 2)).lease.id == "l1"


@pytest.mark.parametrize(
    ("issued", "revocable"),
    [
        (Issued(Credential("wide"), 1060.0, ("read", "admin")), "at_once"),
        (Issued(Credential("wide"), 5000.0, ("read",)), "after_ttl"),
    ],
)
async def test_a_wider_answer_is_refused_and_ended(tmp_path: Path, issued: Issued, revocable: str):
    lending = Lending(tmp_path, ScriptedBroker(revocable=revocable, answers=[issued]))  # type: ignore[arg-type]

    assert (await refused(lending)).code == "credential/wider"
    await settled(lending)
    assert lending.broker.ended == [("l1", Credential("wide"))]
    assert lending.entries[-2]["cause"] == "not-issued"


async def test_a_refusal_of_the_broker_is_recorded_and_not_cached(lending: Lending):
    lending.broker.answers = [BrokerRefusal(Reason("credential/refused", "No.", "Ask."))]

    assert (await refused(lending)).code == "credential/refused"
    assert lending.events() == ["requested", "failed"]
    assert (await refused(lending, 2)).code == "credential/unavailable"
    lending.now += 0.6
    await lent(lending, 3)


async def test_failures_do_not_stampede(lending: Lending):
    refusal = BrokerRefusal(Reason("credential/refused", "No.", "Ask."))
    lending.broker.answers = [refusal] * 100
    for number in range(1000):
        await refused(lending, number)
        lending.now += 0.01

    assert lending.broker.asked <= 5


async def test_an_answer_that_was_lost_is_ended_by_its_handle(tmp_path: Path):
    lending = Lending(tmp_path, ScriptedBroker(prepared={"accessor": "a1"}, answers=[RuntimeError("reset")]))

    assert (await refused(lending)).may_retry
    await settled(lending)
    assert lending.broker.ended == [("l1", None)]
    assert lending.events() == ["requested", "ending", "revoked"]


@pytest.mark.parametrize("event", ["requested", "issued"])
async def test_without_the_journal_nothing_is_lent(lending: Lending, event: str):
    lending.is_journal_down = lambda each: each == event

    with pytest.raises(JournalError):
        await lent(lending)
    await settled(lending)
    assert lending.leases.find(lending.request()) is None
    assert lending.broker.asked == (event == "issued")
    assert len(lending.broker.ended) == lending.broker.asked
    assert await lending.stored() == ()


async def test_without_the_store_nobody_is_asked(lending: Lending):
    (lending.folder / "records.db").mkdir()

    with pytest.raises(StoreError):
        await lent(lending)
    assert lending.broker.asked == 0


async def test_an_upstream_that_rejects_a_credential_ends_it_once_and_does_not_loop(lending: Lending):
    for number in range(1000):
        answer = await lending.leases.lend("bao", lending.request(number), "d1")
        if isinstance(answer, Lent):
            lending.leases.note_rejected(answer)
            lending.leases.note_rejected(answer)
        lending.now += 0.01
    await settled(lending)

    assert lending.broker.asked <= 5
    assert len(lending.broker.ended) == lending.broker.asked
    assert {entry.get("cause") for entry in lending.entries if entry["event"] == "ending"} == {"upstream-401"}


async def test_a_lease_serves_until_shortly_before_its_end(lending: Lending):
    first = await lent(lending, 1)
    lending.now += 59.0
    second = await lent(lending, 2)

    assert first.lease.id != second.lease.id


async def test_the_sweep_ends_leases_after_their_time_and_of_closed_tasks(lending: Lending):
    await lent(lending, 1, seconds=60.0)
    await lent(lending, 2, task="t2", seconds=600.0)
    of_token = structs.replace(lending.request(3, task="t2", scope=("write",)), ends_by="caller-expired")
    assert isinstance(await lending.leases.lend("bao", of_token), Lent)
    lending.now += 60.0
    await lending.leases.sweep()
    lending.open_tasks.clear()
    await lending.leases.sweep()
    await settled(lending)

    causes = {entry["id"]: entry["cause"] for entry in lending.entries if entry["event"] == "ending"}
    assert causes == {"l1": "lease-expired", "l2": "task-expired", "l3": "caller-expired"}


async def test_an_end_without_proof_is_stuck_and_blocks_its_broker(lending: Lending):
    lending.broker.ends = [NotEnded("the database is down")] * 1000
    await lent(lending)
    lending.leases.end_task("t1", "task-completed")
    await asyncio.sleep(0)
    lending.now += 61.0
    while lending.events()[-1] != "stuck":
        await asyncio.sleep(0.01)

    assert (await refused(lending, 2, task="t2")).code == "credential/stuck"
    lending.broker.ends = []
    await settled(lending)
    assert lending.events()[-1] == "revoked"
    await lent(lending, 3, task="t2")


@pytest.mark.parametrize("is_tried_before", [False, True])
async def test_a_stop_does_not_wait_for_time_to_end_a_credential(lending: Lending, *, is_tried_before: bool):
    lending.broker.ends = [NotEnded("only time ends it", after=60.0, waits=True)]
    await lent(lending)
    if is_tried_before:
        lending.leases.end_task("t1", "task-completed")
        while not lending.leases.all()[0].waits:
            await asyncio.sleep(0)

    async with asyncio.timeout(300):
        (left,) = await lending.leases.drain(3600.0)

    assert (left.state, left.waits) == ("ending", True)
    lending.start()
    assert await lending.restore() == 1
    await settled(lending)
    assert lending.leases.all() == ()


async def test_a_credential_that_only_time_ends_is_not_stuck_meanwhile(lending: Lending):
    """Nothing has failed, and nobody could do anything. An alarm would be false, and blocking the broker would help nobody."""
    lending.broker.ends = [NotEnded("the token lives until then", after=0.01, waits=True)] * 1000
    first = await lent(lending)
    lending.leases.end_task("t1", "task-completed")
    await asyncio.sleep(0)
    lending.now += 61.0
    tried = len(lending.broker.ended)
    while len(lending.broker.ended) < tried + 2:
        await asyncio.sleep(0.01)

    assert [lease.state for lease in lending.leases.all() if lease.id == first.lease.id] == ["ending"]
    assert lending.events() == ["requested", "issued", "ending"]
    await lent(lending, 2, task="t2")
    lending.broker.ends = []
    lending.leases.end_task("t2", "task-completed")
    await settled(lending)


@pytest.mark.parametrize(
    ("pause", "after", "left", "chosen"),
    [
        (0.2, 0.0, 90.0, 0.2),
        (0.2, 7.0, 90.0, 7.0),
        (30.0, 7.0, 90.0, 30.0),
        (0.2, 86_400.0, 90.0, 60.0),
        (30.0, 60.0, 5.0, 5.0),
        (0.2, 7.0, -3.0, 0.05),
    ],
)
def test_the_pause_before_the_next_attempt(pause: float, after: float, left: float, chosen: float):
    """As long as the issuer asks for (`Retry-After`), a minute at most, and no longer than the credential lives."""
    assert choose_pause(pause, after, left) == chosen


async def test_time_ends_a_stuck_lease_without_the_issuers_word(lending: Lending):
    lending.broker.ends = [NotEnded("the database is down")] * 1000
    await lent(lending)
    lending.leases.end_task("t1", "task-completed")
    await asyncio.sleep(0)
    lending.now += 60.0 + 31.0
    await settled(lending)

    assert lending.events()[-1] == "lapsed"
    assert lending.entries[-1]["proof"]["kind"] == "time"


async def test_time_proves_nothing_about_a_secret_that_may_outlive_it(tmp_path: Path):
    lending = Lending(tmp_path, ScriptedBroker(kind="openbao", ends=[NotEnded("the database is down")] * 1000))
    await lent(lending)
    lending.leases.end_task("t1", "task-completed")
    await asyncio.sleep(0)
    lending.now += 10**6
    while lending.events()[-1] != "stuck":
        await asyncio.sleep(0.01)
    asked = len(lending.broker.ended)

    assert asked < 10
    lending.broker.ends = []
    await settled(lending)
    assert lending.events()[-1] == "revoked"


async def test_only_an_operator_gives_up_an_end(lending: Lending):
    lending.broker.ends = [NotEnded("the database is down")] * 1000
    await lent(lending)
    assert await lending.leases.abandon("l1", "the system is gone") is None
    lending.leases.end_task("t1", "task-completed")
    await asyncio.sleep(0)

    abandoned = await lending.leases.abandon("l1", "the system is gone")

    assert abandoned is not None
    assert lending.events()[-1] == "abandoned"
    assert lending.entries[-1]["problem"] == "the system is gone"
    assert lending.leases.all() == ()
    assert await lending.stored() == ()


@pytest.mark.parametrize("is_active", [True, False])
async def test_a_restart_ends_each_lease_of_the_gateway_before(lending: Lending, is_active: bool):  # noqa: FBT001 - a case
    lending.broker.prepared = {"accessor": "a1"}
    lending.broker.gate = asyncio.Event()
    asking = asyncio.ensure_future(lent(lending))
    while not lending.broker.asked:
        await asyncio.sleep(0)
    if is_active:
        lending.broker.gate.set()
        await asking
    else:
        asking.cancel()
    lending.start()

    assert await lending.restore() == 1
    await settled(lending)
    assert lending.broker.ended == [("l1", None)]
    assert lending.events()[-2:] == ["ending", "revoked"]
    assert lending.entries[-2]["cause"] == "restart"
    assert await lending.stored() == ()


async def test_a_stuck_lease_is_not_forgotten_over_a_restart(lending: Lending):
    lending.broker.ends = [NotEnded("the database is down")] * 1000
    await lent(lending)
    lending.leases.end_task("t1", "task-completed")
    await asyncio.sleep(0)
    lending.now += 61.0
    while lending.events()[-1] != "stuck":
        await asyncio.sleep(0.01)
    left = await lending.leases.drain(0.0)
    assert [lease.state for lease in left] == ["stuck"]
    lending.start()

    await lending.restore()
    assert (await refused(lending, 2)).code == "credential/stuck"
    lending.broker.ends = []
    await settled(lending)
    assert lending.events()[-1] == "revoked"


async def test_a_lease_that_cannot_be_read_is_named_and_keeps_the_gateway_from_starting(lending: Lending):
    await lent(lending)
    edit(lending.folder, "update records set value = x'00112233445566778899aabbccddeeff00112233'")
    lending.start()

    with pytest.raises(StoreError, match="cannot be read: l1"):
        await lending.restore()


async def test_a_defect_of_a_broker_is_no_end(lending: Lending):
    lending.broker.ends = [RuntimeError("defect"), Proof("lookup", 0.0)]
    await lent(lending)
    lending.leases.end_task("t1", "task-completed")
    await settled(lending)

    assert len(lending.broker.ended) == 2
    assert lending.events()[-1] == "revoked"


@pytest.mark.parametrize(("seconds", "code"), [(0.5, "credential/ttl"), (1.9, "credential/ttl")])
async def test_too_short_a_life_is_refused(lending: Lending, seconds: float, code: str):
    assert (await refused(lending, 1, seconds=seconds)).code == code
    assert lending.broker.asked == 0


async def test_a_task_has_a_bounded_number_of_leases(lending: Lending):
    for number in range(256):
        await lent(lending, number, scope=(f"s{number}",))

    assert (await refused(lending, 999, scope=("more",))).code == "credential/too-many"
