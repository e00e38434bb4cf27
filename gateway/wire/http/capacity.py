"""The open files of the process, divided among connections of clients, connections to upstreams, and the gateway itself.

A stranger must not take the last file: without one, no call is connected to its upstream, and no journal segment begins.
"""

from __future__ import annotations

import resource
from typing import Final

from gateway.config import Configuration
from gateway.model.errors import ConfigurationError

RESERVE: Final = 96
"""Files for the gateway itself: listening sockets, journal, stores, policy, issuers, and connections on their way out."""
MOST_FILES: Final = 65_536
"""Open files that the process takes at most. A silent connection costs some kilobytes, so more would cost the memory."""
_FILES_OF_SERVER: Final = 5
"""Pipes and sockets of one process of a stdio upstream."""
_SERVERS_OF_UPSTREAM: Final = 64


def raise_file_limit() -> int:
    """Let the process open as many files as the system allows, `MOST_FILES` at most. Return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # a system with a lower limit of its own, as macOS
            return soft
        return wanted
    return min(soft, wanted) if soft != resource.RLIM_INFINITY else wanted


def find_room(configuration: Configuration) -> int:
    """Return the number of clients' connections that fit into the open files of the process.

    Raises `ConfigurationError` if `limits` allow more requests and streams than files.
    """
    files, limits = raise_file_limit(), configuration.limits
    servers = sum(upstream.command is not None for upstream in configuration.upstreams.values())
    upstreams = limits.in_flight + limits.streams + servers * _FILES_OF_SERVER * _SERVERS_OF_UPSTREAM
    clients = files - RESERVE - upstreams
    if clients < limits.in_flight + limits.streams:
        needed = RESERVE + upstreams + limits.in_flight + limits.streams
        raise ConfigurationError(
            f"limits.in_flight ({limits.in_flight}) and limits.streams ({limits.streams}) need {needed} open files with these"
            f" upstreams, and this process may open {files}",
            f"let it open more (LimitNOFILE=, ulimit -Hn {needed}), or lower these limits",
        )
    return clients
