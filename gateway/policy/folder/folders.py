"""The folders and files that a policy comes from, read as one bundle: the policy, the operator's grants and the overlay."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from gateway.config import PolicySettings
from gateway.model.errors import PolicyBroken
from gateway.policy.folder import bundle, overlay
from gateway.policy.folder.bundle import Bundle, Fingerprint, Suite
from gateway.policy.folder.task_limits import LimitChange, with_limits
from gateway.policy.grants.index import with_grant_index
from gateway.policy.plan import store


@dataclass(frozen=True, slots=True)
class PolicyFolders:
    """The folders of a policy. `grants` is a file in the place of the folder's own; `overlay` is a folder of own rules.
    `limits` are numbers in the place of the policy's limits of tasks."""

    policy: Path
    grants: Path | None = None
    overlay: Path | None = None
    limits: tuple[LimitChange, ...] = ()

    @classmethod
    def configured(cls, settings: PolicySettings) -> PolicyFolders:
        """Return the configured folders. Without `policy.path` the policy is the shipped policy."""
        limits = tuple(LimitChange(name, one.soft, one.hard) for name, one in sorted(settings.task_limits.items()))
        return cls(settings.path or find_shipped(), settings.grants, settings.overlay, limits)

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
    operator's limits of tasks: it may rest on those of the policy.
    """
    policy = bundle.read_folder(folders.policy, folders.grants)
    own = () if folders.is_shipped else (Suite(policy),)
    if folders.overlay is None:
        return with_limits(policy, folders.limits), own
    merged = _with_overlay(policy, folders.overlay)
    return with_limits(merged, folders.limits), (*own, Suite(merged, f"{overlay.ROOT}/"))


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
    return bundle.fingerprint(
        [place for place in places if place is not None],
        plans if folders.grants is None else (folders.grants, *plans),
    )


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
