"""Leased credentials of processes: handed over, renewed, and gone with all that the process started. With real processes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from structlog.testing import capture_logs

from gateway.config import Limits, Upstream
from gateway.model.errors import UpstreamBroken, UpstreamUnreachable
from gateway.model.wire import Era, HandedCredential, UpstreamRequest
from gateway.upstreams.stdio import StdioUpstream
from gateway.upstreams.stdio import upstream as upstream_module
from gateway.upstreams.stdio.spawner import MAX_CHILDREN_PER_PRINCIPAL
from tests.machine import is_alive, needs_proc
from tests.unit.clock import Clock
from tests.unit.upstreams.stdio.driving import ALICE, BOB, next_event, until
from tests.unit.upstreams.stdio.handing import HOLDER, Caller, lent

Make = Callable[..., StdioUpstream]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def make(clock: Clock, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes upstreams with a hand-over, and ends them."""
    made: list[StdioUpstream] = []

    def build(
        *command: str, ids: list[str] | None = None, more: dict[str, Any] | None = None, **hand_over: Any
    ) -> StdioUpstream:
        names = iter(ids or [f"session-{number}" for number in range(1, 9)])
        credential = {"kind": "openbao", "broker": "bao", "path": "database/creds/ro", "hand_over": hand_over}
        settings = {
            "command": command or HOLDER,
            "audience": "files",
            "env": {"OWN": "${HOME}"},
            "credential": credential,
            **(more or {}),
        }
        upstream = StdioUpstream(
            "files",
            Upstream.model_validate(settings),
            Limits.model_validate({"first_byte": "20s"}),
            clock=clock,
            new_id=lambda: next(names),
            folder=tmp_path / "private" / "files",
        )
        made.append(upstream)
        return upstream

    yield build
    await asyncio.gather(*(upstream.aclose() for upstream in made))
    folder = tmp_path / "private" / "files"
    assert not folder.exists() or list(folder.iterdir()) == [], "the files end with their processes"


ERAS = pytest.mark.parametrize("era", [Era.STATELESS, Era.HANDSHAKE])


async def begun(make: Make, era: Era, *command: str, **hand_over: Any) -> Caller:
    caller = Caller(make(*command, **hand_over), era)
    if era is Era.HANDSHAKE:
        await caller.initialize()
    return caller


# --- the ways ------------------------------------------------------------------------------------------------


@ERAS
@pytest.mark.parametrize(
    ("hand_over", "expected"),
    [
        ({"env": "SECRET", "template": "{username}:{password}"}, {"SECRET": "user-1:secret-1"}),
        (
            {"variables": {"SECRET_USER": "{username}", "SECRET": "{password}"}},
            {"SECRET": "secret-1", "SECRET_USER": "user-1"},
        ),
        ({"file": "SECRET_FILE", "form": "pgpass"}, {"file": "*:*:*:user-1:secret-1\n", "mode": "0o600"}),
        (
            {"file": "SECRET_FILE", "form": "pgservice"},
            {"file": "[opagate]\nuser=user-1\npassword=secret-1\n", "PGSERVICE": "opagate"},
        ),
        ({"fd": 3, "template": "{password}"}, {"fd": "secret-1"}),
    ],
)
async def test_a_process_gets_its_credential(make: Make, era: Era, hand_over: dict[str, Any], expected: dict[str, Any]):
    command = (*HOLDER, "--fd") if "fd" in hand_over else HOLDER
    found = await (await begun(make, era, *command, **hand_over)).told(lent())

    assert found.items() >= expected.items()
    assert found["OWN"] == os.environ["HOME"]


async def test_json_is_the_form_of_a_credential_of_several_fields(make: Make):
    found = await Caller(make(env="SECRET")).told(lent())

    assert json.loads(found["SECRET"]) == {
        "username": "user-1",
        "password": "secret-1",
        "expires": "1970-01-01T00:33:20Z",
    }


@ERAS
async def test_two_tasks_of_one_principal_have_two_processes_and_two_secrets(make: Make, era: Era):
    caller = await begun(make, era, env="SECRET", template="{password}")
    one, other = await caller.told(lent(1, terms="t1")), await caller.told(lent(2, terms="t2"))
    again = await caller.told(lent(1, terms="t1"))

    assert (one["SECRET"], other["SECRET"], again["SECRET"]) == ("secret-1", "secret-2", "secret-1")
    assert one["pid"] == again["pid"] != other["pid"]


async def test_two_principals_never_share_a_process(make: Make):
    upstream = make(file="SECRET_FILE")
    one = await Caller(upstream).told(lent())
    other = await Caller(upstream, principal=BOB).told(lent())

    assert one["pid"] != other["pid"]


@needs_proc
@ERAS
async def test_no_value_is_in_arguments_logs_or_a_repr(make: Make, era: Era):
    credential = lent()
    with capture_logs() as logs:
        caller = await begun(make, era, *HOLDER, "--fd", fd=3)
        found = await caller.told(credential)
        seen = _seen_by_ps(found["pid"])
        await caller.upstream.aclose()

    for text in (seen, str(logs), repr(credential)):
        assert "secret-1" not in text
    assert "secret-1" in found["fd"]


async def test_a_secret_without_the_field_starts_no_process_and_names_no_value(make: Make):
    caller = Caller(make(env="SECRET", template="{token}"))
    with pytest.raises(UpstreamUnreachable, match="it has no field 'token'") as caught:
        await caller.told(lent())

    assert "secret-1" not in str(caught.value)
    assert caller.upstream.status().processes == 0


@needs_proc
async def test_a_hand_over_that_fails_leaves_no_descriptor_and_no_file(make: Make):
    caller = Caller(make(file="SECRET_FILE", form="pgpass"))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names of descriptors
    bad = HandedCredential("lease-1", "t1", 1.0, "v", (("username", "u"), ("password", "a\nb")), 2000.0)
    with pytest.raises(UpstreamUnreachable, match="control character"):
        await caller.told(bad)

    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


async def test_a_program_that_is_missing_is_named(make: Make):
    with pytest.raises(UpstreamUnreachable, match="no-such-program: no such program on the PATH"):
        await Caller(make("no-such-program", env="SECRET")).told(lent())


# --- renewal -------------------------------------------------------------------------------------------------


@ERAS
async def test_a_file_is_renewed_in_the_running_process(make: Make, era: Era):
    caller = await begun(make, era, file="SECRET_FILE", template="{password}")
    one, other = await caller.told(lent(1)), await caller.told(lent(2))
    assert (one["file"], other["file"], one["pid"]) == ("secret-1", "secret-2", other["pid"])

    assert await caller.upstream.withdraw("lease-1") is None, "the process has the second one"
    late = await caller.told(lent(3, since=0.5))
    assert (late["file"], late["pid"]) == ("secret-2", one["pid"]), "an older one replaces nothing"
    assert await caller.upstream.withdraw("lease-2") is True


@ERAS
@pytest.mark.parametrize(
    "way", [{"env": "SECRET"}, {"file": "SECRET_FILE", "variables": {"SECRET_USER": "{username}"}}]
)
async def test_a_variable_is_renewed_by_another_process(make: Make, era: Era, way: dict[str, Any]):
    caller = await begun(make, era, **way)
    one, other = await caller.told(lent(1)), await caller.told(lent(2))

    assert one["pid"] != other["pid"]
    await until(lambda: not is_alive(one["pid"]))
    assert is_alive(other["pid"])


async def test_a_call_in_flight_keeps_the_older_process_until_its_lease_ends(make: Make):
    caller = Caller(make(env="SECRET"))
    one = await caller.told(lent(1))
    waiting = asyncio.ensure_future(caller.call(lent(1), "wait"))
    await until(lambda: caller.upstream.status().in_flight == 1)
    other = await caller.told(lent(2))
    assert is_alive(one["pid"])

    assert await caller.upstream.withdraw("lease-1") is True
    with pytest.raises(UpstreamBroken, match="ended with its credential"):
        await waiting
    assert (is_alive(one["pid"]), is_alive(other["pid"])) == (False, True)


# --- the end -------------------------------------------------------------------------------------------------


@needs_proc
@ERAS
@pytest.mark.parametrize("way", [{"env": "SECRET"}, {"file": "SECRET_FILE"}])
async def test_the_end_of_a_lease_takes_the_process_its_file_and_a_helper_that_left(
    make: Make, era: Era, way: dict[str, Any]
):
    caller = await begun(make, era, **way)
    found = await caller.told(lent(), "leave")
    assert is_alive(found["helper"])

    assert await caller.upstream.withdraw("lease-1") is True

    assert not is_alive(found["pid"])
    assert not is_alive(found["helper"])
    assert not os.path.exists(found.get("SECRET_FILE", ""))  # noqa: ASYNC240, PTH110 - a look at memory


@ERAS
async def test_no_process_starts_with_a_lease_that_has_ended(make: Make, era: Era):
    caller = await begun(make, era, file="SECRET_FILE")
    running = await caller.told(lent(2))
    await caller.upstream.withdraw("lease-1")
    for _ in range(2):
        with pytest.raises(UpstreamUnreachable, match="ended meanwhile"):
            await caller.told(lent(1, since=9))

    assert (await caller.told(lent(2)))["pid"] == running["pid"]


async def test_a_process_that_is_starting_ends_with_its_lease(make: Make):
    caller = Caller(make(env="SECRET"))
    starting = asyncio.ensure_future(caller.call(lent(), "wait"))
    await until(lambda: caller.upstream.status().processes == 1)

    assert await caller.upstream.withdraw("lease-1") is True
    with pytest.raises((UpstreamBroken, UpstreamUnreachable)):
        await starting
    assert caller.upstream.status().processes == 0


@needs_proc
async def test_a_killed_keeper_takes_its_sandbox_and_is_no_proof(make: Make):
    caller = Caller(make(env="SECRET"))
    found = await caller.told(lent(), "leave")
    (child,) = caller.upstream._spawner._children
    with capture_logs() as logs:
        os.kill(child.pid, 9)
        await until(lambda: caller.upstream.status().processes == 0)

    assert "upstream.keeper-killed" in {entry["event"] for entry in logs}
    await until(lambda: not any(is_alive(found[name]) for name in ("pid", "helper")))


@needs_proc
async def test_the_tree_of_a_killed_keeper_is_hunted_without_a_sandbox(make: Make, tmp_path: Path):
    accepted = {"isolation": {"kind": "none", "accepted_by": "ada", "until": "2999-01-01"}}
    caller = Caller(make(*HOLDER, str(tmp_path / "helper"), env="SECRET", more=accepted))
    with capture_logs() as logs:
        with pytest.raises(UpstreamBroken):
            await caller.told(lent(), "kill-keeper")
        await until(lambda: caller.upstream.status().processes == 0)

    assert "upstream.keeper-killed" in {entry["event"] for entry in logs}
    assert not is_alive(helper_of(tmp_path)), "the helper has the mark in its first environment"


def helper_of(folder: Path) -> int:
    return int((folder / "helper").read_text())


def _seen_by_ps(server: int) -> str:
    """Return the first variables of a server, and the arguments of the server and of each process above it."""
    process, seen = server, Path(f"/proc/{server}/environ").read_text()
    while process != os.getpid():
        seen += Path(f"/proc/{process}/cmdline").read_text()
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return seen


async def test_an_exit_of_the_server_ends_its_helpers_and_keeps_its_status(make: Make):
    code = "import sys, os; sys.stdin.readline(); os.kill(os.getpid(), 9)"
    caller = Caller(make(sys.executable, "-c", code, env="SECRET"))
    with pytest.raises(UpstreamBroken, match="was killed by SIGKILL"):
        await caller.told(lent())


def test_a_kill_of_the_gateway_ends_the_tree_and_the_file(tmp_path: Path):
    """The gateway is this child process of the test: nothing of it is left to clean up."""
    reading, writing = os.pipe()
    gateway = os.fork()
    if gateway == 0:
        os.close(reading)
        try:
            uvloop.run(_serve_and_hang(tmp_path, writing))
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as told:
        found = json.loads(told.readline())
    assert all(is_alive(found[name]) for name in ("pid", "helper"))

    os.kill(gateway, 9)
    os.waitpid(gateway, 0)

    async def gone() -> None:
        await until(lambda: not any(is_alive(found[name]) for name in ("pid", "helper")))
        await until(lambda: not Path(found["SECRET_FILE"]).exists())

    asyncio.run(gone())


async def _serve_and_hang(folder: Path, told: int) -> None:
    credential = {"kind": "openbao", "broker": "bao", "path": "a/b", "hand_over": {"file": "SECRET_FILE"}}
    settings = Upstream.model_validate({"command": HOLDER, "audience": "files", "credential": credential})
    upstream = StdioUpstream("files", settings, Limits(), clock=Clock(), new_id=str, folder=folder / "files")
    os.write(told, json.dumps(await Caller(upstream).told(lent(), "leave")).encode() + b"\n")
    await asyncio.sleep(600)


# --- bounds --------------------------------------------------------------------------------------------------


async def test_idle_processes_end_and_another_request_starts_one(make: Make, clock: Clock):
    caller = Caller(make(file="SECRET_FILE"))
    one = await caller.told(lent())
    clock.now += upstream_module.CHILD_IDLE + 1
    caller.upstream.reap()
    await until(lambda: not is_alive(one["pid"]))

    assert (await caller.told(lent()))["pid"] != one["pid"]


async def start_many(caller: Caller, clock: Clock, count: int) -> list[int]:
    """Start a process for each of so many tasks, one second after another, and return the ids of the processes."""
    pids: list[int] = []
    for number in range(count):
        clock.now += 1
        pids.append((await caller.told(lent(number, terms=f"t{number}")))["pid"])
    return pids


@ERAS
async def test_many_tasks_of_a_caller_end_the_process_that_was_idle_for_longest(make: Make, clock: Clock, era: Era):
    caller = await begun(make, era, file="SECRET_FILE")
    pids = await start_many(caller, clock, MAX_CHILDREN_PER_PRINCIPAL + 1)

    assert caller.upstream.status().processes == MAX_CHILDREN_PER_PRINCIPAL
    assert not is_alive(pids[0])
    assert all(map(is_alive, pids[1:]))
    assert caller.upstream.status().sessions == (1 if era is Era.HANDSHAKE else 0)


async def test_a_task_whose_place_another_task_took_ends_one_more_idle_process(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    caller, last = Caller(make(file="SECRET_FILE")), MAX_CHILDREN_PER_PRINCIPAL
    await start_many(caller, clock, last)
    make_room, told = caller.upstream._make_room, list[dict[str, Any]]()

    async def lose_place(principal: str) -> bool:
        made = await make_room(principal)
        if not told:
            told.append({})
            told[0] = await caller.told(lent(last, terms=f"t{last}"))
        return made

    monkeypatch.setattr(caller.upstream, "_make_room", lose_place)
    told.append(await caller.told(lent(last + 1, terms=f"t{last + 1}")))

    assert all(is_alive(each["pid"]) for each in told)
    assert caller.upstream.status().processes == MAX_CHILDREN_PER_PRINCIPAL


# --- sessions ------------------------------------------------------------------------------------------------


async def test_a_session_greets_each_process_and_outlives_them(make: Make):
    caller = await begun(make, Era.HANDSHAKE, env="SECRET")
    one = await caller.told(lent(1))
    assert one["greeted"] == ["initialize", "notifications/initialized"]
    await caller.upstream.withdraw("lease-1")

    assert (await caller.told(lent(2)))["greeted"] == ["initialize", "notifications/initialized"]
    assert caller.upstream.status().sessions == 1


async def test_a_get_stream_stays_open_while_processes_come_and_go(make: Make):
    caller = await begun(make, Era.HANDSHAKE, env="SECRET")
    stream = await caller.upstream.send(UpstreamRequest("GET", (), ALICE, session=caller.session))
    await caller.told(lent(1))
    await caller.upstream.withdraw("lease-1")
    await caller.told(lent(2))

    reply = await caller.upstream.send(UpstreamRequest("GET", (), ALICE, session=caller.session))
    assert reply.status == 409, "the first is still open"
    await stream.close()


async def test_a_response_goes_to_the_process_that_asked(make: Make):
    caller = await begun(make, Era.HANDSHAKE, env="SECRET", template="{password}")
    await caller.told(lent(2, terms="t2"))
    asking = await caller.call(lent(1, terms="t1"), "ask")
    assert (await next_event(asking))["method"] == "elicitation/create"

    await caller.send({"id": 0, "result": {"action": "accept"}}, None)

    answered = (await next_event(asking))["result"]
    assert (answered["SECRET"], answered["answered"]["result"]) == ("secret-1", {"action": "accept"})
    await asking.close()


async def test_a_response_that_two_tasks_wait_for_is_refused(make: Make):
    caller = await begun(make, Era.HANDSHAKE, env="SECRET")
    asking = [await caller.call(lent(number, terms=f"t{number}"), "ask") for number in (1, 2)]

    reply = await caller.send({"id": 0, "result": {"action": "accept"}}, None)

    assert reply.status == 400
    for stream in asking:
        await stream.close()


async def test_a_stream_is_resumed_in_the_process_that_wrote_it(make: Make):
    caller = await begun(make, Era.HANDSHAKE, env="SECRET", template="{password}")
    await caller.told(lent(2, terms="t2"))
    asking = await caller.call(lent(1, terms="t1"), "ask")
    first = (await anext(asking.chunks)).decode().split("\n")[0].removeprefix("id: ")
    await asking.close()
    await caller.send({"id": 0, "result": {}}, None)

    resumed = await caller.upstream.send(
        UpstreamRequest("GET", ((b"last-event-id", first.encode()),), ALICE, session=caller.session)
    )

    assert (await next_event(resumed))["result"]["SECRET"] == "secret-1"
    await resumed.close()


async def test_delete_ends_all_processes_of_a_session(make: Make):
    caller = await begun(make, Era.HANDSHAKE, env="SECRET")
    pids = [(await caller.told(lent(number, terms=f"t{number}")))["pid"] for number in (1, 2)]

    await caller.upstream.send(UpstreamRequest("DELETE", (), ALICE, session=caller.session))

    await until(lambda: caller.upstream.status().processes == 0)
    assert not any(map(is_alive, pids))


async def test_a_stream_without_a_request_never_has_the_credential(make: Make):
    caller = await begun(make, Era.HANDSHAKE, env="SECRET", template="{password}")
    stream = await caller.upstream.send(UpstreamRequest("GET", (), ALICE, session=caller.session))
    with capture_logs() as logs:
        await caller.told(lent(), "tell-later")
        message = await next_event(stream)

    assert message["params"]["data"] == "harmless"
    assert "upstream.credential-withheld" in {entry["event"] for entry in logs}
    await stream.close()
