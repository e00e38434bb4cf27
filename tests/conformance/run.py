"""Runs the official conformance suite (npm @modelcontextprotocol/conformance) and reads what it found."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

Checks: TypeAlias = Mapping[str, tuple[str, ...]]
"""Check id → its outcomes, sorted: a scenario may make the same check several times."""

_FOLDER = re.compile(r"(?:server-)?(?P<scenario>.+)-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}Z")


@dataclass(frozen=True, slots=True)
class Node:
    """Node and its packages, from `.tools/`."""

    program: Path
    modules: Path

    def conformance(self, *arguments: str) -> list[str]:
        return [str(self.program), str(self.modules / "@modelcontextprotocol/conformance/dist/index.js"), *arguments]


@dataclass(frozen=True, slots=True)
class Findings:
    """What one run of the suite found. `passed` is the suite's own verdict on what it requires."""

    passed: bool
    scenarios: Mapping[str, Checks]
    output: str

    @property
    def checks(self) -> int:
        return sum(len(outcomes) for checks in self.scenarios.values() for outcomes in checks.values())

    @property
    def kinds(self) -> Mapping[str, Checks]:
        """The same without repetitions and mere remarks: a gateway's own questions to a server add to both."""
        return {
            scenario: {check: tuple(sorted(set(seen) - {"INFO"})) for check, seen in checks.items()}
            for scenario, checks in self.scenarios.items()
        }

    def unproven(self) -> list[str]:
        """The checks that failed, or were left out."""
        return [
            f"{scenario}: {check}"
            for scenario, checks in self.scenarios.items()
            for check, outcomes in checks.items()
            if not {"SUCCESS", "INFO"}.issuperset(outcomes)
        ]


def server_suite(node: Node, url: str, requirements: str, folder: Path) -> Findings:
    """All scenarios of a requirements set (`2025-11-25`, `2026-07-28`) against the server at `url`."""
    return _run(node.conformance("server", "--url", url, "--requirements", requirements), folder)


def client_scenarios(node: Node, version: str) -> list[str]:
    """The client scenarios that the suite has for one version of the specification, in its order."""
    command = node.conformance("list", "--client", "--spec-version", version)
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=300, check=True).stdout
    return re.findall(r"^  - (\S+)", listed, re.MULTILINE)


def client_scenario(node: Node, command: Sequence[str], scenario: str, version: str, folder: Path) -> Findings:
    """One client scenario: the suite starts a server, and `command` is run with its URL as last argument."""
    shown = " ".join(command)
    arguments = ("client", "--command", shown, "--scenario", scenario, "--spec-version", version, "--timeout", "300000")
    return _run(node.conformance(*arguments), folder)


def differences(direct: Mapping[str, Checks], through: Mapping[str, Checks]) -> dict[str, str]:
    """Return every check whose outcomes differ, with both."""
    found: dict[str, str] = {}
    for scenario in sorted(direct.keys() | through.keys()):
        one, other = direct.get(scenario, {}), through.get(scenario, {})
        found |= {
            f"{scenario}: {check}": f"direct {one.get(check)}, through the gateway {other.get(check)}"
            for check in sorted(one.keys() | other.keys())
            if one.get(check) != other.get(check)
        }
    return found


def _run(command: list[str], folder: Path) -> Findings:
    done = subprocess.run(
        [*command, "-o", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    return Findings(done.returncode == 0, _read(folder), _messages(folder) or done.stdout)


def _read(folder: Path) -> dict[str, Checks]:
    scenarios: dict[str, Checks] = {}
    for path in sorted(folder.rglob("checks.json")):
        match = _FOLDER.fullmatch(str(path.parent.relative_to(folder)))
        assert match is not None, f"the suite has changed how it names its folders: {path}"
        outcomes: dict[str, list[str]] = {}
        for check in _checks(path):
            outcomes.setdefault(check["id"], []).append(check["status"])
        scenarios[match["scenario"]] = {check: tuple(sorted(seen)) for check, seen in outcomes.items()}
    return scenarios


def _messages(folder: Path) -> str:
    """What went wrong in the suite's own words, and what a client program printed."""
    lines = [path.read_text("utf-8") for path in sorted(folder.rglob("stderr.txt"))]
    for path in sorted(folder.rglob("checks.json")):
        failed = (check for check in _checks(path) if check["status"] == "FAILURE")
        lines += [f"{path.parent.name}: {check['id']}: {check.get('errorMessage')}" for check in failed]
    return "\n".join(line for line in lines if line)


def _checks(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text("utf-8"))
