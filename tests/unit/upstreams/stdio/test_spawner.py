"""Starts the processes of one upstream, counts them, and refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.config import Upstream
from gateway.model.errors import UpstreamUnreachable
from gateway.upstreams.stdio import spawner as spawner_module
from gateway.upstreams.stdio.child import ServerProcess
from gateway.upstreams.stdio.spawner import Spawner
from tests.unit.clock import Clock
from tests.unit.upstreams.stdio.driving import PUPPET, until

MakeSpawner = Callable[..., Spawner]


@pytest.fixture
async def spawner_of(clock: Clock) -> AsyncIterator[MakeSpawner]:
    made: list[Spawner] = []

    def build(*command: str, environ: dict[str, str] | None = None, **settings: Any) -> Spawner:
        upstream = Upstream.model_validate({"command": command or PUPPET, "audience": "files", **settings})
        made.append(Spawner("files", upstream, clock=clock, environ=environ))
        return made[-1]

    yield build
    await asyncio.gather(*(spawner.aclose() for spawner in made))


async def ended(spawner: Spawner) -> None:
    await until(lambda: spawner.running == 0)


async def test_processes_are_counted_until_they_are_gone(spawner_of: MakeSpawner):
    spawner = spawner_of()
    child = await spawner.spawn("alice")
    assert spawner.running == 1

    spawner.stop(child)
    await ended(spawner)

    assert spawner.failures == 0
    assert spawner.retry_seconds() == 0.0


async def test_one_principal_cannot_take_the_places_of_others(spawner_of: MakeSpawner, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spawner_module, "MAX_CHILDREN_PER_PRINCIPAL", 2)
    spawner = spawner_of()
    await asyncio.gather(spawner.spawn("alice"), spawner.spawn("alice"))
    assert spawner.full_for("alice")

    with pytest.raises(UpstreamUnreachable, match="already runs 2 processes for this caller"):
        await spawner.spawn("alice")
    await spawner.spawn("bob")

    assert spawner.running == 3


async def test_starts_at_the_same_time_cannot_race_the_limit(spawner_of: MakeSpawner, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spawner_module, "MAX_CHILDREN_PER_PRINCIPAL", 2)
    spawner = spawner_of()

    outcomes = await asyncio.gather(*(spawner.spawn("alice") for _ in range(5)), return_exceptions=True)

    assert sum(isinstance(outcome, ServerProcess) for outcome in outcomes) == 2


async def test_all_principals_together_are_bounded(spawner_of: MakeSpawner, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spawner_module, "MAX_CHILDREN", 1)
    spawner = spawner_of()
    await spawner.spawn("alice")

    with pytest.raises(UpstreamUnreachable, match="already runs 1 processes, which is the limit"):
        await spawner.spawn("bob")


async def test_a_server_that_keeps_dying_is_not_started_until_the_wait_is_over(spawner_of: MakeSpawner, clock: Clock):
    spawner = spawner_of(*PUPPET, '[{"exit": 1}]')
    for wait in (0.5, 1.0, 2.0):
        await spawner.spawn("alice")
        await ended(spawner)
        assert spawner.retry_seconds() == wait
        with pytest.raises(UpstreamUnreachable, match=f"may be started again in {wait:.1f} s") as caught:
            await spawner.spawn("alice")
        assert caught.value.code == "upstream/unreachable"
        clock.now += wait

    assert spawner.failures == 3


async def test_the_wait_of_one_principal_is_not_anothers(spawner_of: MakeSpawner):
    spawner = spawner_of(*PUPPET, '[{"exit": 1}]')
    await spawner.spawn("alice")
    await ended(spawner)

    await spawner.spawn("bob")


async def test_what_is_told_is_of_the_principal_for_whom_it_is_worst(spawner_of: MakeSpawner, clock: Clock):
    spawner = spawner_of(*PUPPET, '[{"exit": 1}]')
    for principal, wait in (("alice", 0.5), ("alice", 0.0), ("bob", 0.0)):
        await spawner.spawn(principal)
        await ended(spawner)
        clock.now += wait

    assert (spawner.failures, spawner.retry_seconds()) == (2, 1.0)


async def test_the_processes_of_an_upstream_are_read_by_turns_with_each_other(spawner_of: MakeSpawner):
    """Else many that flood would leave no time for all else, each by itself within its bound."""
    spawner = spawner_of()
    one, other = await spawner.spawn("alice"), await spawner.spawn("bob")

    assert one._throttle is other._throttle


async def test_failures_are_forgotten_after_a_minute(spawner_of: MakeSpawner, clock: Clock):
    spawner = spawner_of(*PUPPET, '[{"exit": 1}]')
    await spawner.spawn("alice")
    await ended(spawner)
    spawner.forget()
    assert spawner.failures == 1

    clock.now += 61.0
    spawner.forget()

    assert spawner.failures == 0


async def test_a_command_that_is_not_there_is_unreachable_and_waits(spawner_of: MakeSpawner):
    spawner = spawner_of("/no/such/program")

    with pytest.raises(UpstreamUnreachable, match="cannot be started: /no/such/program: no such program") as caught:
        await spawner.spawn("alice")
    assert "upstreams.files.command" in caught.value.remedy
    assert spawner.running == 0
    with pytest.raises(UpstreamUnreachable, match="may be started again"):
        await spawner.spawn("alice")


async def test_the_reason_of_a_failed_start_is_logged_once(spawner_of: MakeSpawner, clock: Clock):
    spawner = spawner_of("no-such-program")

    with capture_logs() as logged:
        for _ in range(2):
            clock.now += 61.0
            with pytest.raises(UpstreamUnreachable):
                await spawner.spawn("alice")

    problems = [event["problem"] for event in logged if event["event"] == "upstream.not-started"]
    assert problems == ["no-such-program: no such program on the PATH"]


async def test_the_working_directory_is_the_configured_one(spawner_of: MakeSpawner, tmp_path: Path):
    with pytest.raises(UpstreamUnreachable, match="No such file or directory"):
        await spawner_of(cwd=str(tmp_path / "missing")).spawn("alice")


async def test_a_server_gets_a_minimal_environment_and_what_is_configured(
    spawner_of: MakeSpawner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TOKEN", "s3cret")
    outer = {"PATH": "/usr/bin:/bin", "HOME": "/root", "OPAGATE_KEY": "the gateway's own", "LANG": "C.UTF-8"}
    spawner = spawner_of(
        *("/bin/sh", "-c", "env > env.txt; pwd >> env.txt; cat"),
        environ=outer,
        env={"API": "${TOKEN}"},
        cwd=str(tmp_path),
        files={"write": [str(tmp_path)]},
    )
    child = await spawner.spawn("alice")
    await child.stop()

    lines = (tmp_path / "env.txt").read_text().splitlines()
    assert {"PATH=/usr/bin:/bin", "HOME=/root", "LANG=C.UTF-8", "API=s3cret", str(tmp_path)} <= set(lines)
    assert not any("OPAGATE_KEY" in line for line in lines)


async def test_a_start_that_is_cancelled_leaves_nothing_behind(spawner_of: MakeSpawner):
    spawner = spawner_of()
    starting = asyncio.ensure_future(spawner.spawn("alice"))
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await ended(spawner)

    assert starting.cancelled()
    assert spawner.failures == 0


async def test_a_start_that_is_cancelled_and_fails_leaves_nothing_behind(spawner_of: MakeSpawner):
    spawner = spawner_of("/no/such/program")
    starting = asyncio.ensure_future(spawner.spawn("alice"))
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await ended(spawner)

    assert spawner.failures == 0


async def test_after_the_end_nothing_is_started(spawner_of: MakeSpawner):
    spawner = spawner_of()
    await spawner.spawn("alice")
    await spawner.aclose()

    assert spawner.running == 0
    with pytest.raises(UpstreamUnreachable, match="shutting down"):
        await spawner.spawn("alice")


async def test_a_process_that_starts_while_all_end_is_ended_too(spawner_of: MakeSpawner):
    spawner = spawner_of()
    starting = asyncio.ensure_future(spawner.spawn("alice"))
    await asyncio.sleep(0)
    await spawner.aclose()

    with pytest.raises(UpstreamUnreachable, match="shutting down"):
        await starting
    assert spawner.running == 0
