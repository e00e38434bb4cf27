"""The data files of a policy: read as the gateway and OPA see the same values, and judged by the policy itself. Pure.

YAML is refused where readers disagree. PyYAML follows YAML 1.1, OPA since 1.21 YAML 1.2, and both read `no`, `1e3`, `010`, `1:30`
or `2026-01-01` differently. A grant that cannot be read in full is void (`rego/gateway/grants/`), and an invalid limit refuses
every call. That is safe, but a riddle to its author. So a policy with faulty data does not come into force.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import yaml

from gateway.base import strict_yaml
from gateway.model.errors import PolicyBroken

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+][0-9]+)?")
"""Where JSON, YAML 1.1 and YAML 1.2 agree."""
_NUMBER_SOMEWHERE = re.compile(
    r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?|[-+]?0[xob][0-9a-fA-F_]+|[-+]?\.(inf|nan)",
    re.IGNORECASE,
)
_BOOLEANS = frozenset({"true", "false"})
_BOOLEANS_SOMEWHERE = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false"})
_NULLS = frozenset({"", "~", "null"})


def parse_data(text: str, file: str) -> Any:
    """Return the value of a `.json`, `.yaml` or `.yml` file. Raise `PolicyBroken`, naming file and line."""
    return _json(text, file) if file.endswith(".json") else _yaml(text, file)


def _json(text: str, file: str) -> Any:
    def pairs(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key, item in items:
            if key in value:
                raise _make_error(file, None, f"the key {key!r} is given twice")
            value[key] = item
        return value

    def constant(name: str) -> Any:
        raise _make_error(file, None, f"{name} is not a JSON value")

    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise _make_error(file, error.lineno, f"not JSON: {error.msg}") from None
    except RecursionError:
        raise _make_error(file, None, "nested too deeply") from None


def _yaml(text: str, file: str) -> Any:
    try:
        root = strict_yaml.node(text)
    except strict_yaml.UnreadableYaml as error:
        raise _make_error(file, error.line, error.problem) from None
    return {} if root is None else _value(root, file)


def _value(node: yaml.Node, file: str) -> Any:
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _value(key_node, file)
            if not isinstance(key, str):
                raise _make_error(file, _line(key_node), f"the key {key_node.value!r} is not text; put it in quotes")
            mapping[key] = _value(value_node, file)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, file) for item in node.value]
    return _scalar(cast("yaml.ScalarNode", node), file)


def _scalar(node: yaml.ScalarNode, file: str) -> Any:
    text: str = node.value
    if node.style:
        if node.tag != "tag:yaml.org,2002:str":
            raise _make_error(file, _line(node), f"the tag {node.tag!r} is not read")
        return text
    lower = text.lower()
    if lower in _NULLS:
        return None
    if lower in _BOOLEANS:
        return lower == "true"
    if _NUMBER.fullmatch(text):
        return json.loads(text)
    ambiguous = lower in _BOOLEANS_SOMEWHERE or _NUMBER_SOMEWHERE.fullmatch(text)
    if ambiguous or node.tag != "tag:yaml.org,2002:str":
        raise _make_error(
            file, _line(node), f"{text!r} is not the same in every YAML; put it in quotes if text is meant"
        )
    return text


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _make_error(file: str, line: int | None, problem: str) -> PolicyBroken:
    where = file if line is None else f"{file}:{line}"
    return PolicyBroken(f"{where}: {problem}", "mend the data file")


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
        """Return each problem in an answer of `rule` as a sentence. Raise `PolicyBroken` for an answer of another form."""
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
