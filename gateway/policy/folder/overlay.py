"""Own rules beside a policy that stays as it was released. Pure.

An overlay can only add. Its files stand below `overlay/` in the merged policy, so none of them, and none
of its data, takes the place of another. Its codes are of families that neither the policy nor the gateway has, so that no
reason passes for another. One module of the policy is written anew: the place of an overlay, which the decision, the
obligations and the lists ask.

The texts of the rules decide which rules the policy asks. A word too many asks for a rule that is not there, which finds
nothing. OPA says at the build which rules there are (`authoring.py`), so that no rule is left out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from gateway.model.errors import PolicyBroken
from gateway.policy.folder import annotations, bundle
from gateway.policy.folder.bundle import Bundle
from gateway.policy.folder.shadowing import DataSource

ROOT: Final = "overlay"
SETS: Final = ("denials", "asks", "obligations")
HIDES: Final = "hides"

_DEPTH: Final = 2
"""Parts of the package of a family: `overlay.<name>`."""
_COMMENT: Final = re.compile(r"#[^\n]*")
_SKIPPED: Final = re.compile(r'"(?:\\.|[^"\\\n])*"|`[^`]*`|#[^\n]*')
"""Texts and comments."""
_PACKAGE: Final = re.compile(r"\s*package[ \t]+([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)[ \t]*(?:\r?\n|;|\Z)\s*(?![.\[\s])")
_WORD: Final = re.compile(rf"(?<![\w.])({'|'.join(SETS)})\b|(?<![\w.])({HIDES})\s*\(")
_FORM: Final = "`denials contains …`, `asks contains …`, `obligations contains …` or `hides(resource)`"


@dataclass(frozen=True, slots=True)
class Family:
    """A package of an overlay, `overlay.<name>`, with the names of rules that the policy asks."""

    name: str
    rules: frozenset[str]

    @property
    def path(self) -> str:
        """Return the package, such as `data.overlay.tickets`."""
        return f"data.{ROOT}.{self.name}"


def find_families(modules: Iterable[tuple[str, str]]) -> list[Family]:
    """Return the families of an overlay, in order of their names.

    Raise `PolicyBroken` for a package outside of `overlay`, and for a family without a rule that the policy asks.
    """
    found: dict[str, set[str]] = {}
    files: dict[str, str] = {}
    for file, text in modules:
        package = _read_package(file, text)
        if len(package) == _DEPTH:
            files.setdefault(package[1], file)
            words = _WORD.findall(_SKIPPED.sub(" ", text))
            found.setdefault(package[1], set()).update(one or other for one, other in words)
    for name, rules in sorted(found.items()):
        if not rules:
            raise PolicyBroken(
                f"{files[name]}: the family {name} has no rule that the policy asks",
                f"write {_FORM}; put rules that families share into a package such as {ROOT}.lib.{name}",
            )
    return [Family(name, frozenset(rules)) for name, rules in sorted(found.items())]


def _read_package(file: str, text: str) -> tuple[str, ...]:
    """Return the package of a module, which stands before everything else. Raise `PolicyBroken`."""
    found = _PACKAGE.match(_COMMENT.sub("", text.removeprefix("\ufeff")))
    package = found[1].split(".") if found else []
    if len(package) < _DEPTH or package[0] != ROOT:
        said = f"{'.'.join(package)} is no package of an overlay" if package else "it does not begin with its package"
        raise PolicyBroken(
            f"{file}: {said}",
            f"name it {ROOT}.<family>: an overlay adds families to the policy, and changes none of it",
        )
    return tuple(package)


SLOT: Final = "gateway/overlay/overlay.rego"
"""The module of the policy that is written anew."""
OWN_FAMILIES: Final = frozenset(
    """
    approval configuration connection console control credential credential-chain endorsement gateway history identity journal
    lease limit operator outcome passkey policy records request result session socket stop task trace upstream vote
    """.split()  # noqa: SIM905 - as in dialect.py
)
"""Families of the codes that the gateway gives itself."""

_REASONS: Final = ("gateway", "reasons")
_USES: Final = ("gateway.overlay.denials", "gateway.overlay.asks")
_TAKEN: Final = ("gateway", "system")
"""Folders of a policy that an overlay cannot have: their data would be out of force below `overlay/`."""


def merge(policy: Bundle, own: Bundle) -> Bundle:
    """Return the policy with an overlay, whose files are `own`. Raise `PolicyBroken`."""
    _require_place(policy)
    _require_own_folders(own)
    slot = _slot(find_families(own.modules))
    reasons = _reasons(policy, own)
    sources = (*policy.sources, *own.sources, reasons)
    roots = policy.roots if bundle.is_within_roots(ROOT, policy.roots) else (*policy.roots, ROOT)
    data = bundle.merge_data(sources)
    bundle.require_roots(data, roots)
    return replace(
        policy,
        modules=(*((name, slot if name == SLOT else text) for name, text in policy.modules), *own.modules),
        data=json.dumps(data),
        revision=f"{policy.revision}+{hashlib.sha256(own.revision.encode()).hexdigest()[:8]}",
        roots=roots,
        sources=sources,
        tests=(*policy.tests, *own.tests),
    )


def _require_place(policy: Bundle) -> None:
    texts = dict(policy.modules)
    asking = "".join(text for name, text in texts.items() if name != SLOT)
    if SLOT not in texts or not all(use in asking for use in _USES):
        raise PolicyBroken(
            f"the policy has no place for an overlay: it has no {SLOT}, or does not ask {' and '.join(_USES)}",
            "leave policy.path out, or take both over from the policy that comes with opagate",
        )
    taken = [name for name in texts if name.startswith(f"{ROOT}/")]
    taken += [
        source.name for source in policy.sources if source.at[:1] == (ROOT,) or (ROOT in source.value and not source.at)
    ]
    if taken:
        raise PolicyBroken(f"{taken[0]} stands where an overlay does", f"move it out of the folder {ROOT}")


def _require_own_folders(own: Bundle) -> None:
    places = [(name, tuple(name.split("/")[1:-1])) for name, _ in own.modules]
    places += [(source.name, source.at[1:]) for source in own.sources]
    for name, place in places:
        if place[:1] and place[0] in _TAKEN:
            raise PolicyBroken(
                f"{name} stands in the folder {place[0]}, and an overlay changes none of the policy's rules and data",
                "give each family a folder with its name; for grants, use policy.grants; for other settings, a copy of the"
                " policy as policy.path",
            )


def _reasons(policy: Bundle, own: Bundle) -> DataSource:
    """Return the table of reasons of an overlay, from the METADATA of its rules. Raise `PolicyBroken`."""
    table = annotations.table(dict(own.modules))
    reserved = OWN_FAMILIES | {code.partition("/")[0] for code in _yield_known(policy)}
    for name, text in own.modules:
        for item in annotations.parse(text, name):
            if item.family in reserved:
                raise PolicyBroken(
                    f"{name}:{item.line}: the family of the code {item.code!r} is opagate's own",
                    "choose another, with the name of your organisation in it, such as acme-tickets/undeclared-task",
                )
    return DataSource("the METADATA of the overlay", _REASONS, table)


def _yield_known(policy: Bundle) -> Iterator[str]:
    value: Any = json.loads(policy.data)
    for part in _REASONS:
        value = cast("Mapping[str, Any]", value).get(part, {}) if isinstance(value, dict) else {}
    yield from cast("Mapping[str, Any]", value)


def _slot(found: Sequence[Family]) -> str:
    """Return the module that the policy asks, with lines for each family."""
    denials, asks, obligations = (
        # A comprehension has a value also if a family has none. Without it, one family would take away those of all others.
        [f"\t{{found | some found in {family.path}.{name}}}," for family in found if name in family.rules]
        for name in SETS
    )
    hiding = [f"hides(resource) if {family.path}.{HIDES}(resource)" for family in found if HIDES in family.rules]
    return "\n".join(
        [
            "# Written by opagate, from the families of an overlay.",
            "package gateway.overlay",
            "",
            "denials := union({",
            "\tset(),",
            *denials,
            "})",
            "",
            "asks := union({",
            "\tset(),",
            *asks,
            "})",
            "",
            "with_own(obligations) := array.concat(obligations, _others) if obligations >= []",
            "",
            "_others := [own | some own in sort(_own); not _names_approvers(own)]",
            "",
            "approvers := [own | some own in sort(_own); _names_approvers(own)]",
            "",
            "_own := union({",
            "\tset(),",
            *obligations,
            "})",
            "",
            '_names_approvers(own) if own.id == "require_approvers"',
            "",
            *(hiding or ["hides(resource) if not resource"]),
            "",
        ]
    )
