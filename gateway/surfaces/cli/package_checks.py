"""Findings about packages that the commands of stdio servers fetch and run."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.config.packages import find_lockable, find_packages
from gateway.model.errors import GatewayError
from gateway.surfaces.cli.approval_checks import ApprovalFinding
from gateway.upstreams.catalogue import lockfile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.config import Configuration, Upstream
    from gateway.config.packages import PackageLock


def look(settings: Configuration) -> Iterator[ApprovalFinding]:
    """Yield what the lock holds of each upstream's packages, and a warning for each package that may become another program."""
    locked: Mapping[str, PackageLock] = {}
    # Another finding tells of a lock that cannot be read.
    with suppress(GatewayError):
        locked = lockfile.load(settings.catalogue.lock).packages
    for name, upstream in settings.upstreams.items():
        yield from _look_at(name, upstream, locked.get(name))


def _look_at(name: str, upstream: Upstream, lock: PackageLock | None) -> Iterator[ApprovalFinding]:
    lockable = find_lockable(upstream.command or ()) if upstream.isolation.kind != "account" else None
    if lock is not None:
        named = ", ".join(f"{package} {version}" for package, version in lock.versions.items())
        count = len(lock.list_versions())
        yield ApprovalFinding(f"upstream {name} runs {named}: {count} packages, each with its locked digest")
        return
    for package in find_packages(upstream.command or ()):
        if (problem := package.describe_problem()) is not None:
            remedy = package.describe_remedy() + (f", or: opagate catalogue pin {name}" if lockable else "")
            yield ApprovalFinding(f"upstream {name}: {problem}", remedy, is_warning=True)
        elif lockable is not None:
            text = f"upstream {name}: no digest of {package.name} is locked, nor a version of its dependencies"
            yield ApprovalFinding(text, f"opagate catalogue pin {name}")
