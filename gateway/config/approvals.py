"""The settings of approvals: the time for people's answers, and the people."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, field_validator

from gateway.config.channels import ChannelSettings, CliChannel, SendingChannel, name_of
from gateway.config.identities import AccountSettings, GroupName, PeopleIdentity, find_repeated
from gateway.config.values import Duration, Settings, Text


class PeerSettings(AccountSettings):
    """A person with an account on this machine, for answers over the Unix socket."""

    groups: tuple[Text, ...] = Field(default=(), description="Groups of approvers that the person is in.")


class ApproverIdentity(PeopleIdentity):
    """The people for questions. Their tokens have the desk as audience: no token of an agent serves."""

    setting = "approvals.people"
    path = "/api/approvals"
    groups: tuple[GroupName, ...] = Field(
        min_length=1,
        description="The groups of approvers. Whoever is in none of them sees and answers nothing, also at the console and the"
        " socket. Names compare after NFKC, and their case counts.",
    )
    audience: Text | None = Field(
        default=None, description="The `aud` of approvers' tokens; by default `<public_url>/api/approvals`."
    )
    assurance: Literal["login", "mfa"] = Field(
        default="login", description="The proof that a login at this issuer asks for; policies can ask for more."
    )


class ApprovalSettings(Settings):
    """People who approve calls, and the time for their answers."""

    pending: Duration = Field(
        default=timedelta(minutes=15), description="For people to answer. A policy can shorten it."
    )
    grant: Duration = Field(default=timedelta(minutes=5), description="For the approved call to come again.")
    hold: Duration = Field(
        default=timedelta(seconds=25),
        description="How long one request waits for an answer before it is told to come again.",
    )
    questions_per_task: int = Field(
        default=5,
        ge=1,
        le=100,
        description="How many questions of one task, or of its tree, stand before people at once. Further ones wait in line.",
    )
    peers: tuple[PeerSettings, ...] = Field(default=(), description="Who answers over the socket.")
    people: ApproverIdentity | None = Field(
        default=None, description="Who answers at `/api/approvals`, by a token of an OIDC provider."
    )
    channels: tuple[ChannelSettings, ...] = Field(
        default=(),
        description="How people hear of a question. Without any, they look by themselves. Without `cli` among them, a question"
        " that no channel delivers ends as `approval/unreachable`.",
    )

    @property
    def sending(self) -> tuple[SendingChannel, ...]:
        """Return the channels with messages."""
        return tuple(channel for channel in self.channels if not isinstance(channel, CliChannel))

    @property
    def has_watchers(self) -> bool:
        """Return whether people look at the desk by themselves, also without a message."""
        return not self.channels or any(isinstance(channel, CliChannel) for channel in self.channels)

    @field_validator("peers")
    @classmethod
    def _one_each(cls, value: tuple[PeerSettings, ...]) -> tuple[PeerSettings, ...]:
        if problem := find_repeated(value):
            raise ValueError(problem)
        return value

    @field_validator("channels")
    @classmethod
    def _one_name_each(cls, value: tuple[ChannelSettings, ...]) -> tuple[ChannelSettings, ...]:
        names = [name_of(channel) for channel in value if not isinstance(channel, CliChannel)]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two channels have the name {twice[0]!r}; give one of the two another name")
        return value
