"""Policies compiled by a real OPA, and the same OPA asked about them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from gateway.policy.plan import compile_process, values
from gateway.policy.plan.program import Program
from tests.policy.conftest import UnixConnection, connected

ERROR: Final = "an error"
NOTHING: Final = "no value"
_NAMED: Final = re.compile(r"(?:[/.\s]|^)(c[0-9]+)(?=[/.\[])")


@dataclass(frozen=True)
class Both:
    """One policy, compiled and in OPA."""

    compiled: Program
    connection: UnixConnection

    def opa(self, entry: str, document: object) -> object:
        """Return OPA's answer, strict about errors of built-in functions. Without a document there is no input."""
        body = {} if document is values.U else {"input": document}
        self.connection.request("POST", f"/v1/data/{entry}?strict-builtin-errors=true", msgspec.json.encode(body))
        response = self.connection.getresponse()
        answer = cast("dict[str, Any]", json.loads(response.read()))
        return answer.get("result", NOTHING) if response.status == 200 else ERROR

    def plan(self, entry: str, document: object) -> object:
        given = document if document is values.U else values.plain(document)
        try:
            answer = self.compiled.answer(entry, given)
        except values.EvaluationFailed:
            return ERROR
        return answer if answer is not None or self.opa(entry, document) is None else NOTHING


def same(a: object, b: object) -> bool:
    """Return whether two answers are the same document; Python takes true for 1."""
    return json.dumps(_floats(a), sort_keys=True) == json.dumps(_floats(b), sort_keys=True)


def _floats(value: Any) -> Any:
    if isinstance(value, list):
        return [_floats(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {name: _floats(item) for name, item in cast("dict[str, Any]", value).items()}
    return float(value) if type(value) is int and abs(value) < 2**53 else value


def keep_good(opa: Path, folder: Path) -> set[str]:
    """Remove the folders `c…` with a fault that OPA finds. Return the others."""
    while True:
        command = [opa, "check", "--bundle", "--max-errors=0", "--format=json", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return {path.name for path in folder.iterdir()}
        bad = {path.name for path in folder.iterdir()} & set(_NAMED.findall(done.stderr + done.stdout))
        assert bad, done.stderr[:2000]
        for name in bad:
            shutil.rmtree(folder / name)


def plan_of(opa: Path, folder: Path, entries: Iterable[str]) -> tuple[dict[str, Any], str]:
    """Return OPA's plan of a folder, and its data."""
    target = folder.parent / "plan.tar.gz"
    command: list[str | Path] = [opa, "build", "--target=plan", "--bundle", folder, "--output", target]
    for entry in entries:
        command += ["--entrypoint", entry]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stderr + done.stdout)[:2000]
    with tarfile.open(target) as packed:
        return json.loads(_content(packed, "/plan.json")), _content(packed, "/data.json").decode()


def _content(packed: tarfile.TarFile, name: str) -> bytes:
    found = packed.extractfile(name)
    assert found is not None
    return found.read()


def compiled(plan: Mapping[str, Any], data: str) -> Program:
    """Return the evaluator of a plan."""
    encoded, base = json.dumps(plan).encode(), values.read_json(data)
    return Program(compile_process.compile_plan(encoded), base)


@contextmanager
def serving(opa: Path, folder: Path, compiled_policy: Program) -> Generator[Both]:
    """Serve a policy folder by OPA, beside its compiled form."""
    address = folder.parent / "opa.sock"
    command = [opa, "run", "--server", "--addr", f"unix://{address}", "--log-level", "error", "--bundle", folder]
    with subprocess.Popen(command) as process:
        connection = connected(address)
        try:
            yield Both(compiled_policy, connection)
        finally:
            connection.close()
            process.kill()
