"""Administration of an OPA over HTTP with opa-python-client.

The library knows TCP alone, and trusts the authorities of certifi. So this module gives its client another session. The
session uses the configured authorities or Unix socket, and no proxy, password or authority of the machine. No request
is repeated.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar, cast
from urllib.parse import quote, urlsplit

import msgspec
import requests
from opa_client.errors import DeleteDataError, DeletePolicyError, PolicyNotFoundError, RegoParseError
from opa_client.opa import OpaClient
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection

from gateway.config import OpaEngine
from gateway.model.errors import PolicyBroken, PolicyError, PolicyUnavailable
from gateway.policy import verdict
from gateway.policy.folder.bundle import Bundle
from gateway.policy.opa import contents as opa_contents
from gateway.policy.opa.contents import PUSHED, Difference, HeldModule, Path, Pushed

SECONDS: Final = 60.0
"""Time for one answer of OPA. It compiles all modules before it answers about one."""

_Answer = TypeVar("_Answer")
_AUTHORITY = "set policy.engine.token to a token that OPA lets administer"


class Rejected(PolicyBroken):
    """A change refused by OPA: a module does not compile, or conflicts with another."""


@dataclass(frozen=True, slots=True)
class _OpaEndpoint:
    """The way to an OPA. `path` is a Unix socket, empty for TCP; `ca` a file of authorities, empty for the usual ones."""

    path: str
    ca: str


class OpaAdmin:
    """An OPA. Every method raises a `PolicyError`; no message has the token."""

    def __init__(self, settings: OpaEngine) -> None:
        parts = urlsplit(settings.url)
        on_socket = parts.scheme == "unix"
        reach = _OpaEndpoint(parts.path if on_socket else "", str(settings.ca or ""))
        base = "" if on_socket else parts.path.rstrip("/")
        self._client = _AdminClient(
            reach,
            base,
            host="opa" if on_socket else _host(parts.hostname or ""),
            port=80 if on_socket else parts.port or (443 if parts.scheme == "https" else 80),
            ssl=parts.scheme == "https",
            token=None if settings.token is None else settings.token.get_secret_value(),
            retries=0,
            timeout=SECONDS,
        )

    def close(self) -> None:
        """End the connections."""
        self._client.close_connection()

    def modules(self) -> tuple[HeldModule, ...]:
        """Return every module in OPA."""
        return opa_contents.read_modules(_ask(self._client.policies))

    def value(self, path: Path) -> object:
        """Return the value at a path below `data`, `verdict.UNDEFINED` if there is none."""
        try:
            return _ask(lambda: self._client.document(_quote(path)))["result"]
        except _Missing:
            return verdict.UNDEFINED

    def pushed(self) -> Pushed:
        """Return the record of the last push."""
        found = self.value(PUSHED)
        try:
            return Pushed() if found == verdict.UNDEFINED else msgspec.convert(found, Pushed)
        except msgspec.ValidationError:
            return Pushed()

    def difference(self, policy: Bundle, held: Sequence[HeldModule]) -> Difference:
        """Return the differences of OPA from a policy. `held` are the modules in OPA."""
        paths = opa_contents.pieces(policy.decoded_data(), held)
        return opa_contents.compare(policy, held, {path: self.value(path) for path in paths})

    def bundles(self) -> dict[str, tuple[str, ...]]:
        """Return the roots of each bundle in OPA, by the names of the bundles."""
        found = self.value(("system", "bundles"))
        try:
            states = {} if found == verdict.UNDEFINED else msgspec.convert(found, dict[str, _BundleStatus])
        except msgspec.ValidationError:
            raise PolicyUnavailable("OPA's report on its bundles cannot be read", "use OPA 1.20.2 or newer") from None
        return {name: state.manifest.roots for name, state in states.items()}

    def version(self) -> str:
        """Return OPA's version, empty if OPA reports none."""
        found = self.value(("system", "version", "version"))
        return found if isinstance(found, str) and found != verdict.UNDEFINED else ""

    def put_module(self, module: str, text: str) -> None:
        """Add a module, or replace the module with this id. Raise `Rejected` for a module that does not compile with
        the others."""
        _ask(lambda: self._client.update_policy_from_string(text, quote(module), rego_compat=False))

    def delete_module(self, module: str) -> None:
        """Delete a module, if present. Raise `Rejected` if others need the module."""
        try:
            _ask(lambda: self._client.delete_policy(quote(module)))
        except _Missing:
            return

    def put_data(self, path: Path, value: dict[str, Any]) -> None:
        """Set the data at a path, in the place of all data there. Raise `Rejected` if a rule stands there."""
        _ask(lambda: self._client.update_or_create_data(value, _quote(path)))  # pyright: ignore[reportUnknownMemberType] - untyped

    def delete_data(self, path: Path) -> None:
        """Delete the data at a path, if there are any."""
        try:
            _ask(lambda: self._client.delete_data(_quote(path)))
        except _Missing:
            return


class _Manifest(msgspec.Struct):
    roots: tuple[str, ...] = ("",)


class _BundleStatus(msgspec.Struct):
    manifest: _Manifest = msgspec.field(default_factory=_Manifest)


class _Missing(PolicyError):
    """Nothing stands at a path."""


class _AdminClient(OpaClient):
    """The library's client, with a session to the configured OPA and no other."""

    def __init__(self, reach: _OpaEndpoint, base: str, **options: Any) -> None:
        self._reach = reach
        super().__init__(**options)  # pyright: ignore[reportUnknownMemberType] - untyped
        self.root_url = f"{self.schema}{self.host}:{self.port}{base}/{self.version}"

    def _init_session(self) -> requests.Session:
        session = super()._init_session()
        # Else a proxy, a password of ~/.netrc in the place of the token, or other authorities come from the environment.
        session.trust_env = False
        session.max_redirects = 1
        if self._reach.ca:
            session.verify = self._reach.ca
        if self._reach.path:
            session.mount("http://", _SocketAdapter(self._reach.path))
        return session

    def document(self, path: str) -> dict[str, Any]:
        """Return OPA's answer about data."""
        return self.get_data(path)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - untyped

    def policies(self) -> bytes:
        """Return OPA's answer about all modules; the library would leave out their texts."""
        response = self._session.get(f"{self.root_url}/policies", timeout=self.timeout)
        response.raise_for_status()
        return response.content


class _SocketAdapter(HTTPAdapter):
    """Connections of a session through a Unix socket, for any host."""

    def __init__(self, path: str) -> None:
        self._pool = _SocketPool(path)
        super().__init__(max_retries=0)

    def get_connection_with_tls_context(self, *_arguments: object, **_options: object) -> HTTPConnectionPool:
        return self._pool

    def close(self) -> None:
        self._pool.close()
        super().close()


class _SocketPool(HTTPConnectionPool):
    def __init__(self, path: str) -> None:
        super().__init__("opa")
        self._path = path

    def _new_conn(self) -> HTTPConnection:  # pyright: ignore[reportIncompatibleMethodOverride] - their types disagree
        return _SocketConnection(self._path)


class _SocketConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("opa")
        self._path = path

    def connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(SECONDS)
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        self.sock = connection


def _host(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def _quote(path: Path) -> str:
    return "/".join(quote(part, safe="") for part in path)


def _ask(ask: Callable[[], _Answer]) -> _Answer:
    """Return an answer of the library. Raise a `PolicyError` in the place of its exceptions."""
    try:
        return ask()
    except (RegoParseError, PolicyNotFoundError, DeleteDataError, DeletePolicyError) as error:
        _raise_refusal(*(getattr(error, name, None) for name in ("expression", "message", "errors")))
    except requests.HTTPError as error:
        status = 0 if error.response is None else error.response.status_code
        _raise_refusal("unauthorized" if status in {401, 403} else "", f"status {status}", None)
    except requests.JSONDecodeError:
        raise PolicyUnavailable("OPA's answer is not JSON", "check that policy.engine.url is OPA's") from None
    except requests.exceptions.SSLError as error:
        raise PolicyUnavailable(
            f"OPA's certificate is not accepted: {_describe_error(_innermost(error))}",
            "point policy.engine.ca at its authority",
        ) from None
    except (requests.RequestException, OSError) as error:
        inner = _innermost(error)
        # Without retries the library reports a late answer as a failed connection.
        if isinstance(inner, TimeoutError):
            raise PolicyUnavailable(f"OPA did not answer within {SECONDS:.0f} s", "look at OPA's load") from None
        raise PolicyUnavailable(
            f"OPA cannot be reached: {_describe_error(inner)}", "start OPA, or mend policy.engine.url"
        ) from None


def _raise_refusal(code: object, message: object, errors: object) -> NoReturn:
    """Raise the `PolicyError` for a code and a message of OPA."""
    if code == "unauthorized":
        raise PolicyUnavailable("OPA does not let this token administer it", _AUTHORITY)
    if code in {"resource_not_found", "PolicyNotFoundError"}:
        raise _Missing("nothing stands there")
    if isinstance(message, str) and "is owned by bundle" in message:
        raise PolicyUnavailable(
            f"OPA has its policy from a bundle: {message}", "change the bundle, or start OPA without one"
        )
    found = [_compile_error(item) for item in cast("list[object]", errors)] if isinstance(errors, list) else []
    raise Rejected("; ".join(found) or f"OPA refused the change: {message or code}", "mend the policy")


def _compile_error(error: object) -> str:
    fields = cast("dict[str, Any]", error) if isinstance(error, dict) else {}
    place = cast("dict[str, Any]", fields.get("location") or {})
    file = str(place.get("file", "")).removeprefix(opa_contents.PREFIX)
    return f"{file}:{place.get('row', 0)}: {fields.get('message', json.dumps(error))}"


def _innermost(error: BaseException) -> BaseException:
    """Return the system's own error of a failed connection: the messages of the libraries name internals."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error


def _describe_error(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
