"""A policy of a few lines, so that tests that are not about the shipped rules say nothing about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DECISION = """package gateway.decision

default result := {
\t"version": 1,
\t"effect": "deny",
\t"reasons": [{"code": "tiny/default", "message": "nothing allows this"}],
\t"obligations": [],
\t"policy": {"name": "tiny"},
}

result := {
\t"version": 1,
\t"effect": "allow",
\t"reasons": [],
\t"obligations": [],
\t"policy": {"name": "tiny"},
} if {
\t$CONDITION
}
"""
VISIBILITY = """package gateway.visibility

default result := {"version": 1, "visible": []}

result := {"version": 1, "visible": [resource.id | some resource in input.resources]} if {
\t$CONDITION
}
"""
OVERLAY = """# METADATA
# scope: package
# title: Denials about tickets
# schemas:
#   - input: schema.input
package overlay.tickets

# METADATA
# title: Tickets are closed in declared tasks
# custom:
#   code: acme/undeclared-task
#   message: Tickets are closed in declared tasks.
#   remedy: Open a task with POST /tasks, and call with its token.
#   controls: [ASI02]
denials contains {"code": "acme/undeclared-task", "facts": ["/context/task/kind"]} if {
\tinput.resource.id == "tickets/close_ticket"
\tnot input.context.task.kind == "declared"
}
"""


def decision(condition: str) -> str:
    """The module that allows where this condition holds, and denies with `tiny/default` elsewhere."""
    return DECISION.replace("$CONDITION", condition)


def visibility(condition: str) -> str:
    """The module that shows everything where this condition holds, and nothing elsewhere."""
    return VISIBILITY.replace("$CONDITION", condition)


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """The folder, with these files (path below it → text); a file whose text is empty is removed."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text:
            path.write_text(text, encoding="utf-8")
        else:
            path.unlink(missing_ok=True)
    return folder


def write_for_known_callers(folder: Path) -> Path:
    """Write a policy that allows and shows everything to each caller that has an identity. Return its folder."""
    files = {
        "gateway/decision/decision.rego": decision("input.subject.id"),
        "gateway/visibility/visibility.rego": visibility("input.subject.id"),
    }
    return write(folder, files)
