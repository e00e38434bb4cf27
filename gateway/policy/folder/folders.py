"""The folders and files that a policy comes from, read as one bundle: the policy, the operator's grants and the overlay.

The operator's limits of tasks (`limits.task` in gateway.yaml) and classes of agents (`policy.classes`) take the place of those of
the policy. They become data of the policy, so each engine has them, and the revision of the policy changes with them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from gateway.config import PolicySettings
from gateway.config.policy import AgentClass
from gateway.model.errors import PolicyBroken
from gateway.policy.folder import bundle, grant_files, overlay
from gateway.policy.folder.bundle import Bundle, Fingerprint, Suite
from gateway.policy.folder.data_files import nearest
from gateway.policy.folder.shadowing import DataSource
from gateway.policy.grants import with_grant_index
from gateway.policy.plan import store

if TYPE_CHECKING:
    from gateway.policy.folder.bundle import Bundle


_PLACE: Final = ("gateway", "settings")
_FIELDS: Final = {"task": "task_limits", "user": "user_limits", "agent": "agent_limits"}
"""Owner of a limit → the field of the settings with its limits."""


class LimitChange(NamedTuple):
    """New numbers of one limit. `None` leaves a number as the policy has it. The name of a limit over tasks begins with its owner:
    `user.calls`."""

    name: str
    soft: int | None
    hard: int | None

    @property
    def owner(self) -> str:
        """Return `task`, `user` or `agent`."""
        return self.name.rpartition(".")[0] or "task"

    @property
    def own_name(self) -> str:
        """Return the name among the limits of the same owner."""
        return self.name.rpartition(".")[2]

    def numbers(self) -> dict[str, int]:
        """Return the given numbers, by their names in the policy."""
        return {field: number for field, number in (("soft", self.soft), ("hard", self.hard)) if number is not None}


def with_limits(policy: Bundle, changes: Sequence[LimitChange]) -> Bundle:
    """Return a policy with other numbers for limits. Raise `PolicyBroken` for a limit that the policy does not
    have, and for a soft limit that is not below its hard one."""
    if not changes:
        return policy
    sources = tuple(_change_source(source, changes) for source in policy.sources)
    data = bundle.merge_data(sources)
    for change in changes:
        _require(change, _limits_in(data, change.owner))
    return _with_sources(policy, sources, {change.name: change.numbers() for change in changes})


def with_classes(policy: Bundle, classes: Sequence[AgentClass]) -> Bundle:
    """Return a policy with other classes of agents. Raise `PolicyBroken` for a policy that knows no classes."""
    if not classes:
        return policy
    if not any(source.at == _PLACE and "classes" in source.value for source in policy.sources):
        raise PolicyBroken(
            "policy.classes: the policy knows no classes of agents",
            "leave policy.classes out of gateway.yaml, or take `classes` and `bounds` over from the shipped policy",
        )
    entries = [entry.model_dump(by_alias=True) for entry in classes]
    sources = tuple(
        replace(source, value={**source.value, "classes": entries}) if source.at == _PLACE else source
        for source in policy.sources
    )
    return _with_sources(policy, sources, entries)


def _with_sources(policy: Bundle, sources: tuple[DataSource, ...], change: object) -> Bundle:
    """Return a policy with other data. Its revision tells the change."""
    said = json.dumps(change, sort_keys=True)
    revision = f"{policy.revision}+{hashlib.sha256(said.encode()).hexdigest()[:8]}"
    return replace(policy, data=json.dumps(bundle.merge_data(sources)), sources=sources, revision=revision)


def _change_source(source: DataSource, changes: Sequence[LimitChange]) -> DataSource:
    """Return a data file. The file with the limits gets the new numbers."""
    if source.at != _PLACE:
        return source
    value = dict(source.value)
    for change in changes:
        field = _FIELDS.get(change.owner, "")
        limits: object = value.get(field)
        given = cast("dict[str, Any]", limits).get(change.own_name) if isinstance(limits, dict) else None
        if isinstance(given, dict):
            value[field] = {**cast("dict[str, Any]", limits), change.own_name: {**given, **change.numbers()}}
    return replace(source, value=value)


def _limits_in(data: Mapping[str, Any], owner: str) -> Mapping[str, Any]:
    found: Any = data
    for part in (*_PLACE, _FIELDS.get(owner, "")):
        found = cast("Mapping[str, Any]", found).get(part) if isinstance(found, dict) else None
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) else {}


def _require(change: LimitChange, in_force: Mapping[str, Any]) -> None:
    place, limit = f"limits.{change.owner}.{change.own_name}", in_force.get(change.own_name)
    if not isinstance(limit, dict):
        raise PolicyBroken(
            f"{place}: the policy has no such limit{nearest(change.own_name, in_force)}",
            "correct its name in gateway.yaml; docs/policy/history.md#limits has all limits",
        )
    numbers = cast("Mapping[str, Any]", limit)
    soft, hard = numbers.get("soft"), numbers.get("hard")
    if isinstance(soft, int | float) and isinstance(hard, int | float) and soft >= hard:
        raise PolicyBroken(
            f"{place}: soft {soft} is not below hard {hard}, so no person could ever be asked",
            "lower soft in gateway.yaml, or raise hard",
        )


@dataclass(frozen=True, slots=True)
class PolicyFolders:
    """The folders of a policy. `grants` is a file, or a folder of files, in the place of the folder's own; `overlay` is a folder of own rules.
    `limits` are numbers in the place of the policy's limits, and `classes` agents by class in the place of the policy's."""

    policy: Path
    grants: Path | None = None
    overlay: Path | None = None
    limits: tuple[LimitChange, ...] = ()
    classes: tuple[AgentClass, ...] = ()

    @classmethod
    def configured(cls, settings: PolicySettings) -> PolicyFolders:
        """Return the configured folders. Without `policy.path` the policy is the shipped policy."""
        limits = tuple(LimitChange(name, one.soft, one.hard) for name, one in sorted(settings.limits.items()))
        return cls(settings.path or find_shipped(), settings.grants, settings.overlay, limits, settings.classes)

    @property
    def are_shipped(self) -> bool:
        """Return whether all files come with opagate."""
        return self.is_shipped and self.grants is None and self.overlay is None

    @property
    def is_shipped(self) -> bool:
        """Return whether the policy, without the overlay, comes with opagate."""
        return self.policy.resolve() == find_shipped().resolve()

    @property
    def planned(self) -> tuple[Path, ...]:
        """Return the folders beside which a compiled form of the policy may be: of the overlay, and of an own policy."""
        own = () if self.is_shipped else (self.policy,)
        return own if self.overlay is None else (self.overlay, *own)


def find_shipped() -> Path:
    """Return the policy folder that comes with opagate: in a wheel, inside the package; else the repository's `rego/`."""
    package = Path(__file__).resolve().parents[2]
    installed = package / "_rego"
    return installed if installed.is_dir() else package.parent / "rego"


def read_policy(folders: PolicyFolders) -> Bundle:
    """Return the policy in force for these folders. Raise `PolicyBroken`."""
    return read_with_suites(folders)[0]


def read_with_suites(folders: PolicyFolders) -> tuple[Bundle, tuple[Suite, ...]]:
    """Return the policy in force for these folders, and its tests as the same reading found them. Raise `PolicyBroken`.

    The tests of an own policy run without the overlay; the tests of an overlay run on both together. No test sees the
    operator's limits and classes: it may rest on those of the policy.
    """
    policy = bundle.read_folder(folders.policy, folders.grants)
    own = () if folders.is_shipped else (Suite(policy),)
    if folders.overlay is None:
        return _with_operators_data(policy, folders), own
    merged = _with_overlay(policy, folders.overlay)
    return _with_operators_data(merged, folders), (*own, Suite(merged, f"{overlay.ROOT}/"))


def _with_operators_data(policy: Bundle, folders: PolicyFolders) -> Bundle:
    return with_classes(with_limits(policy, folders.limits), folders.classes)


def _with_overlay(policy: Bundle, folder: Path) -> Bundle:
    own = bundle.read_below(folder, overlay.ROOT, "policy.overlay")
    if not own.modules:
        raise PolicyBroken(
            f"{folder} holds no Rego files",
            "point policy.overlay at a folder of own rules, or leave it out; `opagate policy init` writes one",
        )
    return overlay.merge(policy, own)


def texts(folders: PolicyFolders) -> dict[str, str]:
    """Return the Rego files that decide, by their names in the policy. Raise `PolicyBroken` for a file that is no text."""
    found = bundle.sources(folders.policy)
    if folders.overlay is not None:
        found |= bundle.read_below(folders.overlay, overlay.ROOT, "policy.overlay").modules
    return found


def fingerprint(folders: PolicyFolders) -> Fingerprint:
    """Return what changes when a file of the policy does. Raise `PolicyBroken`."""
    places = (folders.policy, folders.overlay)
    plans = [plan for plan in map(store.beside, folders.planned) if plan.exists()]
    grants = () if folders.grants is None else grant_files.find_files(folders.grants)
    return bundle.fingerprint([place for place in places if place is not None], (*grants, *plans))


def write(policy: Bundle, folder: Path, *, with_tests: bool = False) -> None:
    """Write a policy as a folder that OPA can load: the Rego files, and all data as one, with the index of the grants.

    Tests replace grants, so a folder with tests has no index. Raise `OSError`.
    """
    manifest = json.dumps({"roots": policy.roots, "revision": policy.revision, "rego_version": 1}, indent=2)
    files = (
        *policy.modules,
        *(policy.tests if with_tests else ()),
        ("data.json", policy.data if with_tests else json.dumps(with_grant_index(policy.decoded_data()))),
        (".manifest", manifest),
    )
    for name, text in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
