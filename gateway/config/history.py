"""The settings of what the gateway remembers of tasks, and of the destinations that its operator knows."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator

from gateway.config.formats import Domain
from gateway.config.values import Count, Duration, FilePath, Settings, Size, Text


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
