"""Settings of history, of the directory of destinations, and of the limits of tasks."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, StrictInt, model_validator

from gateway.config.values import Count, Delay, Domain, Duration, FilePath, Secret, Settings, Size, Text


class TaskLimit(Settings):
    """Numbers of one limit of a task. Without a number here, the number of the policy stays."""

    soft: StrictInt | None = Field(default=None, ge=0, description="Above it a person decides.")
    hard: StrictInt | None = Field(default=None, ge=1, description="Above it the call is refused.")

    @model_validator(mode="after")
    def _asks_before_it_refuses(self) -> Self:
        if self.soft is None and self.hard is None:
            raise ValueError("it has no number; give soft, hard or both")
        if self.soft is not None and self.hard is not None and self.soft >= self.hard:
            raise ValueError(f"soft {self.soft} is not below hard {self.hard}, so no person could ever be asked")
        return self


def _have_no_owner(limits: dict[str, TaskLimit]) -> dict[str, TaskLimit]:
    """Refuse the name of a limit with its owner: the owner is the section."""
    for name in limits:
        owner, dot, own = name.rpartition(".")
        if dot:
            raise ValueError(f"there is no limit {name!r}; write {own!r} under limits.{owner}")
    return limits


TaskLimits: TypeAlias = Annotated[dict[Text, TaskLimit], AfterValidator(_have_no_owner)]
"""Name of a limit → its numbers."""


class DirectorySettings(Settings):
    """The people, accounts, hosts and repositories that the operator knows: calls may name them without a question."""

    entries: tuple[Text, ...] = Field(
        default=(),
        description="Destinations, such as `Ann <ann@corp.example>` or `acme/site`, and patterns with one `*`.",
    )
    files: tuple[FilePath, ...] = Field(
        default=(), description="Exports of people and accounts: `.csv`, `.ldif`, or `.json` (SCIM), read at the start."
    )


class HistorySettings(Settings):
    """Settings for the history of tasks."""

    store: Literal["embedded"] = Field(default="embedded", description="Where it is kept: in this process.")
    idle: Duration = Field(
        default=timedelta(minutes=30),
        description="How long an unused implicit task lives, and its readings count in the caller's next one.",
    )
    lifetime: Duration = Field(
        default=timedelta(hours=4),
        description="How long an implicit task lives at most, however much it is used; never less than `idle`.",
    )
    warm: Duration = Field(
        default=timedelta(hours=4),
        description="How long untrusted or confidential text of one task labels all tasks for the same user: see"
        " docs/multi-agent.md.",
    )
    returning: Delay = Field(
        default=timedelta(days=30),
        description="How long foreign text that a call wrote labels each result that has it again; `0s` turns the search off: see"
        " docs/multi-agent.md.",
    )
    tasks: Count = Field(
        default=20_000,
        gt=0,
        description="Tasks that are kept at once. Beyond it new ones are refused, none forgotten. The last quarter is for"
        " callers that have none.",
    )
    tasks_per_caller: Count = Field(
        default=5_000,
        gt=0,
        description="The same for the tasks of one caller. A declared one counts until an hour after its expiry, also when"
        " it was ended before.",
    )

    own_domains: tuple[Domain, ...] = Field(
        default=(),
        description="Your own domains, and with each those below it. Mail addresses and hosts there count apart: see"
        " docs/policy/history.md.",
    )
    declarations: Size = Field(
        default=128 * 2**20,
        description="Memory for the contents of declared tasks. The last quarter is for callers that have declared none.",
    )
    declarations_per_caller: Size = Field(
        default=16 * 2**20, description="The same for the declared tasks of one caller, as long as they count."
    )

    @model_validator(mode="after")
    def _lives_longer_than_a_pause(self) -> Self:
        if "lifetime" in self.model_fields_set and self.lifetime < self.idle:
            raise ValueError("lifetime is shorter than idle; raise lifetime, or lower idle")
        return self


SHORTEST_KEPT: Final = timedelta(days=2)
"""A task lives for a day at most, and history may have to be folded again from the entries of its calls."""


class StoreSettings(Settings):
    """A database for the durable records, in the place of a file in the state folder."""

    kind: Literal["postgresql"] = Field(description="PostgreSQL 15 or later: docs/operations/postgresql.md.")
    url: Secret = Field(
        description="`postgresql://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full`. Elsewhere than on this machine, `sslmode`"
        " has to verify the server."
    )
    deadline: Duration = Field(
        default=timedelta(milliseconds=150),
        description="For what a call waits for. A later answer counts as none, and the call is refused.",
    )


_JournalName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]


class PeerJournal(Settings):
    """The journal of another gateway of the same database, in a folder that this gateway can read."""

    path: FilePath = Field(description="The folder of its files.")
    key: FilePath | None = Field(
        default=None,
        description="The file of its key `chain`, whose reader could forge that journal. Without it entries are read unchecked.",
    )


class JournalSettings(Settings):
    """The record of every decision."""

    path: FilePath = Field(default=Path("state/journal"), description="The folder of its files.")
    peers: dict[_JournalName, PeerJournal] = Field(
        default_factory=dict[str, PeerJournal],
        description="The journals of other gateways of the same database, by name. Commands and console read them too.",
    )
    fsync: Literal["always", "interval", "never"] = Field(
        default="interval", description="`always`: before a call goes on; `interval`: each second; `never`: by the OS."
    )
    segment: Size = Field(default=64 * 2**20, description="A new file is begun beyond this size.")
    compress: bool = Field(
        default=True,
        description="Compress closed files with Zstandard. Set it to false for a program that follows the plain files.",
    )
    keep: Duration | None = Field(
        default=None,
        description="How long entries are kept, such as `90d`; older files are removed. Two days at least; without it, for ever.",
    )
    archive: FilePath | None = Field(
        default=None, description="The folder into which `keep` moves old files, in the place of removing them."
    )
    arguments: Literal["digest", "full", "none"] = Field(default="digest", description="How arguments are recorded.")
    results: Literal["digest", "full", "none"] = Field(default="digest", description="How results are recorded.")
    refusals: Count = Field(
        default=600,
        gt=0,
        description="Refusals of unidentified callers told one by one in journal and log in a minute; the rest is counted.",
    )

    @model_validator(mode="after")
    def _keeps_open_tasks(self) -> Self:
        if self.keep is not None and self.keep < SHORTEST_KEPT:
            raise ValueError(
                "keep is shorter than two days, and tasks that are open may have begun then; write 2d or more"
            )
        if self.archive is not None and self.keep is None:
            raise ValueError("archive is where keep moves old files; write keep too, or leave archive out")
        if self.archive is not None and self.archive.absolute() == self.path.absolute():
            raise ValueError("archive is the folder of the journal itself; name another")
        return self
