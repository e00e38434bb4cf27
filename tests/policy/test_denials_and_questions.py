"""The table of docs/policy/history.md says of each code whether the policy denies or asks, as the rules do."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from tests.policy.conftest import ROOT

REGO = ROOT / "rego/gateway"
CODES: dict[str, Any] = json.loads((REGO / "reasons/data.json").read_text("utf-8"))
TABLE = (ROOT / "docs/policy/history.md").read_text("utf-8").partition("| code | denies or asks |")[2]
ROWS = [line.split("|")[1:-1] for line in TABLE.splitlines() if line.startswith("| `")]
SETTINGS = yaml.safe_load((REGO / "settings/data.yaml").read_text("utf-8"))
LIMITS = SETTINGS["user_limits"] | SETTINGS["task_limits"]


def rules(kind: str) -> set[str]:
    """Return the codes of the rules that add to a set of findings, and those of limits with room between soft and hard."""
    found: set[str] = set()
    for path in REGO.rglob("*.rego"):
        text = path.read_text("utf-8")
        found.update(re.findall(rf'^{kind} contains \{{"code": "([^"]+)"', text, re.MULTILINE))
        if kind == "asks" and (codes := re.search(r"^_codes := (\{.*?\n\})", text, re.MULTILINE | re.DOTALL)):
            named = dict(re.findall(r'"(\w+)": "([^"]+)"', codes[1]))
            found.update(
                code
                for name, code in named.items()
                if LIMITS[name].get("soft", LIMITS[name]["hard"]) < LIMITS[name]["hard"]
            )
    return found


DENIED = rules("denials") | rules("exhausted") | rules("unanswerable") | {"policy/undefined", "policy/version"}
ASKED = rules("asks") | rules("questions")
OUTCOMES = {code: row[1].strip() for row in ROWS for code in re.findall(r"`([^`]+)`", row[0])}


def test_each_code_stands_in_the_table_once():
    named = [code for row in ROWS for code in re.findall(r"`([^`]+)`", row[0])]

    assert sorted(named) == sorted(CODES)
    assert all(cell.strip() for row in ROWS for cell in row)


@pytest.mark.parametrize("code", sorted(CODES))
def test_the_table_says_what_the_rules_do(code: str):
    said = OUTCOMES[code].lower()

    assert ("denies" in said, "asks" in said) == (code in DENIED, code in ASKED)
