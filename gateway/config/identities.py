"""Settings of identity providers, and of operators."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Literal, Self, TypeAlias, cast

from pydantic import AfterValidator, Field, field_validator, model_validator

from gateway.config.values import Duration, FilePath, Issuer, KeyLocation, Settings, Text, TrustDomain, is_local_http
from gateway.model.caller import canonical_group


class SignInSettings(Settings):
    """Endpoints of the gateway before those of the issuer, for an issuer that clients of MCP cannot use by themselves."""

    client_id: Text = Field(description="The public client for all agents, as an administrator has registered it.")
    scopes: tuple[Text, ...] = Field(
        min_length=1, description="The scopes to ask for, whatever a client asks for, such as `api://opagate/call`."
    )


Preset: TypeAlias = Literal["generic", "keycloak", "okta", "entra-v1", "entra-v2", "auth0", "google"]
_Claims: TypeAlias = Annotated[tuple[Text, ...], Field(min_length=1)] | None


class ClaimSettings(Settings):
    """The claims of an issuer that name a caller. A claim that is not set is as in the preset."""

    preset: Preset = Field(default="generic", description="The identity provider whose tokens these are.")
    agent: _Claims = Field(
        default=None,
        description="Claims with the client's id. All that a token has must agree, and one has to be there.",
    )
    user: _Claims = Field(default=None, description="Claims with the stable id of the person; the first one counts.")
    name: _Claims = Field(
        default=None, description="Claims with a display name. People read it, and nothing decides by it."
    )
    mail: _Claims = Field(
        default=None,
        description="Claims with an address of mail, which people and signals read. `email_verified: false` hides it from people.",
    )
    groups: Text | None = Field(default=None, description="The claim that lists the person's groups.")
    no_user: dict[Text, Text | None] | None = Field(
        default=None,
        description="Claims of a client's own token, without a person: the value, `*` for any value, or `null` for a claim that"
        " is absent. `{agent}` stands for the client's id.",
    )


class JwtIdentity(Settings):
    """Bearer tokens of an OIDC provider, or of any issuer with a JWKS (RFC 9068, RFC 8725)."""

    kind: Literal["jwt"]
    issuer: Issuer = Field(description="The exact `iss` of accepted tokens.")
    audience: Text | None = Field(
        default=None, description="The `aud` that tokens must name; by default `<public_url>/mcp`."
    )
    jwks: KeyLocation | None = Field(
        default=None, description="`https://…`, or `file:PATH`; by default discovered from the issuer's metadata."
    )
    ca: FilePath | None = Field(
        default=None,
        description="PEM file of the authorities that vouch for the issuer and its key server; by default those of the machine.",
    )
    jwks_token: FilePath | None = Field(
        default=None,
        description="File with a bearer token for the `https://…` of `jwks`, read at each look: the pod's own, for the API server of Kubernetes.",
    )
    algorithms: tuple[str, ...] = Field(
        default=("RS256", "PS256", "ES256", "EdDSA"), min_length=1, description="Accepted signature algorithms."
    )
    claims: ClaimSettings = Field(
        default_factory=ClaimSettings,
        description="The claims that name the agent, the person, and the person's groups.",
    )
    required_scopes: tuple[str, ...] = Field(default=(), description="Scopes without which no request is served.")
    require_bound: bool = Field(default=False, description="Refuse tokens that are not sender-constrained.")
    sign_in: SignInSettings | None = Field(
        default=None,
        description="Sign-in through the gateway, for an issuer that refuses `resource` or registers no clients, as Microsoft Entra ID.",
    )
    leeway: Duration = Field(default=timedelta(seconds=10), description="Tolerated clock difference.")

    @field_validator("algorithms")
    @classmethod
    def _only_asymmetric(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        known = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
        for name in value:
            if name not in known:
                raise ValueError(
                    f"{name!r} is not an accepted signature algorithm; use one of {', '.join(sorted(known))}"
                )
        return value

    @model_validator(mode="after")
    def _sends_token_to_named_server(self) -> Self:
        if self.jwks_token is not None and not (self.jwks or "").startswith("https://"):
            raise ValueError(
                "jwks_token goes to the key server alone, and jwks does not name one; write jwks: https://…"
            )
        return self


class SpiffeIdentity(Settings):
    """SPIFFE workload identities: JWT-SVIDs, and X.509-SVIDs over mutual TLS."""

    kind: Literal["spiffe"]
    trust_domain: TrustDomain = Field(description="Without `spiffe://`.")
    bundle: KeyLocation = Field(description="The SPIFFE bundle: `file:PATH` or `https://…`.")
    audience: Text | None = Field(default=None, description="By default `<public_url>/mcp`.")
    x509: bool = Field(default=False, description="Accept client certificates (needs `tls.client_ca`).")


class DevelopmentIdentity(Settings):
    """Tokens signed by this gateway's own development key (`opagate credentials token`), for trying things out."""

    kind: Literal["development"]
    reach: Literal["loopback", "private"] = Field(
        default="loopback",
        alias="from",
        description="Where callers are: on this machine, or also at private addresses (RFC 1918, RFC 4193), as in containers."
        " Publish the port on loopback only: behind a forwarded port every caller has a private address.",
    )


class AnonymousIdentity(Settings):
    """Callers without credentials. Loopback only."""

    kind: Literal["anonymous"]
    id: str = Field(default="dev", min_length=1, description="The agent id that such callers get.")


Identity = Annotated[
    JwtIdentity | SpiffeIdentity | DevelopmentIdentity | AnonymousIdentity, Field(discriminator="kind")
]


def find_sign_in(identities: tuple[Identity, ...]) -> tuple[JwtIdentity, SignInSettings] | None:
    """Return the identity whose people sign in through the gateway."""
    found = ((each, each.sign_in) for each in identities if isinstance(each, JwtIdentity))
    return next(((each, settings) for each, settings in found if settings is not None), None)


def find_sign_in_problem(identities: tuple[Identity, ...], base_url: str) -> str | None:
    """Return the problem of a sign-in through the gateway."""
    through = [each for each in identities if isinstance(each, JwtIdentity) and each.sign_in is not None]
    if len(through) > 1:
        return "identity: two issuers have sign_in, and the gateway stands before one; keep one of the two"
    if through and not (base_url.startswith("https://") or is_local_http(base_url)):
        return "identity: sign_in would send codes over an open network; set tls, or an https public_url"
    return None


def _name(value: str) -> str:
    if not canonical_group(value):
        raise ValueError("it is blank; give it a value")
    return value


GroupName = Annotated[Text, AfterValidator(_name)]


class PeopleIdentity(JwtIdentity):
    """People with a role, by a token of their identity provider. The audience is their own: no token of an agent serves."""

    setting: ClassVar[str]
    """The setting with these people."""
    path: ClassVar[str]
    """The path of the default audience."""
    kind: Literal["jwt"] = "jwt"
    groups: tuple[GroupName, ...] = Field(min_length=1)

    def find_audience(self, base_url: str) -> str:
        """Return the `aud` of these people's tokens at a gateway."""
        return self.audience or f"{base_url}{self.path}"

    @model_validator(mode="after")
    def _signs_in_elsewhere(self) -> Self:
        if self.sign_in is not None:
            raise ValueError("sign_in is for agents alone; remove it")
        return self

    @model_validator(mode="before")
    @classmethod
    def _names_groups(cls, value: object) -> object:
        if isinstance(value, dict) and "groups" not in value:
            raise ValueError(
                "groups is missing, and without it every token of the issuer would serve;"
                " name the groups of these people, such as groups: [sre]"
            )
        return cast("object", value)


class OperatorIdentity(PeopleIdentity):
    """The operators over HTTP. Their tokens are for operators alone: neither an agent's nor an approver's token serves."""

    setting = "operators.people"
    path = "/api/operators"
    groups: tuple[GroupName, ...] = Field(
        min_length=1,
        description="The groups of operators. Names compare after NFKC, and their case counts.",
    )
    audience: Text | None = Field(
        default=None, description="The `aud` of operators' tokens; by default `<public_url>/api/operators`."
    )
    fresh: Duration | None = Field(
        default=None,
        description="The age of a login (`auth_time`) up to which a token permits changes. Without it, any valid token does.",
    )


class AccountSettings(Settings):
    """A person with an account on this machine."""

    uid: Annotated[int, Field(strict=True, ge=0)] = Field(description="The number of the account.")
    id: Text = Field(
        description="The person, as the identity provider names users: nobody approves a call of their own."
    )
    issuer: Text = Field(default="local", description="Who vouches for that name.")


def find_repeated(accounts: tuple[AccountSettings, ...]) -> str | None:
    """Return the problem of a list that gives an account twice."""
    uids = [account.uid for account in accounts]
    twice = [uid for uid in uids if uids.count(uid) > 1]
    return f"the account {twice[0]} is given twice; keep one of the two" if twice else None


class OperatorSettings(Settings):
    """People who operate the gateway: accounts over its socket, beside root, and persons over `/api`."""

    accounts: tuple[AccountSettings, ...] = Field(
        default=(),
        description="Who may use `opagate credentials` and `stop`, and be operator at the console by a one-time link."
        " The gateway's own account counts in development alone; named here, it needs no terminal.",
    )

    people: OperatorIdentity | None = Field(
        default=None, description="Who operates over `/api`, by a token of an OIDC provider."
    )

    @field_validator("accounts")
    @classmethod
    def _one_each(cls, value: tuple[AccountSettings, ...]) -> tuple[AccountSettings, ...]:
        if problem := find_repeated(value):
            raise ValueError(problem)
        return value
