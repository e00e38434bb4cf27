"""Findings about the isolation of stdio servers: the means, the open ways, and the named files without access."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gateway.model.errors import GatewayError
from gateway.surfaces.cli.approval_checks import ApprovalFinding
from gateway.upstreams.catalogue.lockfile import PackagePins
from gateway.upstreams.stdio.isolation.description import describe
from gateway.upstreams.stdio.isolation.launch import build_launchers
from gateway.upstreams.stdio.spawner import build_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config import Configuration
    from gateway.upstreams.stdio.isolation.launch import Launcher


def look(settings: Configuration) -> Iterator[tuple[str, ApprovalFinding | GatewayError]]:
    """Yield the findings about each stdio upstream, and the error of an isolation that is not to be had."""
    for name, launcher in build_launchers(settings, PackagePins(settings.catalogue.lock).find).items():
        try:
            yield from ((f"isolation of {name}", told) for told in _look_at(settings, launcher))
        except GatewayError as error:
            yield f"isolation of {name}", error


def _look_at(settings: Configuration, launcher: Launcher) -> Iterator[ApprovalFinding]:
    launcher.require()
    where, found = f"upstreams.{launcher.name}", describe(launcher)
    text = f"{found.by}. Open: {'; '.join(found.leaves_open) or 'nothing beyond its program'}"
    if found.is_open:
        yield ApprovalFinding(text, f"write {where}.isolation: sandbox, and declare its files", is_warning=True)
        return
    yield ApprovalFinding(text)
    if launcher.settings.isolation.kind == "sandbox":
        yield from _withheld(launcher, where)
        yield from _way_back(settings, launcher, where)


def _withheld(launcher: Launcher, where: str) -> Iterator[ApprovalFinding]:
    """Yield what the command names and the server does not see."""
    try:
        view = launcher.find_view(build_environment(launcher.settings, os.environ))
    except OSError as error:
        yield ApprovalFinding(
            f"it cannot be started: {error.strerror or error}",
            f"correct {where}.command, cwd and files",
            is_warning=True,
        )
        return
    if launcher.keeps_home and not launcher.settings.network:
        yield ApprovalFinding(
            f"{launcher.command[0]} fetches packages, and has no network",
            f"write {where}.network: [443], or install the package and name its program",
            is_warning=True,
        )
    if view.withheld:
        yield ApprovalFinding(
            f"the command names {', '.join(map(str, view.withheld))}, which the server does not see",
            f"if it needs that, write {where}.files.read or files.write; no folder of the gateway's can be opened",
            is_warning=True,
        )


def _way_back(settings: Configuration, launcher: Launcher, where: str) -> Iterator[ApprovalFinding]:
    """Yield whether the server can call the gateway as anybody."""
    network = launcher.settings.network
    reaches = network is True or (not isinstance(network, bool) and settings.port in network)
    named = next((each.kind for each in settings.identity if each.kind in {"development", "anonymous"}), None)
    if reaches and named is not None:
        yield ApprovalFinding(
            f"it reaches the gateway's own port, and identity kind {named} trusts each process of this machine",
            f"name the ports that it needs: {where}.network: [443]; or identify callers by jwt or spiffe",
            is_warning=True,
        )
