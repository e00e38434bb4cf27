"""The settings of `inspection`: formats of credentials, and false alarms."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Self

from pydantic import Field, model_validator

from gateway.config.values import FilePath, Settings, Text


class SuppressionSettings(Settings):
    """A reviewed false alarm, for one upstream and until a date."""

    upstream: Text = Field(description="The name of the upstream, or a pattern of names.")
    tool: Text | None = Field(default=None, description="A tool's name, a prompt's, or a resource's URI, or a pattern.")
    detector: Text | None = Field(
        default=None, description="What found it, such as `github-pat` or `named-password`, or a pattern."
    )
    pointer: Text | None = Field(
        default=None, description="JSON pointer into the arguments; results are then looked at as ever."
    )
    until: date = Field(description="The last day on which it holds, in UTC.")
    reason: Text = Field(description="Why it is no credential, for whoever comes after you.")

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if self.tool is None and self.detector is None and self.pointer is None:
            raise ValueError("it would cover everything of the upstream; give a detector, a pointer or a tool")
        if self.pointer is not None and not self.pointer.startswith("/"):
            raise ValueError("pointer is not a JSON pointer; write it like /body or /items/0")
        return self

    @property
    def ends(self) -> float:
        """Seconds since the epoch."""
        return datetime.combine(self.until + timedelta(days=1), time(), UTC).timestamp()


class InspectionSettings(Settings):
    """Settings for the inspection of calls and results."""

    rules: tuple[FilePath, ...] = Field(
        default=(), description="Files of credential formats, in gitleaks' TOML format, beside the rules that ship."
    )
    suppressions: tuple[SuppressionSettings, ...] = Field(
        default=(), description="What is taken for no credential although it looks like one."
    )
