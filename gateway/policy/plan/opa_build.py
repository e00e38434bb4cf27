"""The plan of a policy, made by an OPA on this machine."""

from __future__ import annotations

import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from gateway.errors import PolicyBroken
from gateway.policy.child_process import clean_environment

ENTRIES: Final = ("decision", "visibility", "leases", "explanation")
"""The packages below `gateway` whose rule `result` is a question."""
_PATIENCE: Final = 120
_LEFT_OUT: Final = frozenset({"col", "end_col", "end_row"})
"""Parts of places in Rego that nothing here reads, a fifth of a plan."""


def build(opa: Path, modules: Sequence[tuple[str, str]]) -> bytes:
    """Return the plan of modules (names and texts) as JSON. It does not depend on data. Raise `PolicyBroken`."""
    with tempfile.TemporaryDirectory(prefix="opagate-plan-") as name:
        folder = Path(name)
        for module, text in modules:
            path = folder / "policy" / module
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        target = folder / "plan.tar.gz"
        points = [part for entry in entries(modules) for part in ("--entrypoint", entry)]
        _run([str(opa), "build", "--target=plan", "--bundle", ".", "--output", str(target), *points], folder / "policy")
        with tarfile.open(target) as packed:
            found = packed.extractfile("/plan.json")
            plan: Any = msgspec.json.decode(b"" if found is None else found.read())
    return msgspec.json.encode(_shorten(plan))


def version(opa: Path) -> str:
    """Return the version of an OPA. Raise `PolicyBroken`."""
    found = re.search(r"^Version: (\S+)$", _run([str(opa), "version"], Path.cwd()), re.MULTILINE)
    return found[1] if found else "unknown"


def entries(modules: Iterable[tuple[str, str]]) -> list[str]:
    """Return the questions that modules answer."""
    packages = {found for _, text in modules for found in re.findall(r"^package\s+([\w.]+)", text, re.MULTILINE)}
    return [f"gateway/{entry}/result" for entry in ENTRIES if f"gateway.{entry}" in packages]


def _run(command: list[str], folder: Path) -> str:
    remedy = "mend the rules, or use the version of OPA that docs/operations.md names"
    try:
        done = subprocess.run(  # noqa: S603 - the operator names the program
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
            stdin=subprocess.DEVNULL,
            env=clean_environment(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PolicyBroken(f"{command[0]} cannot be run: {error}", "install OPA, and have it on PATH") from None
    if done.returncode != 0:
        lines = (done.stderr + done.stdout).strip().splitlines()
        raise PolicyBroken(f"OPA does not compile the policy: {'; '.join(lines[:5])}", remedy)
    return done.stdout


def _shorten(value: Any) -> Any:
    if isinstance(value, dict):
        parts = cast("dict[str, Any]", value)
        return {name: _shorten(item) for name, item in parts.items() if name not in _LEFT_OUT}
    return [_shorten(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value
