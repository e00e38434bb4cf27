"""Signals at a running gateway: polls after an outage, events under kill -9, and the commands of operators."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx2
import yaml
from typer.testing import CliRunner

from gateway.surfaces.cli.root import app
from tests.e2e.wire import Answer, Caller, call, entries, until, verified
from tests.gateway_process import ANYONE_ANYTHING, GatewayProcess, free_port, running_gateway, started_gateway
from tests.servers.transmitter import TOKEN, Transmitter, running_transmitter
from tests.signalling import CAEP, account

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.servers.serving import ServerProcess

AUDIENCE = "https://gateway.example/signals"


def configured(idp: Transmitter, echo: ServerProcess, folder: Path, **signals: Any) -> str:
    (folder / "grants.yaml").write_text(ANYONE_ANYTHING, "utf-8")
    upstream = {
        "url": echo.mcp,
        "audience": "https://tickets.example",
        "environment": "test",
        "tools": {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}},
        "credential": {"kind": "gateway", "bind": "task", "scopes": {"read": ["tickets.read"]}},
    }
    stream = {"kind": "ssf", "name": "idp", "transmitter": idp.origin, "audience": AUDIENCE}
    access = {"stream": {"token": "${SSF_TOKEN}"}}
    return yaml.safe_dump(
        {
            "identity": [
                {"kind": "jwt", "issuer": idp.origin, "jwks": f"{idp.origin}/jwks", "audience": "gw"},
                {"kind": "development"},
            ],
            "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
            "upstreams": {"tickets": upstream},
            "signals": [{**stream, **access, **signals}],
        }
    )


def ask(found: GatewayProcess, token: str) -> Answer:
    return Caller(found, "tickets", {"authorization": f"Bearer {token}"}).ask(call("echo", text="hello"))


def test_a_thousand_events_after_an_outage_of_the_transmitter_are_all_taken(echo_server: ServerProcess, tmp_path: Path):
    with running_transmitter() as idp:
        text = configured(idp, echo_server, tmp_path, delivery="poll")
        with running_gateway(text, tmp_path, environment={"SSF_TOKEN": TOKEN}) as found:
            until(lambda: idp.polls > 0)
            tokens = {name: idp.idp.token(name, audience="gw", issued=time.time() - 60) for name in ("user-7", "other")}
            assert ask(found, tokens["user-7"]).text == "hello"
            idp.is_down = True
            until(lambda: "signals.poll-failed" in found.printed())
            for number in range(1_000):
                idp.add(account(f"user-{number}", idp.origin))
            idp.add(account("other", idp.origin), aud="https://somebody.example")
            idp.add(account("other", idp.origin), sub="other")
            idp.queue["garbage"] = "no token"
            idp.is_down = False

            until(lambda: not idp.queue)
            assert len(idp.acknowledged) == 1_000
            assert sorted(fault["err"] for fault in idp.refused.values()) == [
                "invalid_audience",
                "invalid_request",
                "invalid_request",
            ]
            assert ask(found, tokens["user-7"]).codes == ["identity/revoked"]
            assert ask(found, tokens["other"]).text == "hello"
        assert len(entries(tmp_path, "signal")) == 1_000
    assert verified(tmp_path).ok


def test_an_event_that_was_accepted_holds_over_kill_9(echo_server: ServerProcess, tmp_path: Path):
    with running_transmitter() as idp:
        port = free_port()
        text = f"listen: 127.0.0.1:{port}\n{configured(idp, echo_server, tmp_path)}"
        idp.push_to = f"http://127.0.0.1:{port}/ssf/idp"
        tokens = {
            number: idp.idp.token(f"user-{number}", audience="gw", issued=time.time() - 60) for number in range(200)
        }
        accepted: set[int] = set()
        (tmp_path / "gateway.yaml").write_text(text, "utf-8")
        with (tmp_path / "gateway.log").open("wb") as output:
            process = started_gateway(tmp_path / "gateway.yaml", output, {"SSF_TOKEN": TOKEN})

        def push(numbers: range) -> None:
            for number in numbers:
                try:
                    status, _ = idp.push(idp.idp.event(account(f"user-{number}", idp.origin)))
                except OSError:
                    return
                if status == 202:
                    accepted.add(number)

        until(lambda: is_ready(port))
        workers = [threading.Thread(target=push, args=(range(first, 200, 4),)) for first in range(4)]
        for worker in workers:
            worker.start()
        until(lambda: len(accepted) >= 20)
        os.kill(process.pid, signal.SIGKILL)
        for worker in workers:
            worker.join()
        process.wait()

        assert 20 <= len(accepted) < 200
        with running_gateway(
            configured(idp, echo_server, tmp_path), tmp_path, environment={"SSF_TOKEN": TOKEN}, port=port
        ) as found:
            for number in sorted(accepted):
                assert ask(found, tokens[number]).status == 401, number
        recorded = {entry["jti"] for entry in entries(tmp_path, "signal") if entry["action"] == "ended"}
        assert len(recorded) >= len(accepted)
    assert verified(tmp_path).ok


def is_ready(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except httpx2.HTTPError:
        return False


def test_operators_see_try_and_forget_signals(
    echo_server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SSF_TOKEN", TOKEN)
    with running_transmitter() as idp:
        port = free_port()
        idp.push_to = f"http://127.0.0.1:{port}/ssf/idp"
        text = configured(idp, echo_server, tmp_path)
        with running_gateway(text, tmp_path, environment={"SSF_TOKEN": TOKEN}, port=port) as found:
            own = idp.idp.token("ann", audience="gw", issued=time.time() - 60)
            assert opagate(tmp_path, "test", "idp")["stream"] == "idp"
            assert idp.push(idp.idp.event(account("ann", idp.origin)))[0] == 202
            level = {"current_level": "HIGH"}
            assert (
                idp.push(idp.idp.event(account("bob", idp.origin), f"{CAEP}risk-level-change", details=level))[0] == 202
            )

            status = opagate(tmp_path, "status")
            (stream,) = status["streams"]
            assert (stream["name"], stream["is_silent"], stream["has_keys"]) == ("idp", False, True)
            assert stream["last_verified"] <= stream["last_event"] <= time.time()
            assert [(one["type"], one["effect"]) for one in status["signals"]].count(("risk-level-change", "note")) == 1
            assert "ann" not in json.dumps(status)

            (ended,) = [one for one in status["signals"] if one["effect"] == "end"]
            assert ask(found, own).status == 401
            assert opagate(tmp_path, "forget", ended["id"])["id"] == ended["id"]
            assert ask(found, own).text == "hello"
            refused = CliRunner().invoke(
                app, ["credentials", "signals", "forget", ended["id"], "--config", str(tmp_path / "gateway.yaml")]
            )
            assert "signal/unknown" in str(refused.exception or refused.output)
        assert [entry["action"] for entry in entries(tmp_path, "signal")] == ["ended", "noted", "forgotten"]


def opagate(folder: Path, *arguments: str) -> Any:
    """Return the JSON that `opagate credentials signals` prints."""
    done = CliRunner().invoke(
        app, ["credentials", "signals", *arguments, "--json", "--config", str(folder / "gateway.yaml")]
    )
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)
