"""The settings of operators: their accounts on this machine."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from gateway.config.values import Settings, Text


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
    """Accounts that operate the gateway over its socket, beside root."""

    accounts: tuple[AccountSettings, ...] = Field(
        default=(),
        description="Who may use `opagate leases`, `connections`, `signals` and `stop`, and be operator at the console by a one-time link."
        " The gateway's own account counts in development alone; named here, it needs no terminal.",
    )

    @field_validator("accounts")
    @classmethod
    def _one_each(cls, value: tuple[AccountSettings, ...]) -> tuple[AccountSettings, ...]:
        if problem := find_repeated(value):
            raise ValueError(problem)
        return value
