"""The settings of a stdio server's isolation: what keeps its process apart from the gateway, and what the process may use."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from gateway.config.values import Count, FilePath, Settings, Size, Text

Port: TypeAlias = Annotated[int, Field(strict=True, ge=1, le=65535)]


class Sandbox(Settings):
    """The default: namespaces of its own, Landlock and limits. The process sees its program and declared files."""

    kind: Literal["sandbox"] = "sandbox"


class Account(Settings):
    """A Unix account of its own. The gateway has to run as root, or hold CAP_SETUID, CAP_SETGID and CAP_KILL."""

    kind: Literal["account"]
    user: Text = Field(description="The account's name. No other upstream has it, and no file of the gateway is its.")


class NoIsolation(Settings):
    """No isolation: the process holds the whole authority of the gateway. A person answers for that until a date."""

    kind: Literal["none"]
    accepted_by: Text = Field(description="Who accepts that the server can read each key and approve each call.")
    until: date = Field(description="The last day on which that holds, in UTC. After it the server is not started.")


def _isolation(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


Isolation: TypeAlias = Annotated[
    Sandbox | Account | NoIsolation,
    Field(discriminator="kind"),
    BeforeValidator(_isolation, json_schema_input_type=Literal["sandbox"] | Sandbox | Account | NoIsolation),
]


class FileAccess(Settings):
    """Files and folders that a sandboxed process may use, beside its program. Neither may overlap the gateway's own."""

    read: tuple[FilePath, ...] = Field(default=(), description="Files and folders to read.")
    write: tuple[FilePath, ...] = Field(
        default=(), description="Folders to read and write. A file that is replaced as a whole needs its folder here."
    )


class ProcessLimits(Settings):
    """Limits of each process of a server, and of their number."""

    memory: Size = Field(default=4 * 2**30, description="Memory of each process, without mapped files.")
    processes: Count = Field(default=256, gt=0, description="Processes and threads at once.")
    files: Count = Field(default=4096, gt=0, description="Open files of each process.")


DEFAULT: Final = Sandbox()
