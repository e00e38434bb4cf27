"""The settings of signals: identity providers with news of ended sessions, changed credentials and grown risk."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from gateway.config.brokers import ClientAuthentication, IssuerUrl
from gateway.config.values import Duration, FilePath, Issuer, KeyLocation, Secret, Settings, Text, hostname
from gateway.model.call import SIGNAL_TYPES, SignalType

SignalName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
"""As a name of an upstream."""
Effect = Literal["end", "note", "ignore"]


class StreamAccess(Settings):
    """The gateway's way to the stream at its transmitter, for verification and for polls."""

    id: Text | None = Field(default=None, description="The `stream_id`; by default the only stream of this receiver.")
    client_id: Text | None = Field(
        default=None, description="The gateway's client at the transmitter, for `client_auth`."
    )
    client_auth: ClientAuthentication | None = Field(
        default=None, description="How this client gets its access tokens (client credentials)."
    )
    issuer: IssuerUrl | None = Field(
        default=None, description="The authorization server of these tokens; by default the transmitter."
    )
    scopes: tuple[Text, ...] = Field(default=("ssf.read", "ssf.manage"), description="The scopes of these tokens.")
    token: Secret | None = Field(default=None, description="A fixed access token, in place of `client_auth`.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.token is None) == (self.client_auth is None):
            raise ValueError("give either client_auth or token")
        if (self.client_id is None) != (self.client_auth is None):
            raise ValueError("client_id and client_auth go together")
        return self


class SsfSignals(Settings):
    """One transmitter of the Shared Signals Framework 1.0."""

    kind: Literal["ssf"]
    transmitter: IssuerUrl = Field(description="The exact `issuer` of its metadata: the `iss` of its events.")
    name: SignalName | None = Field(
        default=None, description="In `POST /ssf/<name>`, and for people; by default the host of the transmitter."
    )
    delivery: Literal["push", "poll"] = Field(
        default="push",
        description="`push`: the transmitter posts events (RFC 8935). `poll`: the gateway fetches them (RFC 8936).",
    )
    audience: Text | None = Field(
        default=None, description="The `aud` of its events; by default `<public_url>/ssf/<name>`."
    )
    issuers: tuple[Issuer, ...] = Field(
        default=(),
        description="The issuers about whose users it may speak; by default the transmitter alone. Any other is refused.",
    )
    algorithms: tuple[str, ...] = Field(
        default=("RS256", "PS256", "ES256", "EdDSA"), min_length=1, description="Accepted signature algorithms."
    )
    jwks: KeyLocation | None = Field(
        default=None,
        description="`https://…`, or `file:PATH`; by default the `jwks_uri` of the transmitter's metadata.",
    )
    authorization: Secret | None = Field(
        default=None, description="The `authorization_header` of the stream: a push without it is refused."
    )
    stream: StreamAccess | None = Field(
        default=None,
        description="Access to the stream. `poll`, `verify_every` and `opagate credentials signals test` need it.",
    )
    ca: FilePath | None = Field(
        default=None, description="Certificate authorities to trust for requests to the stream."
    )
    verify_every: Duration | None = Field(
        default=None, description="How often the gateway asks for a verification event; by default never."
    )
    silent: Literal["alarm", "revoke"] = Field(
        default="alarm",
        description="If no event comes until the next question: `alarm` tells people. `revoke` also ends all that callers of"
        " `issuers` have, and refuses their present tokens.",
    )
    on_event: dict[SignalType, Effect] = Field(
        default_factory=dict[SignalType, Effect],
        description="`end`: end all that the subject has, and refuse tokens of an earlier login. `note`: tell the policy"
        " (`context.signals`). By default `session-revoked` ends, and all others are noted.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.stream is None and self.delivery == "poll":
            raise ValueError("delivery: poll needs stream, with the gateway's access to it")
        if self.stream is None and self.verify_every is not None:
            raise ValueError("verify_every needs stream, with the gateway's access to it")
        if self.silent == "revoke" and self.verify_every is None:
            raise ValueError("silent: revoke needs verify_every, which notices the silence")
        if self.delivery == "poll" and self.authorization is not None:
            raise ValueError("authorization is for delivery: push; nobody posts to a poll")
        if self.verify_every is not None and self.verify_every < timedelta(seconds=10):
            raise ValueError("verify_every is shorter than 10s; transmitters refuse such questions")
        return self

    @property
    def label(self) -> str:
        """The name of the stream in paths and for people."""
        if self.name is not None:
            return self.name
        host = re.sub(r"[^a-z0-9]+", "-", hostname(self.transmitter).lower()).strip("-")
        return host[:63] or "transmitter"

    def effect(self, kind: SignalType) -> Effect:
        """Return the effect of an event."""
        return self.on_event.get(kind, "end" if kind == SIGNAL_TYPES[0] else "note")


def _each_once(signals: tuple[SsfSignals, ...]) -> tuple[SsfSignals, ...]:
    for name, count in Counter(each.label for each in signals).items():
        if count > 1:
            raise ValueError(f"two streams have the name {name!r}; set name of one of them")
    return signals


Signals: TypeAlias = Annotated[tuple[SsfSignals, ...], AfterValidator(_each_once)]
