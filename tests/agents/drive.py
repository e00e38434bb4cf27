"""Drives a coding agent to a held call, with a model that plays a script, and prints the results that the model read.

Run: `python -m tests.agents.drive AGENT --modules FOLDER`, where FOLDER has the agents of npm (`npm install --prefix …`). It takes
half a minute for each agent and is no part of `make test`. `--click SECONDS` has a person approve so long after the question;
without it the person approves once the model has read that it has to wait.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.agents.model import Model, Script
from tests.e2e.wire import token, until
from tests.gateway_process import GatewayProcess, running_gateway
from tests.servers.serving import running

GRANTS = """
upstreams:
  x:
    - {id: asks, agents: ["*"], issuers: ["*"], tools: [pay], approval: true}
    - {id: counts, agents: ["*"], issuers: ["*"], tools: [count, pay_confirmed]}
"""
PROMPT = (
    "Pay 5 to bob with the tool of the server x. If it has to wait for a person, call it again with the same arguments."
)


class Start(Struct, frozen=True):
    """A command with its environment, in the agent's own home."""

    command: list[str]
    environment: dict[str, str]


Prepare = Callable[[Path, Path, str, str, str], Start]
"""Takes the home, the programs, the address of the gateway, the token, and the address of the model."""


def prepare_claude(home: Path, programs: Path, url: str, bearer: str, model: str) -> Start:
    server = {"type": "http", "url": url, "headers": {"Authorization": f"Bearer {bearer}"}}
    (home / "mcp.json").write_text(json.dumps({"mcpServers": {"x": server}}), "utf-8")
    options = ["--mcp-config", "mcp.json", "--strict-mcp-config", "--allowedTools", "mcp__x__pay"]
    environment = {
        "ANTHROPIC_BASE_URL": model,
        "ANTHROPIC_API_KEY": "none",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "ENABLE_TOOL_SEARCH": "false",
    }
    return Start([str(programs / "claude"), "-p", PROMPT, "--model", "claude-sonnet-4-5", *options], environment)


def prepare_codex(home: Path, programs: Path, url: str, bearer: str, model: str) -> Start:
    (home / "config.toml").write_text(
        f"""
model = "script"
model_provider = "local"
approval_policy = "never"
sandbox_mode = "danger-full-access"
[model_providers.local]
name = "local"
base_url = "{model}/v1"
wire_api = "responses"
env_key = "LOCAL_KEY"
[mcp_servers.x]
url = "{url}"
bearer_token_env_var = "OPAGATE_TOKEN"
""",
        "utf-8",
    )
    environment = {"CODEX_HOME": str(home), "LOCAL_KEY": "none", "OPAGATE_TOKEN": bearer}
    return Start([str(programs / "codex"), "exec", "--skip-git-repo-check", PROMPT], environment)


def prepare_gemini(home: Path, programs: Path, url: str, bearer: str, model: str) -> Start:
    server = {"httpUrl": url, "headers": {"Authorization": f"Bearer {bearer}"}, "trust": True}
    settings = {"mcpServers": {"x": server}, "security": {"auth": {"selectedType": "gemini-api-key"}}}
    (home / ".gemini").mkdir()
    (home / ".gemini/settings.json").write_text(json.dumps(settings), "utf-8")
    environment = {
        "GEMINI_API_KEY": "none",
        "GOOGLE_GEMINI_BASE_URL": model,
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
    }
    return Start([str(programs / "gemini"), "-m", "gemini-2.5-flash", "--yolo", "-p", PROMPT], environment)


def prepare_opencode(home: Path, programs: Path, url: str, bearer: str, model: str) -> Start:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": f"{model}/v1", "apiKey": "none"},
        "models": {"script": {"name": "script"}},
    }
    server = {"type": "remote", "url": url, "headers": {"Authorization": f"Bearer {bearer}"}, "oauth": False}
    settings = {"model": "local/script", "provider": {"local": provider}, "mcp": {"x": server}}
    (home / "opencode.json").write_text(json.dumps(settings), "utf-8")
    command = [str(programs / "opencode"), "run", "--model", "local/script", PROMPT]
    return Start(command, {"OPENCODE_CONFIG": str(home / "opencode.json")})


AGENTS: Mapping[str, Prepare] = {
    "claude": prepare_claude,
    "codex": prepare_codex,
    "gemini": prepare_gemini,
    "opencode": prepare_opencode,
}


class Person:
    """Approves at the desk of a gateway."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._socket = gateway.folder / "state/control.sock"

    def pending(self) -> list[str]:
        with connect_to_gateway(self._socket, "carol") as desk:
            return [one["id"] for one in desk.ask("approvals/list")["questions"] if one["state"] == "pending"]

    def approve(self) -> None:
        with connect_to_gateway(self._socket, "carol") as desk:
            for identifier in self.pending():
                shown = desk.ask("approvals/show", id=identifier)["shown"]
                desk.ask("approvals/vote", id=identifier, answer="approve", shown=shown)

    def approve_after(self, seconds: float) -> None:
        until(self.pending)
        time.sleep(seconds)
        self.approve()


def settings(payments: str, hold: str) -> str:
    """Return the configuration of a gateway with one upstream."""
    tools = {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}}
    return yaml.safe_dump(
        {
            "identity": [{"kind": "development"}],
            "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
            "approvals": {"hold": hold},
            "upstreams": {"x": {"url": payments, "audience": "x", "environment": "test", "tools": tools}},
        }
    )


def drive(agent: str, programs: Path, hold: str, click: float | None, server: str) -> dict[str, Any]:
    """Run an agent to its end. Returns the results that its model read, and the seconds that each took."""
    folder = Path(tempfile.mkdtemp(prefix=f"{agent}-"))
    home = folder / "home"
    home.mkdir()
    (folder / "grants.yaml").write_text(GRANTS, "utf-8")
    read: list[dict[str, Any]] = []
    with (
        running(server, folder / "payments.log") as payments,
        running_gateway(settings(payments.mcp, hold), folder) as gateway,
    ):
        person, began = Person(gateway), time.monotonic()

        def note(result: str) -> None:
            read.append({"after": round(time.monotonic() - began, 1), "text": result})
            if click is None:
                person.approve()

        with Model(Script("bob", 5, note)) as model:
            if click is not None:
                threading.Thread(target=person.approve_after, args=(click,), daemon=True).start()
            bearer = token(gateway, agent, ttl=900)
            start = AGENTS[agent](home, programs, gateway.mcp("x"), bearer, model.origin)
            done = subprocess.run(
                start.command,
                cwd=home,
                env=os.environ | {"HOME": str(home)} | start.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=400,
                check=False,
            )
        return {
            "agent": agent,
            "status": done.returncode,
            "printed": (done.stdout + done.stderr)[-2000:],
            "read": read,
            "payments": payments.log.read_text("utf-8"),
            "folder": str(folder),
        }


def main() -> None:
    """Drive the agents of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("agent", choices=AGENTS, nargs="+")
    parser.add_argument("--modules", type=Path, required=True)
    parser.add_argument("--hold", default="2s")
    parser.add_argument("--click", type=float)
    parser.add_argument("--server", default="tests.servers.payments")
    given = parser.parse_args()
    for agent in given.agent:
        seen = drive(agent, given.modules / "node_modules/.bin", given.hold, given.click, given.server)
        json.dump(seen, sys.stdout, indent=1)
        sys.stdout.write("\n")


if __name__ == "__main__":
    main()
