"""The operator's own numbers in the place of the policy's limits on tasks. The policy says which limits there are."""

from __future__ import annotations

from typing import Annotated, Self, TypeAlias

from pydantic import Field, model_validator

from gateway.config.values import Count, Settings, Text


class TaskLimit(Settings):
    """Numbers of one limit of a task. A number that is left out stays as the policy has it."""

    soft: Annotated[Count, Field(ge=0)] | None = Field(default=None, description="Above it a person decides.")
    hard: Annotated[Count, Field(ge=1)] | None = Field(default=None, description="Above it the call is refused.")

    @model_validator(mode="after")
    def _asks_before_it_refuses(self) -> Self:
        if self.soft is None and self.hard is None:
            raise ValueError("it has no number; give soft, hard or both")
        if self.soft is not None and self.hard is not None and self.soft >= self.hard:
            raise ValueError(f"soft {self.soft} is not below hard {self.hard}, so no person could ever be asked")
        return self


TaskLimits: TypeAlias = dict[Text, TaskLimit]
"""Name of a limit → its numbers."""
