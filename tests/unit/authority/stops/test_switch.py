"""The switch: a stop is in force before anything is written, is kept over a crash at each step, and ends as it was ordered."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.authority.stops.model import CAPACITY, Selection, Stop, StopRegister
from gateway.authority.stops.switch import STOPS, StopEffects, StopOrder, StopSwitch
from gateway.model.caller import AuthMethod, Principal
from gateway.model.decision import Reason
from gateway.model.errors import JournalError, StoreError
from tests.unit.base.store.keeping import sealed_store

TRIAGE = Principal("triage", "https://idp.example", AuthMethod.JWT)
OF_TRIAGE = Selection("agent", "triage")
BY = {"id": "account 0", "channel": "socket"}


class Killed(BaseException):
    """The end of the process, at a step."""


@dataclass
class Operating:
    """A switch in a test. `steps` tells what was done, in order; the step `killed` is the last one."""

    folder: Path
    now: float = 1_000.0
    elapsed: float = 50.0
    killed: str = ""
    is_journal_down: bool = False
    steps: list[str] = field(default_factory=list[str])
    entries: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    async def start(self) -> None:
        self.register, self.store = StopRegister(), sealed_store(self.folder)
        records = self.store.of(STOPS)
        for stop in (await records.load()).values():
            self.register.put(stop)
        self.switch = StopSwitch(
            self.register,
            records,
            self._append,
            clock=lambda: self.now,
            elapsed=lambda: self.elapsed,
            end=self._end,
        )
        await self.switch.begin()

    async def stop(self, chosen: Selection = OF_TRIAGE, reason: str = "a test", until: float | None = None) -> Any:
        found = await self.switch.stop(StopOrder(chosen, reason, until), BY)
        return found if isinstance(found, Reason) else found[0]

    async def _append(self, kind: str, fields: Any) -> None:
        self._step(f"journal {fields['action']}")
        if self.is_journal_down:
            raise JournalError("the disk is full", "make room")
        assert kind == "switch"
        self.entries.append(dict(fields))

    async def _end(self, stop: Stop) -> StopEffects:
        assert self.register.find(TRIAGE) is not None or stop.chosen != OF_TRIAGE
        self._step("end")
        return StopEffects(leases=1)

    def _step(self, name: str) -> None:
        if name == self.killed:
            raise Killed
        self.steps.append(name)


@pytest.fixture
async def operating(tmp_path: Path) -> Operating:
    there = Operating(tmp_path)
    await there.start()
    return there


async def test_a_stop_is_kept_and_recorded_before_it_ends_what_is_under_way(operating: Operating):
    stop = await operating.stop()

    assert operating.steps == ["journal stopped", "end"]
    assert operating.register.find(TRIAGE) is not None
    (entry,) = operating.entries
    assert entry == {
        "id": stop.id, "scope": "agent", "name": "triage", "at": 1_000.0, "reason": "a test", "by": BY, "action": "stopped",
    }  # fmt: skip
    assert [found.is_recorded for found in (await operating.store.of(STOPS).load()).values()] == [True]


@pytest.mark.parametrize("killed", ["journal stopped", "end"])
async def test_a_stop_is_in_force_after_a_crash_at_each_step_and_recorded_once(tmp_path: Path, killed: str):
    there = Operating(tmp_path, killed=killed)
    await there.start()
    with pytest.raises(Killed):
        await there.stop()

    after = Operating(tmp_path)
    await after.start()

    assert after.register.find(TRIAGE) is not None
    assert len(there.entries) + len(after.entries) == 1


@pytest.mark.parametrize("killed", ["journal resumed"])
async def test_a_crash_in_a_resumption_leaves_the_stop_in_force(tmp_path: Path, killed: str):
    there = Operating(tmp_path)
    await there.start()
    stop = await there.stop()
    there.killed = killed
    with pytest.raises(Killed):
        await there.switch.resume((stop,), BY, "mended")

    after = Operating(tmp_path)
    await after.start()
    assert after.register.find(TRIAGE) is not None


async def test_a_resumption_is_recorded_and_forgotten_on_disk(operating: Operating, tmp_path: Path):
    stop = await operating.stop()

    await operating.switch.resume((stop,), {"id": "account 7"}, "mended")
    await operating.switch.resume((stop,), BY, "twice")

    assert operating.register.find(TRIAGE) is None
    assert [(entry["action"], entry["reason"], entry["by"]["id"]) for entry in operating.entries] == [
        ("stopped", "a test", "account 0"),
        ("resumed", "mended", "account 7"),
    ]
    after = Operating(tmp_path)
    await after.start()
    assert not after.register.stops


async def test_without_a_journal_a_stop_is_in_force_and_a_resumption_is_not(operating: Operating):
    operating.is_journal_down = True
    with pytest.raises(JournalError):
        await operating.stop()
    assert operating.steps[-1] == "end"
    (stop,) = operating.register

    with pytest.raises(JournalError):
        await operating.switch.resume((stop,), BY, "mended")
    assert operating.register.find(TRIAGE) is not None


async def test_a_resumption_by_selection_takes_exactly_this_selection(operating: Operating):
    stops = [await operating.stop(), await operating.stop()]
    wider = await operating.stop(Selection("all"))
    at_issuer = await operating.stop(Selection("agent", "triage", "https://idp.example"))

    found = operating.switch.find("", OF_TRIAGE)

    assert {stop.id for stop in found} == {stop.id for stop in stops}
    assert [stop.id for stop in operating.switch.find(wider.id, None)] == [wider.id]
    await operating.switch.resume(found, BY, "mended")
    assert {stop.id for stop in operating.register} == {wider.id, at_issuer.id}


async def test_a_stop_ends_by_itself_after_its_time_whatever_happens_to_the_clock(operating: Operating):
    await operating.stop(until=1_060.0)
    for now in (0.0, 1_000_000.0, 1_059.0):
        operating.now = now
        await operating.switch.sweep()
        assert operating.register.find(TRIAGE) is not None

    operating.elapsed += 60.0
    await operating.switch.sweep()

    assert operating.register.find(TRIAGE) is None
    assert [entry["action"] for entry in operating.entries] == ["stopped", "expired"]


async def test_a_restart_keeps_the_rest_of_the_time(operating: Operating, tmp_path: Path):
    await operating.stop(until=1_060.0)
    after = Operating(tmp_path, now=1_030.0, elapsed=7.0)
    await after.start()

    after.elapsed += 29.0
    await after.switch.sweep()
    assert after.register.find(TRIAGE) is not None
    after.elapsed += 1.0
    await after.switch.sweep()
    assert after.register.find(TRIAGE) is None


@pytest.mark.parametrize(
    ("chosen", "reason", "until", "code"),
    [
        (Selection("agent", ""), "x", None, "stop/invalid"),
        (Selection("all", "x"), "x", None, "stop/invalid"),
        (Selection("all", "", "https://idp.example"), "x", None, "stop/invalid"),
        (Selection("upstream", "mail", "https://idp.example"), "x", None, "stop/invalid"),
        (Selection("agent", "x" * 2049), "x", None, "stop/invalid"),
        (OF_TRIAGE, " ", None, "stop/reason"),
        (OF_TRIAGE, "x" * 501, None, "stop/reason"),
        (OF_TRIAGE, "x", 1_000.0, "stop/past"),
        (OF_TRIAGE, "x", -1.0, "stop/past"),
        (OF_TRIAGE, "x", float("nan"), "stop/past"),
    ],
)
async def test_an_order_that_nobody_could_mean_is_refused(
    operating: Operating, chosen: Selection, reason: str, until: float | None, code: str
):
    found = await operating.stop(chosen, reason, until)

    assert isinstance(found, Reason)
    assert found.code == code
    assert not operating.register.stops
    assert operating.steps == []


async def test_too_many_stops_are_refused(operating: Operating):
    for number in range(CAPACITY):
        operating.register.put(Stop(f"s{number}", Selection("agent", f"a{number}"), 1.0, None, "x", BY))

    found = await operating.stop()
    assert isinstance(found, Reason)
    assert found.code == "stop/too-many"


async def test_a_stored_stop_that_cannot_be_read_keeps_the_gateway_from_starting(operating: Operating, tmp_path: Path):
    await operating.stop()
    operating.store.close()

    with pytest.raises(StoreError, match="1 records of the kind 'stop' cannot be read"):
        await sealed_store(tmp_path, b"o" * 32).of(STOPS).load()


async def test_a_stop_of_another_gateway_is_in_force_after_a_look_and_over_after_its_resumption(tmp_path: Path):
    one, other = Operating(tmp_path), Operating(tmp_path)
    await one.start()
    await other.start()
    stop = await one.stop()
    await one.switch.follow()
    assert one.steps == ["journal stopped", "end"], "the own stop is no news"

    await other.switch.follow()
    await other.switch.follow()
    assert other.register.find(TRIAGE) is not None
    assert other.steps == ["end"]
    await other.switch.resume((stop,), BY, "mended")
    await other.switch.follow()
    assert other.register.find(TRIAGE) is None

    assert one.register.find(TRIAGE) is not None
    await one.switch.follow()
    assert one.register.find(TRIAGE) is None


async def test_an_error_in_the_end_of_one_stop_elsewhere_loses_no_other_stop(tmp_path: Path):
    one, other = Operating(tmp_path), Operating(tmp_path)
    await one.start()
    await other.start()
    stops = [await one.stop(Selection("agent", name)) for name in ("a", "b", "c")]
    other.killed = "end"

    with pytest.raises(Killed):
        await other.switch.follow()
    assert other.register.stops.keys() == {stop.id for stop in stops}


async def test_a_look_at_other_gateways_takes_no_unwritten_stop_back(tmp_path: Path):
    there = Operating(tmp_path)
    await there.start()
    stop = Stop("stop-1", OF_TRIAGE, 1_000.0, None, "a test", BY)
    there.register.put(stop)

    await there.switch.follow()
    assert there.register.find(TRIAGE) is stop


async def test_a_stop_that_is_resumed_during_a_look_does_not_come_back(
    operating: Operating, monkeypatch: pytest.MonkeyPatch
):
    stop = await operating.stop()
    look = operating.switch._followed.look  # pyright: ignore[reportPrivateUsage]

    async def look_and_resume() -> Any:
        found = await look()
        await operating.switch.resume((stop,), BY, "mended")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(operating.switch._followed, "look", look_and_resume)  # pyright: ignore[reportPrivateUsage]
        await operating.switch.follow()
    assert operating.register.find(TRIAGE) is None
    await operating.switch.follow()
    assert operating.register.find(TRIAGE) is None
