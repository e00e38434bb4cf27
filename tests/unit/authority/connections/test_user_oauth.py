"""Access tokens of connections: narrowed, rotated by one at a time, and gone with the connection. Acceptance tests 24 and 25."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.authority.connections.operators import add_operations
from gateway.authority.model import BrokerRefusal, Issued, NotEnded, Proof
from tests.unit.authority.brokers.asking import issued, jwt_text, lease_of, prepared, refused, values_shown
from tests.unit.operating import new_control, perform

if TYPE_CHECKING:
    from gateway.authority.model import LeaseRequest
    from tests.unit.authority.connections.connecting import Connecting


async def lend(there: Connecting, request: LeaseRequest) -> Issued | BrokerRefusal:
    before = await there.broker.prepare(request)
    return before if isinstance(before, BrokerRefusal) else await there.broker.issue(request, before)


def refreshes(there: Connecting) -> list[dict[str, list[str]]]:
    return [form for form in there.at.forms("/token") if form["grant_type"] == ["refresh_token"]]


async def test_a_lease_is_an_access_token_with_the_scopes_of_the_call_alone(there: Connecting):
    await there.connect()
    request = there.request()
    found = issued(await lend(there, request))

    (form,) = refreshes(there)
    assert (form["scope"], form["resource"]) == (["crm.read"], ["https://crm.example/mcp"])
    assert (found.scope, found.credential.value in there.at.live) == (("crm.read",), True)
    assert values_shown(there.at.secrets, prepared(found.handle), there.entries) == []


async def test_its_end_is_proven_by_introspection(there: Connecting):
    await there.connect()
    request = there.request()
    found = issued(await lend(there, request))

    proof = await there.broker.end(lease_of(request, found.handle), found.credential)
    assert isinstance(proof, Proof)
    assert (proof.kind, there.at.live, there.broker.revocable) == ("introspection", {}, "at_once")


@pytest.mark.parametrize("mode", ["blind", "none"])
async def test_without_a_proof_only_time_ends_it(there: Connecting, mode: str):
    there.settings = {"revoke": mode}
    there.build()
    await there.connect()
    request = there.request()
    found = issued(await lend(there, request))

    left = await there.broker.end(lease_of(request, found.handle), found.credential)
    assert isinstance(left, NotEnded)
    assert (left.waits, there.broker.revocable) == (True, "after_ttl")
    there.ahead = 400
    over = await there.broker.end(lease_of(request, found.handle), None)
    assert isinstance(over, Proof)
    assert over.kind == "time"


async def test_without_a_connection_or_a_user_nothing_is_lent(there: Connecting):
    refused(await lend(there, there.request()), "credential/connect")
    refused(await lend(there, there.request(user=None)), "credential/no-user")
    await there.connect()
    refused(await lend(there, there.request(agent="agent-2")), "credential/connect")
    refused(await lend(there, there.request(user="bob")), "credential/connect")
    refused(await lend(there, there.request(scope=("crm.delete",))), "credential/scope")


async def test_a_refresh_token_is_used_by_one_at_a_time(there: Connecting):
    await there.connect()
    found = await asyncio.gather(*(lend(there, there.request(number)) for number in range(50)))

    values = {issued(each).credential.value for each in found}
    used = [form["refresh_token"][0] for form in refreshes(there)]
    assert (len(values), len(set(used)), len(used)) == (50, 50, 50)


async def test_a_refresh_goes_on_when_its_caller_leaves(there: Connecting):
    await there.connect()
    leaving = asyncio.create_task(lend(there, there.request(1)))
    while not refreshes(there):
        await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving

    issued(await lend(there, there.request(2)))


async def test_a_refresh_token_that_somebody_else_used_ends_the_connection(there: Connecting):
    connection = await there.connect()
    first = issued(await lend(there, there.request(1)))
    there.at.families[0].used.add(there.at.families[0].refresh)  # a thief used it, and has its successor
    there.at.families[0].refresh = "of-the-thief"

    refused(await lend(there, there.request(2)), "credential/connect")
    assert await there.connections.find(connection.owner.key, "crm") is None
    assert [each.id for each in there.removed] == [connection.id]
    assert (there.entries[-1]["event"], there.entries[-1]["cause"]) == ("removed", "lost")
    assert first.credential.value not in there.at.live
    refused(await lend(there, there.request(3)), "credential/connect")
    assert len(refreshes(there)) == 2


@pytest.mark.parametrize("settings", [{}, {"narrows": False}])
async def test_a_server_that_cannot_narrow_has_to_be_declared(there: Connecting, settings: dict[str, Any]):
    there.at.narrows = False
    there.settings = settings
    there.build()
    await there.connect()
    found = await lend(there, there.request())

    if settings:
        assert issued(found).handle["scopes"] == "crm.read crm.write"
        assert "scope" not in refreshes(there)[0]
    else:
        refused(found, "credential/wider")
        assert there.at.live == {}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"expires_in": 86_400}, "credential/wider"),
        ({"expires_in": None}, "credential/wider"),
        ({"scope": "crm.read admin"}, "credential/wider"),
        ({"token_type": "mac"}, "credential/refused"),
        ({"access_token": "two words"}, "credential/refused"),
    ],
)
async def test_a_token_beyond_the_request_is_revoked_and_refused(there: Connecting, answer: dict[str, Any], code: str):
    await there.connect()
    there.at.answer = answer
    refused(await lend(there, there.request()), code)
    assert code == "credential/refused" or there.at.live == {}


@pytest.mark.parametrize(
    "claims", [{"aud": "https://crm.example/mcp"}, {"aud": ["https://crm.example/mcp"]}, {"sub": "names no audience"}]
)
async def test_a_token_for_the_upstream_alone_is_lent(there: Connecting, claims: dict[str, Any]):
    await there.connect()
    there.at.introspected = claims
    issued(await lend(there, there.request(1)))
    there.at.answer = {"access_token": jwt_text({"exp": int(there.now()) + 300, **claims})}
    issued(await lend(there, there.request(2)))


@pytest.mark.parametrize(
    "audience",
    [
        "https://mail.example",
        ["https://crm.example/mcp", "https://mail.example"],
        ["https://crm.example/mcp", 7],
        {"name": "https://crm.example/mcp"},
    ],
)
async def test_a_token_for_another_system_is_revoked_and_refused(there: Connecting, audience: object):
    await there.connect()
    there.at.introspected = {"aud": audience}
    assert "audience" in refused(await lend(there, there.request(1)), "credential/wider").reason.message
    assert there.at.live == {}
    there.at.introspected = {}
    there.at.answer = {"access_token": jwt_text({"exp": int(there.now()) + 300, "aud": audience})}
    assert "audience" in refused(await lend(there, there.request(2)), "credential/wider").reason.message


async def test_tokens_of_a_server_that_names_no_upstreams_are_lent_on_the_operators_word(there: Connecting):
    there.settings = {"names_audience": False}
    there.build()
    await there.connect()
    there.at.answer = {"access_token": jwt_text({"exp": int(there.now()) + 300, "aud": "account"})}

    issued(await lend(there, there.request()))


async def test_a_server_that_is_down_ends_no_connection(there: Connecting):
    connection = await there.connect()
    there.at.is_down = True
    assert refused(await lend(there, there.request(1)), "credential/unavailable").may_retry
    there.at.is_down = False

    issued(await lend(there, there.request(2)))
    assert await there.connections.find(connection.owner.key, "crm") == connection


async def test_a_connection_that_is_removed_during_a_refresh_lends_nothing(there: Connecting):
    connection = await there.connect()
    lending = asyncio.create_task(lend(there, there.request()))
    while not refreshes(there):
        await asyncio.sleep(0)
    await there.connections.remove([connection], "operator")

    refused(await lending, "credential/connect")
    assert there.at.live == {}


async def test_a_removed_connection_is_out_of_use_at_once_and_ended_at_its_server(there: Connecting):
    connection = await there.connect()
    assert await there.connections.remove([connection], "operator") == 1

    refused(await lend(there, there.request()), "credential/connect")
    assert there.at.families[0].is_dead is False
    proof = await there.servers["crm"].identify()

    async def revoke(_connection: object, token: str) -> NotEnded | str | None:
        return await there.servers["crm"].tokens.revoke(token, proof, "refresh_token")  # pyright: ignore[reportArgumentType]

    there.at.is_down = True
    await there.connections.end_removed(revoke)
    assert [each.is_removed for each in await there.connections.all()] == [True]
    there.at.is_down = False
    await there.connections.end_removed(revoke)
    assert there.at.families[0].is_dead
    assert await there.connections.all() == ()
    assert there.events()[-2:] == ["removed", "ended"]


async def test_connections_outlive_a_restart_sealed_and_removed_ones_stay_removed(there: Connecting):
    kept, gone = await there.connect(), await there.connect(agent="agent-2")
    await there.connections.remove([gone], "operator")
    files = [path.read_bytes() for path in there.folder.rglob("*") if path.is_file()]
    assert values_shown([*there.at.secrets, "alice"], *(data.decode("latin-1") for data in files)) == []

    there.build()
    await there.load()
    assert await there.connections.find(kept.owner.key, "crm") == kept
    assert await there.connections.find(gone.owner.key, "crm") is None
    issued(await lend(there, there.request()))
    refused(await lend(there, there.request(agent="agent-2")), "credential/connect")


async def test_a_second_connection_replaces_the_first_and_spares_its_grant(there: Connecting):
    first = await there.connect()
    there.ahead = 1
    link = await there.ask()
    cookie = await there.log_in(link)
    await there.office.finish("crm", there.at.authorize(await there.agree(link, cookie)), cookie)

    (second,) = await there.connections.all()
    assert second.id != first.id
    assert there.events()[-3:] == ["made", "removed", "ended"]
    assert not any(family.is_dead for family in there.at.families)
    issued(await lend(there, there.request()))


async def test_operators_list_and_remove_connections(there: Connecting):
    await there.connect()
    await there.connect("bob")
    control = new_control()
    add_operations(control, there.connections)

    async def ask(do: str, **fields: Any) -> Any:
        return await perform(control, f"connections/{do}", **fields)

    listed = await ask("list")
    assert [each["user"] for each in listed] == ["alice", "bob"]
    assert values_shown(there.at.secrets, listed) == []
    assert await ask("revoke") == "connection/invalid"
    assert await ask("revoke", users="bob") == "control/invalid"
    assert await ask("revoke", user="bob", broker="other") == {"removed": 0}
    assert await ask("revoke", user="bob") == {"removed": 1}
    refused(await lend(there, there.request(user="bob")), "credential/connect")
    issued(await lend(there, there.request()))


async def test_no_token_goes_to_a_server_that_did_not_give_it(there: Connecting):
    await there.connect()
    asked = len(there.idp.asked)
    there.settings = {"issuer": there.idp.url}
    there.build()
    await there.load()

    refused(await lend(there, there.request()), "credential/connect")
    assert len(there.idp.asked) == asked


async def test_another_client_does_not_use_the_refresh_token_of_the_first(there: Connecting):
    await there.connect()
    there.settings = {"client": {"id": "gw-2"}}
    there.build()
    await there.load()

    refused(await lend(there, there.request()), "credential/connect")
    assert refreshes(there) == []


async def test_a_wrong_secret_ends_no_connection(there: Connecting):
    connection = await there.connect()
    there.at.fails = "invalid_client"

    refused(await lend(there, there.request()), "credential/refused")
    assert await there.connections.find(connection.owner.key, "crm") == connection


async def test_with_its_connection_a_token_is_revoked_and_proven_whatever_the_setting(there: Connecting):
    there.settings = {"revoke": "none"}
    there.build()
    await there.connect()
    request = there.request()
    found = issued(await lend(there, request))

    lease = lease_of(request, found.handle, cause="connection-removed")
    proof = await there.broker.end(lease, found.credential)
    assert isinstance(proof, Proof)
    assert proof.kind == "introspection"
    assert found.credential.value not in there.at.live


def is_live(there: Connecting, token: str) -> bool:
    return bool(there.live.find_near(token.encode()))


async def test_the_refresh_token_of_a_connection_is_a_live_value_until_the_connection_is_forgotten(there: Connecting):
    connection = await there.connect()
    first = await there.connections.token(connection)
    assert first is not None
    assert is_live(there, first)

    await there.connections.renew(connection, "r2-Zt7kkQ2vB90xLmWe41nRsUd58")
    assert is_live(there, "r2-Zt7kkQ2vB90xLmWe41nRsUd58")
    assert not is_live(there, first)

    await there.connections.remove([connection], "operator")
    await there.connections.end_removed(_confirm)
    assert connection.id in there.live._due  # pyright: ignore[reportPrivateUsage]


async def _confirm(_connection: object, _token: str) -> None:
    """Confirm the end of a token."""
