"""The choice of the native core in a gateway that runs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from gateway.inspection.words.native import INTERFACE, MODULE
from tests.e2e.conftest import policy
from tests.e2e.faults import config
from tests.e2e.wire import Caller, page
from tests.gateway_process import running_gateway
from tests.machine import MISSING
from tests.servers.serving import ROOT, ServerProcess

needs_core = pytest.mark.skipif(find_spec(MODULE) is None, reason=f"{MISSING}: the native core; `make core` builds it")


@pytest.mark.parametrize("wanted", ["python", pytest.param("native", marks=needs_core)])
def test_a_gateway_shows_its_core_and_python_verifies_its_journal(
    echo_server: ServerProcess, tmp_path: Path, wanted: str
):
    with running_gateway(config(echo_server, policy(tmp_path), f"core: {wanted}\n"), tmp_path) as gateway:
        answers = [Caller(gateway).call("echo", text=f"ann-{number}@corp.example") for number in range(5)]
        assert [answer.text for answer in answers] == [f"ann-{number}@corp.example" for number in range(5)]
        assert json.loads(page(gateway, "/readyz")[1])["core"] == wanted

    verified = subprocess.run(
        [sys.executable, "-m", "gateway", "journal", "verify", "--config", str(tmp_path / "gateway.yaml")],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_gateway_that_needs_the_core_does_not_start_with_one_of_another_interface(tmp_path: Path):
    (tmp_path / f"{MODULE}.py").write_text("INTERFACE = 0\n", "utf-8")
    (tmp_path / "gateway.yaml").write_text("listen: 127.0.0.1:0\nidentity: []\ncore: native\n", "utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "gateway", "up", "--config", "gateway.yaml"],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert done.returncode == 2
    assert f"has the interface 0, and this gateway needs {INTERFACE}" in done.stderr
    assert "make core" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
