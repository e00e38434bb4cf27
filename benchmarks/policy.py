"""`python -m benchmarks.policy`: what one question to the policy costs, on the embedded engine and on an OPA server.

The calls are the bases of `tests/policy/fixtures`, with the policy in `rego/`. CPU time is that of the process that
evaluates, in the least of many runs, so that a shared machine changes it little; p50 and p99 are on the wall, and on
OPA's server they hold the way there and back over a Unix socket. `--policy FOLDER`, given twice, compares two policies in
turns, in one run.
"""

from __future__ import annotations

import argparse
import copy
import http.client
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from benchmarks.gateway.report import percentile
from gateway.policy import bundle
from gateway.policy.embedded import Embedded, Entrypoint

ROOT = Path(__file__).resolve().parents[1]
TOOLS = Path(os.environ.get("OPAGATE_TOOLS") or ROOT / ".tools")
TOOLS_LISTED = 41

Ask = Callable[[Entrypoint, bytes], object]


@dataclass(frozen=True, slots=True)
class Question:
    name: str
    entrypoint: Entrypoint
    document: bytes


@dataclass(frozen=True, slots=True)
class Engine:
    """`cpu` gives the seconds of processor time that the evaluating process has used."""

    name: str
    ask: Ask
    cpu: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds."""

    cpu: float
    p50: float
    p99: float


def questions() -> list[Question]:
    """A read, a write, a mail to two; calls of which one family has to look closely; an ask, refusals, and a list."""
    text = (ROOT / "tests/policy/fixtures/bases.yaml").read_text(encoding="utf-8")
    bases = cast("dict[str, Any]", yaml.safe_load(text))
    mail = copy.deepcopy(bases["mail"])
    mail["arguments"]["to"] = ["bob@example.com", "eve@example.com"]
    changed = copy.deepcopy(bases["read"])
    changed["resource"]["properties"]["pin"] = "changed"
    strange = copy.deepcopy(bases["read"])
    strange["resource"]["id"] = "files/other_tool"
    listed = copy.deepcopy(bases["list"])
    listed["resources"] = [_tool(bases["read"]["resource"], number) for number in range(TOOLS_LISTED)]
    confidential = copy.deepcopy(bases["read"])
    confidential["session"]["labels"]["confidentiality"] = "confidential"
    carrying = copy.deepcopy(bases["read"])
    carrying["session"]["credentials"] = [_credential("files")]
    abroad = copy.deepcopy(bases["read"])
    abroad["session"]["credentials"] = [_credential("mail")]
    wide = copy.deepcopy(bases["read"])
    wide["session"]["audiences"] = ["files", "mail", "tickets", "web"]
    elsewhere = copy.deepcopy(bases["write"])
    elsewhere["arguments"]["path"] = "notes/week.txt"
    documents: list[tuple[str, Entrypoint, Any]] = [
        ("allow: read a file", "decision", bases["read"]),
        ("allow: write a file", "decision", bases["write"]),
        ("allow: mail to two", "decision", mail),
        ("allow: after a secret", "decision", confidential),
        ("allow: own credential", "decision", carrying),
        ("ask: a fourth system", "decision", wide),
        ("deny: other credential", "decision", abroad),
        ("deny: another path", "decision", elsewhere),
        ("deny: changed tool", "decision", changed),
        ("deny: no grant", "decision", strange),
        (f"visibility of {TOOLS_LISTED}", "visibility", listed),
    ]
    return [Question(name, entrypoint, json.dumps(document).encode()) for name, entrypoint, document in documents]


def measure(engines: list[Engine], question: Question, rounds: int) -> list[Cost]:
    """The engines take turns, so that what else the machine does meets them alike."""
    calls = 20 if question.entrypoint == "visibility" else 100
    cpu: list[list[float]] = [[] for _ in engines]
    wall: list[list[float]] = [[] for _ in engines]
    for engine in engines:
        for _ in range(calls):
            engine.ask(question.entrypoint, question.document)
    for _ in range(rounds):
        for i, engine in enumerate(engines):
            begun = engine.cpu()
            for _ in range(calls):
                start = time.perf_counter()
                engine.ask(question.entrypoint, question.document)
                wall[i].append((time.perf_counter() - start) * 1e6)
            cpu[i].append((engine.cpu() - begun) / calls * 1e6)
    # A server's processor time comes in ticks of 10 ms, which only the mean of all rounds evens out.
    return [
        Cost(
            min(spent) if engine.cpu is time.process_time else sum(spent) / rounds,
            percentile(took, 0.5),
            percentile(took, 0.99),
        )
        for engine, spent, took in zip(engines, cpu, wall, strict=True)
    ]


def embedded(folder: Path) -> tuple[Engine, float]:
    """The engine, and the milliseconds of processor time that loading it took, at least."""
    spent: list[float] = []
    loaded: list[Embedded] = []
    for _ in range(3):
        begun = time.process_time()
        loaded.append(Embedded(bundle.read_folder(folder), deadline=5.0))
        spent.append((time.process_time() - begun) * 1e3)
    return Engine(f"embedded, {folder.name}", loaded[-1].answer, time.process_time), min(spent)


@contextmanager
def server(folder: Path) -> Generator[Engine]:
    """An OPA server on a Unix socket, and one connection that is kept."""
    with tempfile.TemporaryDirectory() as scratch:
        address = Path(scratch) / "opa.sock"
        command = [
            TOOLS / "opa",
            "run",
            "--server",
            "--addr",
            f"unix://{address}",
            "--log-level",
            "error",
            "--bundle",
            folder,
        ]
        process = subprocess.Popen(command)
        try:
            connection = _connected(address)

            def ask(entrypoint: Entrypoint, document: bytes) -> object:
                path = f"/v1/data/gateway/{entrypoint}/result?strict-builtin-errors=true"
                connection.request("POST", path, b'{"input":' + document + b"}", {"content-type": "application/json"})
                return connection.getresponse().read()

            yield Engine(f"OPA, {folder.name}", ask, lambda: _processor_time(process.pid))
            connection.close()
        finally:
            process.terminate()
            process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policy", description=__doc__)
    parser.add_argument("--policy", type=Path, action="append", help="a policy folder; more than once to compare")
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    folders = cast("list[Path]", options.policy or [ROOT / "rego"])
    rounds = cast("int", options.rounds)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; microseconds\n")
    loaded = [embedded(folder) for folder in folders]
    print(f"{'':24}{'engine':28}{'CPU':>8}{'p50':>8}{'p99':>8}")
    for question in questions():
        for (engine, _), cost in zip(loaded, measure([engine for engine, _ in loaded], question, rounds), strict=True):
            _row(question.name, engine.name, cost)
    for engine, milliseconds in loaded:
        print(f"{'load and check':24}{engine.name:28}{milliseconds * 1e3:8.0f}")
    if not (TOOLS / "opa").exists():
        print(f"\nno OPA in {TOOLS}; `make tools` brings it", file=sys.stderr)
        return 0
    with server(folders[-1]) as engine:
        for question in questions():
            _row(question.name, engine.name, measure([engine], question, rounds)[0])
    return 0


def _row(question: str, engine: str, cost: Cost) -> None:
    print(f"{question:24}{engine:28}{cost.cpu:8.0f}{cost.p50:8.0f}{cost.p99:8.0f}")


def _credential(audience: str) -> dict[str, Any]:
    return {
        "fingerprint": "f",
        "detector": "jwt",
        "pointer": "/token",
        "role": "credential",
        "origin": {"kind": "result", "audience": audience, "call": 1},
        "chain_depth": 0,
        "minted_in_task": False,
        "handle": False,
    }


def _tool(example: dict[str, Any], number: int) -> dict[str, Any]:
    """One of a list of which the example's caller is granted the first two of each upstream."""
    upstream, names = [
        ("files", ["list_files", "read_file"]),
        ("mail", ["list_messages", "read_message"]),
        ("tickets", ["search_tickets", "read_ticket"]),
    ][number % 3]
    name = names[number // 3] if number // 3 < len(names) else f"tool_{number}"
    properties = {**example["properties"], "upstream": upstream, "audience": upstream, "tool": name}
    return {**example, "id": f"{upstream}/{name}", "properties": properties}


def _processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


def _connected(address: Path) -> _UnixConnection:
    end = time.monotonic() + 30
    while True:
        connection = _UnixConnection(address)
        try:
            connection.request("GET", "/health?bundles")
            response = connection.getresponse()
            response.read()
            if response.status == 200:
                return connection
        except OSError:
            connection.close()
        if time.monotonic() > end:
            raise TimeoutError("OPA did not come up within 30 s")
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
