"""The settings of the console: the pages for people who answer for the gateway."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, cast

from pydantic import Field, model_validator

from gateway.config.identities import ClaimSettings
from gateway.config.values import Count, Duration, FilePath, Issuer, Secret, Settings, Text


class ConsoleRoles(Settings):
    """The groups whose members have a role. A role without groups is of no person. `approvals.people.groups` names approvers."""

    viewer: tuple[Text, ...] = Field(
        default=(), description="Groups that see decisions, tasks, tools, leases and the policy."
    )
    operator: tuple[Text, ...] = Field(
        default=(), description="Groups that see all that viewers see, end leases, and accept definitions of tools."
    )

    @model_validator(mode="before")
    @classmethod
    def _approvers_stand_once(cls, value: object) -> object:
        if isinstance(value, dict) and "approver" in value:
            raise ValueError(
                "approvers are named once, for each way to answer; move the groups to approvals.people.groups"
            )
        return cast("object", value)


class ConsoleLogin(Settings):
    """Login at an OpenID provider (OpenID Connect Core 1.0, authorization code flow with PKCE)."""

    issuer: Issuer = Field(description="The exact `iss` of the provider.")
    client_id: Text = Field(description="The console's client at the provider.")
    client_secret: Secret | None = Field(default=None, description="Its secret; without one it is a public client.")
    scopes: tuple[Text, ...] = Field(default=("openid",), min_length=1, description="Scopes that the login asks for.")
    claims: ClaimSettings = Field(
        default_factory=ClaimSettings,
        description="The claims of the ID token that name the person. Use the preset of the agents' tokens: then each person has one id.",
    )
    roles: ConsoleRoles = Field(description="The groups whose members have each role.")
    assurance: Literal["login", "mfa"] = Field(
        default="login", description="The proof that a login at this provider asks for; policies can ask for more."
    )


class CandidatePolicy(Settings):
    """A policy for a comparison with the policy in force. It decides no call. An unnamed part is as in force."""

    path: FilePath | None = Field(default=None, description="Its policy folder, as `policy.path`.")
    grants: FilePath | None = Field(default=None, description="Its grants, as `policy.grants`.")
    overlay: FilePath | None = Field(default=None, description="Its folder of own rules, as `policy.overlay`.")


class ConsoleSettings(Settings):
    """The pages at `/console`."""

    login: ConsoleLogin | None = Field(
        default=None,
        description="Login at an OpenID provider. Without it people log in by a one-time link, on this machine alone.",
    )
    candidate: CandidatePolicy | None = Field(
        default=None,
        description="A policy to compare with the policy in force, on recorded decisions; it decides no call.",
    )
    lifetime: Duration = Field(default=timedelta(hours=8), description="The longest time that a login lasts.")
    idle: Duration = Field(default=timedelta(minutes=30), description="The longest pause of a login.")
    fresh: Duration = Field(
        default=timedelta(minutes=5),
        description="The age of a login up to which it permits dangerous actions, such as the end of all leases.",
    )
    sessions: Count = Field(default=200, gt=0, description="Logins at once; beyond it the oldest one ends.")
