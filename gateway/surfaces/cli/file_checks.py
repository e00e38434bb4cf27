"""The checks of TLS files, of the room on the disks, and of the number of open files. Others are of a database of records, and of
changes that a running gateway lacks."""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast
from urllib.parse import urlsplit

from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli.people_checks import ApprovalFinding
from gateway.surfaces.cli.terminal import describe_count
from gateway.surfaces.stored.opening import look_at_records, require_moved
from gateway.wire.http.capacity import find_room
from gateway.wire.http.tls_files import TlsFiles, describe_time, serve_tls, trust_authorities

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.config import Configuration

ROOM: Final = 2**20
"""Bytes that a first start writes, without an upstream: most of them are the compiled policy."""


_ANSWER_SECONDS: Final = 1.0
_LONGEST_ANSWER: Final = 2**20


class FileFinding(NamedTuple):
    """A finding about files. `what` names the place in the configuration."""

    state: Literal["ok", "warn", "fail"]
    what: str
    found: str
    remedy: str = ""


def look(settings: Configuration) -> Iterator[FileFinding]:
    """Yield the state of the TLS files, whether limits and records have room, and what a running gateway has not taken."""
    yield from _look_at_running(settings)
    yield from _look_for_room(settings)
    try:
        yield FileFinding("ok", "open files", f"room for {find_room(settings)} connections of clients")
    except ConfigurationError as error:
        yield FileFinding("fail", "open files", error.message, error.remedy)
    for place, load in _list_files(settings):
        try:
            files = load()
        except ConfigurationError as error:
            yield FileFinding("fail", place, error.message, error.remedy)
        else:
            yield _describe_validity(files)


async def look_at_store(settings: Configuration) -> list[ApprovalFinding]:
    """Return the contents of a database of records, and change nothing. Raises `GatewayError` for a server unfit for a start."""
    if settings.store is None:
        return []
    require_moved(settings)
    with closing(look_at_records(settings)) as engine:
        found = await engine.survey()
    held = describe_count(sum(found.values()), "record")
    return [ApprovalFinding(f"PostgreSQL: {held}; several gateways may use it")]


def _look_at_running(settings: Configuration) -> Iterator[FileFinding]:
    """Yield the reasons why the running gateway has not taken over changed files. Yield nothing if no gateway runs."""
    if settings.tls is not None:
        return
    connection = http.client.HTTPConnection(settings.host, settings.port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", "/readyz", headers={"host": urlsplit(settings.base_url).netloc})
        answer: object = json.loads(connection.getresponse().read(_LONGEST_ANSWER))
    except (OSError, ValueError, http.client.HTTPException):
        return
    finally:
        connection.close()
    told = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
    waiting, problems = told.get("needs_restart"), told.get("problems")
    if isinstance(waiting, list) and waiting:
        names = ", ".join(map(str, cast("list[object]", waiting)))
        yield FileFinding("warn", "running gateway", f"changed, needs a restart: {names}", "restart the gateway")
    unlike = told.get("differs")
    for name, each in cast("dict[str, object]", unlike).items() if isinstance(unlike, dict) else ():
        parts = ", ".join(map(str, cast("list[object]", each))) if isinstance(each, list) else str(each)
        yield FileFinding(
            "warn",
            "running gateway",
            f"the gateway {name} on the same database differs in {parts}",
            "give all the same policy and settings, unless an upgrade is under way",
        )
    if isinstance(problems, dict) and "configuration" in problems:
        problem = str(cast("dict[str, object]", problems)["configuration"])
        yield FileFinding("warn", "running gateway", problem, "mend the file; the gateway looks at it again")


def _look_for_room(settings: Configuration) -> Iterator[FileFinding]:
    """Yield one folder for each full disk. Write nothing: a running gateway needs the last bytes."""
    told: set[int] = set()
    for place, folder in (("state", settings.state), ("journal.path", settings.journal.path)):
        try:
            existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
            device, problem = existing.stat().st_dev, _find_shortage(existing)
        except OSError:
            # The check of the journal tells of a folder that cannot be entered.
            continue
        if problem is not None and device not in told:
            told.add(device)
            yield FileFinding(
                "fail",
                "disk",
                f"{place} is {folder}, and its file system has {problem}",
                f"free some there, or set {place} to a folder on another file system",
            )


def _find_shortage(folder: Path) -> str | None:
    """Return what a disk lacks for a start, or `None`. Some file systems count no blocks, or no files."""
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if found.f_blocks and free < ROOM:
        return f"{free // 1024} KiB free; a start writes {ROOM // 1024} KiB"
    return "room for no more files" if found.f_files and not found.f_favail else None


def _list_files(settings: Configuration) -> Iterator[tuple[str, Callable[[], TlsFiles]]]:
    if settings.tls is not None:
        yield "tls", partial(serve_tls, settings.tls)
    places = {f"upstreams.{name}.ca": upstream.ca for name, upstream in settings.upstreams.items()}
    if settings.policy.engine.kind == "opa":
        places["policy.engine.ca"] = settings.policy.engine.ca
    for place, path in places.items():
        if path is not None:
            yield place, partial(trust_authorities, place, path)


def _describe_validity(files: TlsFiles) -> FileFinding:
    now, validity = time.time(), files.material.validity
    if validity is None:
        return FileFinding("ok", files.place, "it can be used")
    if files.explain_end(now) is not None:
        return FileFinding("fail", files.place, f"{validity.path} has expired", "renew the certificate")
    until = f"{validity.path} is valid until {describe_time(validity.until)}"
    if validity.ends_soon(now):
        return FileFinding("warn", files.place, until, "renew the certificate soon")
    return FileFinding("ok", files.place, until)
