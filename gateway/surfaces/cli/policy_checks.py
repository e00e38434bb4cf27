"""Findings about the policy: grants narrower than their author may think, the compiled form, and problems of data."""

from __future__ import annotations

import difflib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from gateway.authority.approvals.passkey import find_passkey_problem
from gateway.calls.pipeline.context import SUPPORTED_OBLIGATIONS
from gateway.policy.document import timestamp
from gateway.policy.folder import folders
from gateway.policy.folder.data_files import DATA_FILES, DataFile
from gateway.policy.folder.folders import PolicyFolders
from gateway.policy.plan import loading, store
from gateway.policy.plan.loading import Plans
from gateway.policy.plan.program import CompiledPolicy
from gateway.policy.plan.store import PlanTrust
from gateway.policy.trials.comparison import PolicyFiles, start_policy
from gateway.surfaces.cli.people_checks import ApprovalFinding
from gateway.surfaces.cli.terminal import describe_revision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config import Configuration, PolicySettings


Grants = Mapping[str, Sequence[Mapping[str, Any]]]
"""Name of an upstream, or `*`, → its grants."""


class Warned(NamedTuple):
    """A warning: the finding, and the remedy."""

    found: str
    remedy: str


def read_grants(data: str) -> Grants:
    """Return the grants in the data of a policy, a JSON text. Other shapes count as no grants: loading refuses them."""
    try:
        upstreams = json.loads(data)["gateway"]["grants"]["upstreams"]
    except (KeyError, TypeError):
        return {}
    found: dict[str, list[Mapping[str, Any]]] = {}
    for name, items in cast("dict[str, Any]", upstreams).items() if isinstance(upstreams, dict) else ():
        listed = cast("list[Any]", items) if isinstance(items, list) else []
        found[name] = [cast("dict[str, Any]", item) for item in listed if isinstance(item, dict)]
    return found


def warnings(grants: Grants, upstreams: Sequence[str]) -> Iterator[Warned]:
    """Yield a warning if no grant is for a configured upstream, and another for each grant of a missing upstream."""
    if upstreams and not any(grants.get(name) for name in (*upstreams, "*")):
        yield Warned(
            "nobody may call anything: no grant is for an upstream of this configuration",
            "add a grant for one to the grants file; docs/policy/grants.md shows how",
        )
    for name, items in grants.items():
        if items and name != "*" and name not in upstreams:
            near = difflib.get_close_matches(name, upstreams, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            yield Warned(f"{_count(items)} for {name!r}, and no upstream has this name{hint}", "correct the name")


def find_ends(grants: Grants, now: float) -> Iterator[Warned]:
    """Yield a warning for each grant that has ended, or ends within a week."""
    for name, items in grants.items():
        for grant in items:
            until = grant.get("until")
            if isinstance(until, str) and is_over(until, now + _SOON_SECONDS):
                ended = "has ended, and grants nothing" if is_over(until, now) else "ends soon"
                owner = f" ({grant['owner']} owns it)" if "owner" in grant else ""
                yield Warned(
                    f"the grant {grant.get('id')!r} of {name!r} {ended}: until {until}{owner}", "renew it, or remove it"
                )


_SOON_SECONDS: Final = 7 * 86_400.0


def is_over(until: str, now: float) -> bool:
    """Return whether the end of a grant has come, as policy reads it: without the Z, times of this form sort as text."""
    return until.removesuffix("Z") <= timestamp(now).removesuffix("Z")


def find_unmatched(grants: Grants, listed: Mapping[str, frozenset[str]], *, complete: bool) -> Iterator[Warned]:
    """Yield a warning for each pattern of `tools` without a matching tool. `listed` has the tools of each upstream with
    a list; `complete`: all upstreams have lists.
    """
    for upstream, items in grants.items():
        if upstream != "*" and upstream not in listed:
            continue
        if upstream == "*" and not complete:
            continue
        tools = listed[upstream] if upstream != "*" else frozenset[str]().union(*listed.values())
        for grant in items:
            patterns = grant.get("tools")
            for pattern in cast("list[object]", patterns) if isinstance(patterns, list) else []:
                if isinstance(pattern, str) and not any(_matches(pattern, tool) for tool in tools):
                    near = difflib.get_close_matches(pattern, sorted(tools), n=1, cutoff=0.5)
                    hint = f"; did you mean {near[0]!r}?" if near else ""
                    yield Warned(
                        f"the grant {grant.get('id', '?')!r} of {upstream!r} names the tool {pattern!r},"
                        f" and the upstream lists no such tool{hint}",
                        "correct the name, or remove it from the grant",
                    )


def _matches(pattern: str, name: str) -> bool:
    """Return whether a name follows a pattern, as `data.gateway.lib.patterns` does."""
    head, star, tail = pattern.partition("*")
    if not star:
        return pattern == name
    return "*" not in tail and name.startswith(head) and name.endswith(tail) and len(name) >= len(head) + len(tail)


def _count(items: Sequence[object]) -> str:
    return f"{len(items)} grant{'' if len(items) == 1 else 's'}"


async def find_data_problems(section: PolicySettings) -> dict[DataFile, list[str]]:
    """Return the problems of each data file of the configured policy. Raise `GatewayError`."""
    places = PolicyFolders.configured(section)
    loaded = await Plans(trust=PlanTrust(section.plan_keys)).load(folders.read_policy(places), places.planned)
    policy = CompiledPolicy(loaded.program, deadline=math.inf, thread_time=time.thread_time)
    return {file: policy.problems(file) for file in DATA_FILES}


def look_at_data(settings: Configuration) -> Iterator[tuple[str, ApprovalFinding]]:
    """Yield findings about the data of the policy, each with its subject. Raise `GatewayError`."""
    data = folders.read_policy(PolicyFolders.configured(settings.policy)).decoded_data()
    classes = data.get("gateway", {}).get("settings", {}).get("classes")
    yield from (("classes", told) for told in _find_classes(classes, is_development=settings.is_development))
    if _wants_passkeys(data):
        yield from (("passkeys", told) for told in _find_passkey_problems(settings))
    yield from (("compiled policy", told) for told in _look_at_compiled(settings))


def _wants_passkeys(data: Any) -> bool:
    """Return whether a rule on approvers in the data asks for passkeys. The order of assurances is no such rule."""
    if isinstance(data, dict):
        fields = cast("dict[str, Any]", data)
        return fields.get("assurance") == "passkey" or any(map(_wants_passkeys, fields.values()))
    return isinstance(data, list) and any(map(_wants_passkeys, cast("list[Any]", data)))


def _find_passkey_problems(settings: Configuration) -> Iterator[ApprovalFinding]:
    """Yield each setting that keeps people from signing votes by passkey."""
    wanted = "a rule on approvers asks for passkeys"
    if settings.console is None or settings.approvals is None:
        missing = "console" if settings.console is None else "approvals"
        yield ApprovalFinding(
            f"{wanted}, and without `{missing}` nobody signs a vote",
            f"add `{missing}:` to gateway.yaml",
            is_warning=True,
        )
    problem = find_passkey_problem(settings.base_url)
    if problem is not None:
        remedy = "docs/approvals.md#votes-signed-by-a-passkey says what they need"
        yield ApprovalFinding(f"{wanted}: {problem}", remedy, is_warning=True)


def _find_classes(classes: object, *, is_development: bool) -> Iterator[ApprovalFinding]:
    """Yield whether agents have classes, if the policy knows classes."""
    if isinstance(classes, list) and classes:
        yield ApprovalFinding(
            f"agents have classes, by {len(cast('list[Any]', classes))} patterns; all other agents are `retrieval`"
        )
    elif classes == [] and not is_development:
        yield ApprovalFinding(
            "no agent has a class, so class, risk and sensitivity bound no call",
            "name agents under policy.classes: docs/policy/classes.md",
            is_warning=True,
        )


def _look_at_compiled(settings: Configuration) -> Iterator[ApprovalFinding]:
    """Yield a finding if there is a plan beside a folder. Raise `GatewayError`."""
    section = settings.policy
    places = PolicyFolders.configured(section)
    plans = [place for place in map(store.beside, places.planned) if place.exists()]
    if section.engine.kind != "embedded" or not plans:
        return
    found, reason = loading.find_plan(folders.read_policy(places), places.planned, PlanTrust(section.plan_keys))
    if found is None:
        yield ApprovalFinding(reason, "", is_warning=True)
    else:
        yield ApprovalFinding(f"{plans[0]} counts: plan {store.digest_of(bytes(found.plan))}")


async def look_at_shadow(settings: PolicySettings) -> list[ApprovalFinding]:
    """Load the shadow policy, if there is one, as its process does. Raise `PolicyError`."""
    if settings.shadow is None:
        return []
    files = PolicyFiles.configured(settings).with_folder(settings.shadow)
    policy = await start_policy(files, SUPPORTED_OBLIGATIONS, deadline=timedelta(seconds=10), reload=timedelta(days=1))
    status = policy.status()
    await policy.stop()
    return [ApprovalFinding(f"{describe_revision(status.name, status.revision)}; it counts for nothing")]
