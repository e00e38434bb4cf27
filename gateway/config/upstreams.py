"""The sections `upstreams` and `catalogue` of `gateway.yaml`: the servers behind, and the pins of their definitions."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from gateway.config.authority import LeasedCredential
from gateway.config.credentials import HeaderCredential, NoCredential, UpstreamCredential, find_problem_of_carrier
from gateway.config.isolation import DEFAULT, FileAccess, Isolation, Port, ProcessLimits
from gateway.config.labels import ToolLabels
from gateway.config.values import AddedHeader, Duration, FilePath, PlainText, Secret, Settings, Text, VariableName
from gateway.model.target import CredentialKind, Sensitivity


class Upstream(Settings):
    """One MCP server: `url` for streamable HTTP, or `command` for stdio."""

    url: Text | None = Field(default=None, description="The server's MCP endpoint.")
    command: tuple[Text, ...] | None = Field(default=None, description="Program and arguments, run without a shell.")
    env: dict[VariableName, Secret] = Field(
        default_factory=dict,
        description="Secrets in the environment of the child, which is a minimal one without these.",
    )
    variables: dict[VariableName, PlainText] = Field(
        default_factory=dict,
        description="Further variables of the child, which are no secrets: their values stand here.",
    )
    cwd: FilePath | None = Field(
        default=None, description="Working directory of the child. A sandboxed one may read it."
    )
    isolation: Isolation = Field(
        default=DEFAULT,
        description="What keeps the child apart from the gateway: `sandbox`, `{kind: account, user: NAME}`, or"
        " `{kind: none, accepted_by: NAME, until: DATE}`. See docs/isolation.md.",
    )
    files: FileAccess = Field(default=FileAccess(), description="Files of a sandboxed child, beside its program.")
    network: bool | tuple[Port, ...] = Field(
        default=False,
        description="Whether a sandboxed child reaches the network: `true`, or the TCP ports to which it may connect.",
    )
    process_limits: ProcessLimits = Field(default=ProcessLimits(), description="How much memory, how many processes.")
    ca: FilePath | None = Field(default=None, description="Certificate authorities to trust for `https`.")
    audience: Text = Field(description="The system that is reached; the unit in which fan-out is counted.")
    trust: Literal["trusted", "untrusted"] = Field(
        default="untrusted", description="`trusted`: what comes from it was written by your own people."
    )
    aggregates: tuple[Text, ...] | None = Field(
        default=None,
        description="The audiences that it passes calls on to, if it does: they count as reached too. An empty list says"
        " that nobody knows which.",
    )
    agent: bool = Field(
        default=False,
        description="Whether an agent answers, and not a plain system: it counts as one more step of delegation, and its answers are"
        " untrusted.",
    )
    aliases: tuple[Annotated[Text, Field(min_length=3)], ...] = Field(
        default=(),
        description="What people call the system, such as `ticket system`. A goal with one of these words, or with the name or"
        " the audience of the upstream, names it.",
    )
    tenant: Text | None = Field(default=None, description="Whose data it holds.")
    environment: Text | None = Field(
        default=None, description="Such as production; without it, policy assumes the worst."
    )
    credential: UpstreamCredential = Field(
        default=NoCredential(), description="What the gateway shows to an upstream, or hands over to its process."
    )
    headers: tuple[AddedHeader, ...] = Field(
        default=(),
        description="Headers of callers that go on, beside those of MCP and of tracing. Policy, people and the record see them."
        " Names of credentials are refused.",
    )
    additional_arguments: Literal["refuse", "pass"] = Field(
        default="refuse",
        description="Arguments that a tool's schema neither names nor allows by `additionalProperties`; `pass` also lets"
        " tools be used whose schema cannot be.",
    )
    tools: dict[str, ToolLabels] = Field(default_factory=dict, description="Tool name pattern → labels.")
    enforce: bool | None = Field(
        default=None, description="`false`: observe mode for this upstream; by default as for the gateway."
    )
    observe_until: AwareDatetime | None = Field(
        default=None, description="The end of its observe mode, in RFC 3339; by default that of the gateway."
    )
    pinned_resources: tuple[Text, ...] = Field(
        default=("skill://*",),
        description="URI patterns of resources that instruct the model, such as skills: their contents are pinned as tools are.",
    )
    resources: dict[str, Sensitivity] = Field(
        default_factory=dict, description="URI pattern → sensitivity; without one that of the tools that read."
    )

    @property
    def credential_kind(self) -> CredentialKind | None:
        """Return the kind of the upstream's credential, by its name in policy."""
        kind = self.credential.kind
        return None if kind == "none" else "standing" if kind == "header" else kind

    @property
    def own_variables(self) -> dict[str, str]:
        """Return the variables that the configuration gives the child."""
        return {**self.variables, **{name: value.get_secret_value() for name, value in self.env.items()}}

    @model_validator(mode="after")
    def _one_transport(self) -> Self:
        if (self.url is None) == (self.command is None):
            raise ValueError("give either url (streamable HTTP) or command (stdio)")
        if self.command is not None and not self.command:
            raise ValueError("command is empty; its first item is the program")
        if self.url is not None and not re.match(r"https?://", self.url):
            raise ValueError("url is not an http or https URL")
        return self

    @model_validator(mode="after")
    def _one_carrier(self) -> Self:
        if twice := sorted(self.env.keys() & self.variables.keys()):
            raise ValueError(f"{twice[0]} stands in env and in variables; remove one of the two")
        named = (*self.env, *self.variables)
        problem = find_problem_of_carrier(self.credential, named, is_command=self.command is not None)
        if problem is not None:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _headers_of_callers(self) -> Self:
        if self.headers and self.command is not None:
            raise ValueError("a stdio upstream has no headers; remove headers")
        own = self.credential.name.lower() if isinstance(self.credential, HeaderCredential) else None
        if own in self.headers:
            raise ValueError(f"headers names {own}, which carries the upstream's credential; remove it from headers")
        return self

    @model_validator(mode="after")
    def _isolation_of_command(self) -> Self:
        named = sorted(self.model_fields_set & {"isolation", "files", "network", "process_limits"})
        if self.command is None and named:
            raise ValueError(f"{named[0]} is for a command (stdio); remove it, or give command in the place of url")
        beyond = sorted(self.model_fields_set & {"files", "network"})
        if self.isolation.kind != "sandbox" and beyond:
            raise ValueError(f"{beyond[0]} is for isolation: sandbox; {self.isolation.kind} limits neither")
        return self

    @model_validator(mode="after")
    def _hand_over_into_isolation(self) -> Self:
        hand_over = self.credential.hand_over if isinstance(self.credential, LeasedCredential) else None
        if hand_over is None:
            return self
        if hand_over.aws_container and self.isolation.kind == "sandbox" and self.network is not True:
            raise ValueError(
                "hand_over.aws_container is asked over loopback, and AWS over the network; write network: true"
            )
        if hand_over.file is not None and self.isolation.kind == "account":
            raise ValueError(
                "hand_over.file is private to the gateway's account; use env or fd with isolation: account"
            )
        return self

    @model_validator(mode="after")
    def _distrusts_an_agent(self) -> Self:
        if self.agent and self.trust == "trusted":
            raise ValueError("an agent may answer with a stranger's text; leave trust out, or agent")
        return self

    @model_validator(mode="after")
    def _others_behind(self) -> Self:
        if self.aggregates and set(self.aggregates) == {self.audience}:
            raise ValueError(
                "aggregates names only the upstream's own audience; name those behind it, or give [] if nobody knows"
            )
        return self


class CatalogueSettings(Settings):
    """The tools of the upstreams, the instructions of the upstreams, and the pins of both."""

    lock: FilePath = Field(default=Path("catalogue.lock"), description="What is pinned; commit it.")
    trust: Literal["first_use", "locked"] = Field(
        default="first_use", description="`locked`: what is not in the lock file cannot be used, or is not shown."
    )
    refresh: Duration = Field(default=timedelta(minutes=5), description="How often upstreams are listed anew.")
