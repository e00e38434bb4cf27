"""Credentials of OpenBao: logins of databases and other secrets, ended by their lease."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.authority.model import BrokerRefusal, Credential, Issued, Lease, LeaseRequest, NotEnded, Proof
from gateway.base.concurrency.background import in_thread
from gateway.model import reasons
from gateway.wire.https_client import HttpsAnswer, HttpsClient, NoAnswer, read_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.authority.model import Cause
    from gateway.config.brokers import OpenBaoBroker, OpenBaoCredential
    from gateway.model.target import Revocable
    from gateway.model.wire import Json, JsonObject


_MARGIN: Final = 30.0
"""Seconds before its end from which on a token of a login is replaced."""


class Login:
    """The source of the gateway's token. A child token dies with its parent, so the parent has to live longer."""

    def __init__(self, settings: OpenBaoBroker, http: HttpsClient, clock: Callable[[], float]) -> None:
        self._settings = settings.auth
        self._http = http
        self._clock = clock
        self._token: str | None = None
        self._expires = 0.0
        is_socket = settings.url.startswith("unix:")
        self.base = "http://localhost" if is_socket else settings.url.rstrip("/")
        self.namespace = {} if settings.namespace is None else {"x-vault-namespace": settings.namespace}

    async def token(self, now: float, seconds: float = 0.0) -> str | NoAnswer:
        """Return a token valid for the given seconds, if OpenBao grants so long a token."""
        if self._settings.token is not None:
            return self._settings.token.get_secret_value()
        if self._token is not None and now + seconds + _MARGIN < self._expires:
            return self._token
        return await self._log_in()

    def forget(self) -> None:
        """Log in anew for the next request."""
        self._token = None

    async def _log_in(self) -> str | NoAnswer:
        body = await self._proof()
        if isinstance(body, NoAnswer):
            return body
        method = self._settings.mount or ("jwt" if self._settings.jwt is not None else "approle")
        url = f"{self.base}/v1/auth/{method}/login"
        headers = {"x-vault-request": "true", **self.namespace}
        answer = await self._http.send("POST", url, headers=headers, body=json.dumps(body).encode())
        if isinstance(answer, NoAnswer):
            return answer
        document = read_object(answer) if answer.status == 200 else None
        auth = None if document is None else document.get("auth")
        token, life = (auth.get("client_token"), auth.get("lease_duration")) if isinstance(auth, dict) else (None, None)
        if not isinstance(token, str) or not isinstance(life, int) or isinstance(life, bool):
            return NoAnswer(f"the login at auth/{method} answered {answer.status}")
        # A life of 0 is OpenBao's word for no end.
        self._token, self._expires = token, self._clock() + life if life else math.inf
        return token

    async def _proof(self) -> dict[str, str] | NoAnswer:
        role = self._settings.role or ""
        if self._settings.approle is not None:
            return {"role_id": role, "secret_id": self._settings.approle.get_secret_value()}
        path = self._settings.jwt
        assert path is not None  # noqa: S101 - the settings have exactly one method
        try:
            text = await in_thread(lambda: path.read_text("ascii"))
        except (OSError, UnicodeDecodeError):
            return NoAnswer(f"the JWT {path} cannot be read")
        return {"role": role, "jwt": text.strip()}


GRACE: Final = 5
"""Seconds that a child token lives beyond its last lease. They bound its life if the gateway is gone."""
PAUSES: Final = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""Seconds between lookups of one attempt. OpenBao drops about fifty roles a second, one after the other."""
MOST_LEASES: Final = 500
"""Leases of one path that are looked through for a secret whose lease id got lost."""
_LEASE_ID: Final = "lease"
_ACCESSOR: Final = "accessor"
_PATH: Final = "path"
_CLUSTER: Final = "cluster"
_TASK_ENDS: Final[frozenset[Cause]] = frozenset(
    {
        "task-completed",
        "task-cancelled",
        "task-expired",
        "budget",
        "signal",
        "journal-outage",
        "restart",
        "shutdown",
    }
)
"""Causes that end all leases of a task: the accessor ends them at once, and is faster than one revocation for each.

A caller's token is none of them: a declared task goes on with the next token.
"""


class _Child(msgspec.Struct):
    """The child token of a task, with the ids of its open leases."""

    token: str
    accessor: str
    cluster: str
    expires: float
    leases: set[str]

    def __repr__(self) -> str:
        return f"_Child({self.accessor!r})"


class DynamicSecretBroker:
    """The broker of kind `openbao`."""

    kind = "openbao"
    revocable: Revocable = "at_once"
    min_ttl = 1.0

    def __init__(
        self,
        name: str,
        settings: OpenBaoBroker,
        upstreams: Mapping[str, OpenBaoCredential],
        *,
        http: HttpsClient,
        login: Login,
        clock: Callable[[], float],
    ) -> None:
        self.name = name
        self._settings = settings
        self._upstreams = upstreams
        self._http = http
        self._login = login
        self._clock = clock
        self._children: dict[str, _Child] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def prepare(self, request: LeaseRequest) -> dict[str, str] | BrokerRefusal:
        """Return the accessor of the task's child token, which is made or prolonged first."""
        lock = self._locks.setdefault(request.task, asyncio.Lock())
        async with lock:
            child = await self._child(request)
            if isinstance(child, BrokerRefusal):
                self._forget_lock(request.task)
                return child
            child.leases.add(request.id)
            path = self._upstreams[request.upstream].path
            return {_ACCESSOR: child.accessor, _PATH: path, _CLUSTER: child.cluster}

    async def issue(self, request: LeaseRequest, prepared: dict[str, str]) -> Issued | BrokerRefusal:
        """Read a secret with the task's child token. A denied request leaves no child token behind."""
        answer = await self._read(request, prepared)
        if isinstance(answer, BrokerRefusal) and answer.code == reasons.CREDENTIAL_SECRET_REFUSED.code:
            return msgspec.structs.replace(answer, is_certain=await self._give_back(request))
        return answer

    async def _read(self, request: LeaseRequest, prepared: dict[str, str]) -> Issued | BrokerRefusal:
        child = self._children.get(request.task)
        if child is None or child.accessor != prepared[_ACCESSOR]:
            return self._unavailable("the task's child token has ended")
        answer = await self._ask(child.token, "GET", prepared[_PATH])
        if isinstance(answer, NoAnswer):
            return self._unavailable(answer.problem)
        if answer.status != 200:
            return self._refuse_denied(f"{prepared[_PATH]} answered {answer.status}", answer.status)
        secret = _read_secret(answer)
        if secret is None:
            return self._refuse_malformed(f"{prepared[_PATH]} gave no dynamic secret with a lease")
        lease, seconds, fields = secret
        settings = self._upstreams[request.upstream]
        value = _header_value(settings, fields)
        if value is None:
            return self._refuse_malformed(f"{prepared[_PATH]} gave a secret without the configured field")
        # The true end: PostgreSQL and others let the login work until then if nobody revokes it.
        expires = self._clock() + seconds
        credential = Credential(value, scheme=settings.scheme, fields=tuple(fields.items()))
        return Issued(credential, expires, request.scope.names, {**prepared, _LEASE_ID: lease})

    async def end(self, lease: Lease, credential: Credential | None) -> Proof | NotEnded:  # noqa: ARG002 - of the protocol
        """Revoke one secret, or all of the task at its end. Another OpenBao does not know the secret either, and proves nothing."""
        outcome = await self._end(lease)
        known = lease.handle.get(_CLUSTER)
        if isinstance(outcome, NotEnded) or known is None:
            return outcome
        cluster = await self._cluster()
        if isinstance(cluster, NoAnswer):
            return NotEnded(cluster.problem)
        if cluster != known:
            return NotEnded(f"another OpenBao answers: the secret is of the cluster {known}, and this is {cluster}")
        return outcome

    async def _end(self, lease: Lease) -> Proof | NotEnded:
        """End a secret. A secret without a lease id ends with the child token."""
        accessor, lease_id = lease.handle.get(_ACCESSOR), lease.handle.get(_LEASE_ID)
        if accessor is None:
            return Proof("absent", self._clock(), "no secret was asked for")
        token = await self._login.token(self._clock())
        if isinstance(token, NoAnswer):
            return NotEnded(token.problem)
        child = self._children.get(lease.task)
        is_known = child is not None and child.accessor == accessor
        if lease_id is None or lease.cause in _TASK_ENDS or not is_known:
            return await self._end_child(token, lease, accessor, lease_id)
        outcome = await self._end_secret(token, lease_id)
        if isinstance(outcome, Proof) and child is not None:
            child.leases.discard(lease.id)
            if not child.leases:
                await self._revoke_accessor(token, lease.task, accessor)
        return outcome

    async def aclose(self) -> None:
        await self._http.aclose()

    # --- the child token ---------------------------------------------------------------------------

    async def _give_back(self, request: LeaseRequest) -> bool:
        """End the child token of a denied request, unless other leases use it. Return whether nothing of the request is left."""
        async with self._locks.setdefault(request.task, asyncio.Lock()):
            child = self._children.get(request.task)
            if child is None:
                return False
            child.leases.discard(request.id)
            if child.leases:
                return True
            token = await self._login.token(self._clock())
            return isinstance(token, str) and await self._revoke_accessor(token, request.task, child.accessor) is None

    async def _child(self, request: LeaseRequest) -> _Child | BrokerRefusal:
        """Return the child token of a task, one that lives at least as long as the request."""
        now = self._clock()
        token = await self._login.token(now, request.expires - now + GRACE)
        if isinstance(token, NoAnswer):
            return self._unavailable(token.problem)
        child = self._children.get(request.task)
        if child is not None and (child.expires >= request.expires or await self._prolong(token, child, request)):
            return child
        made = await self._make_child(token, request)
        if isinstance(made, _Child):
            self._children[request.task] = made
        return made

    async def _prolong(self, token: str, child: _Child, request: LeaseRequest) -> bool:
        seconds = _whole(request.expires - self._clock()) + GRACE
        body = {"accessor": child.accessor, "increment": f"{seconds}s"}
        answer = await self._ask(token, "POST", "auth/token/renew-accessor", body)
        granted = _lease_duration(answer)
        if granted is not None:
            child.expires = self._clock() + granted
        return child.expires >= request.expires

    async def _make_child(self, token: str, request: LeaseRequest) -> _Child | BrokerRefusal:
        seconds = _whole(request.expires - self._clock()) + GRACE
        body = {
            "policies": list(self._settings.policies),
            "no_default_policy": True,
            "ttl": f"{seconds}s",
            "display_name": "opagate",
            "meta": {"task": request.task, "agent": request.principal.id},
        }
        cluster = await self._cluster()
        if isinstance(cluster, NoAnswer):
            return self._unavailable(cluster.problem)
        answer = await self._ask(token, "POST", "auth/token/create", body)
        if isinstance(answer, NoAnswer):
            return self._unavailable(answer.problem)
        if answer.status != 200:
            return self._refuse_denied(f"auth/token/create answered {answer.status}", answer.status)
        auth = _member(read_object(answer), "auth")
        value, accessor = auth.get("client_token"), auth.get("accessor")
        granted = _lease_duration(answer)
        if not isinstance(value, str) or not isinstance(accessor, str) or not value or not accessor or granted is None:
            return self._refuse_malformed("auth/token/create gave no token with an end")
        return _Child(value, accessor, cluster, self._clock() + granted, set())

    # --- the end -----------------------------------------------------------------------------------

    async def _end_child(self, token: str, lease: Lease, accessor: str, lease_id: str | None) -> Proof | NotEnded:
        """Revoke the child token, and prove that the token and its secret no longer exist."""
        problem = await self._revoke_accessor(token, lease.task, accessor)
        if problem is not None:
            return problem
        if lease_id is None:
            return await self._prove_lost(token, lease.handle[_PATH])
        outcome = await self._look_up(token, lease_id)
        if isinstance(outcome, Proof):
            return outcome
        # The background work may be behind or broken: ask for this one, and hear why it fails.
        return await self._end_secret(token, lease_id)

    async def _revoke_accessor(self, token: str, task: str, accessor: str) -> NotEnded | None:
        child = self._children.get(task)
        if child is not None and child.accessor == accessor:
            del self._children[task]
            self._forget_lock(task)
        answer = await self._ask(token, "POST", "auth/token/revoke-accessor", {"accessor": accessor})
        if isinstance(answer, NoAnswer):
            return NotEnded(answer.problem)
        if answer.status not in {200, 204}:
            return NotEnded(f"auth/token/revoke-accessor answered {answer.status}", after=answer.pause)
        answer = await self._ask(token, "POST", "auth/token/lookup-accessor", {"accessor": accessor})
        if isinstance(answer, NoAnswer):
            return NotEnded(answer.problem)
        if _has_error(answer, "invalid accessor"):
            return None
        return NotEnded(f"auth/token/lookup-accessor answered {answer.status}", after=answer.pause)

    async def _end_secret(self, token: str, lease_id: str) -> Proof | NotEnded:
        answer = await self._ask(token, "PUT", "sys/leases/revoke", {"lease_id": lease_id, "sync": True})
        if isinstance(answer, NoAnswer):
            return NotEnded(answer.problem)
        if answer.status != 204:
            return NotEnded(
                f"sys/leases/revoke answered {answer.status}: the system behind it may be down", answer.pause
            )
        return await self._look_up(token, lease_id)

    async def _look_up(self, token: str, lease_id: str) -> Proof | NotEnded:
        """Ask for a lease until OpenBao does not know it, or an attempt has taken long enough."""
        for pause in (*PAUSES, None):
            answer = await self._ask(token, "PUT", "sys/leases/lookup", {"lease_id": lease_id})
            if isinstance(answer, NoAnswer):
                return NotEnded(answer.problem)
            if _has_error(answer, "invalid lease"):
                return Proof("lookup", self._clock(), "sys/leases/lookup: invalid lease")
            if answer.status != 200:
                return NotEnded(f"sys/leases/lookup answered {answer.status}", after=answer.pause)
            if pause is not None:
                await asyncio.sleep(pause)
        return NotEnded("OpenBao still knows the lease")

    async def _prove_lost(self, token: str, path: str) -> Proof | NotEnded:
        """Prove that a revoked child token left no secret. A lease of it has passed its expiry, and is not yet revoked."""
        now = self._clock()
        answer = await self._ask(token, "LIST", f"sys/leases/lookup/{path}/")
        if isinstance(answer, NoAnswer):
            return NotEnded(answer.problem)
        # 404 is OpenBao's word for an empty list.
        keys = () if answer.status == 404 else _texts(_member(read_object(answer), "data").get("keys"))
        if answer.status not in {200, 404} or keys is None or len(keys) > MOST_LEASES:
            return NotEnded(f"the lease id got lost, and sys/leases/lookup/{path}/ answered {answer.status}")
        for key in keys:
            answer = await self._ask(token, "PUT", "sys/leases/lookup", {"lease_id": f"{path}/{key}"})
            if isinstance(answer, NoAnswer):
                return NotEnded(answer.problem)
            if not _has_error(answer, "invalid lease") and not _outlives(answer, now):
                return NotEnded(f"a lease of {path} is ending, and may be this one")
        return Proof("lookup", self._clock(), f"the child token is gone, and no lease of {path} is ending")

    # --- requests ----------------------------------------------------------------------------------

    async def _cluster(self) -> str | NoAnswer:
        """Return the id of the cluster, which stays over restarts. It needs neither a token nor a namespace."""
        answer = await self._http.send("GET", f"{self._login.base}/v1/sys/health?standbyok=true")
        if isinstance(answer, NoAnswer):
            return answer
        document = read_object(answer)
        cluster = None if document is None else document.get("cluster_id")
        return cluster if isinstance(cluster, str) and cluster else NoAnswer("sys/health gave no cluster_id")

    async def _ask(self, token: str, method: str, path: str, body: object = None) -> HttpsAnswer | NoAnswer:
        headers = {"x-vault-token": token, "x-vault-request": "true", **self._login.namespace}
        data = b"" if body is None else json.dumps(body).encode()
        return await self._http.send(method, f"{self._login.base}/v1/{path}", headers=headers, body=data)

    def _refuse_denied(self, problem: str, status: int) -> BrokerRefusal:
        """Refuse after an answer of OpenBao. 400 and 500 are its words for a system that is down."""
        may_retry = status in {400, 429} or status >= 500
        if status == 403:
            self._login.forget()
        if may_retry:
            return self._unavailable(problem)
        return BrokerRefusal(reasons.CREDENTIAL_SECRET_REFUSED.reason(broker=self.name, problem=problem))

    def _unavailable(self, problem: str) -> BrokerRefusal:
        reason = reasons.CREDENTIAL_SECRET_UNAVAILABLE.reason(broker=self.name, problem=problem)
        return BrokerRefusal(reason, may_retry=True)

    def _refuse_malformed(self, problem: str) -> BrokerRefusal:
        return BrokerRefusal(reasons.CREDENTIAL_SECRET_MALFORMED.reason(broker=self.name, problem=problem))

    def _forget_lock(self, task: str) -> None:
        if task not in self._children:
            self._locks.pop(task, None)


def _read_secret(answer: HttpsAnswer) -> tuple[str, float, dict[str, str]] | None:
    """Return the lease id, its seconds and the fields of a dynamic secret. A static one has no lease."""
    document = read_object(answer)
    lease = None if document is None else document.get("lease_id")
    seconds = None if document is None else document.get("lease_duration")
    data = _member(document, "data")
    fields = {name: value for name, value in data.items() if isinstance(value, str)}
    life = _seconds(seconds)
    if not isinstance(lease, str) or not lease or life is None or not fields:
        return None
    return lease, life, fields


def _header_value(settings: OpenBaoCredential, fields: Mapping[str, str]) -> str | None:
    """Return the text that HTTP carries (RFC 7617 for `Basic`)."""
    if settings.scheme == "Bearer":
        return fields.get(settings.field)
    user, password = fields.get("username"), fields.get("password")
    if user is None or password is None:
        # A process reads the fields by their names.
        return None if settings.hand_over is None else next(iter(fields.values()))
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _lease_duration(answer: HttpsAnswer | NoAnswer) -> float | None:
    if isinstance(answer, NoAnswer) or answer.status != 200:
        return None
    return _seconds(_member(read_object(answer), "auth").get("lease_duration"))


def _texts(value: Json) -> tuple[str, ...] | None:
    """Return the texts of a list, `None` for a list with other values."""
    items: tuple[Json, ...] = tuple(value) if isinstance(value, list) else (None,)
    found = tuple(item for item in items if isinstance(item, str))
    return found if len(found) == len(items) else None


def _seconds(value: Json) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return None
    return float(value)


def _has_error(answer: HttpsAnswer, text: str) -> bool:
    """Return whether an answer is OpenBao's word for something unknown. A lost permission has another word."""
    document = read_object(answer) if answer.status in {400, 404} else None
    errors = None if document is None else document.get("errors")
    return isinstance(errors, list) and any(isinstance(error, str) and text in error for error in errors)


def _outlives(answer: HttpsAnswer, now: float) -> bool:
    """Return whether a lease ends later than now. The revocation of a token sets the end of its leases to that moment."""
    end = _member(read_object(answer), "data").get("expire_time") if answer.status == 200 else None
    try:
        return isinstance(end, str) and datetime.fromisoformat(end).timestamp() > now
    except ValueError:
        return False


def _member(document: JsonObject | None, name: str) -> Mapping[str, Json]:
    value = None if document is None else document.get(name)
    return value if isinstance(value, dict) else {}


def _whole(seconds: float) -> int:
    return max(1, int(seconds + 0.999))
