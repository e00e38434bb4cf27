from __future__ import annotations

import subprocess
import sys

import pytest

from tests.unit.cli.conftest import Status

SLOW_TO_LOAD = ("asyncio", "httptools", "httpx2", "mcp", "structlog", "uvicorn")
"""None of them makes a token, and each would be waited for."""


def test_making_a_token_loads_nothing_that_only_a_gateway_needs():
    script = (
        "import sys, gateway.cli, gateway.config\n"
        "from gateway.identity import development\n"
        f"print(*(name for name in {SLOW_TO_LOAD!r} if name in sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.split() == []


def test_a_command_needs_no_standard_streams():
    """A supervisor may start a gateway without any, and `>&-` closes one."""
    command = 'exec "$0" -m gateway --version <&- >&-'
    done = subprocess.run(["/bin/sh", "-c", command, sys.executable], stderr=subprocess.PIPE, check=False, timeout=60)

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("option", ["--agent", "--user"])
@pytest.mark.parametrize("name", ["", "a\tb", "spiffe://corp", "x" * 3000])
def test_a_name_that_no_gateway_takes_gets_no_token(
    status: Status, capsys: pytest.CaptureFixture[str], option: str, name: str
):
    assert status("token", "--agent", "me", option, name) == 2

    assert f"{option} is empty, too long, no SPIFFE ID or not printable" in " ".join(capsys.readouterr().err.split())
