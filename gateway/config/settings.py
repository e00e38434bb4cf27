"""The settings of a gateway: one model for each section of `gateway.yaml`, with what its settings mean."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self, cast

from pydantic import AwareDatetime, Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from gateway.config.approvals import ApprovalSettings
from gateway.config.authority import AuthoritySettings, GatewayCredential
from gateway.config.brokers import Broker, BrokerCredential, BrokerName, describe_credential, find_problem
from gateway.config.connections import ConnectionSettings, find_login_problem
from gateway.config.console import ConsoleSettings
from gateway.config.credentials import NoCredential
from gateway.config.history import (
    DirectorySettings,
    HistorySettings,
    JournalSettings,
    StoreSettings,
    TaskLimit,
    TaskLimits,
)
from gateway.config.identities import Identity, OperatorSettings, PeopleIdentity, find_sign_in_problem
from gateway.config.inspection import InspectionSettings
from gateway.config.observing import find_ends, find_problem_of_ends
from gateway.config.own_files import KeySettings, OwnFiles, find_nested, find_overlap, find_own_files
from gateway.config.policy import PolicySettings
from gateway.config.signals import Signals
from gateway.config.upstreams import CatalogueSettings, Upstream
from gateway.config.values import (
    Count,
    Delay,
    Duration,
    FilePath,
    Host,
    Origin,
    PublicUrl,
    Settings,
    Size,
    Text,
    hostname,
    is_loopback,
)
from gateway.model.target import SHORTEST_LIFE, TargetCredential

if TYPE_CHECKING:
    from collections.abc import Mapping


class TlsSettings(Settings):
    """HTTPS. Without it the gateway serves plain HTTP, for loopback or behind a proxy that ends TLS."""

    certificate: FilePath = Field(description="The certificate chain, PEM.")
    key: FilePath = Field(description="Its private key, PEM.")
    client_ca: FilePath | None = Field(default=None, description="Ask clients for certificates of these authorities.")


_EVERY_ADDRESS: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - to tell these from addresses that people can open
_DRAIN_DELAY: Final = timedelta(seconds=5)
"""How long Kubernetes and usual balancers go on to send to a gateway that stops."""


class Limits(Settings):
    """Bounds on sizes, numbers and times."""

    request_bytes: Size = Field(default=4 * 2**20, description="A larger request is refused with 413.")
    request_head: Duration = Field(
        default=timedelta(seconds=20),
        description="For a request's head, from the connection on, or from the first byte after an answer; then: 408.",
    )
    connections: Count = Field(
        default=2000,
        gt=0,
        description="Open connections of one client address (of one /64 of IPv6); more are closed. A proxy is one client.",
    )
    connect: Duration = Field(default=timedelta(seconds=5), description="For reaching an upstream.")
    first_byte: Duration = Field(default=timedelta(seconds=60), description="For an upstream's first byte.")
    idle_answer: Duration = Field(
        default=timedelta(minutes=10),
        description="For the next byte of an upstream's answer that has begun. None for a stream that waits for news,"
        " or once the server has asked its client for something.",
    )
    in_flight: Count = Field(default=1000, gt=0, description="Requests at once, without `streams`; beyond it: 503.")
    in_flight_per_caller: Count = Field(default=250, gt=0, description="The same for one caller; beyond it: 429.")
    streams: Count = Field(
        default=1000, gt=0, description="Open streams that wait for news (GET, `subscriptions/listen`); beyond it: 503."
    )
    streams_per_caller: Count = Field(default=250, gt=0, description="The same for one caller; beyond it: 429.")
    keep_alive: Duration = Field(default=timedelta(seconds=15), description="Comment on an idle event stream.")
    drain_delay: Delay | None = Field(
        default=None,
        description="After SIGTERM: serve on, with `/readyz` at 503, so that a balancer sends callers elsewhere before"
        " the gateway listens no more. If left out: none where only this machine reaches the gateway, else 5s.",
    )
    drain: Duration = Field(default=timedelta(seconds=30), description="For open calls after that.")
    task: TaskLimits = Field(
        default_factory=dict[str, TaskLimit],
        description="Numbers in the place of the policy's limits on one task, by the name of the limit:"
        " docs/policy/history.md#limits.",
    )
    user: TaskLimits = Field(
        default_factory=dict[str, TaskLimit],
        description="The same for the limits on one user, over all tasks and agents: docs/policy/limits.md#over-tasks.",
    )
    agent: TaskLimits = Field(
        default_factory=dict[str, TaskLimit],
        description="The same for the limits on one agent without a user, over all tasks.",
    )

    @property
    def of_policy(self) -> TaskLimits:
        """Return the limits that are data of the policy, by name. Limits over tasks have their owner before the name."""
        over_tasks = {"user": self.user, "agent": self.agent}
        more = {f"{owner}.{name}": limit for owner, limits in over_tasks.items() for name, limit in limits.items()}
        return self.task | more


class Telemetry(Settings):
    """Logs and traces. Metrics are at `/metrics`."""

    log: Literal["auto", "console", "json"] = Field(
        default="auto",
        description="The form of the log on standard error; `auto`: `console` on a terminal, else `json`.",
    )
    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="What is logged from on.")
    otlp: Text | None = Field(default=None, description="OTLP/HTTP endpoint for traces; off without it.")


class ToolSearchSettings(Settings):
    """The search among the tools of a caller at `/mcp`."""

    above: int = Field(
        default=100,
        ge=1,
        description="A caller who may see more tools than this gets a list with the search and the pinned tools.",
    )
    pinned: tuple[Text, ...] = Field(
        default=(), description="Patterns of `upstream/tool` that stay in the list, such as `crm/close_*`."
    )


class Configuration(Settings):
    """The whole of `gateway.yaml`."""

    listen: Text = Field(default="127.0.0.1:8080", description="host:port.")
    public_url: PublicUrl | None = Field(
        default=None, description="How callers reach it; by default `http://<listen>`."
    )
    allowed_hosts: tuple[Host, ...] = Field(default=(), description="Further accepted `Host` values.")
    allowed_origins: tuple[Origin, ...] = Field(default=(), description="Further accepted `Origin` values.")
    tls: TlsSettings | None = Field(default=None, description="HTTPS.")
    state: FilePath = Field(default=Path("state"), description="Folder for the gateway's own keys.")
    store: StoreSettings | None = Field(
        default=None, description="A database for the durable records. Without it, a file in the state folder has them."
    )
    socket: FilePath | None = Field(
        default=None,
        description="Unix socket for people with an account on this machine, and for their commands; by default"
        " `<state>/control.sock`.",
    )
    keys: KeySettings = Field(default=KeySettings(), description="The gateway's keys, each for one purpose.")
    identity: tuple[Identity, ...] = Field(
        default=(), description="Who may call: whoever one of these identifies. Without any, nobody."
    )
    policy: PolicySettings = Field(default=PolicySettings(), description="What decides.")
    enforce: bool = Field(
        default=True,
        description="`false`: observe mode. Calls that policy would refuse pass, and the record says so:"
        " docs/policy/observing.md.",
    )
    observe_until: AwareDatetime | None = Field(
        default=None,
        description="The end of observe mode, such as `2026-12-15T00:00:00Z`; required where others than this machine call.",
    )
    upstreams: dict[str, Upstream] = Field(
        default_factory=dict, description="Name → MCP server, served at `/mcp/<name>`, and with all others at `/mcp`."
    )
    tool_search: ToolSearchSettings | None = Field(
        default=ToolSearchSettings(),
        description="How many tools `/mcp` lists at once: docs/one-endpoint.md#many-tools. `null`: all of them.",
    )
    labels: FilePath | None = Field(
        default=None,
        description="A file with labels of the upstreams' tools, beside those here: docs/policy/labels.md#a-file-of-labels.",
    )
    client_file: FilePath | None = Field(
        default=None,
        description="A client's list of MCP servers. `${NAME}` of an upstream that stands there alike has its value there,"
        " before the environment: `opagate up --from` writes this setting.",
    )
    brokers: dict[BrokerName, Broker] = Field(
        default_factory=dict[str, Broker], description="Name → an issuer of credentials for upstreams."
    )
    catalogue: CatalogueSettings = Field(default=CatalogueSettings(), description="The tools and their pins.")
    inspection: InspectionSettings = Field(
        default=InspectionSettings(), description="What is looked for in calls and results."
    )
    directory: DirectorySettings = Field(default=DirectorySettings(), description="Whom and what the operator knows.")
    history: HistorySettings = Field(default=HistorySettings(), description="What tasks have done.")
    journal: JournalSettings = Field(default=JournalSettings(), description="The record.")
    approvals: ApprovalSettings | None = Field(
        default=None,
        description="People who approve calls. Without it, the gateway's own account does where development tokens are taken"
        " from this machine alone. Elsewhere, and with `null`, such calls are refused.",
    )
    operators: OperatorSettings = Field(
        default=OperatorSettings(),
        description="The people who operate the gateway: accounts on this machine, and persons with a token.",
    )
    authority: AuthoritySettings = Field(
        default=AuthoritySettings(), description="The credentials that the gateway lends to calls."
    )
    console: ConsoleSettings | None = Field(
        default=None, description="The pages at `/console` for the people who answer for the gateway. Without it, none."
    )
    connections: ConnectionSettings | None = Field(
        default=None, description="Users' own connections, for brokers of kind `user_oauth`."
    )
    signals: Signals = Field(default=(), description="Identity providers that tell of ended sessions and grown risk.")
    limits: Limits = Field(default=Limits(), description="How much, how many, how long.")
    errors: Literal["result", "protocol"] = Field(
        default="result", description="How a refused tool call is answered: as a tool result, or as a JSON-RPC error."
    )
    telemetry: Telemetry = Field(default=Telemetry(), description="Logs and traces.")
    core: Literal["auto", "python", "native"] = Field(
        default="auto", description="`native`: functions in Rust, from `make core`; `auto`: these where installed."
    )

    _source: Path | None = PrivateAttr(default=None)

    @property
    def own_files(self) -> OwnFiles:
        """Return the files that no stdio server may read or write."""
        return find_own_files(self, self._source, (upstream.files for upstream in self.upstreams.values()))

    @property
    def source(self) -> Path | None:
        """Return the file of the configuration, `None` for a text."""
        return self._source

    def with_changes(self, **sections: object) -> Self:
        """Return the configuration with other sections. Raises `ValidationError` for sections that contradict each other."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        context = {"base": Path(), "secrets": True, "source": self._source}
        return self.model_validate({**fields, **sections}, context=context)

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def base_url(self) -> str:
        """The public address, without a slash at its end."""
        scheme = "https" if self.tls else "http"
        return (self.public_url or f"{scheme}://{self.listen}").rstrip("/")

    @property
    def decisions_url(self) -> str | None:
        """The address of the console's decisions; `None` without a console, or if only the listening on all addresses is known."""
        has_address = self.public_url is not None or self.host not in _EVERY_ADDRESS
        return f"{self.base_url}/console/decisions" if self.console is not None and has_address else None

    @property
    def observed(self) -> dict[str, float]:
        """Return the end of observe mode for each upstream that has it: in seconds since the epoch, or infinite."""
        return find_ends(self)

    @property
    def is_local(self) -> bool:
        """Return whether only this machine reaches the gateway."""
        return self.loopback and is_loopback(hostname(self.base_url))

    @property
    def drain_delay(self) -> timedelta:
        """Return how long the gateway serves on after SIGTERM. A balancer goes on to send for some seconds."""
        if self.limits.drain_delay is not None:
            return self.limits.drain_delay
        return timedelta(0) if self.is_local else _DRAIN_DELAY

    @property
    def is_development(self) -> bool:
        """Return whether the gateway signs tokens for trying things out. Its own account has authority in development alone."""
        return any(identity.kind == "development" for identity in self.identity)

    @property
    def people_over_http(self) -> tuple[PeopleIdentity, ...]:
        """Return the people with a role who prove themselves by a token."""
        approvers = None if self.approvals is None else self.approvals.people
        return tuple(found for found in (approvers, self.operators.people) if found is not None)

    @property
    def control_socket(self) -> Path:
        """Return the path of the socket for people with an account on this machine."""
        return self.socket or self.state / "control.sock"

    @field_validator("listen")
    @classmethod
    def _address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
            raise ValueError("it is not an address; write it like 127.0.0.1:8080")
        return value

    @field_validator("upstreams")
    @classmethod
    def _upstream_names(cls, value: dict[str, Upstream]) -> dict[str, Upstream]:
        for name in value:
            if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", name) is None:
                raise ValueError(f"{name!r} is not an upstream name; use lower-case letters, digits, - and _")
            if "__" in name or name.endswith("_"):
                # At `/mcp` two such signs stand between the names of an upstream and of its tool.
                raise ValueError(f"{name!r} is not an upstream name; use no __ in it, and no _ at its end")
        return value

    @model_validator(mode="after")
    def _approvals_of_own_account(self) -> Self:
        """Ask the gateway's own account where it may answer. A missing section never refuses a call there."""
        if "approvals" not in self.model_fields_set and self.is_development and self.is_local:
            object.__setattr__(self, "approvals", ApprovalSettings())
        return self

    @model_validator(mode="after")
    def _limits_of_policy(self) -> Self:
        """Copy the limits of tasks, users and agents into the data of the policy."""
        if self.limits.of_policy:
            object.__setattr__(self, "policy", self.policy.with_limits(self.limits.of_policy))
        return self

    @model_validator(mode="after")
    def _audiences_of_upstreams(self) -> Self:
        known = {upstream.audience for upstream in self.upstreams.values()}
        for client in self.authority.introspection.clients:
            for audience in client.audiences:
                if audience not in known:
                    raise ValueError(
                        f"authority.introspection: client {client.id!r} asks for the audience {audience!r}, and no upstream"
                        " has it; correct it"
                    )
        return self

    def credential_of(self, upstream: str) -> TargetCredential | None:
        """Return the policy's description of the credential of an upstream. Raises `KeyError` for an unknown upstream."""
        credential = self.upstreams[upstream].credential
        if isinstance(credential, BrokerCredential):
            return describe_credential(credential, self.brokers)
        if isinstance(credential, GatewayCredential):
            return TargetCredential("gateway", "at_once", SHORTEST_LIFE)
        return None if isinstance(credential, NoCredential) else TargetCredential("standing", "never")

    @model_validator(mode="after")
    def _known_brokers(self) -> Self:
        problem = find_problem(self.brokers, {name: upstream.credential for name, upstream in self.upstreams.items()})
        problem = problem or find_login_problem(self.brokers, self.connections, self.identity, self.base_url)
        if problem is not None:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _files_of_servers(self, info: ValidationInfo) -> Self:
        context = cast("Mapping[str, Path | None] | None", info.context)
        self._source = None if context is None else context.get("source")
        own = self.own_files
        access = {name: upstream.files for name, upstream in self.upstreams.items()}
        problem = find_nested(access)
        for name, files in access.items():
            problem = problem or find_overlap(name, files, own)
        if problem is not None:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _accounts_of_servers(self) -> Self:
        users: dict[str, str] = {}
        for name, upstream in self.upstreams.items():
            if upstream.isolation.kind == "account":
                other = users.setdefault(upstream.isolation.user, name)
                if other != name:
                    raise ValueError(
                        f"upstreams.{name}.isolation: upstream {other} runs as {upstream.isolation.user} too, so each could"
                        " read and stop the other; give each an account of its own"
                    )
        return self

    @model_validator(mode="after")
    def _loopback_kinds(self) -> Self:
        for identity in self.identity:
            if identity.kind == "anonymous" or (identity.kind == "development" and identity.reach == "loopback"):
                self._only_here(identity.kind)
            if identity.kind == "spiffe" and identity.x509 and (self.tls is None or self.tls.client_ca is None):
                raise ValueError(
                    "identity kind 'spiffe' with x509 needs tls.client_ca to ask clients for certificates;"
                    " name a PEM file of the trust domain's authorities there"
                )
        return self

    @model_validator(mode="after")
    def _sign_in(self) -> Self:
        if (problem := find_sign_in_problem(self.identity, self.base_url)) is not None:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _end_of_observing(self) -> Self:
        if (problem := find_problem_of_ends(self)) is not None:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _login_of_console(self) -> Self:
        if self.console is None:
            return self
        if self.console.login is None and not self.is_local:
            raise ValueError(
                "the console can be reached from other machines, and has no login; configure console.login, or remove console"
            )
        if not self.is_local and not self.base_url.startswith("https://"):
            raise ValueError(
                "the console's logins would cross an open network; serve it over https: set tls, or an https public_url"
            )
        return self

    def _only_here(self, kind: str) -> None:
        """Callers from elsewhere by a proxy on this machine look like callers from this machine."""
        for setting, value, host in (
            ("listen", self.listen, self.host),
            ("public_url", self.public_url, hostname(self.public_url or "http://localhost")),
        ):
            if not is_loopback(host):
                raise ValueError(
                    f"identity kind {kind!r} is for loopback only, and {setting} is {value!r};"
                    f" configure a jwt or spiffe identity, or leave {setting} at its default"
                    + ("; in a container, write `from: private`" if kind == "development" else "")
                )
