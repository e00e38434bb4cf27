"""The settings of people with a role: accounts on this machine, and persons with a token of an identity provider."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, cast

from pydantic import AfterValidator, Field, field_validator, model_validator

from gateway.config.identities import JwtIdentity
from gateway.config.values import Duration, Settings, Text
from gateway.model.caller import canonical_group


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
        description="Who may use `opagate credentials`, `connections`, `signals` and `stop`, and be operator at the console by a one-time link."
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
