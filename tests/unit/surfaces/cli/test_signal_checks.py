from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway import config
from gateway.surfaces.cli.people_checks import look_at_signals as look
from tests.signalling import ISSUER, Provider

if TYPE_CHECKING:
    from pathlib import Path


async def told(folder: Path, monkeypatch: pytest.MonkeyPatch, **signals: Any) -> list[str]:
    """Return the findings, each warning with a star."""
    monkeypatch.setenv("SSF_TOKEN", "token-of-the-stream")
    provider = Provider()
    keys = provider.write_keys(folder)
    settings = {
        "public_url": "https://gateway.example",
        "identity": [{"kind": "jwt", "issuer": ISSUER, "jwks": keys}],
        "signals": [{"kind": "ssf", "transmitter": ISSUER, "jwks": keys, **signals}] if signals else [],
    }
    configuration = config.parse(json.dumps(settings), base=folder)
    return [f"{'* ' if one.is_warning else ''}{one.found}" async for one in look(configuration)]


async def test_without_signals_there_is_nothing_to_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert await told(tmp_path, monkeypatch) == []


async def test_a_whole_stream_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = await told(tmp_path, monkeypatch, stream={"token": "${SSF_TOKEN}"}, verify_every="5m")

    assert found == [f"idp-example: events of {ISSUER} come by push (POST https://gateway.example/ssf/idp-example)"]


async def test_what_is_missing_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = await told(tmp_path, monkeypatch, name="corp", issuers=["https://other.example"], jwks="file:absent.json")

    assert [one.partition(":")[0] for one in found] == ["corp", "* corp", "* corp", "* corp", ISSUER.partition(":")[0]]
    assert "* corp: no identity is of an issuer that it may speak about" in found
    assert "* corp: nobody notices if it falls silent" in found
    assert any("absent.json cannot be read" in one for one in found)
    assert found[-1].startswith(f"{ISSUER} sends no signals")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{delivery: poll}", "delivery: poll needs stream"),
        ("{verify_every: 5m}", "verify_every needs stream"),
        ("{stream: {token: '${SSF_TOKEN}'}, verify_every: 1s}", "shorter than 10s"),
        ("{stream: {token: '${SSF_TOKEN}'}, silent: revoke}", "silent: revoke needs verify_every"),
        ("{stream: {}}", "give either client_auth or token"),
        ("{stream: {token: '${SSF_TOKEN}', client_id: gw}}", "client_id and client_auth go together"),
        ("{stream: {token: '${SSF_TOKEN}'}, delivery: poll, authorization: '${SSF_TOKEN}'}", "authorization is for"),
        ("{transmitter: 'http://idp.example'}", "open network"),
        ("{name: 'No Name'}", "name"),
        ("{on_event: {logout: end}}", "on_event"),
        ("{on_event: {session-revoked: revoke}}", "session-revoked"),
    ],
)
def test_a_configuration_that_could_not_work_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, problem: str
):
    monkeypatch.setenv("SSF_TOKEN", "token-of-the-stream")
    line = f"kind: ssf, transmitter: '{ISSUER}', " if "transmitter" not in text else "kind: ssf, "
    with pytest.raises(config.InvalidSettings, match=problem.replace("(", r"\(")):
        config.parse(f"signals: [{{{line}{text[1:]}]", base=tmp_path)


def test_two_streams_need_two_names(tmp_path: Path):
    line = f"{{kind: ssf, transmitter: '{ISSUER}'}}"
    with pytest.raises(config.InvalidSettings, match="idp-example"):
        config.parse(f"signals: [{line}, {line}]", base=tmp_path)
    named = f"{{kind: ssf, name: second, transmitter: '{ISSUER}'}}"
    assert [one.label for one in config.parse(f"signals: [{line}, {named}]", base=tmp_path).signals] == [
        "idp-example",
        "second",
    ]
