"""The settings of the hand-over: the way in which a stdio upstream gets its leased credential."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias

from pydantic import Field, field_validator, model_validator

from gateway.config.values import Settings, Text, VariableName

if TYPE_CHECKING:
    from collections.abc import Iterable

Form: TypeAlias = Literal["value", "json", "pgpass", "pgservice", "aws"]

CONTAINER_VARIABLES: Final = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN")
_FORMS: Final[dict[str, Form]] = {
    "PGPASSFILE": "pgpass",
    "PGSERVICEFILE": "pgservice",
    "AWS_SHARED_CREDENTIALS_FILE": "aws",
}
"""Variables whose file has a form of its own."""
_PLACE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class HandOver(Settings):
    """The way of a leased credential into the process of a stdio upstream. Each task has a process of its own."""

    env: VariableName | None = Field(
        default=None, description="A variable with the credential. Each renewal starts another process."
    )
    file: VariableName | None = Field(
        default=None,
        description="A variable with the path of a file that has the credential. A renewal replaces the file.",
    )
    fd: int | None = Field(
        default=None,
        ge=3,
        le=255,
        description="A descriptor to read it from, once. Each renewal starts another process.",
    )
    aws_container: bool = Field(
        default=False,
        description="The endpoint of containers, which the SDKs of AWS ask by themselves. For kind `aws_sts`.",
    )
    variables: dict[VariableName, Text] = Field(
        default_factory=dict[str, str],
        description="Further variables with parts of it, such as `PGUSER: '{username}'`. Each renewal starts another process.",
    )
    form: Form | None = Field(
        default=None,
        description="The form in `env`, `file` or `fd`. By default: the form of the file's variable, else `json` for several fields,"
        " else `value`.",
    )
    template: Text | None = Field(
        default=None,
        description="The form as a text with fields, such as `{username}:{password}`; `{value}` is a token.",
    )

    @property
    def may_renew(self) -> bool:
        """Return whether a running process can get another credential."""
        return (self.file is not None or self.aws_container) and not self.variables

    @property
    def chosen_form(self) -> Form | None:
        """Return the configured form, or the form of the file's variable. `None`: as the credential is."""
        return self.form or _FORMS.get(self.file or "")

    def names(self) -> Iterable[str]:
        """Return the variables for the process."""
        named = [name for name in (self.env, self.file) if name is not None]
        if self.chosen_form == "pgservice" and self.file is not None:
            named.append("PGSERVICE")
        return (*named, *self.variables, *(CONTAINER_VARIABLES if self.aws_container else ()))

    @field_validator("template")
    @classmethod
    def _has_a_field(cls, value: str | None) -> str | None:
        if value is not None and _PLACE.search(value) is None:
            raise ValueError("it has no field, so it carries no credential; write one like {password} or {value}")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = sum([self.env is not None, self.file is not None, self.fd is not None, self.aws_container])
        if ways > 1 or (ways == 0 and not self.variables):
            raise ValueError("give one of env, file, fd and aws_container")
        if (self.form or self.template) and (ways == 0 or self.aws_container):
            raise ValueError("form and template are for env, file and fd")
        if self.form is not None and self.template is not None:
            raise ValueError("give either form or template")
        twice = [name for name in self.variables if name in {self.env, self.file}]
        if twice:
            raise ValueError(f"the variable {twice[0]} is there twice; remove one")
        return self


def find_problem(hand_over: HandOver | None, kind: str, bind: str, env: Iterable[str]) -> str | None:
    """Return the problem of a leased credential of a stdio upstream whose own variables are `env`."""
    if hand_over is None:
        return "a stdio upstream has no headers; write how it gets the credential: hand_over: {file: NAME}"
    if kind == "gateway" and bind == "call":
        return "a process gets one credential for its task; write bind: task"
    if hand_over.aws_container and kind != "aws_sts":
        return "hand_over.aws_container carries sessions of AWS alone; use file, env or fd"
    twice = [name for name in env if name in hand_over.names()]
    return f"hand_over sets the variable {twice[0]}, and env does too; remove it from env" if twice else None
