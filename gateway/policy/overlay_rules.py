"""The rules that an overlay may have: an overlay can only add. Pure: this module reads syntax trees.

- Packages begin with `overlay.`, so that no rule joins a package of the policy.

- A family `overlay.<name>` has partial sets `denials`, `asks` or `obligations`, or a function `hides`. A set always has a
  value. A family without a value would take away the denials of all other families.

- A rule reads `input`, the overlay, `data.gateway.lib` and `data.gateway.settings`. The other rules of the policy depend on
  the overlay.

- No rule uses `with`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, cast

from gateway.policy import contract, syntax
from gateway.policy.syntax import Module, Node, Problem, Rule

ROOT: Final = "overlay"
SETS: Final = ("denials", "asks", "obligations")
HIDES: Final = "hides"

_ASKED: Final = frozenset({*SETS, HIDES})
_DEPTH: Final = 3
"""Parts of the package of a family: `data.overlay.<name>`."""
_READABLE: Final = (("data", "gateway", "lib"), ("data", "gateway", "settings"))
_IMPORTABLE: Final = frozenset({"input", "rego", "future"})
_FORM: Final = "`denials contains …`, `asks contains …`, `obligations contains …` or `hides(resource)`"


@dataclass(frozen=True, slots=True)
class Family:
    """A package of an overlay, `overlay.<name>`, with the names of its rules that the policy asks."""

    name: str
    rules: frozenset[str]

    @property
    def path(self) -> str:
        """The package, such as `data.overlay.tickets`."""
        return f"data.{ROOT}.{self.name}"


def families(modules: Iterable[Module]) -> list[Family]:
    """Return the families of an overlay, in order of their names."""
    found: dict[str, set[str]] = {}
    for module in modules:
        if _is_family(module):
            names = {rule.path[_DEPTH] for rule in syntax.rules(module)}
            found.setdefault(module.package.rpartition(".")[2], set()).update(names & _ASKED)
    return [Family(name, frozenset(rules)) for name, rules in sorted(found.items())]


def problems(modules: Sequence[Module]) -> list[Problem]:
    """Return the rules of an overlay that could take something away, and the families that the policy does not ask."""
    found = [problem for module in modules for problem in _of_package(module)]
    if not found:
        found = [problem for module in modules for check in _CHECKS for problem in check(module)]
    return found or _of_families(modules)


def _is_family(module: Module) -> bool:
    return len(module.package.split(".")) == _DEPTH


def _of_package(module: Module) -> Iterator[Problem]:
    parts = module.package.split(".")
    if parts[1] != ROOT or len(parts) < _DEPTH:
        yield Problem(
            f"{module.file}: {module.package.removeprefix('data.')} is no package of an overlay",
            f"name it {ROOT}.<family>: an overlay adds families to the policy, and changes none of it",
        )


def _of_families(modules: Sequence[Module]) -> list[Problem]:
    return [
        Problem(
            f"{_first_file(family, modules)}: the family {family.name} has no rule that the policy asks"
            f"{_nearest(family, modules)}",
            f"write {_FORM}; put rules that families share into a package such as {ROOT}.lib.{family.name}",
        )
        for family in families(modules)
        if not family.rules
    ]


def _first_file(family: Family, modules: Sequence[Module]) -> str:
    return next(module.file for module in modules if module.package == family.path)


def _nearest(family: Family, modules: Sequence[Module]) -> str:
    names = (rule.path[_DEPTH] for module in modules if module.package == family.path for rule in syntax.rules(module))
    return next((f": it has `{name}`; did you mean `{meant}`?" for name in names if (meant := _guess_rule(name))), "")


def _guess_rule(name: str) -> str | None:
    """Return the rule that a name such as `deny` probably stands for."""
    return next((asked for asked in sorted(_ASKED) if name[:3] == asked[:3] and name != asked), None)


def _of_rules(module: Module) -> Iterator[Problem]:
    """Report overlay rules that the policy never asks, or asks in another form."""
    package = module.package.split(".")
    for rule in syntax.rules(module):
        name = rule.path[len(package)]
        if name not in _ASKED:
            if rule.kind == "Set" and (meant := _guess_rule(name)):
                yield Problem(f"{rule.place}: the policy does not ask `{name}`", f"did you mean `{meant}`?")
        elif not _is_family(module):
            yield Problem(
                f"{rule.place}: the policy does not ask `{name}` of {module.package.removeprefix('data.')}",
                f"name the package {ROOT}.<family>, in two parts, or give the rule another name",
            )
        elif name == HIDES and rule.kind != "Func":
            yield Problem(f"{rule.place}: `{name}` is no function", f"write `{name}(resource) if {{ … }}`")
        elif name in SETS and not _is_partial_set(rule):
            yield Problem(
                f"{rule.place}: `{name}` is no partial set",
                f"write `{name} contains … if {{ … }}`, without a default: a set always has a value",
            )
        elif name == "obligations":
            yield from _of_obligation(rule)


def _is_partial_set(rule: Rule) -> bool:
    return rule.kind == "Set" and "Var" in rule.node["Spec"]["head"]["Set"]["refr"]


def _of_obligation(rule: Rule) -> Iterator[Problem]:
    """Report an unknown obligation. The gateway would refuse every call for this obligation."""
    key: Node = rule.node["Spec"]["head"]["Set"]["key"]
    fields = {
        syntax.literal_text(name): value for _, name, value in cast("Node", key.get("Object") or {}).get("fields", ())
    }
    known = syntax.literal_text(fields["id"]) if "id" in fields else None
    is_known = fields.keys() >= {"id", "properties"} and known in {None, *contract.OBLIGATIONS}
    if "Var" not in key and not is_known:
        yield Problem(
            f"{rule.place}: this is no obligation{syntax.nearest(known or '', contract.OBLIGATIONS)}",
            f'write {{"id": …, "properties": {{…}}}}, with one of the ids {", ".join(contract.OBLIGATIONS)}',
        )


def _of_imports(module: Module) -> Iterator[Problem]:
    for name, path in module.imports.items():
        parts = tuple(path.split("."))
        if name in {"data", "input"}:
            yield Problem(f"{module.file}: {path} is imported as `{name}`", "import it by another name")
        elif parts[0] not in _IMPORTABLE and not (
            _may_be_read(parts) or (parts[:2] == ("data", ROOT) and len(parts) > 2)
        ):
            yield _unreadable(module.file, parts)


def _of_references(module: Module) -> Iterator[Problem]:
    for node, path in _references(module):
        if not _may_be_read(path):
            yield _unreadable(f"{module.file}:{syntax.line(node)}", path)


def _of_modifiers(module: Module) -> Iterator[Problem]:
    for node in syntax.nodes(module.rules):
        for modifier in cast("list[Node]", node.get("with_mods") or ()):
            yield Problem(
                f"{module.file}:{syntax.line(modifier['refr'])}: a rule of an overlay uses `with`",
                "use it in tests only; write a function that takes the value as an argument",
            )


_CHECKS: Final[tuple[Callable[[Module], Iterator[Problem]], ...]] = (
    _of_rules,
    _of_imports,
    _of_references,
    _of_modifiers,
)


def _unreadable(place: str, path: tuple[str, ...]) -> Problem:
    return Problem(
        f"{place}: an overlay may not read {'.'.join(path)}",
        f"read input, rules and data of the overlay by their full paths (data.{ROOT}.<family>.<name>), data.gateway.lib and"
        " data.gateway.settings",
    )


def _may_be_read(path: tuple[str, ...]) -> bool:
    return (path[:2] == ("data", ROOT) and len(path) > _DEPTH) or any(path[: len(part)] == part for part in _READABLE)


def _references(module: Module) -> Iterator[tuple[Node, tuple[str, ...]]]:
    """Return every reference to data, with the part of its path that is written out."""
    stack: list[object] = [module.rules]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(cast("list[object]", node))
        elif isinstance(node, dict):
            mapping = cast("Node", node)
            if not mapping.keys() & {"Var", "RefDot", "RefBrack"}:
                stack.extend(mapping.values())
                continue
            first, steps = syntax.split(mapping)
            stack.extend(step for step in steps if isinstance(step, dict))
            name = syntax.variable(first)
            if name is None:
                stack.append(first)
            elif name == "data" or module.imports.get(name, "").startswith("data"):
                start = ("data",) if name == "data" else tuple(module.imports[name].split("."))
                yield mapping, (*start, *_written_out(steps))


def _written_out(steps: Sequence[str | Node]) -> Iterator[str]:
    for step in steps:
        if not isinstance(step, str):
            return
        yield step
