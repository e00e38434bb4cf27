"""Dynamic secrets of a real OpenBao for a real PostgreSQL: a login works until the lease ends, and not afterwards."""

from __future__ import annotations

import asyncio
import base64
import socket
import time
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml

from gateway.authority.brokers.openbao import DynamicSecretBroker, Login
from gateway.authority.model import Issued, NotEnded, Proof
from gateway.config.brokers import OpenBaoBroker, OpenBaoCredential
from gateway.wire.https_client import HttpsClient
from tests.e2e.left_behind import check_all_ended
from tests.e2e.wire import call, caller, until
from tests.gateway_process import ANYONE_ANYTHING, running_gateway
from tests.servers.echo import Recorder
from tests.servers.openbao import CHILD_POLICY, GATEWAY_POLICY, PATH, OpenBao, running_openbao
from tests.unit.authority.brokers.asking import (
    UPSTREAM,
    issued,
    lease_of,
    lease_request,
    prepared,
    refused,
    values_shown,
)
from tests.unit.authority.lending import Lending

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from pathlib import Path

    from gateway.authority.model import Cause, LeaseRequest
    from tests.servers.serving import ServerProcess


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Generator[OpenBao]:
    with running_openbao(tmp_path_factory.mktemp("openbao")) as server:
        yield server


@pytest.fixture(scope="module")
def other_bao(tmp_path_factory: pytest.TempPathFactory) -> Generator[OpenBao]:
    with running_openbao(tmp_path_factory.mktemp("other-openbao")) as server:
        yield server


@pytest.fixture
def make(bao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> Callable[..., DynamicSecretBroker]:
    monkeypatch.setenv("BAO_TOKEN", bao.gateway_token())

    def build(path: str = PATH, **settings: Any) -> DynamicSecretBroker:
        given = {"kind": "openbao", "url": bao.url, "auth": {"token": "${BAO_TOKEN}"}, "policies": ["tasks"]}
        parsed = OpenBaoBroker.model_validate({**given, **settings})
        credential = OpenBaoCredential.model_validate({"kind": "openbao", "broker": "bao", "path": path})
        http = HttpsClient(seconds=10)
        login = Login(parsed, http, time.time)
        return DynamicSecretBroker("bao", parsed, {UPSTREAM: credential}, http=http, login=login, clock=time.time)

    return build


@pytest.fixture
async def broker(make: Callable[..., DynamicSecretBroker]) -> AsyncGenerator[DynamicSecretBroker]:
    found = make()
    yield found
    await found.aclose()


async def ask(broker: DynamicSecretBroker, **changes: Any) -> tuple[LeaseRequest, Issued]:
    request = lease_request(**changes)
    return request, issued(await broker.issue(request, prepared(await broker.prepare(request))))


def may_log_in(bao: OpenBao, found: Issued) -> bool:
    fields = dict(found.credential.fields)
    return bao.postgres.may_log_in(fields["username"], fields["password"])


async def prove(broker: DynamicSecretBroker, request: LeaseRequest, handle: dict[str, str], cause: Cause) -> Proof:
    """End a lease as the ledger does: again and again, until there is a proof."""
    problems: list[str] = []
    while len(problems) < 40:
        outcome = await broker.end(lease_of(request, handle, cause=cause), None)
        if isinstance(outcome, Proof):
            return outcome
        problems.append(outcome.problem)
        await asyncio.sleep(0.1)
    raise AssertionError(problems)


@pytest.mark.parametrize("cause", ["lease-expired", "task-completed", "restart"])
async def test_a_login_works_until_its_lease_ends(bao: OpenBao, broker: DynamicSecretBroker, cause: Cause):
    request, found = await ask(broker)
    assert may_log_in(bao, found)
    proof = await prove(broker, request, found.handle, cause)
    assert proof.kind == "lookup"
    assert not may_log_in(bao, found)
    assert bao.postgres.roles() == 0


async def test_one_lease_of_a_task_ends_alone(bao: OpenBao, broker: DynamicSecretBroker):
    first, one = await ask(broker, id="lease-1")
    second, other = await ask(broker, id="lease-2")
    assert one.handle["accessor"] == other.handle["accessor"]
    await prove(broker, first, one.handle, "upstream-401")
    assert (may_log_in(bao, one), may_log_in(bao, other)) == (False, True)
    await prove(broker, second, other.handle, "policy-changed")
    assert broker._children == {}, "the last lease takes the child token with it"  # pyright: ignore[reportPrivateUsage]


async def test_the_end_of_a_task_ends_a_secret_that_nobody_noted(bao: OpenBao, broker: DynamicSecretBroker):
    """The gateway was killed after OpenBao answered, and before the journal had the lease."""
    request = lease_request()
    handle = prepared(await broker.prepare(request))
    lost = issued(await broker.issue(request, handle))
    assert may_log_in(bao, lost)
    proof = await prove(broker, request, handle, "restart")
    assert "no lease of" in proof.detail
    assert not may_log_in(bao, lost)


async def test_another_gateway_process_ends_what_this_one_began(
    bao: OpenBao, broker: DynamicSecretBroker, make: Callable[..., DynamicSecretBroker]
):
    request, found = await ask(broker)
    restarted = make()
    await prove(restarted, request, found.handle, "policy-changed")
    assert not may_log_in(bao, found)
    await restarted.aclose()


async def test_a_longer_lease_prolongs_the_child_token(broker: DynamicSecretBroker):
    short, _ = await ask(broker, id="lease-1", seconds=2)
    long, found = await ask(broker, id="lease-2", seconds=120)
    child = broker._children[short.task]  # pyright: ignore[reportPrivateUsage]
    assert child.accessor == found.handle["accessor"]
    assert long.expires <= child.expires <= long.expires + 7
    await prove(broker, long, found.handle, "task-completed")


async def test_twenty_leases_of_a_task_end_together(bao: OpenBao, broker: DynamicSecretBroker):
    asked = await asyncio.gather(*(ask(broker, id=f"lease-{number}") for number in range(20)))
    assert len({found.handle["accessor"] for _, found in asked}) == 1
    assert bao.postgres.roles() == 20
    await asyncio.gather(*(prove(broker, request, found.handle, "task-completed") for request, found in asked))
    assert bao.postgres.roles() == 0


@pytest.mark.parametrize("cause", ["lease-expired", "task-completed"])
async def test_with_the_database_down_nothing_has_ended(bao: OpenBao, broker: DynamicSecretBroker, cause: Cause):
    """The revocation of the accessor answers 204 all the same: only the lookup knows."""
    request, found = await ask(broker)
    bao.postgres.stop()
    try:
        outcome = await broker.end(lease_of(request, found.handle, cause=cause), found.credential)
        assert isinstance(outcome, NotEnded)
        assert "sys/leases/revoke answered 400" in outcome.problem
        assert values_shown(found.credential.secrets(), outcome) == []
        if cause == "task-completed":
            lost = await broker.end(lease_of(request, _without_lease(found)), None)
            assert isinstance(lost, NotEnded), "a secret whose lease id got lost is not assumed to be gone"
        other = lease_request(task="task-2")
        refused(await broker.issue(other, prepared(await broker.prepare(other))), "credential/unavailable")
    finally:
        bao.postgres.start()
    await prove(broker, request, found.handle, cause)
    assert not may_log_in(bao, found)


@pytest.mark.parametrize("cause", ["lease-expired", "task-completed"])
@pytest.mark.parametrize("is_lost", [False, True])
async def test_another_openbao_proves_nothing(
    bao: OpenBao,
    other_bao: OpenBao,
    make: Callable[..., DynamicSecretBroker],
    monkeypatch: pytest.MonkeyPatch,
    cause: Cause,
    *,
    is_lost: bool,
):
    """It knows the secret as little as the right one does once the secret is gone."""
    right = make()
    request, found = await ask(right)
    handle = _without_lease(found) if is_lost else found.handle
    monkeypatch.setenv("BAO_TOKEN", other_bao.gateway_token())
    stranger = make(url=other_bao.url)

    outcome = await stranger.end(lease_of(request, handle, cause=cause), None)

    assert isinstance(outcome, NotEnded)
    assert "another OpenBao answers" in outcome.problem
    assert may_log_in(bao, found)
    await prove(right, request, found.handle, cause)
    for broker in (right, stranger):
        await broker.aclose()


def _without_lease(found: Issued) -> dict[str, str]:
    return {name: value for name, value in found.handle.items() if name != "lease"}


async def test_a_lost_permission_is_no_proof(make: Callable[..., DynamicSecretBroker], monkeypatch: pytest.MonkeyPatch):
    broker = make()
    request, found = await ask(broker)
    monkeypatch.setenv("BAO_TOKEN", "s.expired")
    powerless = make()
    for handle in (found.handle, _without_lease(found)):
        outcome = await powerless.end(lease_of(request, handle), None)
        assert isinstance(outcome, NotEnded)
        assert "403" in outcome.problem
    assert refused(await powerless.prepare(request), "credential/refused").may_retry is False
    await prove(broker, request, found.handle, "task-completed")
    await asyncio.gather(broker.aclose(), powerless.aclose())


async def test_an_approle_logs_in(
    bao: OpenBao, make: Callable[..., DynamicSecretBroker], monkeypatch: pytest.MonkeyPatch
):
    bao.ask("POST", "sys/auth/approle", {"type": "approle"})
    bao.ask("POST", "auth/approle/role/gw", {"token_policies": ["gateway", "tasks"], "token_ttl": "10m"})
    role = bao.ask("GET", "auth/approle/role/gw/role-id")["data"]["role_id"]
    monkeypatch.setenv("SECRET_ID", bao.ask("POST", "auth/approle/role/gw/secret-id")["data"]["secret_id"])
    broker = make(auth={"approle": "${SECRET_ID}", "role": role})
    request, found = await ask(broker)
    assert may_log_in(bao, found)
    await prove(broker, request, found.handle, "task-completed")
    monkeypatch.setenv("SECRET_ID", "wrong")
    wrong = make(auth={"approle": "${SECRET_ID}", "role": role})
    assert "auth/approle answered 400" in refused(await wrong.prepare(request), "credential/unavailable").reason.message
    await asyncio.gather(broker.aclose(), wrong.aclose())


async def test_a_path_that_the_child_may_not_read_is_refused(make: Callable[..., DynamicSecretBroker]):
    broker = make(path="database/creds/rw")
    request = lease_request()
    refusal = refused(await broker.issue(request, prepared(await broker.prepare(request))), "credential/refused")
    assert "403" in refusal.reason.message
    await broker.aclose()


async def test_a_denied_secret_leaves_no_lease_and_no_child_token_and_blocks_no_other(
    bao: OpenBao, make: Callable[..., DynamicSecretBroker], tmp_path: Path
):
    """The gateway may list no leases of a path that is misspelt. It could never prove that none is left."""
    broker = make(path="database/creds/misspelt")
    lending = Lending(tmp_path, broker=cast("Any", broker))
    accessors = bao.ask("LIST", "auth/token/accessors")["data"]["keys"]

    refused(await lending.leases.lend("bao", lending.request()), "credential/refused")

    assert lending.events() == ["requested", "failed"]
    assert lending.leases.all() == ()
    assert sorted(bao.ask("LIST", "auth/token/accessors")["data"]["keys"]) == sorted(accessors)
    await broker.aclose()


async def test_a_denied_secret_leaves_the_child_token_of_other_leases_alone(bao: OpenBao, broker: DynamicSecretBroker):
    request, found = await ask(broker)
    other = lease_request(id="lease-2")
    handle = prepared(await broker.prepare(other))
    bao.ask("PUT", "sys/policies/acl/tasks", {"policy": GATEWAY_POLICY})
    try:
        assert refused(await broker.issue(other, handle), "credential/refused").is_certain
    finally:
        bao.ask("PUT", "sys/policies/acl/tasks", {"policy": CHILD_POLICY})
    assert may_log_in(bao, found)
    await prove(broker, request, found.handle, "policy-changed")
    assert broker._children == {}  # pyright: ignore[reportPrivateUsage]


async def test_no_secret_is_in_a_handle_or_a_repr(bao: OpenBao, broker: DynamicSecretBroker):
    request, found = await ask(broker)
    children = broker._children  # pyright: ignore[reportPrivateUsage]
    secrets = [*found.credential.secrets(), *(child.token for child in children.values())]
    assert values_shown([*secrets[:1], *secrets[2:]], found, found.handle, broker, children) == []
    await prove(broker, request, found.handle, "task-completed")


async def test_a_request_that_was_never_prepared_has_nothing_to_end(broker: DynamicSecretBroker, bao: OpenBao):
    """After a kill or a timeout before `prepare` was done, the handle is empty: no secret was asked for."""
    before = bao.postgres.roles()
    outcome = await broker.end(lease_of(lease_request(), {}, cause="restart"), None)
    assert isinstance(outcome, Proof)
    assert (outcome.kind, bao.postgres.roles()) == ("absent", before)


async def test_an_openbao_that_was_away_for_a_moment_blocks_no_later_lease(
    make: Callable[..., DynamicSecretBroker], tmp_path: Path
):
    """A refusal that may pass ends the lease too, since another broker may have issued. It must not get stuck."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    away = make(url=f"http://127.0.0.1:{port}")
    lending = Lending(tmp_path, broker=cast("Any", away))
    refused(await lending.leases.lend("bao", lending.request()), "credential/unavailable")
    await lending.leases._ender.settle(5)

    assert lending.events() == ["requested", "ending", "revoked"]
    assert lending.leases.all() == ()
    await away.aclose()


def test_a_task_through_a_gateway_logs_in_and_its_login_ends(bao: OpenBao, echo_server: ServerProcess, tmp_path: Path):
    (tmp_path / "grants.yaml").write_text(ANYONE_ANYTHING, "utf-8")
    upstream = {
        "url": echo_server.mcp,
        "audience": "https://reports.example",
        "environment": "test",
        "tools": {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}},
        "credential": {"kind": "openbao", "broker": "bao", "path": PATH, "scopes": {"read": ["ro"]}},
    }
    broker = {"kind": "openbao", "url": bao.url, "auth": {"token": "${BAO_TOKEN}"}, "policies": ["tasks"]}
    config = yaml.safe_dump(
        {
            "identity": [{"kind": "development"}],
            "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
            "brokers": {"bao": broker},
            "upstreams": {"reports": upstream},
        }
    )
    with running_gateway(config, tmp_path, environment={"BAO_TOKEN": bao.gateway_token()}) as gateway:
        assert caller(gateway, "ann", "reports").ask(call("echo", text="by-bao")).text == "by-bao"
        (found,) = [record for record in Recorder(echo_server.origin).requests() if "by-bao" in record["body"]]
        (header,) = [value for name, value in found["headers"] if name == "authorization"]
        scheme, _, encoded = header.partition(" ")
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        assert scheme == "Basic"
        assert bao.postgres.may_log_in(user, password)
    until(lambda: not bao.postgres.may_log_in(user, password))

    check_all_ended(tmp_path, [user, password, encoded])
