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
        shipped = store.digest_of(bytes(store.unpack(store.SHIPPED.read_bytes(), "shipped.plan").plan))
        assert _policy(gateway)["plan"] == entries(tmp_path, "start")[0]["policy"]["plan"] == shipped
        assert Caller(gateway).call("echo", text="hello").text == "hello"


def _settings(server: ServerProcess, folder: Path, more: str = "") -> str:
    overlay = folder / "overlay"
    (overlay / "acme").mkdir(parents=True)
    (overlay / "acme" / HOSTILE).write_text(OVERLAY, "utf-8")
    return config(server, policy(folder)).replace("policy: {", f"policy: {{overlay: {overlay}, {more}")


@pytest.mark.opa
def test_own_rules_are_compiled_by_the_opa_on_the_machine(echo_server: ServerProcess, opa_path: Path, tmp_path: Path):
    with running_gateway(_settings(echo_server, tmp_path), tmp_path) as gateway:
        assert not [*tmp_path.rglob("owned")]
        assert Caller(gateway).call("echo", text="acme").codes == ["acme/no"]
        assert Caller(gateway).call("echo", text="hello").text == "hello"
        overlay = next(tmp_path.rglob("*.rego"))
        overlay.write_text(OVERLAY.replace('"acme" if', '"other" if').replace('== "acme"', '== "other"'), "utf-8")
        until(lambda: len(entries(tmp_path, "policy")) == 1)

        assert entries(tmp_path, "policy")[0]["plan"] == _policy(gateway)["plan"]
        assert Caller(gateway).call("echo", text="acme").text == "acme"


@pytest.mark.opa
def test_signed_rules_run_where_there_is_no_opa(echo_server: ServerProcess, opa_path: Path, tmp_path: Path):
    settings = _settings(echo_server, tmp_path)
    command = [sys.executable, "-m", "gateway", "policy", "build", "--overlay", "overlay", "--sign", "key.pem"]
    environment = os.environ | {"PATH": f"{opa_path.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    key = done.stdout.splitlines()[-1].strip()

    with running_gateway(settings.replace("policy: {", f"policy: {{{key}, "), tmp_path) as gateway:
        assert _policy(gateway)["plan"] in done.stdout
        assert Caller(gateway).call("echo", text="acme").codes == ["acme/no"]
