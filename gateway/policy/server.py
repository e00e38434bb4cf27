"""A real Open Policy Agent, asked over a Unix socket, TLS, or HTTP on loopback.

One total deadline covers connecting, waiting and reading. A question is asked again once, and only when a kept
connection turned out to be closed: asking changes nothing in OPA. OPA answers 200 without `result` for an undefined
rule (REST API, "Get a Document (with Input)"), so the status alone never means yes. `strict-builtin-errors` makes OPA
fail where the embedded engine fails.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final, cast
from urllib.parse import urlsplit

import aiohttp
import msgspec

from gateway.config import OpaEngine
from gateway.errors import PolicyBroken, PolicyLate, PolicyMalformed, PolicyUnavailable, PolicyUndefined
from gateway.policy import grants
from gateway.policy.embedded import Entrypoint

MAX_ANSWER: Final = 4 * 2**20
"""Bytes of one answer. A list of 10,000 tool names is a tenth of it."""

_CONNECTIONS: Final = 64
_START: Final = "start OPA, or mend policy.engine.url"
_CONTRACT: Final = "load a policy into OPA that follows rego/schemas/result.json"


class Server:
    """A client of one OPA. `evaluate` may be called by many tasks at once."""

    def __init__(self, settings: OpaEngine) -> None:
        """Raises `PolicyBroken` if the certificate authorities cannot be read."""
        self._deadline = settings.deadline.total_seconds()
        parts = urlsplit(settings.url)
        self._socket = parts.path if parts.scheme == "unix" else None
        self._base = "http://opa" if self._socket else settings.url.rstrip("/")
        self._tls = _tls(settings) if parts.scheme == "https" else None
        self._headers = {"content-type": "application/json", "accept-encoding": "identity"}
        if settings.token is not None:
            self._headers["authorization"] = f"Bearer {settings.token.get_secret_value()}"
        self._session: aiohttp.ClientSession | None = None

    async def evaluate(self, entrypoint: Entrypoint, document: bytes) -> object:
        """OPA's answer to one input, decoded. Raises a `PolicyError`."""
        url = f"{self._base}/v1/data/gateway/{entrypoint}/result?strict-builtin-errors=true"
        status, body = await self._ask("POST", url, b'{"input":' + document + b"}")
        _require_ok(status, body)
        answer = _object(body)
        if "result" not in answer:
            raise PolicyUndefined(
                f"OPA has no answer at gateway/{entrypoint}/result", "load the policy into OPA, with a `default` result"
            )
        return answer["result"]

    async def grant_problems(self) -> list[str]:
        """What OPA's policy says is wrong with its grants, each in a sentence. Raises a `PolicyError`."""
        status, body = await self._ask("GET", f"{self._base}/v1/{grants.RULE.replace('.', '/')}")
        _require_ok(status, body)
        return grants.sentences(_object(body).get("result", []))

    async def require_ready(self) -> None:
        """Raises a `PolicyError` unless OPA says that its bundles and plugins are active."""
        status, _ = await self._ask("GET", f"{self._base}/health?bundles&plugins")
        if status != 200:
            raise PolicyUnavailable(f"OPA is not ready (status {status})", "see OPA's log for the bundle that fails")

    async def revision(self) -> str:
        """The revisions of the bundles in force, as OPA reports them; empty if its policy has none."""
        status, body = await self._ask("GET", f"{self._base}/v1/data/gateway/policy?provenance=true")
        _require_ok(status, body)
        try:
            reported = msgspec.convert(_object(body).get("provenance"), _Provenance)
        except msgspec.ValidationError:
            raise PolicyMalformed("OPA does not say which bundles it has", "use OPA 1.20.2 or newer") from None
        revisions = sorted(bundle.revision for bundle in reported.bundles.values() if bundle.revision)
        return "+".join(revisions) or reported.revision

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, method: str, url: str, body: bytes | None = None) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(self._deadline):
                try:
                    return await self._exchange(method, url, body)
                except (aiohttp.ServerDisconnectedError, ConnectionResetError):
                    return await self._exchange(method, url, body)
        except TimeoutError:
            raise PolicyLate(
                f"OPA did not answer within {self._deadline * 1000:.0f} ms",
                "look at OPA's load, or raise policy.engine.deadline",
            ) from None
        except aiohttp.ClientResponseError:
            raise PolicyMalformed("OPA's answer is not HTTP", "check that policy.engine.url is OPA's") from None
        except (aiohttp.ClientError, OSError) as error:
            raise PolicyUnavailable(f"OPA cannot be reached ({type(error).__name__})", _START) from None

    async def _exchange(self, method: str, url: str, body: bytes | None) -> tuple[int, bytes]:
        session = self._opened()
        async with session.request(method, url, data=body, headers=self._headers, allow_redirects=False) as response:
            content = await _bounded(response)
            if response.status == 200 and body is not None:
                _require_json(response)
            return response.status, content

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = (
                aiohttp.UnixConnector(path=self._socket, limit=_CONNECTIONS)
                if self._socket
                else aiohttp.TCPConnector(ssl=self._tls or True, limit=_CONNECTIONS)
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None, sock_read=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


class _BundleRevision(msgspec.Struct):
    revision: str = ""


class _Provenance(msgspec.Struct):
    bundles: dict[str, _BundleRevision] = {}
    revision: str = ""


def _tls(settings: OpaEngine) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca)
    except (OSError, ssl.SSLError):
        raise PolicyBroken(
            f"the certificate authorities in {settings.ca} cannot be read", "point policy.engine.ca at a PEM file"
        ) from None


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > MAX_ANSWER:
            response.close()
            raise PolicyMalformed(f"OPA's answer is larger than {MAX_ANSWER >> 20} MiB", _CONTRACT)
    return bytes(content)


def _require_json(response: aiohttp.ClientResponse) -> None:
    if response.content_type != "application/json" or "content-encoding" in response.headers:
        raise PolicyMalformed("OPA's answer is not plain JSON", "check that policy.engine.url is OPA's")


def _require_ok(status: int, body: bytes) -> None:
    """OPA's own message is left out: it may quote the input."""
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
