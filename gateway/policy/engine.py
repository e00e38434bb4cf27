"""The Rego engine as used here: regorus has no types, and takes memory settings from the environment."""

from __future__ import annotations

import os
from typing import Literal, Protocol, TypeAlias, cast

# It would take its memory in huge pages, of which a policy fills the smaller part: 12 MB for 5. Read when it is loaded.
os.environ.setdefault("MIMALLOC_ARENA_EAGER_COMMIT", "0")


EvaluatorName: TypeAlias = Literal["plan", "regorus", "opa"]
"""What evaluates the rules: a compiled form, the embedded engine, or an OPA."""


class Engine(Protocol):
    """The part of `regorus.Engine` that is used."""

    def add_policy(self, path: str, rego: str) -> object: ...
    def add_data_json(self, data: str) -> None: ...
    def set_input_json(self, input: str) -> None: ...  # noqa: A002 - the engine's name for it
    def eval_rule_as_json(self, rule: str) -> str: ...
    def get_ast_as_json(self) -> str: ...
    def get_packages(self) -> list[str]: ...
    def clone(self) -> Engine: ...


def new() -> Engine:
    # A gateway with a compiled policy needs no engine, and saves its 4 MB.
    import regorus  # noqa: PLC0415 - it takes 4 MB, and a compiled policy needs none

    return cast("Engine", regorus.Engine())  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue] - untyped


def is_failure(error: BaseException) -> bool:
    """Return whether an exception is the engine's own. A panic is one too, and no `Exception`."""
    return isinstance(error, RuntimeError | ValueError | TypeError) or type(error).__name__ == "PanicException"
