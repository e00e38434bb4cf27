"""A real Open Policy Agent, asked over a Unix socket, TLS, or HTTP on loopback. One total deadline covers connecting,
waiting and reading. Timers keep it, not `asyncio.timeout`: the caller may continue in another task (`shielding`), and a
task for each question costs more. The client asks again once, and only after a kept connection proved closed: asking
changes nothing in OPA. OPA answers 200 without `result` for an undefined rule (REST API, "Get a Document (with
Input)"), so the status alone never means yes. `strict-builtin-errors` makes OPA fail where the gateway's own evaluator fails.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path as FilePath
from typing import Any, Final, cast
from urllib.parse import quote, urlsplit

import msgspec

from gateway.base.concurrency.background import in_thread
from gateway.config import OpaEngine
from gateway.model.errors import (
    ConfigurationError,
    PolicyBroken,
    PolicyLate,
    PolicyMalformed,
    PolicyUnavailable,
    PolicyUndefined,
)
from gateway.policy import verdict
from gateway.policy.contract import Entrypoint
from gateway.policy.folder.data_files import DataFile
from gateway.policy.opa import contents as opa_contents
from gateway.policy.opa.contents import PUSHED, HeldModule, Path, Pushed, Report
from gateway.wire.http import dial
from gateway.wire.http.client import Client, Response
from gateway.wire.http.dial import AnswerTimeout, ConnectTimeout, ExchangeError, Malformed
from gateway.wire.http.tls_files import TlsFiles, trust_authorities

MAX_ANSWER: Final = 4 * 2**20
"""Bytes of one answer. A list of 10,000 tool names is a tenth of it."""

MAX_CONTENTS: Final = 128 * 2**20
"""Bytes of OPA's list of policies, with their syntax trees: 2 MB for the shipped policy."""
CONTENTS_SECONDS: Final = 30.0
"""Time for an answer about OPA's contents. No call waits for it."""

LOOK_SECONDS: Final = 5.0
"""Time for an answer about OPA's state. A decision has `deadline`, which a busy OPA may miss once in a while."""

_CONNECTIONS: Final = 8
"""Questions at once. OPA serves connections in no order: with 64, one question in a hundred waits 25 times the usual. Others wait
here, in turn. Eight are enough for more questions than one gateway has."""
_START: Final = "start OPA, or mend policy.engine.url"
_CONTRACT: Final = "load a policy into OPA that follows rego/schemas/decision/result.json"


class OpaClient:
    """A client of one OPA. `evaluate` may be called by many tasks at once."""

    def __init__(self, settings: OpaEngine) -> None:
        """Raise `PolicyBroken` if the certificate authorities or the address cannot be used."""
        self._deadline = settings.deadline.total_seconds()
        self._look = max(LOOK_SECONDS, self._deadline)
        parts = urlsplit(settings.url)
        self._address = dial.address_of_socket(parts.path, "opa") if parts.scheme == "unix" else _address(settings)
        self._base = b"" if parts.scheme == "unix" else self._address.target.rstrip(b"/")
        self.authorities = _authorities(settings) if self._address.tls and settings.ca is not None else None
        """The configured certificate authorities; without any, those of the machine."""
        self._public: ssl.SSLContext | None = None
        self._headers = [(b"content-type", b"application/json"), (b"accept-encoding", b"identity")]
        if settings.token is not None:
            self._headers.append((b"authorization", b"Bearer " + settings.token.get_secret_value().encode()))
        self._client: Client | None = None
        self._places = _QuestionPlaces(_CONNECTIONS)

    async def evaluate(self, entrypoint: Entrypoint, document: bytes, *, is_look: bool = False) -> object:
        """OPA's answer to one input, decoded. A look at the policy has more time than a decision. Raises a `PolicyError`."""
        target = b"/v1/data/gateway/%b/result?strict-builtin-errors=true" % entrypoint.encode()
        within = self._look if is_look else None
        status, body = await self._ask(b"POST", target, b'{"input":' + document + b"}", within=within)
        _require_ok(status, body)
        answer = _object(body)
        if "result" not in answer:
            raise PolicyUndefined(
                f"OPA has no answer at gateway/{entrypoint}/result", "load the policy into OPA, with a `default` result"
            )
        return answer["result"]

    async def evaluate_of_revision(self, entrypoint: Entrypoint, document: bytes) -> tuple[object, str]:
        """Return OPA's answer to one input, and the revision of OPA's bundles. Raise a `PolicyError`."""
        target = b"/v1/data/gateway/%b/result?strict-builtin-errors=true&provenance=true" % entrypoint.encode()
        status, body = await self._ask(b"POST", target, b'{"input":' + document + b"}")
        _require_ok(status, body)
        answer = _object(body)
        return answer.get("result"), _reported(answer).revision

    async def malformed_rule(self, document: bytes) -> str | None:
        """Return the rule of a family that gives a finding without a code on this input. Raise a `PolicyError`."""
        values: list[tuple[str, object]] = []
        for place in verdict.PLACES:
            target = f"/v1/{place.replace('.', '/')}".encode()
            status, body = await self._ask(b"POST", target, b'{"input":' + document + b"}")
            _require_ok(status, body)
            values += verdict.of_families(place, _object(body).get("result"))
        return verdict.find_malformed(values)

    async def problems(self, file: DataFile) -> list[str]:
        """Return the complaints of OPA's policy about this data, each in a sentence. Raise a `PolicyError`."""
        status, body = await self._ask(b"GET", b"/v1/" + file.rule.replace(".", "/").encode())
        _require_ok(status, body)
        return file.sentences(_object(body).get("result", []))

    async def require_ready(self) -> None:
        """Raise a `PolicyError` unless OPA says that its bundles and plugins are active."""
        status, _ = await self._ask(b"GET", b"/health?bundles&plugins", within=self._look)
        if status != 200:
            raise PolicyUnavailable(f"OPA is not ready (status {status})", "see OPA's log for the bundle that fails")

    async def held(self) -> Held:
        """Return what OPA reports as in force: its bundles, and the last push. Raise a `PolicyError`."""
        status, body = await self._ask(
            b"GET", b"/v1/data/%b?provenance=true" % "/".join(PUSHED).encode(), within=self._look
        )
        _require_ok(status, body)
        return _reported(_object(body), is_about_push=True)

    async def modules(self) -> tuple[HeldModule, ...]:
        """Return every module that OPA holds. Raise a `PolicyError`."""
        status, body = await self._ask(b"GET", b"/v1/policies", within=CONTENTS_SECONDS, limit=MAX_CONTENTS)
        _require_ok(status, body)
        return await in_thread(partial(opa_contents.read_modules, body))

    async def value(self, path: Path) -> object:
        """Return the value at a path below `data`, `verdict.UNDEFINED` if there is none. Raise a `PolicyError`."""
        target = "/v1/data/" + "/".join(quote(part, safe="") for part in path)
        status, body = await self._ask(b"GET", target.encode(), within=CONTENTS_SECONDS, limit=MAX_CONTENTS)
        _require_ok(status, body)
        return _object(body).get("result", verdict.UNDEFINED)

    async def report(self) -> Report:
        """Return the report of OPA on its bundles. Raises a `PolicyError`."""
        status, body = await self._ask(b"GET", b"/v1/status", within=self._look)
        if status != 200:
            raise PolicyUnavailable(
                f"OPA does not report how old its bundles are (status {status})",
                "put `status: {prometheus: true}` into OPA's configuration, or leave policy.stale_after out",
            )
        return opa_contents.read_report(body)

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _choose_context(self) -> ssl.SSLContext:
        if self.authorities is not None:
            return self.authorities.context
        self._public = self._public or ssl.create_default_context()
        return self._public

    async def _ask(
        self,
        method: bytes,
        target: bytes,
        body: bytes | None = None,
        *,
        within: float | None = None,
        limit: int | None = None,
    ) -> tuple[int, bytes]:
        """Return the status and the body of an answer. `within` is in seconds, `limit` in bytes of the body. Without them the
        bounds of a question hold.
        """
        seconds = self._deadline if within is None else within
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            await self._places.take(deadline)
            try:
                return await self._exchange(method, self._base + target, body, deadline, limit or MAX_ANSWER)
            finally:
                self._places.leave()
        except (AnswerTimeout, ConnectTimeout):
            raise PolicyLate(
                f"OPA did not answer within {seconds * 1000:.0f} ms",
                "look at OPA's load, or raise policy.engine.deadline",
            ) from None
        except Malformed:
            raise PolicyMalformed("OPA's answer is not HTTP", "check that policy.engine.url is OPA's") from None
        except ExchangeError as error:
            raise PolicyUnavailable(f"OPA cannot be reached: {error}", _START) from None

    async def _exchange(
        self, method: bytes, target: bytes, body: bytes | None, deadline: float, limit: int
    ) -> tuple[int, bytes]:
        loop = asyncio.get_running_loop()
        if self._client is None:
            self._client = Client(self._address, connect=LOOK_SECONDS, tls=self._choose_context)
        # Asking changes nothing in OPA, so it may be done again.
        response = await self._client.request(
            method, self._headers, body, within=deadline - loop.time(), target=target, again=True
        )
        timer = loop.call_at(deadline, response.close, AnswerTimeout("no whole answer in time"))
        try:
            content = await _read_bounded(response, limit)
            if response.status == 200 and body is not None:
                _require_json(response)
            return response.status, content
        finally:
            timer.cancel()
            response.close()


class _QuestionPlaces:
    """Room for so many questions at once. Who finds none waits for its turn."""

    def __init__(self, free: int) -> None:
        self._free = free
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self, deadline: float) -> None:
        """Raise `AnswerTimeout` if there is no room before `deadline`, in loop time. `leave` must follow."""
        if self._free:
            self._free -= 1
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiting.append(waiter)
        timer = loop.call_at(deadline, _late, waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.exception() is None:
                # It was let in, and nobody is there to leave.
                self.leave()
            raise
        finally:
            timer.cancel()

    def leave(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1


def _late(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(AnswerTimeout("no room for another question in time"))


@dataclass(frozen=True, slots=True)
class Held:
    """The revision of the bundles together, else of the last push, empty without one; the names of the bundles; the push."""

    revision: str
    bundles: frozenset[str]
    pushed: Pushed = field(default_factory=Pushed)


def _reported(answer: dict[str, Any], *, is_about_push: bool = False) -> Held:
    """Return what OPA reports beside an answer as in force. Raise `PolicyMalformed`."""
    try:
        reported = msgspec.convert(answer.get("provenance"), _OpaProvenance)
        pushed = msgspec.convert(answer.get("result", {}), Pushed) if is_about_push else Pushed()
    except msgspec.ValidationError:
        raise PolicyMalformed("OPA does not say which bundles it has", "use OPA 1.20.2 or newer") from None
    revisions = sorted(bundle.revision for bundle in reported.bundles.values() if bundle.revision)
    return Held("+".join(revisions) or pushed.revision or reported.revision, frozenset(reported.bundles), pushed)


class _BundleRevision(msgspec.Struct):
    revision: str = ""


class _OpaProvenance(msgspec.Struct):
    bundles: dict[str, _BundleRevision] = {}
    revision: str = ""


def _address(settings: OpaEngine) -> dial.Address:
    try:
        return dial.address_of_url(settings.url)
    except ValueError as error:
        raise PolicyBroken(
            f"policy.engine.url cannot be used: {error}", "write unix:///path, https://host, or http:// on loopback"
        ) from None


def _authorities(settings: OpaEngine) -> TlsFiles:
    try:
        return trust_authorities("policy.engine.ca", cast("FilePath", settings.ca))
    except ConfigurationError as error:
        raise PolicyBroken(error.message, error.remedy) from None


async def _read_bounded(response: Response, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in response:
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise PolicyMalformed(f"OPA's answer is larger than {limit >> 20} MiB", _CONTRACT)
    return b"".join(pieces)


def _require_json(response: Response) -> None:
    types = [value for name, value in response.headers if name == b"content-type"]
    plain = len(types) == 1 and types[0].partition(b";")[0].strip().lower() == b"application/json"
    if not plain or any(name == b"content-encoding" for name, _ in response.headers):
        raise PolicyMalformed("OPA's answer is not plain JSON", "check that policy.engine.url is OPA's")


def _require_ok(status: int, body: bytes) -> None:
    """Raise a failure without OPA's own message: it may quote the input."""
    if status == 200:
        return
    try:
        code = _object(body).get("code")
    except PolicyMalformed:
        code = None
    named = f", {code}" if isinstance(code, str) and code.replace("_", "").isalnum() and len(code) <= 64 else ""
    raise PolicyUnavailable(f"OPA refused the question (status {status}{named})", "see OPA's log")


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise PolicyMalformed("OPA's answer is not JSON", "check that policy.engine.url is OPA's") from None
    if not isinstance(answer, dict):
        raise PolicyMalformed("OPA's answer is not an object", "check that policy.engine.url is OPA's")
    return cast("dict[str, Any]", answer)
