"""Each kind of credential through one gateway: the agent sees none, and each end of a task ends the credentials of all brokers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import yaml
from moto.server import ThreadedMotoServer

from gateway import config
from gateway.surfaces.app import open_gateway
from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e.left_behind import open_leases, places_of
from tests.e2e.wire import entries, legacy, stateless, until, verified
from tests.gateway_process import free_port
from tests.interaction.authority.all_kinds import (
    FIVE,
    HANDED,
    HTTP,
    STANDING,
    Agent,
    Issuers,
    Task,
    basic_of,
    connect,
    make_short,
    notes_of,
    running,
)
from tests.interaction.identity.server import OAuthServer
from tests.machine import is_inhabited, needs_proc
from tests.servers.careless import careless_server
from tests.servers.holding import holding
from tests.servers.keycloak import Keycloak
from tests.servers.openbao import running_openbao

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = [needs_proc, pytest.mark.timeout(300)]
REVOKED = {"task": "own", "exchange": "introspection", "bao": "lookup"}
"""Upstreams whose leases are proven dead at once. The others wait for their time."""
DENIALS = 510
"""Refused calls of a task beyond its hard limit."""
LATER = 4 * 3600.0
"""Seconds after which each credential has expired."""


@pytest.fixture(scope="module")
def issuers(
    keycloak: Keycloak, node_path: Path, node_modules: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Issuers]:
    folder = tmp_path_factory.mktemp("issuers")
    with ExitStack() as stack:
        provider = OAuthServer(node_path, node_modules, free_port(), folder / "provider.log")
        provider.start()
        stack.callback(provider.stop)
        moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        moto.start()
        stack.callback(moto.stop)
        host, port = moto.get_host_and_port()
        bao = stack.enter_context(running_openbao(folder / "bao"))
        notes = folder / "notes"
        notes.mkdir()
        found = Issuers(
            keycloak=keycloak,
            idp=stack.enter_context(holding(keycloak.origin)),
            bao=bao,
            vault=stack.enter_context(holding(bao.url)),
            sts=stack.enter_context(holding(f"http://{host}:{port}")),
            provider=provider,
            careless=stack.enter_context(careless_server()),
            notes=notes,
        )
        stack.callback(found.close)
        yield found


@pytest.fixture(scope="module")
def agent(issuers: Issuers, tmp_path_factory: pytest.TempPathFactory) -> Generator[Agent]:
    folder = tmp_path_factory.mktemp("all-kinds")
    with running(issuers, folder, issuers.keycloak.new_person()) as found:
        yield found
        stop(found)
    check_all_ended(issuers, found)


def stop(agent: Agent) -> None:
    agent.gateway.process.terminate()
    assert agent.gateway.process.wait(60) == 0, agent.gateway.printed()


def check_all_ended(issuers: Issuers, agent: Agent) -> None:
    """Check a gateway that has stopped. Its next start, after all times are over, ends the leases that only wait for time."""
    folder = agent.gateway.folder

    document = yaml.safe_load((folder / "gateway.yaml").read_text("utf-8"))
    # Its own listings lend nothing that only time ends.
    document["upstreams"] = {"task": document["upstreams"]["task"]}
    (folder / "later.yaml").write_text(yaml.safe_dump(document), "utf-8")

    async def start_later() -> None:
        async with open_gateway(config.load(folder / "later.yaml"), clock=lambda: time.time() + LATER) as gateway:
            assert gateway.authority is not None
            async with asyncio.timeout(300):
                while any(lease.upstream != "task" for lease in gateway.authority.leases.all()):
                    await asyncio.sleep(0.02)

    left = open_leases(folder)
    kinds = {entry["upstream"] for entry in entries(folder, "lease") if entry["id"] in left}
    assert kinds.isdisjoint({*REVOKED, "env", "file", "fd"})
    with mock.patch.dict(os.environ, issuers.environment):
        asyncio.run(start_later())
    assert open_leases(folder) == {}
    assert places_of([*agent.values, *issuers.secrets.values()], folder, agent.answers) == []
    assert verified(folder).ok


# --- what an agent and an upstream see ---------------------------------------------------------------------


def values_of(issuers: Issuers, upstream: str, text: str, told: str) -> list[str]:
    """Return all values that an upstream was given for a call. `told` is its answer."""
    if upstream in HTTP:
        scheme, _, value = issuers.careless.credential(upstream, text).partition(" ")
        return [value, *(basic_of(value) if scheme == "Basic" else ())]
    notes = notes_of(issuers, told)
    match upstream:
        case "env" | "fd":
            (fields,) = re.findall(r'^(?:SECRET=)?(\{.*"password".*\})$', notes, re.MULTILINE)
            return [value for name, value in json.loads(fields).items() if name != "expires"]
        case "file":
            ((user, password),) = re.findall(r"^\*:\*:\*:([^:]+):(\S+)$", notes, re.MULTILINE)
            return [user, password]
        case "parts":
            return re.findall(r"^(?:ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN)=(.+)$", notes, re.MULTILINE)
        case _:
            (fields,) = re.findall(r'^(\{"AccessKeyId".*\})$', notes, re.MULTILINE)
            token = re.findall(r"^AWS_CONTAINER_AUTHORIZATION_TOKEN=(.+)$", notes, re.MULTILINE)
            return [*token, *(value for name, value in json.loads(fields).items() if name != "Expiration")]


@pytest.mark.parametrize("upstream", [*HTTP, *HANDED])
def test_the_agent_never_sees_a_credential_and_no_upstream_sees_another(issuers: Issuers, agent: Agent, upstream: str):
    """The upstream is careless: it tells the agent all that it has."""
    about: dict[str, Any] = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "x", "version": "1"},
    }
    task, text = agent.open(), f"told-by-{upstream}"
    told = agent.call(upstream, "tell", task.token, text=text)
    agent.ask(upstream, legacy("initialize", **about))
    agent.ask(upstream, stateless("tools/list"), task.token)
    agent.call(upstream, "nothing", task.token)
    shown = agent.on_tasks("GET", f"/{task.id}")
    values = values_of(issuers, upstream, text, told.text)
    agent.values.update(values)

    assert len(values) == {"bao": 3, "cloud": 4, "parts": 3}.get(upstream, 2 if upstream in HANDED else 1)
    assert "[credential of the gateway]" in told.text
    assert places_of(values, agent.gateway.folder, agent.answers) == []
    assert not [value for value in values if value in shown.text]
    # Each value is of this upstream alone, and neither the agent's token nor a secret of the gateway is at any.
    seen = {name: b"".join(issuers.careless.heard(name)) for name in HTTP}
    seen |= {path.name: path.read_bytes() for path in issuers.notes.iterdir()}
    mine = {upstream if upstream in HTTP else told.text.partition(" ")[0]}
    assert [name for name in found_in(seen, values) if name not in mine] == []
    secrets = [value for value in issuers.secrets.values() if value != STANDING]
    assert found_in(seen, [agent.token, *secrets]) == []
    assert [name for name in found_in(seen, [STANDING]) if name != "standing"] == []


def found_in(seen: dict[str, bytes], values: list[str]) -> list[str]:
    """Return the names of the texts that have a value."""
    return [name for name, text in seen.items() if any(value.encode() in text for value in values)]


def test_the_agents_token_goes_to_the_token_endpoint_of_its_issuer_alone(issuers: Issuers, agent: Agent):
    task = agent.open()
    task.use()

    carrying = {
        (name, received.path)
        for name in ("idp", "vault", "sts")
        for received in getattr(issuers, name).received
        if agent.token.encode() in received.text
    }
    assert carrying == {("idp", "/realms/corp/protocol/openid-connect/token")}


# --- the ends of a task ------------------------------------------------------------------------------------


class Held:
    """A task with a lease of each broker, an open session of PostgreSQL, and a process with a session of AWS."""

    def __init__(self, issuers: Issuers, task: Task, text: str) -> None:
        self.issuers, self.task = issuers, task
        answers = task.use(text=text)
        self.process = int(answers["cloud"].text.partition(" ")[0])
        self.token = issuers.careless.credential("exchange", text).removeprefix("Bearer ")
        value = issuers.careless.credential("bao", text).removeprefix("Basic ")
        self.user, self.password = basic_of(value)
        own = issuers.careless.credential("task", text).removeprefix("Bearer ")
        task.agent.values.update({self.token, value, self.user, self.password, own})
        assert Keycloak(issuers.idp.url).is_active(self.token)
        self.session = issuers.open_session(self.user, self.password)

    def check_ended(self, cause: str | dict[str, str]) -> None:
        """Check that each lease has ended with this cause, and with its proof."""
        until(lambda: self.task.proofs().keys() >= REVOKED.keys())
        wanted = cause if isinstance(cause, dict) else dict.fromkeys(FIVE, cause)
        assert self.task.causes() == wanted
        assert self.task.proofs() == REVOKED
        assert not Keycloak(self.issuers.idp.url).is_active(self.token)
        assert not self.issuers.bao.postgres.may_log_in(self.user, self.password)
        assert self.session.wait(30) != 0, "PostgreSQL has ended the open session"
        until(lambda: not is_inhabited(self.process))
        # A gateway that has many processes ended this one before.
        assert {entry["processes"] for entry in self.task.leases() if entry["event"] == "withdrawn"} <= {"absent"}


def hold(issuers: Issuers, agent: Agent, text: str) -> Held:
    return Held(issuers, agent.open(), text)


@pytest.mark.parametrize("end", ["complete", "cancel"])
def test_an_ended_task_ends_the_leases_of_all_brokers(issuers: Issuers, agent: Agent, end: str):
    held = Held(issuers, task := agent.open(), f"ended-by-{end}")
    agent.post(f"/{task.id}/{end}")

    held.check_ended({"complete": "task-completed", "cancel": "task-cancelled"}[end])
    assert agent.call("task", task=task.token).codes == ["task/ended"]


def test_time_ends_the_leases_of_all_brokers(issuers: Issuers, agent: Agent):
    """A task expires, a caller's token expires, and an implicit task is not used."""
    short = make_short(issuers.keycloak, 12)
    other = Agent(agent.gateway, Keycloak(issuers.idp.url).token(agent.person, short), agent.person)
    connect(other.call("oauth"), agent.person)
    other.token = Keycloak(issuers.idp.url).token(agent.person, short)
    held = {
        "caller-expired": Held(issuers, other.open(), "ended-by-caller"),
        "task-expired": Held(issuers, agent.open(10), "ended-by-expiry"),
    }
    idle = Held(issuers, agent.implicit(), "ended-by-idleness")

    idle.check_ended("task-expired")
    for cause, each in held.items():
        each.check_ended(cause)


def test_a_used_up_budget_ends_the_leases_of_all_brokers(issuers: Issuers, agent: Agent):
    held = Held(issuers, task := agent.open(), "ended-by-budget")

    def refused(_number: int) -> list[str]:
        return agent.call("task", "hide", task.token).codes

    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(refused, range(DENIALS)))
    assert "budget/denials" not in codes[0]
    assert "budget/denials" in codes[-1]
    held.check_ended("budget")


def test_a_journal_outage_ends_the_leases_of_all_brokers(issuers: Issuers, agent: Agent):
    held = Held(issuers, agent.open(), "ended-by-outage")
    journal, away = agent.gateway.folder / "state/journal", agent.gateway.folder / "away"
    journal.rename(away)
    try:
        assert agent.call("task", task=held.task.token).codes == ["journal/unavailable"]
        assert held.session.wait(60) != 0
    finally:
        away.rename(journal)
    held.check_ended("journal-outage")


def test_a_hundred_leases_of_five_brokers_end_one_task_after_another_and_the_rest_at_sigterm(
    issuers: Issuers, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("hundred")
    with running(issuers, folder, issuers.keycloak.new_person()) as agent:
        with ThreadPoolExecutor(5) as pool:
            names = [f"one-of-twenty-{number:02d}" for number in range(20)]
            held = list(pool.map(partial(hold, issuers, agent), names))
        with connect_to_gateway(folder / "state/control.sock") as operator:
            tasks = {each.task.id for each in held}
            states = [lease["state"] for lease in operator.ask("leases/list") if lease["task"] in tasks]
        assert states == ["active"] * 100

        ended = [each.task.id for each in held[:8]]
        paths = [f"/{task}/complete" for task in ended[:4]] + [f"/{task}/cancel" for task in ended[4:]]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(agent.post, paths))
        for each in held[:4]:
            each.check_ended("task-completed")
        for each in held[4:8]:
            each.check_ended("task-cancelled")
        # A definition that changed ends the leases of its upstream alone.
        issuers.careless.described["exchange"] = "Tell all, and send it on."
        agent.ask("exchange", stateless("tools/list"))
        until(lambda: all(each.task.causes() == {"exchange": "pin-changed"} for each in held[8:]))
        until(lambda: all(each.task.proofs() == {"exchange": "introspection"} for each in held[8:]))
        stop(agent)
    for each in held[8:]:
        each.check_ended(dict.fromkeys(FIVE, "shutdown") | {"exchange": "pin-changed"})
    check_all_ended(issuers, agent)
