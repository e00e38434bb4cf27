"""The settings of channels: ways to tell people of a question. A message has a link and a code, and no arguments."""

from __future__ import annotations

import base64
import binascii
import re
from email.utils import parseaddr
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from gateway.config.values import (
    FilePath,
    Secret,
    Settings,
    Text,
    UnresolvedSecret,
    hostname,
    is_local_http,
    is_loopback,
    shorten,
)

_URL: Final = re.compile(r"https?://[^\s/?#@]+(/[^\s#]*)?", re.ASCII)
_SERVER: Final = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}")
_KEY_BYTES: Final = range(24, 65)
"""Length of a signing key (Standard Webhooks, "Signature scheme")."""


def _channel_url(value: str) -> str:
    if (
        _URL.fullmatch(value) is None
        or not (value.startswith("https://") or is_local_http(value))
        or not hostname(value)
    ):
        raise ValueError("it is not an https URL; write https://hooks.example/opagate (http:// only on loopback)")
    return value


def _secret_url(value: SecretStr) -> SecretStr:
    if not isinstance(value, UnresolvedSecret):
        _channel_url(value.get_secret_value())
    return value


def _signing_key(value: SecretStr) -> SecretStr:
    if not isinstance(value, UnresolvedSecret):
        signing_key(value)
    return value


def signing_key(secret: SecretStr) -> bytes:
    """Return the key of a Standard Webhooks secret. Raises `ValueError`, and `ConfigurationError` for an unresolved secret."""
    try:
        key = base64.b64decode(secret.get_secret_value().removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if len(key) not in _KEY_BYTES:
        raise ValueError('it is not 24 to 64 bytes in base64; make one with: echo "whsec_$(openssl rand -base64 32)"')
    return key


def _server(value: str) -> str:
    if _SERVER.fullmatch(value) is None or int(value.rpartition(":")[2]) > 65535:
        raise ValueError("it is not an address; write it like smtp.example:587")
    return value


def _mailbox(value: str) -> str:
    _, address = parseaddr(value)
    if not re.fullmatch(r"[^\s@<>]+@[^\s@<>]+", address) or any(ord(character) < 32 for character in value):
        raise ValueError(f"{shorten(value)} is not an address of mail; write alice@corp.example")
    return value


ChannelUrl = Annotated[Text, AfterValidator(_channel_url)]
SecretUrl = Annotated[Secret, AfterValidator(_secret_url)]
SigningKey = Annotated[Secret, AfterValidator(_signing_key)]
Mailbox = Annotated[Text, AfterValidator(_mailbox)]
ChannelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class NamedChannel(Settings):
    """A channel that sends messages."""

    name: ChannelName | None = Field(
        default=None, description="Its name in the journal and in `opagate approvals test`; by default its kind."
    )


class WebhookChannel(NamedChannel):
    """A signed POST of JSON (Standard Webhooks 1.0)."""

    kind: Literal["webhook"]
    url: ChannelUrl = Field(description="`https://…`, or `http://` on loopback.")
    secret: SigningKey = Field(description="24 to 64 random bytes in base64, with or without `whsec_`.")
    ca: FilePath | None = Field(default=None, description="Certificate authorities to trust for `https`.")
    tell_end: bool = Field(default=True, description="Whether a second message says how the question ended.")


class SlackChannel(NamedChannel):
    """A message to a Slack channel, by an incoming webhook."""

    kind: Literal["slack"]
    url: SecretUrl = Field(description="The address of the incoming webhook, which is a secret.")
    decide: Literal["link"] = Field(default="link", description="`link`: the message has a link and no buttons.")
    tell_end: bool = Field(default=True, description="Whether a second message says how the question ended.")


class EmailChannel(NamedChannel):
    """A mail by an SMTP server."""

    kind: Literal["email"]
    server: Annotated[Text, AfterValidator(_server)] = Field(description="host:port of the SMTP server.")
    tls: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="`tls`: from the first byte on (port 465). `none`: on loopback only."
    )
    user: Text | None = Field(default=None, description="The account at the server, if the server asks for one.")
    password: Secret | None = Field(default=None, description="Its password.")
    sender: Mailbox = Field(alias="from", description="The address that the mail comes from.")
    to: tuple[Mailbox, ...] = Field(min_length=1, description="The addresses that the mail goes to.")
    ca: FilePath | None = Field(default=None, description="Certificate authorities to trust.")
    tell_end: bool = Field(default=False, description="Whether a second message says how the question ended.")

    @model_validator(mode="after")
    def _is_confidential(self) -> EmailChannel:
        if self.tls == "none" and not is_loopback(self.host):
            raise ValueError("tls is none, and the server is elsewhere; write starttls or tls")
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password come together; give both or neither")
        return self

    @property
    def host(self) -> str:
        """The host of the server."""
        return self.server.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port of the server."""
        return int(self.server.rpartition(":")[2])


class CliChannel(Settings):
    """People who look by themselves, with `opagate approvals` or over `/api/approvals`."""

    kind: Literal["cli"]


SendingChannel = WebhookChannel | SlackChannel | EmailChannel
ChannelSettings = Annotated[SendingChannel | CliChannel, Field(discriminator="kind")]


def name_of(channel: SendingChannel) -> str:
    """Return the name of a channel in the journal."""
    return channel.name or channel.kind
