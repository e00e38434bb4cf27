"""The locked packages of stdio servers, as `opagate catalogue pin` renews them."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import typer

from gateway.surfaces.cli.terminal import err, out, paint, say, sentence

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.config import Configuration, Upstream
    from gateway.config.packages import PackageLock


def pin(settings: Configuration, *, yes: bool, keep: bool) -> None:
    """Show how the packages of each server differ from the locked ones, ask, and write the lock file. Without `keep`, unlock
    them."""
    from gateway.upstreams.catalogue import lockfile

    before = lockfile.load(settings.catalogue.lock).packages
    for name, upstream in settings.upstreams.items():
        found = _resolve(name, upstream) if keep else None
        if found == before.get(name) or (keep and found is None and name not in before):
            continue
        for line in _differences(before.get(name), found):
            say(line)
        if not yes and not _has_agreed(name):
            raise typer.Abort
        lockfile.amend(settings.catalogue.lock, lambda lock, name=name, found=found: lock.with_packages(name, found))
        done = "locked" if found is not None else "unlocked"
        out.print(paint("ok", f"{done} the packages of {name} in {settings.catalogue.lock}"))


def _resolve(name: str, upstream: Upstream) -> PackageLock | None:
    """Return the packages of a server as its registry has them now; `None` for a server whose packages cannot be locked."""
    from gateway.config.packages import find_lockable, find_packages
    from gateway.model.errors import ConfigurationError
    from gateway.upstreams.stdio.isolation.locked import resolve

    command = upstream.command or ()
    lockable = find_lockable(command) if upstream.isolation.kind != "account" else None
    if lockable is None:
        if packages := find_packages(command):
            why = "isolation: account" if upstream.isolation.kind == "account" else f"the words of {packages[0].runner}"
            sentence(f"packages of {name} cannot be locked, because of {why}", "docs/isolation.md says which can")
        return None
    own = {key: value.get_secret_value() for key, value in upstream.env.items()}
    try:
        with err.status(f"Asking for the packages of {name}") if err.is_terminal else nullcontext():
            return resolve(lockable, {**os.environ, **own})
    except ConfigurationError as error:
        raise ConfigurationError(f"packages of upstream {name}: {error.message}", error.remedy) from None


def _differences(old: PackageLock | None, new: PackageLock | None) -> Iterator[str]:
    """Yield a line for each package of another version or other files."""
    before, after = ({} if lock is None else lock.list_versions() for lock in (old, new))
    for package in sorted({*before, *after}):
        if before.get(package) != after.get(package):
            yield f"  {package} {_change(before, after, package)}"
    if before == after:
        yield "  The same versions have other digests or other dependencies."


def _change(before: Mapping[str, str], after: Mapping[str, str], package: str) -> str:
    if package not in before:
        return after[package]
    return f"{before[package]} → {after.get(package, 'none')}"


def _has_agreed(name: str) -> bool:
    if not sys.stdin.isatty():
        raise typer.BadParameter("standard input is no terminal to ask on; add --yes")
    return typer.confirm(f"Trust these packages of {name}?", err=True)
