"""The credentials of upstreams, by their kinds."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

from pydantic import Field

from gateway.config import hand_over
from gateway.config.authority import GatewayCredential, LeasedCredential
from gateway.config.brokers import AwsStsCredential, BrokerCredential
from gateway.config.values import HeaderName, HeaderValue, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHORTEST: Final = 8
"""Characters below which a text stands in answers by chance."""


class NoCredential(Settings):
    """The upstream asks for none."""

    kind: Literal["none"] = "none"


class HeaderCredential(Settings):
    """A fixed header for an HTTP upstream, for example a personal access token."""

    kind: Literal["header"]
    name: HeaderName = Field(default="authorization", description="The header's name.")
    value: HeaderValue = Field(description="Its whole value, such as `${NAME}` that holds `Bearer …`.")

    def secrets(self) -> tuple[str, ...]:
        """Return each text that no answer may show: the value without its scheme, and the password of `Basic` (RFC 7617)."""
        scheme, _, rest = self.value.get_secret_value().strip().rpartition(" ")
        found = [rest]
        if scheme.lower() == "basic":
            with suppress(ValueError):
                found.append(base64.b64decode(rest, validate=True).decode().partition(":")[2])
        return tuple(text for text in found if len(text) >= _SHORTEST)


UpstreamCredential: TypeAlias = Annotated[
    NoCredential | HeaderCredential | GatewayCredential | BrokerCredential, Field(discriminator="kind")
]


def find_problem_of_carrier(credential: UpstreamCredential, env: Iterable[str], *, is_command: bool) -> str | None:
    """Return the problem of a credential without a way to its upstream: a header for a process, or a hand-over to an
    HTTP server.

    `env` names the process's own variables.
    """
    if isinstance(credential, HeaderCredential) and is_command:
        return "a stdio upstream has no headers; give its credential in env"
    if not isinstance(credential, LeasedCredential):
        return None
    if is_command:
        bind = credential.bind if isinstance(credential, GatewayCredential) else "task"
        return hand_over.find_problem(credential.hand_over, credential.kind, bind, env)
    if isinstance(credential, AwsStsCredential):
        return "a session of AWS signs requests, so no header carries it; use a command with hand_over: {aws_container: true}"
    if credential.hand_over is not None:
        return "credential.hand_over is for a command; an HTTP upstream gets a header, so remove hand_over"
    return None
