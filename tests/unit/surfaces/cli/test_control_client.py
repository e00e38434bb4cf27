"""The commands of operators against a gateway at a URL, over a real connection."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from joserfc.jwk import KeySet
from typer.testing import CliRunner

from gateway.model.errors import ConfigurationError
from gateway.record.journal import reader
from gateway.surfaces.cli import control_client
from gateway.surfaces.cli.control_client import ControlRefusal, open_control
from gateway.surfaces.cli.root import app
from tests.gateway_process import GatewayProcess, running_gateway
from tests.unit.surfaces.pages.test_operators import KEY, OPERATORS, token


def text_of(gateway: GatewayProcess, **changes: object) -> str:
    """Return a token of an operator for a gateway."""
    return token(aud=f"{gateway.origin}/api/operators", **changes)[1].decode().removeprefix("Bearer ")


@pytest.fixture
def gateway(tmp_path: Path) -> Generator[GatewayProcess]:
    (tmp_path / "jwks.json").write_text(json.dumps(KeySet([KEY]).as_dict(private=False)), "utf-8")
    config = "identity: [{kind: anonymous}]\npolicy: {}\nupstreams: {}\n" + OPERATORS
    with running_gateway(config, tmp_path) as running:
        yield running


def test_the_commands_work_at_a_url_as_at_a_socket(gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(control_client.TOKEN_VARIABLE, text_of(gateway))
    at = ("--gateway", gateway.origin, "--json")

    stopped = CliRunner().invoke(app, ["stop", "--agent", "a/b c", "--reason", "it mails strangers", *at])
    listed = CliRunner().invoke(app, ["stop", "list", *at])

    (one,) = json.loads(listed.output)
    assert json.loads(stopped.output)["stop"]["id"] == one["id"]
    assert (one["name"], one["by"]["id"], one["by"]["channel"]) == ("a/b c", "olga", "api")
    with open_control(gateway.origin, None) as there:
        with pytest.raises(ControlRefusal, match="gateway has no leases/list"):
            there.ask("leases/list", stuck=True)
        with pytest.raises(ControlRefusal, match="over the gateway's socket alone"):
            next(there.watch("approvals/watch"))
        with pytest.raises(ControlRefusal, match="has no such page"):
            there.ask("approvals/list")


def test_a_key_is_replaced_at_a_url_without_a_configuration_here(
    gateway: GatewayProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(control_client.TOKEN_VARIABLE, text_of(gateway))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    rotated = CliRunner().invoke(
        app, ["credentials", "keys", "rotate", "sessions", "--gateway", gateway.origin, "--json"]
    )

    assert rotated.exit_code == 0, rotated.output
    assert json.loads(rotated.output)["kept"].endswith("sessions-key.1")


def test_a_refusal_is_told_in_the_words_of_the_gateway(gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(control_client.TOKEN_VARIABLE, text_of(gateway, groups=["sre"]))

    with open_control(gateway.origin, None) as there, pytest.raises(ControlRefusal, match="operator/member") as found:
        there.ask("stops/list")
    assert "operators.people.groups" in found.value.remedy


class _Page(BaseHTTPRequestHandler):
    """Whatever else may listen at a URL: it answers each request with a page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "6")
        self.end_headers()
        self.wfile.write(b"<html>")

    do_POST = do_GET  # noqa: N815 - as the standard library calls it


def test_an_answer_that_is_no_json_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(control_client.TOKEN_VARIABLE, "x")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = ("--gateway", f"http://127.0.0.1:{server.server_port}")
        listed = CliRunner().invoke(app, ["stop", "list", *at])
        server.shutdown()

    assert isinstance(listed.exception, ControlRefusal)
    assert "no JSON" in listed.exception.message


@pytest.mark.parametrize("url", ["http://gateway.example", "http://user@127.0.0.1", "ftp://127.0.0.1", "https://"])
def test_a_token_crosses_no_open_network(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(control_client.TOKEN_VARIABLE, "x")

    with pytest.raises(ConfigurationError, match="open network"), open_control(url, None):
        pass


def test_a_url_needs_a_token(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(control_client.TOKEN_VARIABLE, raising=False)

    with (
        pytest.raises(ConfigurationError, match="OPAGATE_TOKEN is empty"),
        open_control("https://gateway.example", None),
    ):
        pass


LENDING = """
identity: [{kind: anonymous}]
policy: {}
upstreams: {files: {url: "http://127.0.0.1:9/mcp", audience: files, credential: {kind: gateway}}}
"""


def test_a_choice_of_leases_reaches_the_gateway_and_an_empty_choice_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "jwks.json").write_text(json.dumps(KeySet([KEY]).as_dict(private=False)), "utf-8")
    with running_gateway(LENDING + OPERATORS, tmp_path) as gateway:
        monkeypatch.setenv(control_client.TOKEN_VARIABLE, text_of(gateway))
        at = ("--gateway", gateway.origin, "--json")
        chosen = CliRunner().invoke(app, ["credentials", "revoke", "--user", "alice", *at])
        empty = CliRunner().invoke(app, ["credentials", "revoke", *at])
        entries = [entry for entry in reader.entries(tmp_path / "state/journal") if entry["kind"] == "operator"]

    assert json.loads(chosen.output) == {"ended": 0}
    assert empty.exit_code == 2
    (asked,) = entries
    assert asked["event"] == "leases/revoke"
    fields = cast("dict[str, Any]", asked["fields"])
    assert {name: value for name, value in fields.items() if value} == {"user": "alice"}
