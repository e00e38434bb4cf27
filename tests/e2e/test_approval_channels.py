"""Channels of approvals through real gateways: a webhook, Slack and mail, kills, and questions that reach nobody."""

from __future__ import annotations

import json
import signal
import ssl
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import forked_gateway
from tests.e2e import certificates
from tests.e2e.running import mortal_gateway
from tests.e2e.test_approvals import approve, configured, received, waiting
from tests.e2e.wire import Caller, call, caller, entries, stateless, until, verified
from tests.gateway_process import GatewayProcess, free_port
from tests.servers.receivers import PASSWORD, SECRET, Hooks, receiving, taking_mail
from tests.servers.serving import ServerProcess
from tests.unit.identity.tokens import Authority


@pytest.fixture
def hooks(tmp_path: Path) -> Generator[Hooks]:
    (tmp_path / "hook-secret").write_text(SECRET, "utf-8")
    with receiving() as found:
        (tmp_path / "slack-url").write_text(f"{found.url}/slack/very-secret", "utf-8")
        yield found


def with_channels(folder: Path, echo: ServerProcess, hold: str, *channels: dict[str, Any]) -> str:
    settings = yaml.safe_load(configured(folder, echo, hold))
    settings["approvals"]["channels"] = list(channels)
    return yaml.safe_dump(settings)


def webhook(url: str, name: str = "webhook") -> dict[str, Any]:
    return {"kind": "webhook", "name": name, "url": url, "secret": "file:hook-secret"}


def paths(hooks: Hooks) -> list[str]:
    return [one.path.split("?")[0] for one in hooks.received]


def sent(folder: Path, event: str = "sent") -> list[str]:
    return sorted(
        f"{entry[event][0]} {entry['notice']}" for entry in entries(folder, "approval") if entry["event"] == event
    )


def together(ann: Caller, count: int, text: str) -> list[Any]:
    """The answers to equal calls at the same time."""
    answers: list[Any] = []
    calling = [threading.Thread(target=lambda: answers.append(ann.call("echo", text=text))) for _ in range(count)]
    for thread in calling:
        thread.start()
    for thread in calling:
        thread.join()
    return answers


def test_many_equal_calls_are_one_message_on_each_channel(echo_server: ServerProcess, tmp_path: Path, hooks: Hooks):
    authority = Authority(now=time.time())
    pair = certificates.server(authority, tmp_path)
    (tmp_path / "ca.pem").write_text(ssl.DER_cert_to_PEM_cert(authority.der), "utf-8")
    (tmp_path / "smtp-password").write_text(PASSWORD, "utf-8")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.certificate, pair.key)
    text = f"many-{tmp_path.name}"
    with taking_mail(tls) as mails:
        mail = {"kind": "email", "server": f"{mails.host}:{mails.port}", "user": "gateway", "ca": "ca.pem"}
        mail |= {"password": "file:smtp-password", "from": "opagate@corp.example", "to": ["ann@corp.example"]}
        channels = (webhook(f"{hooks.url}/hook"), {"kind": "slack", "url": "file:slack-url"}, mail)
        with mortal_gateway(with_channels(tmp_path, echo_server, "10ms", *channels), tmp_path) as gateway:
            answers = together(caller(gateway, "ann", "echo"), 40, text)
            until(lambda: len(sent(tmp_path)) == 3)
            (one,) = waiting(tmp_path)
            approve(tmp_path, one["id"])
            assert caller(gateway, "ann", "echo").call("echo", text=text).text == text
            until(lambda: len(sent(tmp_path)) == 5)
            printed = gateway.printed()

    assert {tuple(answer.codes) for answer in answers} == {("approval/grant", "approval/pending")}
    assert sent(tmp_path) == ["email asked", "slack asked", "slack closed", "webhook asked", "webhook closed"]
    asked, closed = [one.event for one in hooks.received if one.path == "/hook"]
    assert (asked["type"], closed["type"]) == ("approval.asked", "approval.closed")
    assert (asked["data"]["code"], asked["data"]["url"]) == (one["code"], f"{gateway.origin}/approvals/{one['id']}")
    assert closed["data"]["end"] == "approved"
    assert paths(hooks).count("/slack/very-secret") == 2
    assert len(mails.received) == 1
    told = b"".join(found.body for found in hooks.received).decode() + mails.received[0].get_content()
    everything = printed + json.dumps(entries(tmp_path))
    assert text not in told
    for secret in (SECRET, PASSWORD, "very-secret"):
        assert secret not in everything
    assert verified(tmp_path).ok


def test_after_a_kill_the_rest_is_told_and_nothing_twice(echo_server: ServerProcess, tmp_path: Path, hooks: Hooks):
    hooks.statuses = [200, 200, 200, 503]
    config, port = (
        with_channels(tmp_path, echo_server, "10ms", webhook(f"{hooks.url}/hook"), {"kind": "cli"}),
        free_port(),
    )
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        for number in range(3):
            caller(gateway, "ann", "echo").call("echo", text=f"told-{number}")
        until(lambda: len(sent(tmp_path)) == 3)
        caller(gateway, "bob", "echo").call("echo", text="untold")
        until(lambda: len(hooks.received) == 4)
        gateway.process.kill()
    hooks.statuses = [200]
    with mortal_gateway(config, tmp_path, port=port):
        until(lambda: len(sent(tmp_path)) == 4)
        assert len(waiting(tmp_path)) == 4

    ids = [one.id for one in hooks.received]
    assert len(set(ids)) == 4
    assert ids[3] == ids[4]
    assert all(ids.count(identifier) == 1 for identifier in ids[:3])
    assert hooks.received[3].event["data"] == hooks.received[4].event["data"]


@pytest.mark.parametrize("way", ["result", "state"])
def test_a_question_that_reaches_nobody_is_told_at_once(
    echo_server: ServerProcess, tmp_path: Path, hooks: Hooks, way: str
):
    hooks.statuses = [404]
    config = with_channels(tmp_path, echo_server, "10m", webhook(f"{hooks.url}/hook"))
    with mortal_gateway(config, tmp_path) as gateway:
        ann = caller(gateway, "ann", "echo")
        ask = call("echo", text="nobody") if way == "result" else call("echo", stateless, text="nobody")
        first, second = ann.ask(ask), ann.ask(ask)
        assert waiting(tmp_path) == []

    assert first.codes == second.codes == ["approval/grant", "approval/unreachable"]
    assert "No person refused it" in first.text
    events = [entry["event"] for entry in entries(tmp_path, "approval")]
    assert events == ["asked", "unsent", "unreachable"] * 2


def test_a_hanging_channel_delays_neither_a_call_nor_another_channel(
    echo_server: ServerProcess, tmp_path: Path, hooks: Hooks
):
    channels = (webhook(f"{hooks.url}/held", "hangs"), webhook(f"{hooks.url}/hook"))
    with mortal_gateway(with_channels(tmp_path, echo_server, "10ms", *channels), tmp_path) as gateway:
        assert caller(gateway, "ann", "echo").call("echo", text="x").codes == ["approval/grant", "approval/pending"]
        until(lambda: sent(tmp_path) == ["webhook asked"])
        until(lambda: "/held" in paths(hooks))
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(300) == 0
    assert not hooks.gate.is_set()


def test_an_operator_sends_a_test_message(echo_server: ServerProcess, tmp_path: Path, hooks: Hooks):
    channels = (webhook(f"{hooks.url}/hook"), {"kind": "slack", "url": "file:slack-url"}, {"kind": "cli"})
    config = with_channels(tmp_path, echo_server, "10ms", *channels)
    (tmp_path / "gateway.yaml").write_text(f"listen: 127.0.0.1:{free_port()}\n{config}", "utf-8")

    def run(*words: str) -> Any:
        return forked_gateway.run(words, tmp_path, {"HOME": str(tmp_path)}, given="", timeout=300)

    done = run("approvals", "test", "--json")
    hooks.statuses = [410]
    failed = run("approvals", "test", "--channel", "slack")
    unknown = run("approvals", "test", "--channel", "pigeon")
    checked = run("check")

    assert [(one["channel"], one["delivered"]) for one in json.loads(done.stdout)] == [
        ("webhook", True),
        ("slack", True),
    ]
    assert hooks.received[[one.path for one in hooks.received].index("/hook")].event["type"] == "approval.test"
    assert (done.returncode, failed.returncode, unknown.returncode) == (0, 1, 2)
    assert "answered 410" in failed.stdout
    assert "webhook, slack" in unknown.stderr
    assert f"channel webhook (webhook) sends to {hooks.url}" in checked.stdout
    assert "very-secret" not in done.stdout + failed.stdout + checked.stdout


def test_a_stop_answers_held_calls_at_once(echo_server: ServerProcess, tmp_path: Path):
    config, port, text = configured(tmp_path, echo_server, "10m"), free_port(), f"stop-{tmp_path.name}"
    answers: dict[str, Any] = {}
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        asks = {"result": call("echo", text=text), "state": call("echo", stateless, text=f"{text}-state")}
        calling = [_asking(gateway, name, ask, answers) for name, ask in asks.items()]
        until(lambda: len(waiting(tmp_path)) == 2)
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(300) == 0
        for thread in calling:
            thread.join()
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        for one in waiting(tmp_path):
            approve(tmp_path, one["id"])
        assert caller(gateway, "result", "echo").call("echo", text=text).text == text

    assert answers["result"].codes == ["approval/grant", "approval/pending"]
    assert answers["state"].json["result"]["resultType"] == "input_required"
    assert received(echo_server, f'"{text}"') == 1


def _asking(gateway: GatewayProcess, name: str, ask: Any, answers: dict[str, Any]) -> threading.Thread:
    def run() -> None:
        answers[name] = caller(gateway, name, "echo").ask(ask)

    thread = threading.Thread(target=run)
    thread.start()
    return thread
