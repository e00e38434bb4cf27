"""The table of built-in functions is OPA's own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.policy.rego_functions import BARRED, BUILTINS, Kinds, Signature


@pytest.mark.opa
def test_the_types_of_functions_are_those_of_opa(opa_path: Path):
    done = subprocess.run([opa_path, "capabilities", "--current"], capture_output=True, text=True, check=True)
    known = {item["name"]: item for item in cast("list[dict[str, Any]]", json.loads(done.stdout)["builtins"])}
    called = {name for name, item in known.items() if "infix" not in item and not name.startswith("internal.")}

    assert {name: _signature(known[name]["decl"]) for name in BUILTINS} == BUILTINS
    assert called - BUILTINS.keys() == BARRED


def _signature(declared: dict[str, Any]) -> Signature:
    return Signature(tuple(map(_kinds, declared["args"])), _kinds(declared["result"]))


def _kinds(declared: dict[str, Any]) -> Kinds:
    if declared["type"] != "any":
        return frozenset({declared["type"]})
    if "of" not in declared:
        return None
    return frozenset[str]().union(*(_kinds(item) or () for item in declared["of"]))
