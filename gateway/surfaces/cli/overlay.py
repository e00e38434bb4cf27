"""The files of `opagate policy init`: an overlay with a family, its test, and a page about both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gateway.model.errors import ConfigurationError
from gateway.policy.folder.bundle import FACTS
from gateway.surfaces.cli.worked_rules import WorkedRule

_RULE: Final = """\
# METADATA
# scope: package
# title: Denials about reports
# description: An example. Rename the folder, the package and the codes, and write your own rules.
# schemas:
#   - input: schema.input
package overlay.reports

# METADATA
# title: Reports are written in declared tasks only
# custom:
#   code: acme-reports/undeclared-task
#   message: Reports are written in declared tasks only.
#   remedy: Declare a task with POST /tasks, and call with its token.
#   controls: [ASI02]
denials contains {"code": "acme-reports/undeclared-task", "facts": ["/resource/id", "/context/task/kind"]} if {
	input.resource.id == "files/write_file"
	not input.context.task.kind == "declared"
}
"""

_TEST: Final = """\
package overlay.reports_test

import data.gateway.testing.example_test as example
import data.overlay.reports

_writing := example.changed({"/resource/id": "files/write_file"})

test_a_declared_task_writes if {
	found := reports.denials with input as _writing
	count(found) == 0
}

test_an_implicit_task_does_not_write if {
	call := json.patch(_writing, [{"op": "replace", "path": "/context/task/kind", "value": "implicit"}])
	found := reports.denials with input as call
	example.codes(found) == {"acme-reports/undeclared-task"}
}

test_a_task_of_unknown_kind_does_not_write if {
	found := reports.denials with input as example.lacking(_writing, "/context/task/kind")
	example.codes(found) == {"acme-reports/undeclared-task"}
}

test_an_implicit_task_reads if {
	found := reports.denials with input as example.changed({"/context/task/kind": "implicit"})
	count(found) == 0
}
"""

_README: Final = """\
# Own rules

An overlay: rules beside the policy that comes with opagate. An upgrade of opagate brings a new policy and leaves these files
alone. They can refuse calls, ask for approvals and add obligations. They cannot allow a call that the policy refuses;
grants are data, in the file that `policy.grants` names.

- A folder is a family, here `reports`, and its package is `overlay.reports`.
- `denials` refuses, `asks` asks a person, `obligations` must be carried out, and `hides(resource)` leaves a tool out of lists.
- A code has its message and remedy in the METADATA above its rule. Put the name of your organisation in the place of `acme`.
- Data stand in `reports/data.yaml`, and a rule reads them as `data.overlay.reports`.
- The gateway runs the tests before it puts a change into force.

    opagate policy test --overlay {folder}
    opagate policy check --overlay {folder}

In gateway.yaml:

    policy:
      overlay: {folder}

The page docs/policy/writing-policy.md of opagate has the whole way, and the traps of Rego.
"""


def files(folder: Path, rules: Sequence[WorkedRule] = ()) -> dict[Path, str]:
    """Return the files of a new overlay, with their texts: the worked rules, or an example."""
    texts = {folder / "README.md": _README.format(folder=folder)}
    if not rules:
        return {**texts, folder / "reports/reports.rego": _RULE, folder / "reports/reports_test.rego": _TEST}
    texts[folder / FACTS] = "facts:\n" + "".join(rule.facts for rule in rules)
    for rule in rules:
        texts[folder / rule.name / f"{rule.name}.rego"] = rule.write_rule()
        texts[folder / rule.name / f"{rule.name}_test.rego"] = rule.write_tests()
    return texts


def write(folder: Path, rules: Sequence[WorkedRule] = ()) -> list[Path]:
    """Write a new overlay, and return its files. Raise `ConfigurationError` for a folder with files."""
    written = files(folder, rules)
    try:
        if folder.exists() and any(folder.iterdir()):
            raise ConfigurationError(f"{folder} is not empty", "name a new folder")
        for path, text in written.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error.strerror}", "name another folder") from None
    return list(written)
