"""The operator's own numbers in the place of the policy's limits on tasks. The policy says which limits there are."""

from __future__ import annotations

from typing import Self, TypeAlias

from pydantic import Field, StrictInt, model_validator

from gateway.config.values import Settings, Text


class TaskLimit(Settings):
    """Numbers of one limit of a task. Without a number here, the number of the policy stays."""

    soft: StrictInt | None = Field(default=None, ge=0, description="Above it a person decides.")
    hard: StrictInt | None = Field(default=None, ge=1, description="Above it the call is refused.")

    @model_validator(mode="after")
    def _asks_before_it_refuses(self) -> Self:
        if self.soft is None and self.hard is None:
            raise ValueError("it has no number; give soft, hard or both")
        if self.soft is not None and self.hard is not None and self.soft >= self.hard:
            raise ValueError(f"soft {self.soft} is not below hard {self.hard}, so no person could ever be asked")
        return self


TaskLimits: TypeAlias = dict[Text, TaskLimit]
"""Name of a limit → its numbers."""
