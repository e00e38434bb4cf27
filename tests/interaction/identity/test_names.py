"""Words of a token about its person reach people beside the id, and decide nothing. A real gateway, its journal and its command line."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from tests.e2e.wire import Caller, call, entries
from tests.gateway_process import free_port, open_config, open_policy, running_gateway
from tests.servers.serving import ServerProcess
from tests.unit.identity.tokens import ISSUER, Signer

NAME, MAIL = "<b>Ursula</b>", "ursula@corp.example"


def run(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "gateway", "journal", *words, "--config", str(folder / "gateway.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_display_name_stands_beside_the_id_and_in_no_input_of_policy(echo_server: ServerProcess, tmp_path: Path):
    signer, port = Signer(), free_port()
    (tmp_path / "keys.json").write_bytes(signer.jwks())
    identity = f"{{kind: jwt, issuer: '{ISSUER}', jwks: 'file:{tmp_path}/keys.json', claims: {{preset: auth0}}}}"
    config = open_config(open_policy(tmp_path), {"echo": echo_server.mcp}).replace("{kind: anonymous}", identity)
    now = time.time()
    token = signer.token(
        sub="auth0|7", azp="triage", aud=f"http://127.0.0.1:{port}/mcp", iat=now, exp=now + 300, name=NAME, email=MAIL
    )
    misfit = signer.token(sub="auth0|7", aud=f"http://127.0.0.1:{port}/mcp", iat=now, exp=now + 300)
    with running_gateway(config, tmp_path, port=port) as gateway:
        answer = Caller(gateway, headers={"authorization": f"Bearer {token}"}).ask(call("echo", text="hello"))
        refused = Caller(gateway, headers={"authorization": f"Bearer {misfit}"}).ask(call("echo", text="hello"))
        (called,) = entries(tmp_path, "call")
        shown = run(tmp_path, "explain", called["id"])
        asked = run(tmp_path, "explain", called["id"], "--input")

    assert answer.status == 200, answer.body
    principal = called["principal"]
    assert (principal["id"], principal["user"], principal["known_as"]) == ("triage", "auth0|7", f"{NAME}, {MAIL}")
    assert f"auth0|7 ({NAME}, {MAIL})" in " ".join(shown.split())
    assert MAIL not in asked
    assert json.loads(asked)["subject"]["properties"]["user"]["id"] == "auth0|7"
    assert refused.status == 401
    assert b"azp or client_id" in refused.body
