"""The compiled policy in a gateway that runs: in force for the shipped rules, and for own rules once they are compiled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.policy.plan import store
from tests.e2e.conftest import policy
from tests.e2e.faults import config
from tests.e2e.wire import Caller, entries, page, until
from tests.gateway_process import GatewayProcess, running_gateway
from tests.servers.serving import ROOT, ServerProcess

OVERLAY = """package overlay.acme

# METADATA
# title: No secrets of acme
# custom:
#   code: acme/no
#   message: The text is acme's.
#   remedy: Leave it out.
#   controls: [ASI02]
denials contains {"code": "acme/no", "facts": ["/arguments/text"]} if input.arguments.text == "acme"
"""
HOSTILE = '"""\'\\; import os; os.system("touch owned") #{x}%s.rego'
"""A name of a file that would be a program where it was written into one."""


def _policy(gateway: GatewayProcess) -> dict[str, Any]:
    return json.loads(page(gateway, "/readyz")[1])["policy"]


def test_the_shipped_rules_are_compiled_with_the_grants_of_the_operator(echo_server: ServerProcess, tmp_path: Path):
    with running_gateway(config(echo_server, policy(tmp_path)), tmp_path) as gateway:
        assert _policy(gateway)["evaluator"] == "plan"
        assert "evaluator_note" not in _policy(gateway)
        shipped = store.digest_of(bytes(store.unpack(store.SHIPPED.read_bytes(), "shipped.plan").plan))
        assert _policy(gateway)["plan"] == entries(tmp_path, "start")[0]["policy"]["plan"] == shipped
        assert Caller(gateway).call("echo", text="hello").text == "hello"


@pytest.mark.opa
def test_own_rules_are_compiled_by_a_command_while_the_gateway_runs(
    echo_server: ServerProcess, opa_path: Path, tmp_path: Path
):
    overlay = tmp_path / "overlay"
    (overlay / "acme").mkdir(parents=True)
    (overlay / "acme" / HOSTILE).write_text(OVERLAY, "utf-8")
    settings = config(echo_server, policy(tmp_path)).replace("policy: {", f"policy: {{overlay: {overlay}, ")
    with running_gateway(settings, tmp_path) as gateway:
        before = _policy(gateway)
        refused = Caller(gateway).call("echo", text="acme").codes
        environment = os.environ | {
            "PATH": f"{opa_path.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "gateway", "policy", "compile", "--config", str(tmp_path / "gateway.yaml")]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        until(lambda: _policy(gateway)["evaluator"] == "plan")
        digest = _policy(gateway)["plan"]
        assert digest in done.stdout
        until(lambda: [entry["plan"] for entry in entries(tmp_path, "policy")] == [digest])

        assert before["evaluator"] == "regorus"
        assert "opagate policy compile" in before["evaluator_note"]
        assert not [*tmp_path.rglob("owned")]
        assert refused == Caller(gateway).call("echo", text="acme").codes == ["acme/no"]
        assert Caller(gateway).call("echo", text="hello").text == "hello"
