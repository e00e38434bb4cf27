"""A policy's complaints about its own data. Pure. A grant that cannot be read in full is void (`rego/gateway/grants/`),
and an invalid limit refuses every call. That is safe, but a riddle to its author. So a policy with faulty data does not
come into force."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from gateway.model.errors import PolicyBroken


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file of a policy, with the Rego package that checks its entries. Without the package, no problem is reported."""

    name: str
    package: str
    remedy: str
    form: str
    """The words for a valid answer of `rule`, for the error about another answer."""
    told: Callable[[object], str | None]
    """A writer of one problem as a sentence. It returns `None` for a value of another form."""

    @property
    def rule(self) -> str:
        return f"{self.package}.found"

    @property
    def path(self) -> str:
        """Return the path of the file within a policy folder."""
        return f"gateway/{self.name}/data.yaml"

    def sentences(self, answer: object) -> list[str]:
        """Return each problem in an answer of `rule` as a sentence. Raises `PolicyBroken` for an answer of another form."""
        items = cast("list[object]", answer) if isinstance(answer, list) else [None]
        found = [sentence for item in items if (sentence := self.told(item)) is not None]
        if len(found) < len(items):
            raise PolicyBroken(f"{self.rule} is no list of problems", f"make it a set of {self.form}, or leave it out")
        return sorted(found)

    def require(self, found: Sequence[str], place: str) -> None:
        """Raise `PolicyBroken` for the first of the problems of the file at `place`, and say how many there are."""
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise PolicyBroken(f"{place}: {found[0]}{more}", self.remedy)


def _of_a_grant(item: object) -> str | None:
    fields = cast("dict[str, object]", item) if isinstance(item, dict) else {}
    upstream, index, problem = fields.get("upstream"), fields.get("index"), fields.get("problem")
    if not isinstance(upstream, str) or not isinstance(problem, str) or not isinstance(index, int):
        return None
    return f"upstream {upstream!r}, grant {index + 1}: {problem}"


def _of_a_setting(item: object) -> str | None:
    return item if isinstance(item, str) else None


GRANTS: Final = DataFile(
    "grants",
    "data.gateway.grants.problems",
    "mend the grant (docs/policy/grants.md has its fields): until then it grants nothing",
    "objects with upstream, index and problem",
    _of_a_grant,
)
SETTINGS: Final = DataFile(
    "settings",
    "data.gateway.problems",
    "mend the setting: as it is, calls are refused for it, or not held by it",
    "sentences",
    _of_a_setting,
)
DATA_FILES: Final = (GRANTS, SETTINGS)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` did you mean …?` with the known name that is closest, empty if none is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean `{close[0]}`?" if close else ""
