"""The settings of brokers: the issuers of the gateway's credentials, and the credentials of upstreams."""

from __future__ import annotations

import difflib
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from gateway.config.authority import LeasedCredential, ScopeName
from gateway.config.values import Duration, FilePath, Secret, Settings, Text, hostname, is_local_http
from gateway.model.target import SHORTEST_LIFE, TargetCredential

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def _issuer_url(value: str) -> str:
    if (value.startswith("https://") and hostname(value)) or is_local_http(value):
        return value
    raise ValueError("it would carry credentials over an open network; write https://…, or http:// on loopback")


IssuerUrl = Annotated[Text, AfterValidator(_issuer_url)]
"""`https://…`, or `http://` on loopback."""


BrokerName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
"""As a name of an upstream."""


OWN: Final = "gateway"
"""The name of the broker that signs tokens itself."""


class BrokerSettings(Settings):
    """The settings of every broker."""

    ca: FilePath | None = Field(default=None, description="Certificate authorities to trust for `https`.")
    timeout: Duration = Field(default=timedelta(seconds=10), description="For one request, to its last byte.")


class ClientAuthentication(Settings):
    """The gateway's proof to an authorization server: a key (RFC 7523) or a secret."""

    private_key_jwt: Secret | None = Field(
        default=None, description="A private key in PEM, EC or RSA; the server has its public half."
    )
    key_id: Text | None = Field(
        default=None, description="`kid` of that key at the server; by default its thumbprint (RFC 7638)."
    )
    client_secret: Secret | None = Field(default=None, description="The secret that the server gave.")

    @model_validator(mode="after")
    def _one_proof(self) -> Self:
        if (self.private_key_jwt is None) == (self.client_secret is None):
            raise ValueError("give either private_key_jwt or client_secret")
        if self.key_id is not None and self.private_key_jwt is None:
            raise ValueError("key_id names the key of private_key_jwt, which is missing")
        return self


class BrokerIntrospectionClient(Settings):
    """A client that only introspects. Nothing else may accept tokens with its id in their audience."""

    client_id: Text = Field(description="Its id at the server; each token gets it as a further audience.")
    client_auth: ClientAuthentication = Field(description="Its key or secret.")


class ConnectionClient(Settings):
    """The gateway as a client of the server that users connect to: one of three ways."""

    id: Text | None = Field(default=None, description="A client that somebody registered at the server.")
    auth: ClientAuthentication | None = Field(
        default=None, description="Key or secret of `id`; without it the client is public, and PKCE protects it."
    )
    cimd: bool = Field(
        default=False,
        description="The id is the address of a document at this gateway, which the server reads. It needs an `https`"
        " `public_url`.",
    )
    dcr: bool = Field(default=False, description="The gateway registers itself at the server (RFC 7591).")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum((self.id is not None, self.cimd, self.dcr)) != 1:
            raise ValueError("give one of id, cimd and dcr")
        if self.auth is not None and self.id is None:
            raise ValueError("auth is the key or secret of id, which is missing")
        return self


class IdJag(Settings):
    """ID-JAG: the identity provider vouches for the user at the server of the upstream (MCP enterprise-managed authorization)."""

    idp: IssuerUrl = Field(description="The exact `issuer` of the identity provider: that of `connections.login`.")
    client: ConnectionClient = Field(
        description="How the identity provider knows the gateway. Its tokens of users are of this client."
    )
    subject: Literal["id_token", "refresh_token", "caller_token"] = Field(
        default="id_token",
        description="The proof of the user. `id_token`: each user connects once; the gateway keeps a refresh token, and obtains"
        " an ID token for each lease. `refresh_token`: the refresh token itself is the proof, for providers without ID tokens at a"
        " refresh. `caller_token`: the access token of the agent, which the draft does not name; nobody connects.",
    )
    scopes: tuple[ScopeName, ...] = Field(
        default=("openid", "offline_access"),
        description="Scopes of the users' login. Without `offline_access`, some providers end the connection with the user's"
        " session there.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.client.cimd or (self.client.id is not None and self.client.auth is None):
            raise ValueError("client has to be confidential: give id with auth, or dcr")
        if self.subject == "caller_token" and self.client.id is None:
            raise ValueError("subject caller_token needs client.id and client.auth: no user registers a client")
        if self.subject != "caller_token" and "openid" not in self.scopes:
            raise ValueError("scopes must hold openid: the ID token tells who has logged in")
        return self


class ExchangeBroker(BrokerSettings):
    """Token exchange at an authorization server (RFC 8693): the caller's token becomes one for the upstream."""

    kind: Literal["exchange"]
    issuer: IssuerUrl = Field(description="The exact `issuer` of the server's metadata (RFC 8414).")
    client_id: Text = Field(description="The gateway's own client at the server.")
    client_auth: ClientAuthentication = Field(description="How the gateway proves that it is this client.")
    actor: FilePath | None = Field(
        default=None,
        description="File of a JWT that names the gateway as the actor, such as a JWT-SVID; read for each exchange.",
    )
    token_type: Literal["access_token", "jwt"] = Field(
        default="access_token", description="The type of token that the server is asked for."
    )
    user_claim: Text = Field(
        default="sub", description="The claim with the same value in the caller's token and in the server's answer."
    )
    extra_scopes: tuple[ScopeName, ...] = Field(
        default=(),
        description="Scopes that the server adds to each token, and that open nothing, such as `profile`. Any other is refused.",
    )
    revoke: Literal["introspect", "blind", "none"] = Field(
        default="introspect",
        description="`introspect`: revoke, then ask whether the token is active. `blind`: revoke without a proof. `none`: wait"
        " for the expiry.",
    )
    introspect_as: BrokerIntrospectionClient | None = Field(
        default=None,
        description="A second client for introspection, for servers that call a token inactive unless the asking client is in"
        " its audience, as Keycloak 26.7 does.",
    )
    max_life: Duration = Field(
        default=timedelta(minutes=5),
        description="A token that expires later is refused. Without a provable revocation it is 5 minutes at most.",
    )
    id_jag: IdJag | None = Field(
        default=None,
        description="Two steps instead of one: an identity provider gives an assertion about the user (ID-JAG), and `issuer` a"
        " token for it.",
    )

    @model_validator(mode="after")
    def _fits_assertions(self) -> Self:
        if self.id_jag is None:
            return self
        idle = sorted(self.model_fields_set & {"actor", "token_type", "user_claim"})
        if idle:
            raise ValueError(f"id_jag has no use for {' and '.join(idle)}; remove it")
        if self.id_jag.idp == self.issuer:
            raise ValueError("id_jag.idp is the issuer itself, which may take no assertion of its own; remove id_jag")
        return self


class OpenBaoAuthentication(Settings):
    """The gateway's login at OpenBao: a token, or a role with a JWT or a secret id."""

    token: Secret | None = Field(default=None, description="A token that may make child tokens.")
    jwt: FilePath | None = Field(default=None, description="File of a JWT, such as a JWT-SVID; read for each login.")
    approle: Secret | None = Field(default=None, description="The `secret_id` of an AppRole.")
    role: Text | None = Field(default=None, description="The role of `jwt`, or the `role_id` of `approle`.")
    mount: Text | None = Field(default=None, description="The mount of the method; by default `jwt` or `approle`.")

    @model_validator(mode="after")
    def _one_method(self) -> Self:
        if sum(method is not None for method in (self.token, self.jwt, self.approle)) != 1:
            raise ValueError("give one of token, jwt and approle")
        if (self.token is None) != (self.role is not None):
            raise ValueError("jwt and approle need role; token has none")
        return self


class OpenBaoBroker(BrokerSettings):
    """Dynamic secrets of an OpenBao or Vault. Each task has a child token, whose revocation ends its secrets."""

    kind: Literal["openbao"]
    url: Text = Field(description="`https://…`, `unix:///run/bao.sock`, or `http://` on loopback.")
    auth: OpenBaoAuthentication = Field(description="How the gateway logs in.")
    policies: tuple[Text, ...] = Field(min_length=1, description="The policies of the child tokens: the paths to read.")
    namespace: Text | None = Field(default=None, description="The namespace of all requests.")

    @model_validator(mode="after")
    def _confidential(self) -> Self:
        if not self.url.startswith("unix:///"):
            _issuer_url(self.url)
        return self


class AwsStsBroker(BrokerSettings):
    """Sessions of an AWS role. The session's own policy ends it with the lease. It needs the extra `opagate[aws]`."""

    kind: Literal["aws_sts"]
    region: Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$")] = Field(
        description="The region of the STS endpoint, such as `eu-central-1`."
    )
    endpoint: IssuerUrl | None = Field(default=None, description="By default `https://sts.<region>.amazonaws.com`.")
    web_identity: FilePath | None = Field(
        default=None,
        description="File of a JWT, such as a JWT-SVID, for `AssumeRoleWithWebIdentity`; read for each session. Without it, the"
        " gateway's own AWS credentials sign an `AssumeRole`.",
    )
    source_identity: Literal["agent", "user", "none"] = Field(
        default="agent", description="Who CloudTrail names as the source identity; the role has to permit it."
    )
    tags: bool = Field(default=True, description="Whether the session is tagged with task, agent and upstream.")


class BrokeredCredential(LeasedCredential):
    """A credential of an upstream that a broker obtains."""

    broker: Text = Field(description="The name of the broker.")


class ExchangeCredential(BrokeredCredential):
    """An access token by token exchange, for the user of the call."""

    kind: Literal["exchange"]
    resource: Text | None = Field(
        default=None, description="The `resource` of the request (RFC 8707); by default only `audience` is sent."
    )
    audience: Text | None = Field(
        default=None,
        description="The `audience` of the request, a name at the server; by default the upstream's, unless `resource` is"
        " given.",
    )


class OpenBaoCredential(BrokeredCredential):
    """A dynamic secret of OpenBao. Of its fields one, or user name and password, are shown to the upstream."""

    kind: Literal["openbao"]
    path: Annotated[Text, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$")] = Field(
        description="The path to read, such as `database/creds/ro`."
    )
    scheme: Literal["Basic", "Bearer"] = Field(
        default="Basic",
        description="How HTTP carries it: `Basic` with user name and password, or `Bearer` with `field`.",
    )
    field: Text = Field(default="password", description="The field that `Bearer` carries.")


class AwsStsCredential(BrokeredCredential):
    """A session of an AWS role. Its scopes are the IAM actions that a call may use."""

    kind: Literal["aws_sts"]
    role: Annotated[Text, Field(pattern=r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+$")] = Field(
        description="The ARN of the role."
    )
    resources: tuple[Text, ...] = Field(
        default=("*",), min_length=1, description="ARNs that the session may touch; the role's own policy holds too."
    )
    external_id: Secret | None = Field(default=None, description="The external id that the role asks for.")


class UserOAuthBroker(BrokerSettings):
    """Users' own connections to an authorization server (OAuth 2.1 code flow): each agent acts with its user's consent."""

    kind: Literal["user_oauth"]
    issuer: IssuerUrl = Field(description="The exact `issuer` of the server's metadata (RFC 8414).")
    client: ConnectionClient = Field(description="How the server knows the gateway.")
    scopes: tuple[ScopeName, ...] = Field(
        default=(),
        description="Scopes that a connection asks for beside those of the upstreams, such as `offline_access`.",
    )
    narrows: bool = Field(
        default=True,
        description="The server narrows a refreshed token to the scopes of the call. `false`: it cannot, and each token has"
        " all scopes of the connection.",
    )
    names_audience: bool = Field(
        default=True,
        description="`aud` of the server's tokens names the upstream. `false`: it names something else, and tokens are lent"
        " whatever it names. A token without `aud`, or one that cannot be read, is lent in both cases.",
    )
    revoke: Literal["introspect", "blind", "none"] = Field(
        default="none",
        description="The end of an access token. `introspect`: revoke, then ask whether it is active. `blind`: revoke without a"
        " proof. `none`: wait for the expiry, since many servers end the whole connection with one token. The end of a"
        " connection always revokes its tokens.",
    )
    max_life: Duration = Field(default=timedelta(hours=1), description="An access token that expires later is refused.")


class UserOAuthCredential(BrokeredCredential):
    """An access token of the user's own connection."""

    kind: Literal["user_oauth"]
    resource: Text | None = Field(
        default=None, description="The `resource` of each request (RFC 8707); by default the upstream's `url`."
    )
    audiences: tuple[Text, ...] = Field(
        default=(),
        description="The names that `aud` of a token may have; by default `resource`. A token that names any other is refused.",
    )


Broker: TypeAlias = Annotated[
    ExchangeBroker | OpenBaoBroker | AwsStsBroker | UserOAuthBroker, Field(discriminator="kind")
]
BrokerCredential: TypeAlias = ExchangeCredential | OpenBaoCredential | AwsStsCredential | UserOAuthCredential


def describe_credential(credential: BrokerCredential, brokers: Mapping[str, Broker]) -> TargetCredential:
    """Return the credential of a broker, in the form for policy. Raises `KeyError` for an unknown broker."""
    broker = brokers[credential.broker]
    is_unproven = isinstance(broker, AwsStsBroker) or (
        isinstance(broker, ExchangeBroker | UserOAuthBroker) and broker.revoke != "introspect"
    )
    return TargetCredential(credential.kind, "after_ttl" if is_unproven else "at_once", SHORTEST_LIFE)


def find_problem(brokers: Mapping[str, Broker], credentials: Mapping[str, object]) -> str | None:
    """Return the problem of a reserved name, or of the first upstream whose broker is unknown or of another kind."""
    if OWN in brokers:
        return f"brokers.{OWN}: the gateway has this name itself; choose another"
    for upstream, credential in credentials.items():
        if not isinstance(credential, BrokerCredential):
            continue
        broker, place = brokers.get(credential.broker), f"upstreams.{upstream}.credential"
        if broker is None:
            return f"{place}.broker: {_describe_unknown(credential.broker, brokers)}"
        if broker.kind != credential.kind:
            return f"{place}: broker {credential.broker!r} is of kind {broker.kind!r}; name one of kind {credential.kind!r}"
    return None


def _describe_unknown(broker: str, known: Iterable[str]) -> str:
    """Return the problem of a reference to an unknown broker, with the nearest name."""
    names = sorted(known)
    near = difflib.get_close_matches(broker, names, n=1, cutoff=0.5)
    if near:
        return f"there is no broker {broker!r}; did you mean {near[0]!r}?"
    return f"there is no broker {broker!r}; " + (f"known here: {', '.join(names)}" if names else "add it to brokers")
