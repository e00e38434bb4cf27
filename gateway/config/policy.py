"""The section `policy` of `gateway.yaml`: the policy that decides, and its engine."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from gateway.config.history import TaskLimits
from gateway.config.values import Duration, FilePath, PlanKey, Secret, Settings, Text, hostname, is_local_http


class EmbeddedEngine(Settings):
    """Rego evaluated inside the gateway, in its compiled form."""

    kind: Literal["embedded"] = "embedded"
    deadline: Duration = Field(
        default=timedelta(milliseconds=250), description="Processor time of one decision; a longer one is refused."
    )


class OpaEngine(Settings):
    """A real Open Policy Agent, asked over a Unix socket or TLS."""

    kind: Literal["opa"]
    url: Text = Field(description="`unix:///run/opa.sock`, `https://…`, or `http://` on loopback.")
    deadline: Duration = Field(default=timedelta(milliseconds=250), description="For the whole question.")
    token: Secret | None = Field(default=None, description="Bearer token, if OPA asks for one.")
    ca: FilePath | None = Field(default=None, description="Certificate authorities to trust for `https`.")
    evaluate: Literal["there", "here"] = Field(
        default="there",
        description="Where the policy is evaluated: in OPA, or `here`, by the plan in the signed bundle that OPA keeps.",
    )
    bundle: FilePath | None = Field(
        default=None,
        description="With `here`: the file in which OPA keeps its bundle (`persist: true`), such as"
        " `/var/lib/opa/bundles/main/bundle.tar.gz`. It has a plan (`opa build -t plan`) and a signature.",
    )
    bundle_key: FilePath | None = Field(
        default=None,
        description="With `here`: the public key in PEM that verifies the bundle: RSA, elliptic curve or Ed25519.",
    )
    check_every: int = Field(
        default=100, ge=1, le=1_000_000, description="With `here`: every nth decision is put to OPA as well."
    )
    on_difference: Literal["ask", "refuse", "log"] = Field(
        default="ask",
        description="With `here`: what decides after a difference, until another bundle comes. OPA decides each call (`ask`),"
        " every call is refused (`refuse`), or the plan goes on (`log`). The stricter answer holds for the call that differed.",
    )

    @field_validator("url")
    @classmethod
    def _confidential(cls, value: str) -> str:
        if value.startswith("unix:///") or (value.startswith("https://") and hostname(value)):
            return value
        if is_local_http(value):
            return value
        raise ValueError(
            "it would carry decisions over an open network; write unix:///…, https://…, or http:// on loopback"
        )

    @model_validator(mode="after")
    def _has_bundle(self) -> Self:
        if self.evaluate == "here" and (self.bundle is None or self.bundle_key is None):
            raise ValueError(
                "`evaluate: here` needs `bundle` and `bundle_key`; name the file of the bundle and the key that signs"
            )
        if self.evaluate == "there" and (self.bundle is not None or self.bundle_key is not None):
            raise ValueError("`bundle` and `bundle_key` are for `evaluate: here`; add it, or leave them out")
        return self


def _engine(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


class AgentMatch(Settings):
    """Callers of one class. A pattern has at most one `*`, for any text."""

    issuer: Text = Field(default="*", description="Pattern of the issuer of the caller's identity.")
    id: Text = Field(default="*", description="Pattern of the id of the agent, such as `spiffe://corp/agent/*`.")


class AgentClass(Settings):
    """The class of some agents: docs/policy/classes.md."""

    match: AgentMatch = Field(description="The agents.")
    name: Literal["retrieval", "operator", "privileged"] = Field(alias="class", description="Their class.")


_LOOKS: Final = 3
"""A changed policy is noticed at one look, loaded at the next, and must be in force before the one after."""


class PolicySettings(Settings):
    """The policy that decides, and its engine."""

    engine: Annotated[
        EmbeddedEngine | OpaEngine,
        Field(discriminator="kind"),
        BeforeValidator(_engine, json_schema_input_type=Literal["embedded"] | EmbeddedEngine | OpaEngine),
    ] = Field(default=EmbeddedEngine(), description="`embedded`, or a real OPA.")
    path: FilePath | None = Field(
        default=None,
        description="The policy folder; by default the one that ships with opagate. With an OPA: the folder that OPA is to"
        " hold.",
    )
    grants: FilePath | None = Field(
        default=None,
        description="A YAML file of grants, or a folder of such files, in place of the folder's `gateway/grants/data.yaml`."
        " `opagate policy push` brings them to an OPA.",
    )
    overlay: FilePath | None = Field(
        default=None,
        description="A folder of own rules, beside the policy; `opagate policy init` writes one, `opagate policy push` brings it to"
        " an OPA.",
    )
    shadow: FilePath | None = Field(
        default=None,
        description="A folder of own rules, or a whole policy, that decides each call too, and counts for nothing. The journal"
        " has the differences, and `opagate policy diff --since 24h` sums them up.",
    )
    classes: tuple[AgentClass, ...] = Field(
        default=(),
        description="Classes of agents, in place of the list in the policy. The first entry that fits a caller counts, and a"
        " caller that none fits is `retrieval`: docs/policy/classes.md.",
    )
    plan_keys: tuple[PlanKey, ...] = Field(
        default=(),
        description="Ed25519 public keys, each as `opagate policy build --sign KEY` prints it. A compiled form beside a"
        " folder counts with a signature of one of them. Without one, the OPA program on this machine compiles own rules.",
    )
    require_tests: bool = Field(
        default=True,
        description="Whether the tests of a folder of your own, or of an overlay, must pass before it is put into force. For a"
        " signed compiled form, `opagate policy build` ran them.",
    )
    reload: Duration = Field(default=timedelta(seconds=2), description="How often the files are looked at.")
    stale_after: Duration | None = Field(
        default=None,
        description="Refuse every call when a newer policy has been kept out for longer, or nobody could tell whether there"
        " is one; without it, never. An OPA has to say how old its bundles are: docs/operations/policy.md.",
    )

    _limits: TaskLimits = PrivateAttr(default_factory=dict)

    @property
    def limits(self) -> TaskLimits:
        """Return the numbers of `limits.task`, `limits.user` and `limits.agent`, which are data of the policy."""
        return self._limits

    def with_limits(self, limits: TaskLimits) -> Self:
        """Return these settings for a policy with other limits."""
        settings = self.model_copy()
        settings._limits = limits  # noqa: SLF001 - of this very class
        return settings

    @property
    def has_files(self) -> bool:
        """Return whether files of the policy are here: always, unless an OPA may hold any policy."""
        return self.engine.kind == "embedded" or any((self.path, self.grants, self.overlay, self.classes, self._limits))

    @model_validator(mode="after")
    def _has_one_policy(self) -> Self:
        if (
            self.engine.kind == "opa"
            and self.engine.evaluate == "here"
            and any((self.path, self.grants, self.overlay, self.classes))
        ):
            raise ValueError(
                "with `evaluate: here` the bundle is the whole policy; leave path, grants, overlay and classes out"
            )
        return self

    @model_validator(mode="after")
    def _outlasts_looks(self) -> Self:
        if self.stale_after is not None and self.stale_after < _LOOKS * self.reload:
            raise ValueError(
                f"stale_after is shorter than {_LOOKS} times reload, so every change would count as stale; lengthen"
                " stale_after, or shorten reload"
            )
        return self
