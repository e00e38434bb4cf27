"""The labels of tools, as `upstreams.NAME.tools` says them: in `gateway.yaml`, and in the file of labels beside it."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self, cast

import re2
from pydantic import BeforeValidator, Field, JsonValue, StrictFloat, StrictInt, field_validator, model_validator

from gateway.config.values import Settings
from gateway.model.target import Effect, Role, Sensitivity, StatementKind

MAX_CASES: Final = 8
MAX_EFFECT_KEY: Final = 8
_OF_GRANTS: Final = {"under", "host_in"}
_RE2: Final = cast("Any", re2)
"""It has no types."""
_RANK: Final[dict[object, int]] = {
    value: rank for ranked in (Effect, Sensitivity, (False, True)) for rank, value in enumerate(ranked)
}


def _roles(value: dict[str, Role]) -> dict[str, Role]:
    for pointer in value:
        if not pointer.startswith("/"):
            raise ValueError(f"{pointer!r} is not a JSON pointer; write it like /to or /recipients/0")
    return value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class ArgumentTests(Settings):
    """Tests on one argument, as in the conditions of grants. All must hold, and each item of a list must."""

    one_of: tuple[JsonValue, ...] | None = Field(default=None, description="The value is in this list.")
    equals: JsonValue = Field(default=None, description="The value is this one, of the same type.")
    matches: str | None = Field(default=None, description="The expression (RE2) matches the whole text.")
    statement: (
        Annotated[
            tuple[StatementKind, ...],
            BeforeValidator(_as_list, json_schema_input_type=StatementKind | tuple[StatementKind, ...]),
        ]
        | None
    ) = Field(
        default=None,
        min_length=1,
        description="The text is one SQL statement of this kind, without comments, that changes nothing:"
        " `select`, `explain`, `show`, or several of them.",
    )
    min: StrictInt | StrictFloat | None = Field(default=None, description="The number is no smaller.")
    max: StrictInt | StrictFloat | None = Field(default=None, description="The number is no larger.")
    max_items: StrictInt | None = Field(default=None, description="The list is no longer; one value counts as one.")
    present: Literal[True] | None = Field(default=None, description="The argument is there.")
    absent: Literal[True] | None = Field(default=None, description="The argument is not there.")
    optional: bool = Field(default=False, description="Whether a missing argument holds too.")

    @model_validator(mode="before")
    @classmethod
    def _of_grants(cls, value: object) -> object:
        if isinstance(value, dict):
            for name in _OF_GRANTS.intersection(cast("dict[str, Any]", value)):
                raise ValueError(f"labels have no test {name}; write it into the `when` of a grant")
        return cast("object", value)

    @field_validator("matches")
    @classmethod
    def _expression(cls, value: str | None) -> str | None:
        options = _RE2.Options()
        options.log_errors = False
        try:
            _RE2.compile(value or "", options)
        except _RE2.error as error:
            raise ValueError(f"matches is no regular expression of RE2: {error}") from None
        return value

    @model_validator(mode="after")
    def _tests_something(self) -> Self:
        if not self.tests():
            raise ValueError("it tests nothing; write a test such as one_of, matches or statement")
        return self

    def tests(self) -> dict[str, Any]:
        """Return the tests by name."""
        return {name: getattr(self, name) for name in self.model_fields_set - {"optional"}}


class MilderLabels(Settings):
    """Milder labels for the calls whose arguments meet `when`."""

    when: dict[str, ArgumentTests] = Field(min_length=1, description="JSON pointer → tests, as in a grant.")
    arguments: tuple[str, ...] | None = Field(
        default=None, description="The only names of arguments that the call may have; without it, any."
    )
    effect: Effect | None = Field(default=None, description="As for the tool, no stronger.")
    egress: bool | None = Field(default=None, description="As for the tool: false.")
    sensitivity: Sensitivity | None = Field(default=None, description="As for the tool, no higher.")
    sandbox: Literal[True] | None = Field(default=None, description="As for the tool.")
    roles: dict[str, Role] = Field(default_factory=dict, description="Other roles of arguments, such as `content`.")

    _known_pointers = field_validator("roles")(_roles)

    @field_validator("when")
    @classmethod
    def _pointers(cls, value: dict[str, ArgumentTests]) -> dict[str, ArgumentTests]:
        for pointer in value:
            if not pointer.startswith("/") or "/*" in pointer:
                raise ValueError(f"{pointer!r} is not a JSON pointer without *; write it like /sql or /options/0")
        return value


class ConfirmedCalls(Settings):
    """The calls that a reading tool confirms."""

    tool: str = Field(min_length=1, description="The name of a tool of the same upstream with an `effect_key`.")
    argument: str = Field(
        pattern="^/", description="JSON pointer of the argument that both tools have, such as `/order`."
    )


class ToolLabels(Settings):
    """Labels for the tools with names matching a pattern. Later patterns override earlier ones."""

    effect: Effect | None = Field(default=None, description="What it does to the world; without a label: `write`.")
    egress: bool | None = Field(
        default=None, description="Whether data leaves by it; without a label: true, or false for a sandbox."
    )
    sensitivity: Sensitivity | None = Field(
        default=None, description="How sensitive what it touches is; without a label: `internal`."
    )
    roles: dict[str, Role] = Field(default_factory=dict, description="JSON pointer into the arguments → role.")
    sandbox: bool | None = Field(
        default=None,
        description="Whether it runs code or SQL inside of a sandbox of the task, from which nothing leaves: it asks less.",
    )
    cases: tuple[MilderLabels, ...] = Field(
        default=(),
        max_length=MAX_CASES,
        description="Milder labels for some arguments. The first case that holds counts; without one the labels above do.",
    )

    effect_key: tuple[Annotated[str, Field(pattern="^/")], ...] | None = Field(
        default=None,
        max_length=MAX_EFFECT_KEY,
        description="JSON pointers into the arguments. A call with the same values there as an earlier call has the same effect:"
        " it is refused (`effect/repeated`) unless the earlier call failed.",
    )
    confirms: ConfirmedCalls | None = Field(
        default=None, description="The tool whose calls of unknown outcome the answers of this reading tool confirm."
    )

    _known_pointers = field_validator("roles")(_roles)

    @property
    def has_cases(self) -> bool:
        """Return whether `cases` was written: an empty list removes the cases of other patterns."""
        return "cases" in self.model_fields_set

    @model_validator(mode="after")
    def _sends_nothing(self) -> Self:
        if self.sandbox and self.egress:
            raise ValueError("nothing leaves a sandbox; drop sandbox, or write egress: false")
        return self

    @model_validator(mode="after")
    def _is_the_worst(self) -> Self:
        for number, case in enumerate(self.cases):
            for name in ("effect", "egress", "sensitivity"):
                worst, milder = getattr(self, name), getattr(case, name)
                if milder is None:
                    continue
                if worst is None:
                    raise ValueError(
                        f"cases[{number}] has {name}, which the tool lacks: say the worst of it beside cases"
                    )
                if _RANK[milder] > _RANK[worst]:
                    raise ValueError(
                        f"cases[{number}].{name} is {str(milder).lower()}, above {str(worst).lower()}: a case is milder than the"
                        " tool, so that an argument that nobody can read counts as the worst"
                    )
        return self


class UpstreamLabels(Settings):
    """The part of a labels file for one upstream."""

    tools: dict[str, ToolLabels] = Field(default_factory=dict, description="Tool name pattern → labels.")


class LabelsFile(Settings):
    """The whole of a labels file. Its patterns stand before those of the same upstream in `gateway.yaml`."""

    format: Literal[1] = Field(description="The format of the file: 1.")
    upstreams: dict[str, UpstreamLabels] = Field(
        default_factory=dict[str, UpstreamLabels], description="Name of an upstream → the labels of its tools."
    )
