"""System calls of a graceful stop: accept the waiting connections, and look for unread bytes. `Server.shutdown` orders the steps."""

from __future__ import annotations

import array
import asyncio
import fcntl
import socket
import termios
from typing import Final

QUIET: Final = 0.5
"""Seconds after an answer, or after the start of a connection, in which the gateway expects a request on it."""
BACKLOG: Final = 2048
"""Connections that the system keeps for the gateway to accept."""


def accept_waiting(listener: socket.socket) -> list[socket.socket]:
    """Accept each waiting connection of a listening socket. Closing the socket would reset the waiting connections."""
    listener.settimeout(0)
    accepted: list[socket.socket] = []
    while len(accepted) < BACKLOG:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            break
        except OSError:  # the client left while it waited, or no more files may be open
            break
        connection.settimeout(0)
        accepted.append(connection)
    return accepted


def has_unread(transport: asyncio.BaseTransport) -> bool:
    """Return whether the system has bytes for a connection that the event loop has not read yet."""
    found = transport.get_extra_info("socket")
    count = array.array("i", [0])
    try:
        fcntl.ioctl(found.fileno(), termios.FIONREAD, count)
    except OSError:
        return False
    return count[0] > 0
