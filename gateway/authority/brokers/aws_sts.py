"""Sessions of an AWS role. AWS ends no single session early, so the session's own policy ends it.

`botocore` (the extra `opagate[aws]`) finds the gateway's credentials, signs, and reads answers. The requests go through
the gateway's own client, with its bounds.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from urllib.parse import urlencode

from msgspec import structs

from gateway.authority.model import BrokerRefusal, Credential, Issued, Lease, LeaseRequest, NotEnded, Proof
from gateway.base.concurrency.background import in_thread
from gateway.model import reasons
from gateway.model.errors import ConfigurationError
from gateway.wire.https_client import HttpsAnswer, HttpsClient, NoAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gateway.config.brokers import AwsStsBroker, AwsStsCredential
    from gateway.model.target import Revocable

SHORTEST_SESSION: Final = 900
"""Seconds: AWS gives no shorter session. The session's policy ends it earlier."""
SKEW: Final = 30.0
"""Seconds by which the clocks of the gateway and of AWS may differ."""
MOST_POLICY: Final = 2048
"""Characters of a session policy that AWS takes."""
FORM: Final = "application/x-www-form-urlencoded; charset=utf-8"
_OTHER: Final = re.compile(r"[^\w+=,.@-]", re.ASCII)
_CODE: Final = re.compile(r"[A-Za-z0-9.]{1,60}")


class Signer(Protocol):
    """AWS's part: the gateway's credentials, the signature of a request, and the reading of an answer."""

    def sign(self, url: str, body: bytes) -> dict[str, str] | None:
        """Return the headers of a signed request, `None` without credentials."""
        ...

    def read_fields(self, action: str, answer: HttpsAnswer) -> Mapping[str, Any]:
        """Return the fields of an answer, an empty mapping for an unreadable one."""
        ...


class RoleSessionBroker:
    """The broker of kind `aws_sts`."""

    kind = "aws_sts"
    revocable: Revocable = "after_ttl"
    min_ttl = 1.0

    def __init__(
        self,
        name: str,
        settings: AwsStsBroker,
        upstreams: Mapping[str, AwsStsCredential],
        *,
        http: HttpsClient,
        signer: Signer,
        clock: Callable[[], float],
    ) -> None:
        self.name = name
        self._settings = settings
        self._upstreams = upstreams
        self._http = http
        self._signer = signer
        self._clock = clock
        self._url = f"{(settings.endpoint or f'https://sts.{settings.region}.amazonaws.com').rstrip('/')}/"

    async def prepare(self, request: LeaseRequest) -> dict[str, str] | BrokerRefusal:
        """Return the name of the session, which CloudTrail shows, and its end: the policy has both before AWS is asked."""
        return {"session": _session_name(request.task), "expires": repr(float(int(request.expires)))}

    async def issue(self, request: LeaseRequest, prepared: dict[str, str]) -> Issued | BrokerRefusal:
        fields = self._fields(request, prepared)
        if self._settings.web_identity is not None:
            token = await in_thread(partial(_read_token, self._settings.web_identity))
            if token is None:
                return self._unavailable("the token of web_identity cannot be read")
            fields["WebIdentityToken"] = token
        if len(fields["Policy"]) > MOST_POLICY:
            return BrokerRefusal(reasons.CREDENTIAL_SESSION_SCOPE.reason(broker=self.name, most=MOST_POLICY))
        answer = await self._send(fields)
        if isinstance(answer, BrokerRefusal):
            return answer
        found = self._signer.read_fields(fields["Action"], answer)
        if answer.status != 200:
            return self._refuse_denied(answer, found)
        credential = _credential(found)
        if credential is None:
            return self._refuse(reasons.CREDENTIAL_SESSION_MALFORMED, f"{self._url} gave no session")
        return Issued(credential, float(prepared["expires"]), request.scope.names, prepared)

    async def end(self, lease: Lease, credential: Credential | None) -> Proof | NotEnded:  # noqa: ARG002 - of the protocol
        """Wait for the end in the session's policy. AWS has no revocation of one session."""
        now, named = self._clock(), lease.handle.get("expires")
        if named is None:
            return Proof("absent", now, "no session was asked for")
        end = float(named)
        if now >= end + SKEW:
            return Proof("time", now, f"the session policy denies all from {_moment(end)} on")
        problem = f"AWS ends no session early; its policy ends it at {_moment(end)}"
        return NotEnded(problem, after=end + SKEW - now, waits=True)

    async def aclose(self) -> None:
        await self._http.aclose()

    def _fields(self, request: LeaseRequest, prepared: dict[str, str]) -> dict[str, str]:
        settings = self._upstreams[request.upstream]
        end = float(prepared["expires"])
        by_token = self._settings.web_identity is not None
        fields = {
            "Action": "AssumeRoleWithWebIdentity" if by_token else "AssumeRole",
            "Version": "2011-06-15",
            "RoleArn": settings.role,
            "RoleSessionName": prepared["session"],
            "DurationSeconds": str(max(SHORTEST_SESSION, int(end - self._clock()))),
            "Policy": session_policy(request.scope.names, settings.resources, end),
        }
        if by_token:
            # AWS takes the source identity and the tags of these from the token.
            return fields
        if settings.external_id is not None:
            fields["ExternalId"] = settings.external_id.get_secret_value()
        principal = request.principal
        named = {"agent": principal.id, "user": principal.user.id if principal.user else principal.id, "none": None}
        source = named[self._settings.source_identity]
        if source is not None:
            fields["SourceIdentity"] = _session_name(source)
        if self._settings.tags:
            fields |= _tags(
                {"opagate:task": request.task, "opagate:agent": principal.id, "opagate:upstream": request.upstream}
            )
        return fields

    async def _send(self, fields: Mapping[str, str]) -> HttpsAnswer | BrokerRefusal:
        body = urlencode(fields).encode()
        headers: dict[str, str] | None = {"Content-Type": FORM}
        if "WebIdentityToken" not in fields:
            headers = await in_thread(partial(self._signer.sign, self._url, body))
        if headers is None:
            return self._unavailable("the gateway has no AWS credentials of its own")
        answer = await self._http.send("POST", self._url, headers=headers, body=body)
        if isinstance(answer, NoAnswer):
            return self._unavailable(answer.problem)
        return answer

    def _refuse_denied(self, answer: HttpsAnswer, found: Mapping[str, Any]) -> BrokerRefusal:
        """Refuse with AWS's code. Its text stays out: it may quote the request."""
        error = found.get("Error")
        code = cast("Mapping[str, Any]", error).get("Code") if isinstance(error, dict) else None
        shown = f" {code}" if isinstance(code, str) and _CODE.fullmatch(code) else ""
        passing = answer.status == 429 or answer.status >= 500 or code in {"Throttling", "ThrottlingException"}
        problem = f"{self._url} answered {answer.status}{shown}"
        text = reasons.CREDENTIAL_SESSION_REFUSED
        denied = self._unavailable(problem) if passing else self._refuse(text, problem)
        return structs.replace(denied, is_certain=answer.is_denial)

    def _unavailable(self, problem: str) -> BrokerRefusal:
        return structs.replace(self._refuse(reasons.CREDENTIAL_SESSION_UNAVAILABLE, problem), may_retry=True)

    def _refuse(self, text: reasons.RefusalText, problem: str) -> BrokerRefusal:
        return BrokerRefusal(text.reason(broker=self.name, problem=problem))


def session_policy(actions: tuple[str, ...], resources: tuple[str, ...], end: float) -> str:
    """Return a policy that permits the actions until the end. AWS intersects it with the role's own policy."""
    statement = {
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": list(resources),
        "Condition": {"DateLessThan": {"aws:CurrentTime": _moment(end)}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))


class BotocoreSigner:
    """The part that `botocore` does."""

    def __init__(self, region: str, session: Any = None) -> None:
        """Raises `ConfigurationError` if the extra is not installed."""
        try:
            import botocore.auth  # noqa: PLC0415 - an extra
            import botocore.awsrequest  # noqa: PLC0415 - botocore is optional
            import botocore.parsers  # noqa: PLC0415 - botocore is optional
            import botocore.session  # noqa: PLC0415 - botocore is optional
        except ImportError:
            raise ConfigurationError(
                "a broker of kind aws_sts needs botocore", "install the extra: pip install 'opagate[aws]'"
            ) from None
        self._region = region
        self._auth: Any = botocore.auth
        self._requests: Any = botocore.awsrequest
        self._session: Any = session or botocore.session.Session()
        self._shapes: Any = self._session.get_service_model("sts")
        parsers: Any = botocore.parsers
        self._parser: Any = parsers.create_parser(self._shapes.metadata["protocol"])

    def sign(self, url: str, body: bytes) -> dict[str, str] | None:
        """Return the headers of a request with Signature Version 4. It may ask AWS's chain for fresh credentials."""
        credentials = self._session.get_credentials()
        if credentials is None:
            return None
        request = self._requests.AWSRequest(method="POST", url=url, data=body, headers={"Content-Type": FORM})
        self._auth.SigV4Auth(credentials.get_frozen_credentials(), "sts", self._region).add_auth(request)
        return {str(name): str(value) for name, value in request.headers.items()}

    def read_fields(self, action: str, answer: HttpsAnswer) -> Mapping[str, Any]:
        import botocore.parsers  # noqa: PLC0415 - an extra

        shape = self._shapes.operation_model(action).output_shape
        try:
            found = self._parser.parse({"headers": {}, "body": answer.body, "status_code": answer.status}, shape)
        except (botocore.parsers.ResponseParserError, ValueError, KeyError):
            return {}
        return cast("Mapping[str, Any]", found)


def _credential(found: Mapping[str, Any]) -> Credential | None:
    given = found.get("Credentials")
    names = {
        "AccessKeyId": "access_key_id",
        "SecretAccessKey": "secret_access_key",
        "SessionToken": "session_token",
    }
    session: Mapping[str, Any] = cast("Mapping[str, Any]", given) if isinstance(given, dict) else {}
    fields = tuple((named, session[name]) for name, named in names.items() if isinstance(session.get(name), str))
    if len(fields) != len(names):
        return None
    return Credential(dict(fields)["session_token"], header="x-amz-security-token", scheme="", fields=fields)


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return session tags as a query has them."""
    found: dict[str, str] = {}
    for number, (name, value) in enumerate(tags.items(), 1):
        found[f"Tags.member.{number}.Key"] = name
        found[f"Tags.member.{number}.Value"] = re.sub(r"[^\w .:/=+@-]", "_", value, flags=re.ASCII)[:256]
    return found


def _session_name(text: str) -> str:
    """Return a text in the alphabet of session names, 2 to 64 characters."""
    return _OTHER.sub("-", text)[:64].ljust(2, "-")


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read_token(file: Path) -> str | None:
    try:
        return file.read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
