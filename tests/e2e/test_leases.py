"""Leased credentials through real gateways: on the wire, at the end of a task, after a kill, and in every record."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from gateway.surfaces.cli.control_client import connect_to_gateway
from tests import tiny_policy
from tests.e2e.left_behind import check_all_ended, places_of, tokens_of
from tests.e2e.running import mortal_gateway
from tests.e2e.wire import call, caller, entries, legacy, stateless, token, until
from tests.gateway_process import GatewayProcess, free_port, running_gateway
from tests.servers.echo import Recorder
from tests.servers.repeating import repeating_server
from tests.servers.serving import ServerProcess

GRANTS = 'upstreams: {call: [{id: a, agents: ["*"], issuers: ["*"], tools: ["*"], effects: [read, write]}], task: [{id: b, agents: ["*"], issuers: ["*"], tools: ["*"]}]}'


def configured(folder: Path, url: str) -> str:
    (folder / "grants.yaml").write_text(GRANTS, "utf-8")
    labels: dict[str, Any] = {
        "*": {"effect": "read", "egress": False, "sensitivity": "internal"},
        "big": {"effect": "write"},
    }
    upstreams = {
        bind: {
            "url": url,
            "audience": f"https://{bind}.example",
            "environment": "test",
            "tools": copy.deepcopy(labels),
            "credential": {"kind": "gateway", "bind": bind, "scopes": {"read": ["echo:read"]}},
        }
        for bind in ("call", "task")
    }
    policy = {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}}
    return yaml.safe_dump({"identity": [{"kind": "development"}], "policy": policy, "upstreams": upstreams})


@pytest.fixture(scope="module")
def gateway(echo_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("leases")
    with running_gateway(configured(folder, echo_server.mcp), folder) as running:
        yield running
    check_all_ended(folder, tokens_of(running.origin, echo_server))


def carried(echo: ServerProcess, text: str) -> str:
    """Return the credential that came with the request with this text."""
    (found,) = [record for record in Recorder(echo.origin).requests() if text in record["body"]]
    (value,) = [value for name, value in found["headers"] if name == "authorization"]
    return value.removeprefix("Bearer ")


def claims_of(value: str) -> dict[str, Any]:
    payload = value.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def test_a_call_carries_a_token_of_this_call_and_nothing_of_the_caller(
    gateway: GatewayProcess, echo_server: ServerProcess
):
    ann = caller(gateway, "ann", "call")
    answer = ann.call("echo", text="leased-one")

    value = carried(echo_server, "leased-one")
    claims = claims_of(value)
    (details,) = claims["authorization_details"]
    assert answer.text == "leased-one"
    assert (claims["aud"], claims["scope"], claims["client_id"]) == ("https://call.example", "echo:read", "ann")
    assert details["actions"] == ["echo"]
    assert claims["jti"] == details["decision"]
    assert claims["jti"] in {entry["id"] for entry in entries(gateway.folder, "call")}
    assert places_of([value], gateway.folder, [answer]) == []


def test_each_call_has_its_own_token_and_a_task_shares_one(gateway: GatewayProcess, echo_server: ServerProcess):
    for upstream, count in (("call", 2), ("task", 1)):
        ann = caller(gateway, "ann", upstream)
        for number in range(2):
            ann.call("echo", text=f"shared-{upstream}-{number}")
        assert len({carried(echo_server, f"shared-{upstream}-{number}") for number in range(2)}) == count


def test_an_effect_without_scopes_is_refused_and_settled(gateway: GatewayProcess):
    answer = caller(gateway, "newcomer", "call").call("big", bytes=1)

    assert answer.codes == ["credential/scope"]
    until(lambda: [entry for entry in entries(gateway.folder, "settled") if entry["outcome"] == "refused"])


def test_the_end_of_a_task_ends_its_lease_with_a_proof(gateway: GatewayProcess, echo_server: ServerProcess):
    headers = {"authorization": f"Bearer {token(gateway, 'ann')}"}
    opened = httpx2.post(f"{gateway.origin}/tasks", json={"goal": "read", "expires_in": 600}, headers=headers).json()
    ann = caller(gateway, "ann", "task")
    sent = call("echo", stateless, text="in-a-task")
    ann.ask(sent, headers={"opagate-task": opened["token"]})
    assert claims_of(carried(echo_server, "in-a-task"))["task"] == opened["id"]

    httpx2.post(f"{gateway.origin}/tasks/{opened['id']}/complete", headers=headers).raise_for_status()

    def events() -> list[str]:
        return [entry["event"] for entry in entries(gateway.folder, "lease") if entry["task"] == opened["id"]]

    until(lambda: "revoked" in events())
    assert events() == ["requested", "issued", "ending", "revoked"]
    (ended,) = [
        entry
        for entry in entries(gateway.folder, "lease")
        if entry["event"] == "revoked" and entry["task"] == opened["id"]
    ]
    assert ended["proof"]["kind"] == "own"


def test_a_killed_gateway_ends_the_leases_of_the_one_before(echo_server: ServerProcess, tmp_path: Path):
    config, port = configured(tmp_path, echo_server.mcp), free_port()
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        caller(gateway, "ann", "task").call("echo", text="before-the-kill-of-a-gateway")
        gateway.process.kill()
        gateway.process.wait(30)
    (lent,) = [
        entry for entry in entries(tmp_path, "lease") if entry["event"] == "issued" and entry["task"] != "catalogue"
    ]
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        until(
            lambda: (
                "restart" in {entry.get("cause") for entry in entries(tmp_path, "lease") if entry["id"] == lent["id"]}
            )
        )
        gateway.process.terminate()
        gateway.process.wait(30)

    check_all_ended(tmp_path, [carried(echo_server, "before-the-kill-of-a-gateway")])


def test_an_operator_ends_the_leases_of_an_agent_at_once(gateway: GatewayProcess, echo_server: ServerProcess):
    bob = caller(gateway, "bob", "task")
    bob.call("echo", text="bob-before")
    with connect_to_gateway(gateway.folder / "state/control.sock") as operator:
        (lent,) = [
            lease
            for lease in operator.ask("leases/list")
            if lease["agent"] == "bob" and "messages" not in lease["task"]
        ]
        assert operator.ask("leases/revoke", agent="bob")["ended"] >= 1
        bob.call("echo", text="bob-after")
        until(lambda: lent["id"] not in {lease["id"] for lease in operator.ask("leases/list")})

    assert carried(echo_server, "bob-before") != carried(echo_server, "bob-after")
    assert [
        entry["cause"]
        for entry in entries(gateway.folder, "lease")
        if entry["id"] == lent["id"] and entry["event"] == "ending"
    ] == ["operator"]


def test_the_owner_of_a_task_sees_its_leases(gateway: GatewayProcess):
    headers = {"authorization": f"Bearer {token(gateway, 'ann')}"}
    opened = httpx2.post(f"{gateway.origin}/tasks", json={"goal": "read", "expires_in": 600}, headers=headers).json()
    caller(gateway, "ann", "task").ask(call("echo", stateless, text="seen"), headers={"opagate-task": opened["token"]})

    (lease,) = httpx2.get(f"{gateway.origin}/tasks/{opened['id']}", headers=headers).json()["leases"]

    assert (lease["audience"], lease["scope"], lease["state"]) == ("https://task.example", ["echo:read"], "active")
    assert {"value", "handle", "agent"}.isdisjoint(lease)


def ends(folder: Path) -> list[tuple[str, str]]:
    """Return the upstreams and the causes of the leases of calls that began to end."""
    found = entries(folder, "lease")
    calls = {entry["id"] for entry in found if entry["event"] == "requested" and entry.get("decision")}
    return [
        (entry["upstream"], entry["cause"]) for entry in found if entry["event"] == "ending" and entry["id"] in calls
    ]


def loaded(folder: Path) -> int:
    return len(entries(folder, "policy"))


def test_a_new_policy_ends_exactly_the_leases_that_it_no_longer_keeps(echo_server: ServerProcess, tmp_path: Path):
    grants = tmp_path / "grants.yaml"
    config = yaml.safe_load(configured(tmp_path, echo_server.mcp))
    config["upstreams"]["other"] = copy.deepcopy(config["upstreams"]["task"]) | {"audience": "https://other.example"}
    config["policy"]["reload"] = "100ms"
    both = GRANTS.replace(
        "upstreams: {", "upstreams: {other: [{id: c, agents: [ann, bob], issuers: ['*'], tools: ['*']}], "
    )
    grants.write_text(both, "utf-8")
    with mortal_gateway(yaml.safe_dump(config), tmp_path) as gateway:
        callers = [caller(gateway, agent, upstream) for agent in ("ann", "bob") for upstream in ("task", "other")]
        for number, each in enumerate(callers):
            assert each.call("echo", text=f"before-{number}").text

        grants.write_text("upstreams: [broken", "utf-8")
        until(lambda: "policy.broken" in gateway.printed())
        grants.write_text(both.replace("[ann, bob]", "[ann]"), "utf-8")
        until(lambda: ends(tmp_path))
        for number, each in enumerate(callers[:3]):
            assert each.call("echo", text=f"after-{number}").text
        assert callers[3].call("echo", text="after-3").codes == ["tool/not-granted"]

        assert ends(tmp_path) == [("other", "policy-changed")]
        assert loaded(tmp_path) == 1
        for number in range(3):
            assert carried(echo_server, f"before-{number}") == carried(echo_server, f"after-{number}")
        until(lambda: last_events(tmp_path)["other"].count("revoked") == 1)


def last_events(folder: Path) -> dict[str, list[str]]:
    """Return the last event of each lease, by upstream."""
    found: dict[str, tuple[str, str]] = {
        entry["id"]: (entry["upstream"], entry["event"]) for entry in entries(folder, "lease")
    }
    upstreams = {upstream for upstream, _ in found.values()}
    return {upstream: [event for name, event in found.values() if name == upstream] for upstream in upstreams}


def test_a_policy_without_an_answer_about_leases_ends_all_of_them(echo_server: ServerProcess, tmp_path: Path):
    policy = tiny_policy.write_for_known_callers(tmp_path / "policy")
    config = yaml.safe_load(configured(tmp_path, echo_server.mcp))
    config["policy"] |= {"path": str(policy), "reload": "100ms", "require_tests": False}
    with mortal_gateway(yaml.safe_dump(config), tmp_path) as gateway:
        ann = caller(gateway, "ann", "task")
        ann.call("echo", text="old-policy")
        (tmp_path / "grants.yaml").write_text(GRANTS.replace("id: a", "id: other"), "utf-8")
        until(lambda: ends(tmp_path) == [("task", "policy-changed")])
        ann.call("echo", text="new-policy")

    assert carried(echo_server, "old-policy") != carried(echo_server, "new-policy")


@pytest.mark.parametrize("bind", ["call", "task"])
def test_an_upstream_that_repeats_its_credential_does_not_give_it_to_the_agent(tmp_path: Path, bind: str):
    with repeating_server() as url, mortal_gateway(configured(tmp_path, url), tmp_path) as gateway:
        ann = caller(gateway, "ann", bind)
        about: dict[str, Any] = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "x", "version": "1"},
        }
        first, listed = ann.ask(legacy("initialize", **about)), ann.ask(legacy("tools/list"))
        answer = ann.call("repeat")

        assert answer.text == "You sent Bearer [credential of the gateway] to me"
        assert first.json["result"]["serverInfo"]["version"] == "1 Bearer [credential of the gateway]"
        assert listed.json["result"]["_meta"]["x"] == "Bearer [credential of the gateway]"
        for each in (first, listed, answer):
            assert b"eyJ" not in each.body
            assert "eyJ" not in str(each.headers)
        assert places_of(["eyJhbGciOiJFUzI1NiI"], tmp_path) == []


@pytest.mark.parametrize("form", ["base64", "base64url", "hex", "percent"])
def test_an_upstream_that_repeats_its_credential_in_another_form_does_not_give_it_either(tmp_path: Path, form: str):
    with repeating_server() as url, mortal_gateway(configured(tmp_path, url), tmp_path) as gateway:
        answer = caller(gateway, "ann", "task").call("repeat", form=form)
        (lent,) = [
            each for each in entries(tmp_path, "lease") if each["event"] == "issued" and each["task"] != "catalogue"
        ]

    assert "[credential of the gateway]" in answer.text
    assert lent["fingerprints"]
    assert len(answer.text) < 100
