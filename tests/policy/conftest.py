"""The shipped policy, and one with other data: compiled, and in a real OPA."""

from __future__ import annotations

import copy
import functools
import http.client
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from gateway.model.errors import PolicyError
from gateway.policy.contract import Entrypoint
from gateway.policy.folder import bundle
from gateway.policy.plan.program import CompiledPolicy
from tests.compiled_policy import compiled

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = Path(__file__).parent / "fixtures"
FAILED = {"failed": True}
"""What stands for the answer of an engine that refused to evaluate. Both must refuse the same inputs."""


@dataclass(frozen=True)
class Case:
    """One fixture: an input, made from a base by setting and removing places, and what is expected."""

    name: str
    policy: str
    entrypoint: Entrypoint
    input: dict[str, Any]
    expected: dict[str, Any]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=300)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        self.sock.connect(self._path)


class Opa:
    """An OPA server with one policy."""

    def __init__(self, connection: UnixConnection) -> None:
        self._connection = connection

    def evaluate(self, entrypoint: Entrypoint, document: bytes) -> object:
        self._connection.request(
            "POST",
            f"/v1/data/gateway/{entrypoint}/result?strict-builtin-errors=true",
            body=b'{"input":' + document + b"}",
            headers={"content-type": "application/json"},
        )
        response = self._connection.getresponse()
        answer = cast("dict[str, Any]", json.loads(response.read()))
        return FAILED if response.status != 200 else answer.get("result")


@dataclass(frozen=True)
class Engines:
    """One policy, compiled and in OPA; `opa` is absent where there is none."""

    policy: CompiledPolicy
    opa: Opa | None = None

    async def both(self, entrypoint: Entrypoint, document: dict[str, Any], *, typed: bool = True) -> dict[str, Any]:
        """The answer, which must be the same whole document in OPA. For a document that breaks the schema, one may fail (a
        refusal by the gateway) where the other refuses in words."""
        try:
            answer = self.policy.answer(entrypoint, document)
        except PolicyError:
            answer = FAILED
        if self.opa is not None:
            other = self.opa.evaluate(entrypoint, json.dumps(document).encode())
            refused = not typed and _refuses(answer) and _refuses(other)
            assert refused or other == answer, json.dumps(document)
        return cast("dict[str, Any]", answer)


def _refuses(answer: object) -> bool:
    found = cast("dict[str, Any]", answer)
    return found == FAILED or found.get("effect") == "deny" or [] in (found.get("visible"), found.get("keep"))


@functools.cache
def cases() -> list[Case]:
    """Return all fixtures, in order of their files. Whoever changes an input changes a copy of it."""
    bases = _read(FIXTURES / "bases.yaml")
    found: list[Case] = []
    for path in sorted(FIXTURES.glob("*.yaml")):
        if path.stem in {"bases", "grants"}:
            continue
        for entry in _read(path)["cases"]:
            base: dict[str, Any] = copy.deepcopy(bases[entry.get("base", "read")])
            for pointer, value in entry.get("set", {}).items():
                put(base, pointer, value)
            for pointer in entry.get("remove", []):
                take(base, pointer)
            entrypoint: Entrypoint = "visibility" if "resources" in base else "decision"
            name = f"{path.stem}: {entry['name']}"
            found.append(Case(name, entry.get("policy", "shipped"), entrypoint, base, entry["expect"]))
    return found


def at(document: Any, pointer: str) -> object:
    """Return the value of a place."""
    for step in _steps(pointer):
        document = document[step]
    return document


def put(document: Any, pointer: str, value: object) -> None:
    *steps, last = _steps(pointer)
    for step in steps:
        document = document[step]
    document[last] = value


def take(document: Any, pointer: str) -> None:
    *steps, last = _steps(pointer)
    for step in steps:
        document = document[step]
    del document[last]


def _steps(pointer: str) -> list[Any]:
    plain = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    return [int(step) if step.isdigit() else step for step in plain]


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a file, read by libyaml where it is: each test worker reads all of them."""
    return cast("dict[str, Any]", yaml.load(path.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


@pytest.fixture(scope="session")
def policies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`shipped` is the policy as it is; `strict` has the grants of fixtures/grants.yaml, wants every tool pinned,
    follows links, conceals what some results hold, wants lent credentials in production, and lets one
    class of agents read alone."""
    strict = tmp_path_factory.mktemp("policies") / "strict"
    shutil.copytree(ROOT / "rego", strict)
    shutil.copy(FIXTURES / "grants.yaml", strict / bundle.GRANTS)
    catalogue = strict / "gateway/denials/catalogue/data.yaml"
    catalogue.write_text("unpinned: deny\n", encoding="utf-8")
    settings = strict / "gateway/settings/data.yaml"
    text = settings.read_text("utf-8").replace("follow_links: false", "follow_links: true")
    text = text.replace('standing_environments: ["*"]', "standing_environments: [test]")
    text = text.replace("credentials_of_users: [user_oauth]", "credentials_of_users: [exchange]")
    text = text.replace(
        "\nclasses: []\n",
        '\nclasses: [{match: {id: looker}, class: retrieval}, {match: {id: "*"}, class: privileged}]\n',
    )
    text = re.sub(r"\nbounds:\n(?:  - .*\n)+", "\nbounds: [{classes: [retrieval], effects: [read]}]\n", text)
    settings.write_text(text.replace("\nconcealed: []\n", "\nconcealed: [files/stat_*]\n"), "utf-8")
    return {"shipped": ROOT / "rego", "strict": strict}


@pytest.fixture(scope="session")
def embedded(policies: dict[str, Path]) -> dict[str, Engines]:
    """Each policy, compiled."""
    return {name: Engines(compiled(bundle.read_folder(folder))) for name, folder in policies.items()}


@pytest.fixture(scope="session")
def engines(
    policies: dict[str, Path],
    embedded: dict[str, Engines],
    opa_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Engines]]:
    """Each policy, compiled and in OPA."""
    folder = tmp_path_factory.mktemp("opa")
    processes: list[subprocess.Popen[bytes]] = []
    found: dict[str, Engines] = {}
    connections: list[UnixConnection] = []
    for name, path in policies.items():
        address = folder / f"{name}.sock"
        command = [opa_path, "run", "--server", "--addr", f"unix://{address}", "--log-level", "error", "--bundle", path]
        processes.append(subprocess.Popen(command))
        connections.append(connected(address))
        found[name] = Engines(embedded[name].policy, Opa(connections[-1]))
    yield found
    for connection in connections:
        connection.close()
    for process in processes:
        process.kill()
        process.wait()


def connected(address: Path) -> UnixConnection:
    end = time.monotonic() + 30
    while True:
        connection = UnixConnection(address)
        try:
            connection.request("GET", "/health?bundles")
            response = connection.getresponse()
            response.read()
            if response.status == 200:
                return connection
        except OSError:
            pass
        connection.close()
        assert time.monotonic() < end, "OPA did not come up"
        time.sleep(0.02)
