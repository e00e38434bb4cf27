"""Writes everything that is generated and committed: `make generate`, or `make generate ARGS=--check` in CI.

    rego/schemas/**/*.json                  from the types of the policy contract
    rego/gateway/reasons/data.json          from the METADATA annotations of the rules
    docs/reference/reasons.md               the same, for people
    gateway/model/reasons/names.py          from the names in reasons.json
    docs/reference/cli.md                   from the commands
    docs/reference/configuration.md         from the settings
    docs/reference/facts.md                 from `SessionFacts`, the history as policy sees it
    docs/reference/openapi.json             from the operations of the control interface
    docs/reference/declared-facts.md        from the model of `facts.yaml`
    docs/reference/schemas/*.json           from the settings: what `opagate init schema` prints
    deploy/systemd/opagate.service          what `opagate init service` writes
    gateway/policy/plan/shipped.plan        from the rules, by the OPA of `make tools`

`--check` writes nothing, names each file that differs, and exits with status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent))  # as a script has it, also when a test imports this file

import reference

from gateway.model import reasons as own_reasons
from gateway.model.errors import GatewayError, PolicyBroken
from gateway.policy import authoring, contract
from gateway.policy.folder import annotations, bundle
from gateway.policy.folder.bundle import Bundle
from gateway.policy.plan import compile_process, store
from gateway.policy.plan.store import StoredPlan
from gateway.surfaces.app.control import OPERATIONS
from gateway.surfaces.cli import service
from gateway.surfaces.cli.schemas import Document, describe_document
from gateway.surfaces.pages.openapi import describe_api

ROOT = Path(__file__).resolve().parent.parent
OPA = Path(os.environ.get("OPAGATE_TOOLS") or ROOT / ".tools") / "opa"
PLAN = "gateway/policy/plan/shipped.plan"
SERVICE: Final = service.Service(
    program=Path("/opt/opagate/.venv/bin/opagate"),
    configuration=Path("/etc/opagate/gateway.yaml"),
    account="opagate",
    credentials=tuple(
        (name, Path("/etc/opagate/credentials") / name)
        for name in ("chain", "sealing", "sessions", "fingerprints", "tokens", "tickets-token")
    ),
)
"""The unit under deploy/, for the configuration beside it."""


def generated(root: Path) -> dict[str, str]:
    """Path below the repository → what belongs there. Raises `PolicyBroken` for a wrong annotation."""
    reasons = annotations.table(bundle.sources(root / "rego"))
    files = {f"rego/schemas/{name}": _json(schema) for name, schema in contract.schemas().items()}
    files["rego/gateway/reasons/data.json"] = _json(reasons)
    files["docs/reference/reasons.md"] = _page(reasons)
    files["gateway/model/reasons/names.py"] = _reason_names()
    files["docs/reference/openapi.json"] = _json(describe_api(OPERATIONS.values()))
    files |= {f"docs/reference/schemas/{each}.json": _json(describe_document(each)) for each in Document}
    files["deploy/systemd/opagate.service"] = service.unit(SERVICE)
    return files | reference.pages()


def check(root: Path, files: Mapping[str, str]) -> list[str]:
    """The paths whose content differs from what belongs there."""
    return [path for path, text in files.items() if _content(root / path) != text]


def write(root: Path, files: Mapping[str, str]) -> list[str]:
    """Writes what differs, and gives its paths."""
    stale = check(root, files)
    for path in stale:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(files[path], encoding="utf-8")
    return stale


def planned(root: Path) -> StoredPlan | None:
    """Return the plan that belongs to the rules, `None` for rules that answer no question. Raise `PolicyBroken` if it has to be made and there is no OPA, or a function is missing."""
    modules = tuple(bundle.sources(root / "rego").items())
    if not authoring.entries(modules):
        return None
    rules = store.digest(modules)
    if OPA.exists():
        stored = authoring.compile_rules(Bundle(modules, "{}", ""), OPA)
        compile_process.compile_plan(bytes(stored.plan))
        return stored
    found = _stored(root)
    if found is None or found.rules != rules:
        raise PolicyBroken("the rules have changed, and their plan needs an OPA", "run `make tools`, which installs it")
    return found


def check_plan(root: Path, plan: StoredPlan | None) -> list[str]:
    """Return the path of the plan if another plan is there. Its compression may differ with the library."""
    if plan is None:
        return []
    found = _stored(root)
    same = found is not None and (found.rules, bytes(found.plan)) == (plan.rules, bytes(plan.plan))
    return [] if same else [PLAN]


def write_plan(root: Path, plan: StoredPlan | None) -> list[str]:
    """Write the plan if another is there, and give its path."""
    stale = check_plan(root, plan)
    if plan is not None and stale:
        (root / PLAN).parent.mkdir(parents=True, exist_ok=True)
        (root / PLAN).write_bytes(store.pack(plan))
    return stale


def _stored(root: Path) -> StoredPlan | None:
    try:
        return store.unpack((root / PLAN).read_bytes(), PLAN)
    except (FileNotFoundError, PolicyBroken):
        return None


def main(arguments: list[str], root: Path = ROOT, tell: Callable[[str], None] = print) -> int:
    parser = argparse.ArgumentParser(description="Write what is generated from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs")
    only_check = parser.parse_args(arguments).check
    try:
        files, plan = generated(root), planned(root)
    except GatewayError as error:
        tell(f"{error.message}; {error.remedy}")
        return 2
    if not only_check:
        for path in [*write(root, files), *write_plan(root, plan)]:
            tell(f"wrote {path}")
        return 0
    stale = [*check(root, files), *check_plan(root, plan)]
    for path in stale:
        tell(f"{path} is not what the code says; run `make generate` and commit it")
    return 1 if stale else 0


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _content(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _page(reasons: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        "# Reasons",
        "",
        "A call that policy refuses has one or more of these codes. [The others](#of-the-gateway-itself) are the gateway's own.",
        "Codes are part of the interface: they do not change their meaning. This page is generated from the annotations of",
        "the rules (`make generate`).",
    ]
    family = ""
    for code, reason in reasons.items():
        if reason["family"] != family:
            family = reason["family"]
            lines += ["", f"## {family}", "", "| code | what | what to do | controls |", "|---|---|---|---|"]
        controls = ", ".join(reason["controls"])
        lines.append(f"| `{code}` | {_cell(reason['message'])} | {_cell(reason['remedy'])} | {controls} |")
    return "\n".join([*lines, *_own_reasons()]) + "\n"


def _own_reasons() -> list[str]:
    """Return the table of the reasons that the gateway gives without the policy."""
    lines = ["", "## of the gateway itself", ""]
    lines += ["The gateway gives these where no policy decides. Words between asterisks stand for values.", ""]
    lines += ["| code | HTTP | what | what to do |", "|---|---|---|---|"]
    for entry in sorted(own_reasons.entries(), key=lambda entry: entry.code):
        code, *texts = (_cell(_SLOT.sub(r"*\1*", text)) for text in (entry.code, entry.message, entry.remedy))
        lines.append(f"| {f'`{entry.code}`' if code == entry.code else code} | {entry.status} | {' | '.join(texts)} |")
    return lines


def _reason_names() -> str:
    """Return the module with the names of the gateway's own reasons."""
    lines = [
        '"""The names in reasons.json, for type checkers. `make generate` writes this module."""',
        "",
        "from __future__ import annotations",
        "",
        "from gateway.model.reasons.text import RefusalText",
        "",
        *(f"{name}: RefusalText" for name in own_reasons.names()),
    ]
    return "\n".join(lines) + "\n"


_SLOT: Final = re.compile(r"\{(\w+)[^}]*\}")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
