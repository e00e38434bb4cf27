from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.surfaces.cli.conftest import Status

SLOW_TO_LOAD = ("asyncio", "httptools", "httpx2", "mcp", "structlog", "uvicorn")
"""None of them makes a token, and each would be waited for."""


def test_making_a_token_loads_nothing_that_only_a_gateway_needs():
    script = (
        "import sys, gateway.surfaces.cli, gateway.config\n"
        "from gateway.identity import development\n"
        f"print(*(name for name in {SLOW_TO_LOAD!r} if name in sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300)

    assert done.stdout.split() == []


def test_a_command_needs_no_standard_streams():
    """A supervisor may start a gateway without any, and `>&-` closes one."""
    command = 'exec "$0" -m gateway --version <&- >&-'
    done = subprocess.run(["/bin/sh", "-c", command, sys.executable], stderr=subprocess.PIPE, check=False, timeout=300)

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("option", ["--agent", "--user"])
@pytest.mark.parametrize("name", ["", "a\tb", "spiffe://corp", "x" * 3000])
def test_a_name_that_no_gateway_takes_gets_no_token(
    status: Status, capsys: pytest.CaptureFixture[str], option: str, name: str
):
    assert status("credentials", "token", "--agent", "me", option, name) == 2

    assert f"{option} is empty, too long, no SPIFFE ID or not printable" in " ".join(capsys.readouterr().err.split())


def test_a_token_says_who_acts_for_whom_with_which_scopes(status: Status, capsys: pytest.CaptureFixture[str]):
    Path("gateway.yaml").write_text("identity: [{kind: development}]\n", "utf-8")
    person = ("--user", "ada", "--group", "staff", "--group", "ops")

    assert (
        status("credentials", "token", "--agent", "triage", *person, "--scope", "a", "--scope", "b", "--ttl", "2h") == 0
    )

    told = claims(capsys.readouterr().out)
    assert (told["sub"], told["act"], told["groups"]) == ("ada", {"sub": "triage"}, ["staff", "ops"])
    assert (told["scope"], told["exp"] - told["iat"]) == ("a b", 7200)


def test_a_token_of_an_agent_alone_has_no_user_and_no_scope(status: Status, capsys: pytest.CaptureFixture[str]):
    Path("gateway.yaml").write_text("identity: [{kind: development}]\n", "utf-8")

    assert status("credentials", "token", "--agent", "triage") == 0

    told = claims(capsys.readouterr().out)
    assert told["sub"] == "triage"
    assert told.keys().isdisjoint({"act", "groups", "scope"})


def claims(token: str) -> dict[str, Any]:
    """Return the claims of a token."""
    part = token.strip().split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
