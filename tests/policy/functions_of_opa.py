"""The built-in functions of OPA and the kinds of their arguments, as `opa capabilities` has them."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from typing import Any, cast

from tests.compiled_policy import opa


@cache
def arguments_of_functions() -> dict[str, tuple[frozenset[str] | None, ...]]:
    """Return the kinds that each argument may have, by the names of functions; `None` is every kind."""
    done = subprocess.run([opa(), "capabilities", "--current"], capture_output=True, text=True, check=True)
    found = cast("list[dict[str, Any]]", json.loads(done.stdout)["builtins"])
    return {item["name"]: tuple(map(_kinds, item["decl"].get("args") or ())) for item in found}


def _kinds(declared: dict[str, Any]) -> frozenset[str] | None:
    if declared["type"] != "any":
        return frozenset({declared["type"]})
    if "of" not in declared:
        return None
    return frozenset[str]().union(*(_kinds(item) or () for item in declared["of"]))
