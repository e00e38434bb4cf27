"""A push: the configured policy put into an OPA through its REST API.

The API takes a module, or a place of data, at a time. A change of a single module or place comes into force at once.
For any other change the push first adds a rule to make each decision fail: half a policy decides no call. The push
removes the rule when OPA holds the whole policy. If OPA refuses the new policy, the push puts the old policy back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import msgspec
from msgspec import structs

from gateway.model.errors import PolicyBroken, PolicyError
from gateway.policy.folder.bundle import is_within_roots
from gateway.policy.grants import with_grant_index
from gateway.policy.opa.contents import (
    PREFIX,
    PUSHED,
    Difference,
    HeldModule,
    Path,
    Pushed,
    modules_within,
    owned_roots,
)
from gateway.surfaces.cli.opa_admin import Rejected

if TYPE_CHECKING:
    from gateway.policy.folder.bundle import Bundle

COPY: Final[Path] = ("opagate", "data")
"""The path of a copy of the pushed data, by their roots: OPA answers data and rules in one document."""

_GATES: Final = f"{PREFIX}.gate/"
"""The beginning of the ids of gates: no file of a policy has such a name."""

_REFUSING: Final = "OPA refuses every call"
_AGAIN: Final = "run `opagate policy push --take-over`"
_UNDER_WAY: Final = (
    "another push to this OPA has not ended",
    "wait for its end; if it was killed, run `opagate policy push --take-over`",
)

_PACKAGE = re.compile(r"^package[ \t]+([\w.]+)", re.MULTILINE)
_IMPORT = re.compile(r"^import[ \t]+data\.([\w.]+)", re.MULTILINE)


class Admin(Protocol):
    """The part of `OpaAdmin` for pushes."""

    def modules(self) -> tuple[HeldModule, ...]: ...
    def value(self, path: Path) -> object: ...
    def pushed(self) -> Pushed: ...
    def bundles(self) -> dict[str, tuple[str, ...]]: ...
    def difference(self, policy: Bundle, held: Sequence[HeldModule]) -> Difference: ...
    def put_module(self, module: str, text: str) -> None: ...
    def delete_module(self, module: str) -> None: ...
    def put_data(self, path: Path, value: dict[str, Any]) -> None: ...
    def delete_data(self, path: Path) -> None: ...


@dataclass(frozen=True, slots=True)
class ModuleChange:
    """A module to put into OPA; to delete, if `text` is `None`."""

    id: str
    text: str | None

    def apply(self, admin: Admin) -> None:
        """Make the change. Raise a `PolicyError`."""
        if self.text is None:
            admin.delete_module(self.id)
        else:
            admin.put_module(self.id, self.text)


@dataclass(frozen=True, slots=True)
class DataChange:
    """Data to put in the place of all data below a root; to delete, if `value` is `None`."""

    root: str
    value: dict[str, Any] | None

    def apply(self, admin: Admin) -> None:
        """Make the change. Raise a `PolicyError`."""
        path = tuple(self.root.split("/"))
        if self.value is None:
            admin.delete_data(path)
        else:
            admin.put_data(path, self.value)


Change = ModuleChange | DataChange


@dataclass(frozen=True, slots=True)
class Contents:
    """The part of an OPA, or of a policy, written by pushes: modules by their ids, data by their roots."""

    modules: Mapping[str, str]
    data: Mapping[str, dict[str, Any]]

    def changes_to(self, wanted: Contents) -> list[Change]:
        """Return the changes to the wanted contents: data, then modules with imported modules first, then deletions."""
        found: list[Change] = [
            DataChange(root, wanted.data.get(root))
            for root in sorted({*self.data, *wanted.data})
            if self.data.get(root) != wanted.data.get(root)
        ]
        found += [
            ModuleChange(name, wanted.modules[name])
            for name in imports_first(wanted.modules)
            if self.modules.get(name) != wanted.modules[name]
        ]
        return found + [ModuleChange(name, None) for name in sorted(self.modules.keys() - wanted.modules.keys())]


def wanted_contents(policy: Bundle) -> Contents:
    """Return the contents of an OPA with a policy. Raise `PolicyBroken`."""
    data: dict[str, dict[str, Any]] = {}
    for root in owned_roots(policy):
        value: object = with_grant_index(policy.decoded_data())
        for part in root.split("/"):
            value = cast("dict[str, object]", value).get(part) if isinstance(value, dict) else None
        if isinstance(value, dict):
            data[root] = cast("dict[str, Any]", value)
        elif value is not None:
            raise PolicyBroken(f"data.{root.replace('/', '.')} is not a mapping", "name its parent in the roots")
    return Contents({f"{PREFIX}{name}": text for name, text in policy.modules}, data)


def imports_first(modules: Mapping[str, str]) -> list[str]:
    """Return the names of modules, imported packages first. Circular imports have any order."""
    packages: dict[str, list[str]] = {}
    for name, text in modules.items():
        for package in _PACKAGE.findall(text)[:1]:
            packages.setdefault(package, []).append(name)
    order: dict[str, None] = {}
    on_way: set[str] = set()

    def visit(name: str) -> None:
        if name in order or name in on_way:
            return
        on_way.add(name)
        for imported in _IMPORT.findall(modules[name]):
            for needed in (*packages.get(imported, ()), *packages.get(imported.rpartition(".")[0], ())):
                visit(needed)
        order.setdefault(name)

    for name in sorted(modules):
        visit(name)
    return list(order)


def gates(name: str) -> dict[str, str]:
    """Return the modules by which each answer of OPA fails during the push of this name.

    Their value follows no contract, and OPA reports a conflict where a rule has another value. Each push has its own
    modules, so no push opens the gates of another.
    """
    return {
        f"{_GATES}{name}/{package}.rego": f'package gateway.{package}\n\nresult := {{"push": "{name}"}}\n'
        for package in ("decision", "visibility")
    }


def is_gate(module: HeldModule) -> bool:
    """Return whether a module is a gate of any push."""
    return module.id.startswith(_GATES)


def push(admin: Admin, policy: Bundle, *, name: str, at: str, take_over: bool = False) -> Sequence[Change]:
    """Put a policy into an OPA; return the changes. `name` differs for each push, `at` a time for people.

    With `take_over` the push also ends a killed push. Raise a `PolicyError` if the policy is not in force then. The
    policy before is in force, unless OPA refuses every call, as the error then says.
    """
    _require_no_bundle(policy, admin.bundles())
    held, before = admin.modules(), admin.pushed()
    _require_alone(policy, held)
    is_whole = not before.pushing and not any(map(is_gate, held))
    if not is_whole and not take_over:
        raise PolicyBroken(*_UNDER_WAY)
    wanted, found = wanted_contents(policy), _contents(admin, held)
    changes = _changes(admin, policy, held, found, before)
    record = Pushed(policy.revision, "", name, at, tuple(wanted.data))
    if is_whole and not changes and before.revision == policy.revision:
        return changes
    if is_whole and len(changes) <= 1:
        for change in changes:
            change.apply(admin)
    else:
        left = [module.id for module in held if is_gate(module)]
        _Gated(admin, found, before, [*gates(name), *left], is_whole=is_whole).replace(policy, wanted, changes, record)
    _write(admin, record, wanted)
    return changes


def _changes(
    admin: Admin, policy: Bundle, held: Sequence[HeldModule], found: Contents, before: Pushed
) -> Sequence[Change]:
    """Return the changes to the contents of a policy. Data are put anew where OPA may have other data than the copy says."""
    wanted = wanted_contents(policy)
    changes = found.changes_to(wanted)
    differing = admin.difference(policy, held).data
    doubtful = {
        root
        for root in wanted.data
        if any(is_within_roots(path, (root,)) or is_within_roots(root, (path,)) for path in differing)
    }
    if before.pushing:
        doubtful = {*found.data, *wanted.data, *before.data}
    doubtful -= {change.root for change in changes if isinstance(change, DataChange)}
    return [*(DataChange(root, wanted.data.get(root)) for root in sorted(doubtful)), *changes]


def _require_no_bundle(policy: Bundle, bundles: Mapping[str, tuple[str, ...]]) -> None:
    own = (*owned_roots(policy), PUSHED[0])
    for name, roots in bundles.items():
        if any(is_within_roots(root, own) or is_within_roots(mine, roots) for root in roots for mine in own):
            raise PolicyBroken(
                f"OPA has data and rules of this policy from the bundle {name!r}",
                "change the bundle; or start OPA without it, and push",
            )


def _require_alone(policy: Bundle, held: Iterable[HeldModule]) -> None:
    foreign = [m.id for m in modules_within(held, owned_roots(policy)) if not m.id.startswith(PREFIX)]
    if foreign:
        more = f" (and {len(foreign) - 1} more)" if len(foreign) > 1 else ""
        raise PolicyBroken(
            f"OPA has {foreign[0]} from elsewhere, in a package of this policy{more}",
            "remove it from OPA, or start OPA without it: it would decide beside the policy",
        )


def _contents(admin: Admin, held: Iterable[HeldModule]) -> Contents:
    ours = {module.id: module.text for module in held if module.id.startswith(PREFIX) and not is_gate(module)}
    copy = admin.value(COPY)
    data = cast("dict[str, object]", copy) if isinstance(copy, dict) else {}
    return Contents(
        ours, {root: cast("dict[str, Any]", value) for root, value in data.items() if isinstance(value, dict)}
    )


def _write(admin: Admin, record: Pushed, contents: Contents) -> None:
    value = {COPY[1]: dict(contents.data), PUSHED[1]: cast("dict[str, Any]", msgspec.to_builtins(record))}
    admin.put_data(PUSHED[:1], value)


class _Gated:
    """A push of several changes. Meanwhile OPA decides nothing. `closed` are the ids of all gates to open at the end:
    the push's own first. `is_whole`: OPA had a whole policy before, to be put back after a failure.
    """

    def __init__(self, admin: Admin, found: Contents, before: Pushed, closed: Sequence[str], *, is_whole: bool) -> None:
        self._admin = admin
        self._found = found
        self._before = before
        self._closed = closed
        self._is_whole = is_whole

    def replace(self, policy: Bundle, wanted: Contents, changes: Sequence[Change], record: Pushed) -> None:
        """Put the wanted contents in the place of the contents found. Raise a `PolicyError`."""
        admin = self._admin
        _write(admin, structs.replace(record, revision="", pushing=policy.revision), self._found)
        if admin.pushed().push != record.push:
            raise PolicyBroken(*_UNDER_WAY)
        try:
            for module, text in gates(record.push).items():
                admin.put_module(module, text)
            _apply(admin, changes)
        except PolicyError as error:
            self._restore(wanted, error)
            raise
        held = [module for module in admin.modules() if not is_gate(module)]
        if admin.pushed().push != record.push or admin.difference(policy, held):
            raise PolicyBroken(f"another push changed OPA at the same time, so {_REFUSING}", _AGAIN)
        self._open()

    def _restore(self, wanted: Contents, error: PolicyError) -> None:
        """Put back the contents found, and the record before. Raise `PolicyBroken` if OPA refuses them."""
        admin = self._admin
        if not self._is_whole:
            raise PolicyBroken(f"{error.message}; a push before was killed, so {_REFUSING}", _AGAIN) from None
        try:
            now, empty = _contents(admin, admin.modules()), dict[str, dict[str, Any]]()
            changes = Contents(now.modules, empty).changes_to(Contents(self._found.modules, empty))
            roots = sorted({*self._found.data, *wanted.data})
            _apply(admin, [*changes, *(DataChange(root, self._found.data.get(root)) for root in roots)])
            self._open()
            _write(admin, self._before, self._found)
        except PolicyError as second:
            raise PolicyBroken(
                f"{error.message}; the policy before could not be put back ({second.message}), so {_REFUSING}", _AGAIN
            ) from None

    def _open(self) -> None:
        for module in reversed(self._closed):
            self._admin.delete_module(module)


def _apply(admin: Admin, changes: Sequence[Change]) -> None:
    """Make all changes, in any order accepted by OPA. Raise the error of the first change refused in every order."""
    left = _rounds(admin, changes)
    if left:
        # A function and its callers may change together: OPA takes neither while it has the other as it was.
        _rounds(admin, [_deletion(change) for change in reversed(changes)])
        left = _rounds(admin, changes)
    if left:
        raise left[0]


def _rounds(admin: Admin, changes: Sequence[Change]) -> list[Rejected]:
    """Make changes again and again while OPA takes any; return the errors of the others."""
    left = list(changes)
    while left:
        failed = [(change, error) for change in left if (error := _refusal(admin, change)) is not None]
        if len(failed) == len(left):
            return [error for _, error in failed]
        left = [change for change, _ in failed]
    return []


def _refusal(admin: Admin, change: Change) -> Rejected | None:
    try:
        change.apply(admin)
    except Rejected as error:
        return error
    return None


def _deletion(change: Change) -> Change:
    return ModuleChange(change.id, None) if isinstance(change, ModuleChange) else DataChange(change.root, None)
