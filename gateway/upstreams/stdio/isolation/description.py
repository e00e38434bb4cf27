"""Words about the isolation of a stdio server and its open ways, for `check`, the log and `/readyz`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.config.isolation import Account, NoIsolation, Sandbox
from gateway.upstreams.stdio.isolation.machine import SCOPES_SINCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config import Upstream
    from gateway.upstreams.stdio.isolation.launch import Launcher
    from gateway.upstreams.stdio.isolation.machine import Machine


@dataclass(frozen=True, slots=True)
class Isolation:
    """The isolation of one upstream in words. `is_open`: nothing keeps the server from the gateway's authority."""

    by: str
    leaves_open: tuple[str, ...]
    is_open: bool = False


def describe(launcher: Launcher) -> Isolation:
    """Describe the isolation that a launcher gives."""
    match launcher.settings.isolation:
        case NoIsolation() as accepted:
            return Isolation(
                f"nothing: {accepted.accepted_by} accepts that until {accepted.until}",
                ("each key, file, socket and lent credential of the gateway",),
                is_open=True,
            )
        case Account() as account:
            open_to_all = "each file that every account may read", "the network of this machine"
            return Isolation(f"the account {account.user}, limits and a filter of system calls", open_to_all)
        case Sandbox():
            found = launcher.means
            return Isolation(_describe_means(found), tuple(_list_open(launcher, found)))


def _describe_means(found: Machine) -> str:
    fence = f"Landlock {found.landlock}" if found.landlock else "no Landlock, which this kernel lacks"
    if found.bubblewrap is not None:
        return f"a sandbox of namespaces ({found.bubblewrap}), {fence}, limits and a filter of system calls"
    return f"{fence}, limits and a filter of system calls; no namespaces: {found.problem}"


def _list_open(launcher: Launcher, found: Machine) -> Iterator[str]:
    settings = launcher.settings
    yield from _describe_network(settings)
    if settings.files.write:
        yield f"it may change {', '.join(map(str, settings.files.write))}"
    if launcher.keeps_home:
        yield "packages that it fetched stay for its next process"
    if found.bubblewrap is None:
        yield "it sees the names and command lines of other processes, and names of files beside its program"
    if os.geteuid() == 0 and not found.is_counted:
        yield "the gateway runs as root, whose number of processes the kernel does not limit"
    if settings.network and found.landlock < SCOPES_SINCE:
        yield "it reaches abstract sockets of this machine, such as those of a desktop"


def _describe_network(settings: Upstream) -> Iterator[str]:
    if settings.network is True:
        yield "it reaches each address that this machine reaches, the gateway's own port as any client of this machine"
    elif settings.network:
        ports = ", ".join(map(str, settings.network))
        yield f"it reaches each host at TCP ports {ports}, and at any UDP port"
