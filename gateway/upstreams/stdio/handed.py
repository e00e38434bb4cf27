"""The credential of one process: handed over at the start, renewed during the run, removed at the end.

The process runs below a keeper (`keeper`). The keeper ends the whole tree of processes, also after a kill of the gateway.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from gateway.upstreams.stdio import keeper
from gateway.upstreams.stdio.private_folder import make_private, write_private
from gateway.upstreams.stdio.rendering import SERVICE, render_text, render_variables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.config.hand_over import HandOver
    from gateway.model.wire import HandedCredential
    from gateway.upstreams.stdio.aws_endpoint import ContainerEndpoint

log = structlog.get_logger("gateway.upstream.stdio")

MARK: Final = "OPAGATE_PROCESS"
"""A variable of the process and of its helpers. It finds them if somebody killed their keeper."""
_SHORTEST_SECRET: Final = 8
"""Characters below which a part of a credential may stand in any text by chance."""
_NO_OTHERS: Final = {
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
_KEEPER: Final = (sys.executable, "-I", "-S", keeper.__file__)


class HandedProcess:
    """The hand-over to one process. `lease` is the lease of the process's credential."""

    def __init__(
        self, hand_over: HandOver, credential: HandedCredential, folder: Path, endpoint: ContainerEndpoint
    ) -> None:
        """Prepare the hand-over. Raises `ValueError` with a sentence without values, and `OSError`."""
        self.credential = credential
        self._hand_over = hand_over
        self._file: Path | None = None
        self._pipe: int | None = None
        self._endpoint = endpoint
        self._asks_as: str | None = None
        self._is_gone = False
        self._is_withdrawn = False
        self._mark = secrets.token_hex(12)
        self._link, self._keepers_link = socket.socketpair()
        self._link.setblocking(False)  # noqa: FBT003 - its only form
        self.variables = {MARK: self._mark}
        try:
            self.variables |= self._prepare(folder)
        except (ValueError, OSError):
            self.finish()
            raise

    @property
    def lease(self) -> str:
        return self.credential.lease

    @property
    def defaults(self) -> dict[str, str]:
        """Return variables that the operator may set otherwise: without these, an SDK of AWS finds the gateway's own
        credentials."""
        return _NO_OTHERS if any(name == "access_key_id" for name, _ in self.credential.fields) else {}

    @property
    def passed(self) -> tuple[int, ...]:
        """Return the descriptors for the keeper."""
        link = self._keepers_link.fileno()
        return (link,) if self._pipe is None else (link, self._pipe)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Return the folder of the process's file. A renewal replaces the file, so a sandbox has to show the folder."""
        return () if self._file is None else (self._file.parent,)

    def command(self, command: Sequence[str], *, has_monitor: bool) -> tuple[str, ...]:
        """Return the command line that runs a command below a keeper. The command line has no value of a credential."""
        moves = "" if self._pipe is None else f"{self._pipe}:{self._hand_over.fd}"
        removed = "" if self._file is None else str(self._file)
        kind = keeper.MONITORED if has_monitor else "direct"
        return (*_KEEPER, str(self._keepers_link.fileno()), removed, moves, kind, *command)

    def begin(self) -> None:
        """Close the keeper's descriptors, once passed on."""
        self._keepers_link.close()
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    def renew(self, credential: HandedCredential) -> bool:
        """Replace the credential in the running process. Return `False` if only another process can have it. Raises as
        the start.

        An older credential replaces nothing: the newer has the same terms.
        """
        if credential.lease == self.lease or credential.since < self.credential.since:
            return True
        if self._is_withdrawn or not self._hand_over.may_renew:
            return False
        if self._file is not None:
            write_private(self._file, render_text(self._hand_over, credential).encode())
        self.credential = credential
        return True

    def is_in(self, line: bytes) -> bool:
        """Return whether a JSON text is unreadable, or has a part of the credential in any escaped form."""
        try:
            text = json.dumps(json.loads(line), ensure_ascii=False)
        except (ValueError, RecursionError):
            return True
        secret = [value for value in self.credential.secrets() if len(value) >= _SHORTEST_SECRET]
        return any(json.dumps(value, ensure_ascii=False)[1:-1] in text for value in secret)

    def ask_end(self) -> None:
        """Have the keeper end the tree: SIGTERM, then SIGKILL."""
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_WR)

    def is_gone(self) -> bool:
        """Return whether the keeper reported an empty tree. Ask after the keeper's exit."""
        try:
            self._is_gone = self._is_gone or self._link.recv(1) == keeper.GONE
        except OSError:
            return self._is_gone
        return self._is_gone

    def kill_marked(self) -> int:
        """Kill the processes with this process's mark, and return their number. A helper may have removed its mark."""
        found = _find_marked(f"{MARK}={self._mark}".encode())
        for process in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        return len(found)

    def finish(self) -> None:
        """Close and remove the parts of the hand-over."""
        self.begin()
        self._link.close()
        self.withdraw()

    def withdraw(self) -> None:
        """Take the credential out of each place open to the process."""
        self._is_withdrawn = True
        if self._asks_as is not None:
            self._endpoint.forget(self._asks_as)
        if self._file is not None:
            try:
                self._file.unlink(missing_ok=True)
                self._file.parent.rmdir()
            except FileNotFoundError:
                pass  # The keeper was first.
            except OSError as error:
                log.error("upstream.file-left", file=str(self._file), problem=error.strerror)  # noqa: TRY400 - the message says it all

    def _prepare(self, folder: Path) -> dict[str, str]:
        """Put the credential into its place for the process, and return the variables for the process."""
        hand_over = self._hand_over
        variables = render_variables(hand_over, self.credential)
        if hand_over.file is not None:
            make_private(folder)
            self._file = folder / secrets.token_hex(12) / "credential"
            self._file.parent.mkdir(mode=0o700)
            write_private(self._file, render_text(hand_over, self.credential).encode())
            variables[hand_over.file] = str(self._file)
            if hand_over.chosen_form == "pgservice":
                variables["PGSERVICE"] = SERVICE
        if hand_over.aws_container:
            self._asks_as, asked = self._endpoint.register(self.credential.token, lambda: self.credential)
            variables |= asked
        if hand_over.fd is not None:
            self._pipe = _filled_pipe(render_text(hand_over, self.credential).encode())
        return variables


def _find_marked(mark: bytes) -> list[int]:
    """Return the living processes started with a variable."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in entry.read_bytes().split(b"\0"):
                found.append(int(entry.parent.name))
    return found


def _filled_pipe(content: bytes) -> int:
    """Return the reading end of a pipe with a content. The pipe holds the content once, for the first reader."""
    reading, writing = os.pipe()
    try:
        os.write(writing, content)
    finally:
        os.close(writing)
    return reading
