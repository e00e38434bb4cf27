"""The settings of leases: the life of a lent credential, and its scopes."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import Field, SecretStr, StringConstraints, field_validator, model_validator

from gateway.config.hand_over import HandOver
from gateway.config.values import Duration, Secret, Settings, Text, UnresolvedSecret
from gateway.model.target import Effect, Sensitivity

ScopeName = Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]{1,200}$")]
"""A scope token (RFC 6749 section 3.3)."""
_SHORTEST_SECRET: Final = 32
"""Characters of a secret: beyond any guess, at any rate of questions."""


class LeasedCredential(Settings):
    """A credential of an upstream that the gateway leases, with the scopes of a call by the effect of its tool.

    The gateway refuses a call whose effect has no scopes (`credential/scope`).
    """

    scopes: dict[Effect, tuple[ScopeName, ...]] = Field(
        default_factory=dict[Effect, tuple[ScopeName, ...]],
        description="Effect of a tool → the scopes that its calls get at most; policy can only take away.",
    )
    tool_scopes: dict[Text, tuple[ScopeName, ...]] = Field(
        default_factory=dict[str, tuple[str, ...]],
        description="Tool name pattern → the scopes that calls of these tools need. A call gets those of them that `scopes` gives its"
        " effect. Of several patterns the last one counts, and a tool without one gets all scopes of its effect.",
    )
    ttl: Duration | None = Field(default=None, description="The longest life of a lease for this upstream.")
    hand_over: HandOver | None = Field(
        default=None, description="How the process of a stdio upstream gets it. An HTTP upstream gets a header."
    )

    @model_validator(mode="after")
    def _tools_need_given_scopes(self) -> Self:
        given = {scope for scopes in self.scopes.values() for scope in scopes}
        for pattern, scopes in self.tool_scopes.items():
            for scope in scopes:
                if scope not in given:
                    raise ValueError(
                        f"tool_scopes.{pattern} names {scope}, which scopes gives no effect; correct one of the two"
                    )
        return self


class GatewayCredential(LeasedCredential):
    """An access token that the gateway signs itself (RFC 9068). The upstream verifies it with `opagate.verify`."""

    kind: Literal["gateway"]
    bind: Literal["call", "task"] = Field(
        default="call", description="`call`: a token for one call with exactly its arguments. `task`: one for the task."
    )


class LeaseTimes(Settings):
    """The lives of leases. The shortest of all limits holds."""

    default: Duration = Field(default=timedelta(seconds=60), description="Life of a lease if policy says nothing.")
    max: Duration = Field(default=timedelta(minutes=15), description="No lease lives longer.")
    by_sensitivity: dict[Sensitivity, Duration] = Field(
        default_factory=dict[Sensitivity, timedelta], description="Sensitivity of a tool → longest life."
    )

    @model_validator(mode="after")
    def _default_fits(self) -> Self:
        if self.default > self.max:
            raise ValueError("default is longer than max; shorten default, or lengthen max")
        return self


class IntrospectionClient(Settings):
    """An upstream that asks whether a token is still active. Its secret is in HTTP Basic."""

    id: Text = Field(description="The name of the client.")
    secret: Secret = Field(description="Its secret, at least 32 characters: `openssl rand -hex 32`.")
    audiences: tuple[Text, ...] = Field(
        min_length=1, description="The audiences of the tokens that it may ask for: those of its upstreams."
    )

    @field_validator("secret")
    @classmethod
    def _is_long(cls, value: SecretStr) -> SecretStr:
        if not isinstance(value, UnresolvedSecret) and len(value.get_secret_value()) < _SHORTEST_SECRET:
            raise ValueError(
                f"the secret is shorter than {_SHORTEST_SECRET} characters; make one with: openssl rand -hex 32"
            )
        return value


class IntrospectionSettings(Settings):
    """The upstreams that may ask at `/oauth/introspect`, and end a token at `/oauth/revoke`."""

    clients: tuple[IntrospectionClient, ...] = Field(default=(), description="The upstreams.")

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [client.id for client in self.clients]
        if len(names) != len(set(names)):
            raise ValueError("two clients have the same id; give each its own")
        return self


class LeaseSettings(Settings):
    """The keeping of lent values, and calls in flight when their lease ends. Streams that wait for news are closed in any case."""

    keep: Literal["memory", "sealed"] = Field(
        default="memory",
        description="`sealed`: values without which an issuer ends no credential are on disk until the end, encrypted. Then a gateway"
        " that was killed has them revoked after its restart.",
    )

    on_signal: Literal["cut", "finish"] = Field(
        default="cut",
        description="After a signal, a changed policy or pin, a removed connection or an operator's command. `finish`: the answer has"
        " `limits.drain` to end.",
    )
    on_completed: Literal["cut", "finish"] = Field(
        default="finish", description="The same at the planned end of a task or of a lease."
    )


class AuthoritySettings(Settings):
    """The credentials that the gateway lends to calls."""

    issuer: Text | None = Field(
        default=None, description="`iss` of the tokens that the gateway signs; by default `public_url`."
    )
    ttl: LeaseTimes = Field(default=LeaseTimes(), description="How long leases live.")
    stuck_after: Duration = Field(
        default=timedelta(seconds=60),
        description="An end that is not proven for so long raises an alarm, and the broker lends no more.",
    )
    journal_outage: Duration = Field(
        default=timedelta(seconds=60), description="All leases end if the journal cannot be written for so long."
    )
    leases: LeaseSettings = Field(
        default=LeaseSettings(), description="Lent values, and calls in flight at the end of a lease."
    )
    introspection: IntrospectionSettings = Field(
        default=IntrospectionSettings(), description="Questions of upstreams about the gateway's own tokens."
    )
