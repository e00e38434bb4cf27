"""The contents of an OPA, from its own reports: which modules and data differ from a policy, and the age of bundles. Pure.

Modules are compared by their texts, since OPA names a module after the place that it came from. Data are compared in pieces
without rules, because OPA answers rules and data in one document. OPA goes on serving the last bundle if it cannot fetch
another, or cannot activate a fetched one, which it reports as a successful request. So a bundle is known to be the newest after a
further successful request without a problem. Ages are of the gateway's monotonic clock: of OPA's clock, only differences count.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeAlias, cast

import msgspec

from gateway.model.errors import PolicyMalformed, PolicyUnavailable
from gateway.policy.facts import FACTS
from gateway.policy.folder.bundle import Bundle, is_within_roots
from gateway.policy.grants import INDEX, with_grant_index
from gateway.policy.verdict import UNDEFINED

_Time = Annotated[datetime, msgspec.Meta(tz=True)]
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
"""How OPA writes the time of what has not happened."""


class BundleState(msgspec.Struct, frozen=True):
    """One bundle in OPA's report."""

    last_request: _Time
    last_successful_request: _Time
    last_successful_download: _Time
    last_successful_activation: _Time
    code: str = ""
    """What was wrong at the last request."""

    @property
    def age(self) -> float:
        """Return the seconds, by OPA's clock, without a newer bundle at OPA's last request."""
        unusable = self.last_successful_request == self.last_request
        inactive = self.code and (unusable or self.last_successful_download > self.last_successful_activation)
        known = self.last_successful_activation if inactive else self.last_successful_request
        age = (self.last_request - known).total_seconds()
        return math.inf if known == _NEVER or age < 0 else age


class OpaLabels(msgspec.Struct, frozen=True):
    id: str
    """Another one at each start of OPA."""


class Report(msgspec.Struct, frozen=True):
    """OPA's report on its fetched bundles."""

    labels: OpaLabels
    bundles: dict[str, BundleState] = {}


class _StatusAnswer(msgspec.Struct):
    result: Report


def read_report(answer: bytes) -> Report:
    """Return the report in OPA's answer to `GET /v1/status`. Raise `PolicyMalformed`."""
    try:
        return msgspec.json.decode(answer, type=_StatusAnswer).result
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise PolicyMalformed("OPA's report on its bundles cannot be read", "use OPA 1.20.2 or newer") from None


class BundleAges:
    def __init__(self) -> None:
        self._opa = ""
        self._seen: dict[str, tuple[datetime, float]] = {}

    def oldest(self, report: Report, held: frozenset[str], now: float) -> tuple[float, str]:
        """Return the name of the longest unconfirmed bundle, and the time when it was last known to be the newest.
        `held` are the bundles in force. Raise `PolicyUnavailable` for a bundle without a report, or without bundles.
        """
        missing = sorted(held - report.bundles.keys())
        if missing or not report.bundles:
            what = f"its bundle {missing[0]!r}" if missing else "its policy"
            raise PolicyUnavailable(
                f"OPA does not report how old {what} is: it does so of bundles that it fetches from a service",
                "have OPA fetch it (`services` and `bundles` in its configuration), or leave policy.stale_after out",
            )
        before = self._seen if report.labels.id == self._opa else {}
        self._opa = report.labels.id
        self._seen = {
            name: (state.last_successful_request, _since(before.get(name), state, now))
            for name, state in report.bundles.items()
        }
        return min((since, name) for name, (_, since) in self._seen.items())


def _since(before: tuple[datetime, float] | None, state: BundleState, now: float) -> float:
    request, since = before or (None, -math.inf)
    return since if state.last_successful_request == request else max(since, now - state.age)


Path: TypeAlias = tuple[str, ...]
"""A path below `data`, such as `("gateway", "grants")`."""

PUSHED: Final[Path] = ("opagate", "pushed")
"""The path of the document that `opagate policy push` writes last."""

PREFIX: Final = "opagate/"
"""The beginning of the ids of modules that a push has put into OPA."""

_PACKAGE = re.compile(r"^package[ \t]+([A-Za-z_]\w*)", re.MULTILINE)


_NOTHING: Final = object()


class Pushed(msgspec.Struct, frozen=True):
    """The record of a push, as OPA holds it. `revision` is empty if there was none; `pushing` names a push under way."""

    revision: str = ""
    pushing: str = ""
    push: str = ""
    at: str = ""
    data: tuple[str, ...] = ()
    """The roots below which the push wrote data, such as `gateway`."""


@dataclass(frozen=True, slots=True)
class HeldModule:
    """One module in OPA. `rules` are the paths of its rules, up to the first part that is a variable."""

    id: str
    text: str
    package: Path
    rules: frozenset[Path]


@dataclass(frozen=True, slots=True)
class Difference:
    """Differences of an OPA from a policy.

    `missing` are names of modules of the policy. `foreign` are ids of further modules in the packages of the policy. `data`
    are paths such as `gateway/grants/upstreams`.
    """

    missing: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    data: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.foreign or self.data)

    def sentence(self) -> str:
        """Return the first difference as a sentence, with the number of the others."""
        found = [f"{name} is not in OPA as it is in the folder" for name in self.missing]
        if not self.missing:
            # Else OPA may have it as the text before a change.
            found += [f"OPA has {name}, which the policy does not have" for name in self.foreign]
        found += [f"data.{path.replace('/', '.')} has another value in OPA" for path in self.data]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        return f"{found[0]}{more}" if found else "none"


class _OpaPart(msgspec.Struct):
    value: Any = None
    type: str = ""


class _Package(msgspec.Struct):
    path: list[_OpaPart] = []


class _Head(msgspec.Struct):
    ref: list[_OpaPart] = []
    name: str = ""


class _OpaRule(msgspec.Struct):
    head: _Head


class _Ast(msgspec.Struct):
    package: _Package
    rules: list[_OpaRule] = []


class _OpaModule(msgspec.Struct):
    id: str
    ast: _Ast
    raw: str = ""


class _Modules(msgspec.Struct):
    result: list[_OpaModule] = []


def read_modules(answer: bytes) -> tuple[HeldModule, ...]:
    """Return the modules in OPA's answer to `GET /v1/policies`. Raise `PolicyMalformed`."""
    try:
        found = msgspec.json.decode(answer, type=_Modules).result
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise PolicyMalformed("OPA's list of policies cannot be read", "use OPA 1.20.2 or newer") from None
    return tuple(_read_held(module) for module in found)


def _read_held(module: _OpaModule) -> HeldModule:
    package = tuple(str(part.value) for part in module.ast.package.path[1:])
    rules = frozenset(package + _fixed_part(rule.head) for rule in module.ast.rules)
    return HeldModule(module.id, module.raw, package, rules)


def _fixed_part(head: _Head) -> Path:
    """Return the names of a rule's head, up to the first part that is no text."""
    names = [str(head.ref[0].value) if head.ref else head.name]
    for part in head.ref[1:]:
        if part.type != "string":
            break
        names.append(str(part.value))
    return tuple(names)


def owned_roots(policy: Bundle) -> tuple[str, ...]:
    """Return the paths that belong to a policy. Without roots in its manifest these are the tops of its packages and data."""
    if "" not in policy.roots:
        return policy.roots
    tops = {match[1] for _, text in policy.modules for match in _PACKAGE.finditer(text)}
    tops |= {source.at[0] if source.at else key for source in policy.sources for key in source.value}
    return tuple(sorted(tops))


def modules_within(held: Iterable[HeldModule], roots: tuple[str, ...]) -> list[HeldModule]:
    """Return the modules with a package or a rule below any root."""
    return [
        module
        for module in held
        if any(is_within_roots("/".join(path), roots) for path in (module.package, *module.rules))
    ]


def compare(policy: Bundle, held: Sequence[HeldModule], found: Mapping[Path, object]) -> Difference:
    """Return the differences of an OPA from a policy. OPA may have the tests of the policy too.

    `held` are the modules in OPA, `found` the values in OPA at the paths of `pieces`.
    """
    texts = {module.text for module in held}
    known = {text for _, text in (*policy.modules, *policy.tests)}
    foreign = (module.id for module in modules_within(held, owned_roots(policy)) if module.text not in known)
    wanted = pieces(policy.decoded_data(), held)
    return Difference(
        missing=tuple(name for name, text in policy.modules if text not in texts),
        foreign=tuple(sorted(foreign)),
        data=tuple("/".join(path) for path, value in wanted.items() if _is_other(path, value, found)),
    )


def _is_other(path: Path, wanted: object, found: Mapping[Path, object]) -> bool:
    """Return whether OPA has another value at a path.

    An index saves time alone, so it may be missing. Declared facts may be, too: the gateway counts them, and OPA leaves
    facts.yaml out of each bundle that it makes of a folder.
    """
    held = found.get(path, _NOTHING)
    if path == INDEX and not isinstance(held, dict):
        return False
    if path in FACTS and (held is _NOTHING or held is UNDEFINED):
        return False
    return not is_same(cast("object", held), wanted)


def pieces(data: Mapping[str, Any], held: Iterable[HeldModule]) -> dict[Path, object]:
    """Return data in pieces below which OPA has no rules, by their paths. The index of the grants is among them."""
    above = {rule[:end] for module in held for rule in module.rules for end in range(len(rule))}
    return dict(_pieces(with_grant_index(data), (), above))


def _pieces(value: object, path: Path, above: set[Path]) -> Iterator[tuple[Path, object]]:
    if isinstance(value, dict) and (path in above or not path):
        for key, item in cast("Mapping[str, object]", value).items():
            yield from _pieces(item, (*path, key), above)
    else:
        yield path, value


def is_same(one: object, other: object) -> bool:
    """Return whether two JSON values are the same. Numbers are compared by their values; a boolean is no number."""
    if isinstance(one, dict) and isinstance(other, dict):
        first, second = cast("dict[str, object]", one), cast("dict[str, object]", other)
        return first.keys() == second.keys() and all(is_same(item, second[key]) for key, item in first.items())
    if isinstance(one, list) and isinstance(other, list):
        items, others = cast("list[object]", one), cast("list[object]", other)
        return len(items) == len(others) and all(map(is_same, items, others))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def digest(held: Iterable[HeldModule]) -> str:
    """Return a name of eight characters for the texts of modules, whatever their ids and order."""
    texts = sorted(hashlib.sha256(module.text.encode()).digest() for module in held)
    return hashlib.sha256(b"".join(texts)).hexdigest()[:8]
