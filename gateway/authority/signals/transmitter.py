"""Requests to a transmitter about its stream: verification (SSF 1.0 section 8.1.4) and polls (RFC 8936)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from gateway.wire.https_client import HttpsAnswer, HttpsClient, NoAnswer, read_metadata, read_object
from gateway.wire.oauth_client import ClientProof, OAuthClient, describe_error
from gateway.wire.oauth_flow import is_acceptable_url, is_downgrade, ssf_metadata_urls

if TYPE_CHECKING:
    from gateway.authority.signals.set import SetFault
    from gateway.config.signals import SsfSignals, StreamAccess
    from gateway.model.wire import JsonObject

FRESH: Final = 300.0
"""Seconds for which metadata and the description of the stream are used."""
AT_ONCE: Final = 20
"""Events in one answer to a poll."""
_SECONDS: Final = 10.0
_LONG_POLL: Final = 60.0
"""Seconds for one poll: the transmitter may hold it until there are events."""
_LARGEST_POLL: Final = 2**20
"""Bytes. An event too many has to be read before it can be refused, else it would block the stream."""
_POLLED: Final = "urn:ietf:rfc:8936"
_TOKEN_MARGIN: Final = 10.0
_SHORT_TOKEN: Final = 60.0


class _PollAnswer(Struct, frozen=True):
    sets: dict[str, str] = {}
    more: bool = msgspec.field(default=False, name="moreAvailable")


class Polled(Struct, frozen=True):
    """The answer to a poll: `jti` → token, and whether the transmitter has more."""

    tokens: Mapping[str, str]
    has_more: bool


class StreamDescription(Struct, frozen=True):
    """A stream as its transmitter describes it. `poll_url` is there if events are fetched."""

    id: str
    poll_url: str | None
    read_at: float


class _EventDelivery(Struct, frozen=True):
    method: str
    endpoint_url: str | None = None


class _Listed(Struct, frozen=True):
    stream_id: str
    delivery: _EventDelivery | None = None


class _Metadata(Struct, frozen=True):
    configuration: str
    verification: str | None
    read_at: float


class Transmitter:
    """The gateway's way to one transmitter. Every failure is a sentence for people, and none holds a secret."""

    def __init__(self, settings: SsfSignals, access: StreamAccess, clock: Callable[[], float]) -> None:
        """Raises `ConfigurationError` for a key or for authorities that cannot be used."""
        self._issuer = settings.transmitter
        self._access = access
        self._clock = clock
        self._http = HttpsClient(seconds=_SECONDS, ca=settings.ca)
        self._polls = HttpsClient(seconds=_LONG_POLL + _SECONDS, ca=settings.ca, largest=_LARGEST_POLL)
        self._oauth = OAuthClient(
            access.issuer or settings.transmitter, HttpsClient(seconds=_SECONDS, ca=settings.ca), clock
        )
        authentication = access.client_auth
        self._proof = None if authentication is None else ClientProof(access.client_id or "", authentication, clock)
        self._metadata: _Metadata | None = None
        self._stream: StreamDescription | None = None
        self._token: tuple[str, float] | None = None

    async def aclose(self) -> None:
        """Close all connections."""
        await asyncio.gather(self._http.aclose(), self._polls.aclose(), self._oauth.aclose())

    async def ask_verification(self, state: str) -> str | None:
        """Ask for a verification event. Return the problem, if any."""
        metadata = await self._read_metadata()
        if isinstance(metadata, str):
            return metadata
        if metadata.verification is None:
            return f"{self._issuer} has no verification_endpoint"
        stream = await self.describe()
        if isinstance(stream, str):
            return stream
        body = msgspec.json.encode({"stream_id": stream.id, "state": state})
        answer = await self._send(self._http, "POST", metadata.verification, body)
        return None if isinstance(answer, HttpsAnswer) and answer.status in {200, 202, 204} else _problem(answer)

    async def poll(self, taken: list[str], refused: Mapping[str, SetFault], *, wait: bool) -> Polled | str:
        """Return further events, or the problem. `taken` and `refused` are the `jti` of earlier ones, which then come no more."""
        stream = await self.describe()
        if isinstance(stream, str):
            return stream
        if stream.poll_url is None:
            self._stream = None
            return f"the stream {stream.id} at {self._issuer} is not for polls"
        asked: dict[str, Any] = {"maxEvents": AT_ONCE, "returnImmediately": not wait, "ack": taken}
        if refused:
            asked["setErrs"] = {
                jti: {"err": fault.err, "description": fault.description} for jti, fault in refused.items()
            }
        answer = await self._send(self._polls, "POST", stream.poll_url, msgspec.json.encode(asked))
        if isinstance(answer, NoAnswer) or answer.status != 200:
            self._stream = None
            return _problem(answer)
        return _read_polled(answer) or f"{stream.poll_url} sent no answer to a poll"

    async def describe(self) -> StreamDescription | str:
        """Return the stream, or the problem."""
        now = self._clock()
        if self._stream is not None and 0 <= now - self._stream.read_at < FRESH:
            return self._stream
        metadata = await self._read_metadata()
        if isinstance(metadata, str):
            return metadata
        query = "" if self._access.id is None else "?" + urlencode({"stream_id": self._access.id})
        answer = await self._send(self._http, "GET", f"{metadata.configuration}{query}")
        if isinstance(answer, NoAnswer) or answer.status != 200:
            return _problem(answer)
        found = self._choose(answer, now)
        if isinstance(found, StreamDescription):
            self._stream = found
        return found

    def _choose(self, answer: HttpsAnswer, now: float) -> StreamDescription | str:
        """Return the gateway's stream from an answer with one stream or a list of streams."""
        try:
            body = answer.body.strip()
            read = msgspec.json.decode(body if body.startswith(b"[") else b"[%b]" % body, type=list[_Listed])
        except msgspec.MsgspecError:
            return f"{self._issuer} does not describe its streams as SSF 1.0 does"
        streams = [each for each in read if self._access.id in {None, each.stream_id} and each.stream_id]
        if len(streams) != 1:
            found = f"{self._issuer} has {len(streams) or 'no'} such streams for the gateway"
            return f"{found}; create one there, or name it in stream.id"
        (stream,) = streams
        delivery = stream.delivery
        url = None if delivery is None or delivery.method != _POLLED else delivery.endpoint_url
        return StreamDescription(stream.stream_id, self._endpoint({"url": url}, "url"), now)

    async def _read_metadata(self) -> _Metadata | str:
        now = self._clock()
        if self._metadata is not None and 0 <= now - self._metadata.read_at < FRESH:
            return self._metadata
        found = await read_metadata(self._http, self._issuer, ssf_metadata_urls(self._issuer))
        if isinstance(found, NoAnswer):
            return found.problem
        url, document = found
        configuration = self._endpoint(document, "configuration_endpoint")
        if configuration is None:
            return f"{url} names no configuration_endpoint that may be used"
        self._metadata = _Metadata(configuration, self._endpoint(document, "verification_endpoint"), now)
        return self._metadata

    async def _send(self, http: HttpsClient, method: str, url: str, body: bytes = b"") -> HttpsAnswer | NoAnswer:
        token = await self._access_token()
        if isinstance(token, NoAnswer):
            return token
        headers = {"accept": "application/json", "authorization": f"Bearer {token}"}
        if body:
            headers["content-type"] = "application/json"
        answer = await http.send(method, url, headers=headers, body=body)
        if isinstance(answer, HttpsAnswer) and answer.status == 401:
            # The server may have forgotten the token. The next request gets another.
            self._token = None
        return answer

    async def _access_token(self) -> str | NoAnswer:
        if self._access.token is not None:
            return self._access.token.get_secret_value()
        if self._token is not None and self._clock() < self._token[1]:
            return self._token[0]
        endpoints = await self._oauth.endpoints()
        if isinstance(endpoints, NoAnswer) or self._proof is None:
            return endpoints if isinstance(endpoints, NoAnswer) else NoAnswer("there is no client_auth")
        form = [("grant_type", "client_credentials"), ("scope", " ".join(self._access.scopes))]
        answer = await self._oauth.post(endpoints.token, form, self._proof)
        if isinstance(answer, NoAnswer):
            return answer
        document = read_object(answer) if answer.status == 200 else None
        token = None if document is None else document.get("access_token")
        if document is None or not isinstance(token, str) or not token.isascii() or not token.isprintable():
            return NoAnswer(f"{endpoints.token} gave no access token: {describe_error(answer)}")
        life = document.get("expires_in")
        seconds = float(life) if isinstance(life, int) and life > 0 else _SHORT_TOKEN
        self._token = (token, self._clock() + seconds - _TOKEN_MARGIN)
        return token

    def _endpoint(self, document: JsonObject, name: str) -> str | None:
        url = document.get(name)
        if not isinstance(url, str) or not is_acceptable_url(url) or is_downgrade(url, self._issuer):
            return None
        return url


def _read_polled(answer: HttpsAnswer) -> Polled | None:
    try:
        read = msgspec.json.decode(answer.body, type=_PollAnswer)
    except msgspec.MsgspecError:
        return None
    return Polled(read.sets, read.more)


def _problem(answer: HttpsAnswer | NoAnswer) -> str:
    return answer.problem if isinstance(answer, NoAnswer) else f"the transmitter answered {describe_error(answer)}"
