"""Dialect of Rego that both engines read alike. Pure: it reads syntax trees.

The embedded engine (regorus) finds a missing function only when a rule calls it. It computes another value than OPA for a
few constructs, and nothing can interrupt it. The gateway therefore checks these points before a policy is in force:

- A policy calls functions of its own, and the built-in functions of `rego_functions.BUILTINS`.
- No rule has chained bodies (`a := v if {…} {…}`): the second yields `true` here and `v` in OPA.
- No `not` stands around an operand that may be undefined (`not is_array(input.x)`, `not input.x > 3`). Without `x` the
  expression holds here and is undefined in OPA, so a guard against a missing fact would guard nothing. `not input.x`,
  `not input.x == 1` and `not present`, with `present if is_array(input.x)`, mean the same in both.
- Paths of `json.remove` and `json.filter` are written out, without a leading slash and without `~`. Only OPA reads such
  a path as a JSON pointer; the embedded engine would remove nothing.
- The value of `with` is no rule: an expression that reads the same rule has no value here.
- No variable is called `input` or `data`, which OPA refuses.
- No import shares its name with a rule of the package, and no part of a package is quoted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from gateway.policy import syntax
from gateway.policy.rego_functions import BARRED, BUILTINS
from gateway.policy.syntax import Module, Problem, join_names, line, nodes

_PATHS = frozenset({"json.filter", "json.remove"})
_NAMESPACES = frozenset(name.partition(".")[0] for name in BUILTINS if "." in name) | {
    *("crypto", "graphql", "http", "io", "numbers", "opa", "providers", "rand", "rego", "units", "uri", "uuid", "yaml")
}
"""First parts of built-in names. Something of the policy's own by such a name would read like a built-in."""


@dataclass(frozen=True, slots=True)
class _DialectProblem:
    line: int
    message: str
    remedy: str


def problems(modules: Sequence[Module]) -> list[Problem]:
    """Return everything in a policy's modules that the embedded engine lacks, or takes for something else than OPA."""
    names: dict[str, set[str]] = {}
    functions: set[str] = set()
    certain: set[str] = set()
    for module in modules:
        for rule in syntax.rules(module):
            own = rule.path[len(module.package.split(".")) :]
            names.setdefault(module.package, set()).add(own[0])
            if rule.kind == "Func":
                functions.add(".".join(rule.path))
            elif rule.kind in {"Default", "Set"}:
                certain.add(".".join(rule.path))
    found: list[Problem] = []
    for module in modules:
        own_names = names.get(module.package, set())
        found += [
            Problem(f"{module.file}:{problem.line}: {problem.message}", problem.remedy)
            for problem in (
                *_problems(module, own_names, functions),
                *_negations(module, own_names, functions, certain),
            )
        ]
    return list(dict.fromkeys(found))


def _problems(module: Module, names: set[str], functions: set[str]) -> Iterator[_DialectProblem]:
    for name in sorted(names & module.imports.keys()):
        yield _DialectProblem(1, f"{name!r} is both imported and a rule of the package", "import it under another name")
    for name in sorted((names | module.imports.keys()) & _NAMESPACES - {"rego"}):
        yield _DialectProblem(1, f"{name!r} is the name of a built-in namespace", "give it another name")
    for rule in module.rules:
        yield from _find_chained(rule)
        yield from _hidden_documents(rule)
    for node in nodes(module.rules):
        if "fcn" in node:
            yield from _call(node["fcn"], module, functions)
            if _resolve(node["fcn"], module, functions) in _PATHS:
                yield from _paths(node)
        elif "with_mods" in node:
            for modifier in cast("list[Any]", node["with_mods"]):
                yield from _with(modifier, module, names, functions)


def _hidden_documents(rule: dict[str, Any]) -> Iterator[_DialectProblem]:
    """Return the places at which a name of the rule's own hides `input` or `data`, which OPA refuses."""
    for node in nodes(rule):
        bound: list[Any] = list(node.get("args") or ()) if "refr" in node else []
        if "AssignExpr" in node and node["AssignExpr"]["op"] == "ColEq":
            bound.append(node["AssignExpr"]["lhs"])
        bound += [{"Var": {"value": name, "span": node.get("span")}} for name in node.get("vars", ()) or ()]
        if "domain" in node:
            bound += [{"Var": {"value": node[key], "span": node.get("span")}} for key in ("key", "value")]
        for pattern in bound:
            for name in _names(pattern):
                yield _DialectProblem(
                    line(rule), f"`{name}` is the name of a variable here", "give the variable another name"
                )


def _names(pattern: dict[str, Any]) -> Iterator[str]:
    """Return `input` and `data` where a pattern gives them as names; a computed key of a mapping may read them."""
    name = syntax.variable(pattern)
    if name in {"input", "data"}:
        yield name
    items = pattern.get("Array", {}).get("items", [])
    for part in (*items, *(value for _, _, value in pattern.get("Object", {}).get("fields", []))):
        yield from _names(part)


def _find_chained(rule: dict[str, Any]) -> Iterator[_DialectProblem]:
    bodies: list[Any] = rule.get("Spec", {}).get("bodies", [])
    for body in bodies[1:]:
        if not body["is_else"]:
            yield _DialectProblem(
                body["span"]["line"],
                "a second body chained to a rule means another value here than in OPA",
                "write the rule twice, with one body each",
            )


def _call(function: dict[str, Any], module: Module, functions: set[str]) -> Iterator[_DialectProblem]:
    name = _resolve(function, module, functions)
    if name in functions or name in BUILTINS:
        return
    if name in BARRED:
        yield _DialectProblem(
            line(function),
            f"the built-in function {name} may not be used in a policy",
            "have the gateway supply what it gives as input, or evaluate this policy in an OPA of your own",
        )
    else:
        yield _DialectProblem(
            line(function), _no_function(name, module, functions), "mend its name or its import, or define it"
        )


def _no_function(name: str, module: Module, functions: set[str]) -> str:
    """Return a sentence about a function that there is not, with the function of the policy or of Rego that is closest."""
    above = f"{name.rpartition('.')[0] if name.startswith('data.') else module.package}."
    near = {known.removeprefix(above): known for known in functions if known.startswith(above)}
    if name.startswith("data."):
        return f"there is no function {name}{syntax.nearest(name.removeprefix(above), near)}"
    return f"there is no function `{name}`{syntax.nearest(name, near) or syntax.nearest(name, BUILTINS)}"


def _paths(call: dict[str, Any]) -> Iterator[_DialectProblem]:
    """Paths as text that the engines take in the same way; paths as lists they all do."""
    given: dict[str, Any] = call["params"][-1]
    written = given.get("Array") or given.get("Set")
    if written is not None and all("Array" in item or _plain(item) for item in written["items"]):
        return
    yield _DialectProblem(
        line(call["fcn"]),
        "these paths may mean others here than in OPA",
        'write them out where they are used, as `"a/b"` or `["a", "b"]`, or use object.remove',
    )


def _plain(path: dict[str, Any]) -> bool:
    string = path.get("String") or path.get("RawString")
    if string is None:
        return False
    text: str = string["value"]
    return not text.startswith("/") and "~" not in text and "\\" not in text


def _with(modifier: dict[str, Any], module: Module, names: set[str], functions: set[str]) -> Iterator[_DialectProblem]:
    """Refuse `with` for functions: it may replace values of input and data alone, since a new function could be a
    built-in."""
    replaced = _resolve(modifier["refr"], module, functions)
    if replaced in functions or replaced.partition(".")[0] not in {"input", "data"}:
        yield _DialectProblem(
            line(modifier["refr"]), "`with` replaces a function", "replace values of input or data only"
        )
    value = modifier["as"]
    if not value.keys() & {"Var", "RefDot", "RefBrack"}:
        return
    name = _resolve(value, module, functions)
    if name in functions or name in BUILTINS or name.partition(".")[0] in _NAMESPACES:
        yield _DialectProblem(line(value), "`with` puts a function in the place of a value", "give it a value")
    elif name.partition(".")[0] in names | {"data"}:
        yield _DialectProblem(
            line(value),
            "`with` takes a rule or data for its value, which leaves what also reads it without a value here",
            "give it a variable that has the value",
        )


def _resolve(reference: dict[str, Any], module: Module, functions: set[str]) -> str:
    """Return the full path of a reference, with imports followed and functions of the package named in full."""
    name = join_names(reference) or syntax.variable(syntax.split(reference)[0]) or ""
    first, _, rest = name.partition(".")
    if first in module.imports:
        return module.imports[first] + (f".{rest}" if rest else "")
    own = f"{module.package}.{name}"
    return own if own in functions else name


def _negations(module: Module, own: set[str], functions: set[str], certain: set[str]) -> Iterator[_DialectProblem]:
    """Return each place where `not` stands around a possibly undefined operand."""

    def uncertain(reference: dict[str, Any]) -> bool:
        name = _resolve(reference, module, functions)
        if "Var" in reference and name not in own and not name.startswith("data."):
            return False
        return name not in certain and f"{module.package}.{name}" not in certain

    for node in nodes(module.rules):
        expression = node.get("NotExpr", {}).get("expr")
        if expression is None:
            continue
        for operand in _operands(expression):
            if any(uncertain(found) for found in _references(operand, module, functions)):
                yield _DialectProblem(
                    line(expression),
                    "`not` stands around something that may be undefined, which means another thing here than in OPA",
                    "give what is negated a rule of its own, and write `not` before its name",
                )


def _operands(expression: dict[str, Any]) -> list[Any]:
    """Return the parts of a negated expression that must have a value. A plain reference, alone or on a side of `==`
    or `=`, need not; what stands in its brackets must."""
    for kind in ("BoolExpr", "AssignExpr"):
        inner = expression.get(kind)
        if inner is not None and inner["op"] == "Eq":
            return [part for side in (inner["lhs"], inner["rhs"]) for part in _indices(side)]
    if "Call" in expression:
        return expression["Call"]["params"]
    return _indices(expression)


def _indices(reference: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    while reference.keys() & {"RefDot", "RefBrack"}:
        (inner,) = reference.values()
        if "index" in inner:
            found.append(inner["index"])
        reference = inner["refr"]
    return found if "Var" in reference else [reference, *found]


def _references(operand: object, module: Module, functions: set[str]) -> Iterator[dict[str, Any]]:
    """References, and calls of the policy's own functions, which may have no value. A comprehension always has one."""
    stack: list[object] = [operand]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(cast("list[object]", node))
        elif isinstance(node, dict):
            mapping = cast("dict[str, Any]", node)
            if "Call" in mapping:
                function = mapping["Call"]["fcn"]
                if _resolve(function, module, functions) in functions:
                    yield {"RefDot": {"refr": function, "field": [None, "()"]}}
                stack.append(mapping["Call"]["params"])
            elif mapping.keys() & {"Var", "RefDot", "RefBrack"}:
                yield mapping
            elif not mapping.keys() & {"ArrayCompr", "SetCompr", "ObjectCompr"}:
                stack.extend(mapping.values())
