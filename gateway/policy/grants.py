"""What a policy says is wrong with its own grants. Pure.

A grant that cannot be read in full is void (`rego/gateway/grants/`): safe, and a riddle to whoever wrote it. So a policy
whose grants have problems is not put into force.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from gateway.errors import PolicyBroken

PACKAGE: Final = "data.gateway.grants.problems"
RULE: Final = f"{PACKAGE}.found"
"""Objects with `upstream`, `index` in its list, and `problem`. A policy without this package has nothing to say."""
REMEDY: Final = "mend the grant: as it is, it grants nothing"


def sentences(answer: object) -> list[str]:
    """The answer of `RULE`, each problem as a sentence. Raises `PolicyBroken` if it is not such an answer."""
    if not isinstance(answer, list):
        raise _malformed()
    return sorted(map(_sentence, cast("list[object]", answer)))


def require(found: Sequence[str], file: str) -> None:
    """Raises `PolicyBroken` for the first of the problems of the grants in `file`, and says how many there are."""
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise PolicyBroken(f"{file}: {found[0]}{more}", REMEDY)


def _sentence(item: object) -> str:
    fields = cast("dict[str, object]", item) if isinstance(item, dict) else {}
    upstream, index, problem = fields.get("upstream"), fields.get("index"), fields.get("problem")
    if not isinstance(upstream, str) or not isinstance(problem, str) or not isinstance(index, int):
        raise _malformed()
    return f"upstream {upstream!r}, grant {index + 1}: {problem}"


def _malformed() -> PolicyBroken:
    return PolicyBroken(
        f"{RULE} is no list of problems", "make it a set of objects with upstream, index and problem, or leave it out"
    )
