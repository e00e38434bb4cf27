"""Answers under way when their lease ends: cut or finished, by the cause, and recorded so."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e.running import mortal_gateway
from tests.e2e.test_leases import configured
from tests.e2e.test_signals import configured as signals_config
from tests.e2e.wire import Answer, Caller, call, caller, entries, stateless, token, until, verified
from tests.gateway_process import GatewayProcess, free_port, running_gateway
from tests.servers.echo import Recorder
from tests.servers.serving import ServerProcess
from tests.servers.transmitter import TOKEN, running_transmitter
from tests.signalling import account


@dataclass
class Asking:
    """A call in a thread of its own. `answer` is there once the call has ended."""

    answer: Answer | None = None
    problems: list[str] = field(default_factory=list[str])


@contextmanager
def asking(who: Caller, tool: str, headers: dict[str, str] | None = None, **arguments: Any) -> Generator[Asking]:
    """Make a call while the block runs, and wait for its end afterwards."""
    found = Asking()

    def ask() -> None:
        try:
            found.answer = who.ask(call(tool, stateless, **arguments), headers=headers)
        except (OSError, http.client.HTTPException) as error:
            found.problems.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield found
    finally:
        thread.join(60)


def revoke(gateway: GatewayProcess, agent: str) -> None:
    with connect_to_gateway(gateway.folder / "state/control.sock") as operator:
        assert operator.ask("leases/revoke", agent=agent)["ended"] >= 1


def outcomes(folder: Path, tool: str) -> list[str]:
    """Return the recorded outcomes of the calls of a tool."""
    calls = {entry["id"] for entry in entries(folder, "call") if entry["target"]["id"].endswith(f"/{tool}")}
    return [entry["outcome"] for entry in entries(folder, "settled") if entry["id"] in calls]


@pytest.fixture
def gateway(echo_server: ServerProcess, tmp_path: Path) -> Generator[GatewayProcess]:
    with mortal_gateway(configured(tmp_path, echo_server.mcp), tmp_path) as running:
        yield running


@pytest.mark.parametrize("tool", ["hold", "silent"])
def test_an_answer_is_cut_when_an_operator_ends_its_lease(
    gateway: GatewayProcess, echo_server: ServerProcess, tool: str
):
    received = Recorder(echo_server.origin)
    with asking(caller(gateway, "ann", "task"), tool, key=f"never-{tool}") as asked:
        received.wait("request", f"never-{tool}")
        revoke(gateway, "ann")
        received.wait("disconnect", f"never-{tool}")

    assert asked.answer is not None
    assert "credential under which this call was made has ended" in asked.answer.body.decode()
    until(lambda: outcomes(gateway.folder, tool) == ["unknown"])
    assert caller(gateway, "ann", "task").call("echo", text="again").text == "again"
    assert verified(gateway.folder).ok


def test_an_answer_finishes_when_its_task_is_completed(gateway: GatewayProcess, echo_server: ServerProcess):
    received, headers = Recorder(echo_server.origin), {"authorization": f"Bearer {token(gateway, 'ann')}"}
    opened = httpx2.post(f"{gateway.origin}/tasks", json={"goal": "read", "expires_in": 600}, headers=headers).json()
    with asking(
        caller(gateway, "ann", "task"), "hold", {"opagate-task": opened["token"]}, key="of-a-completed-task"
    ) as asked:
        received.wait("request", "of-a-completed-task")
        httpx2.post(f"{gateway.origin}/tasks/{opened['id']}/complete", headers=headers).raise_for_status()
        until(
            lambda: (
                "revoked"
                in {entry["event"] for entry in entries(gateway.folder, "lease") if entry["task"] == opened["id"]}
            )
        )
        received.release("of-a-completed-task")

    assert asked.answer is not None
    assert asked.answer.text == "released"
    until(lambda: outcomes(gateway.folder, "hold") == ["completed"])


@pytest.mark.parametrize("bind", ["call", "task"])
def test_an_answer_of_a_completed_task_is_cut_if_the_operator_says_so(
    echo_server: ServerProcess, tmp_path: Path, bind: str
):
    received = Recorder(echo_server.origin)
    config = yaml.safe_load(configured(tmp_path, echo_server.mcp))
    config["authority"] = {"leases": {"on_completed": "cut"}}
    with mortal_gateway(yaml.safe_dump(config), tmp_path) as gateway:
        headers = {"authorization": f"Bearer {token(gateway, 'ann')}"}
        opened = httpx2.post(f"{gateway.origin}/tasks", json={"goal": "read", "expires_in": 600}, headers=headers)
        task, key = opened.json(), f"cut-at-completion-{bind}"
        with asking(caller(gateway, "ann", bind), "hold", {"opagate-task": task["token"]}, key=key):
            received.wait("request", key)
            httpx2.post(f"{gateway.origin}/tasks/{task['id']}/complete", headers=headers).raise_for_status()
            received.wait("disconnect", key)
        until(lambda: outcomes(tmp_path, "hold") == ["unknown"])


def test_the_answer_of_another_caller_goes_on(gateway: GatewayProcess, echo_server: ServerProcess):
    received = Recorder(echo_server.origin)
    with asking(caller(gateway, "bob", "task"), "hold", key="of-bob") as asked:
        received.wait("request", "of-bob")
        caller(gateway, "ann", "task").call("echo", text="ann-was-here")
        revoke(gateway, "ann")
        received.release("of-bob")

    assert asked.answer is not None
    assert asked.answer.text == "released"


def test_a_stream_for_news_is_closed_with_its_lease_and_opens_again(handles_server: ServerProcess, tmp_path: Path):
    received, listen = Recorder(handles_server.origin), stateless("subscriptions/listen", 31, notifications={})
    with mortal_gateway(configured(tmp_path, handles_server.mcp), tmp_path) as gateway:
        ann = caller(gateway, "ann", "task")
        received.take()
        with ann.open("POST", listen) as answer:
            received.wait("request", "subscriptions/listen")
            assert answer.status == 200
            revoke(gateway, "ann")
            answer.read()
        received.wait("disconnect", "subscriptions/listen")
        first = received.take()
        with ann.open("POST", listen) as answer:
            second = received.wait("request", "subscriptions/listen")
            assert answer.status == 200

    (opened,) = [each for each in first if each["event"] == "request" and "subscriptions/listen" in each["body"]]
    assert dict(opened["headers"])["authorization"] != dict(second["headers"])["authorization"]


@pytest.mark.parametrize("bind", ["call", "task", "nothing-lent"])
def test_a_signal_cuts_the_answers_of_its_user_and_no_others(echo_server: ServerProcess, tmp_path: Path, bind: str):
    received, port = Recorder(echo_server.origin), free_port()
    with running_transmitter() as idp:
        config = yaml.safe_load(signals_config(idp, echo_server, tmp_path))
        lent = {**config["upstreams"]["tickets"]["credential"], "bind": bind}
        config["upstreams"]["tickets"]["credential"] = {"kind": "none"} if bind == "nothing-lent" else lent
        idp.push_to = f"http://127.0.0.1:{port}/ssf/idp"
        with running_gateway(yaml.safe_dump(config), tmp_path, environment={"SSF_TOKEN": TOKEN}, port=port) as gateway:
            issued = time.time() - 60
            ann, bob = (
                Caller(
                    gateway, "tickets", {"authorization": f"Bearer {idp.idp.token(name, audience='gw', issued=issued)}"}
                )
                for name in ("ann", "bob")
            )
            with asking(ann, "hold", key=f"of-ann-{bind}"), asking(bob, "hold", key=f"of-bob-{bind}") as other:
                for name in ("ann", "bob"):
                    received.wait("request", f"of-{name}-{bind}")
                status, _ = idp.push(idp.idp.event(account("ann", idp.origin)))
                assert status == 202
                received.wait("disconnect", f"of-ann-{bind}")
                received.release(f"of-bob-{bind}")
            assert other.answer is not None
            assert other.answer.text == "released"
            until(lambda: sorted(outcomes(tmp_path, "hold")) == ["completed", "unknown"])
    assert verified(tmp_path).ok
