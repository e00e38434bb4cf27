"""Messages to the service manager that started this process (sd_notify(3)): when the gateway serves, and when it stops."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import Final

VARIABLE: Final = "NOTIFY_SOCKET"


class ServiceManager:
    """The way to a manager that waits for messages, such as systemd with `Type=notify`. Without a manager, no message is sent."""

    def __init__(self, address: str | None) -> None:
        self._address = None if not address else f"\0{address[1:]}" if address.startswith("@") else address

    @classmethod
    def of_environment(cls) -> ServiceManager:
        """Return the manager that the environment names. Remove the name, since no stdio server may speak for the gateway."""
        return cls(os.environ.pop(VARIABLE, None))

    def tell_ready(self, url: str) -> None:
        """Tell that the gateway serves."""
        self._send("READY=1", f"STATUS=serving {url}")

    def tell_stopping(self, longest: timedelta) -> None:
        """Tell that the gateway stops, with the longest time of the stop. The manager kills later than that."""
        microseconds = int(longest.total_seconds() * 1_000_000)
        self._send("STOPPING=1", "STATUS=waiting for open calls", f"EXTEND_TIMEOUT_USEC={microseconds}")

    def _send(self, *lines: str) -> None:
        """Send one datagram. Ignore a failure: calls do not depend on the manager."""
        if self._address is None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(0)
            try:
                channel.sendto("\n".join(lines).encode(), self._address)
            except OSError:
                return
