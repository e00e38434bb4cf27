"""Types of the values in the statements of one rule. Pure.

A name has no known type if its binding is not followed here. The check reports nothing about such a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, cast

from gateway.policy import comparisons, syntax, value_types
from gateway.policy.comparisons import UNKNOWN, Operand, Value
from gateway.policy.rego_functions import BUILTINS
from gateway.policy.syntax import Module, Node
from gateway.policy.value_types import (
    BOOLEAN,
    NULL,
    NUMBER,
    OPEN,
    TEXT,
    Alternative,
    Collection,
    DataPlace,
    Object,
    Scalar,
    Type,
)

if TYPE_CHECKING:
    from gateway.policy.data_tree import DataTree
    from gateway.policy.references import Path, ReferenceGraph

Environment = dict[str, Value]

_INPUT_REMEDY: Final = "mend the path; rego/schemas/input.json names every field of the input"
_TYPE_REMEDY: Final = "compare it with a value of its own kind; rego/schemas/input.json has the types of the input"
_CALL_REMEDY: Final = "give the function what it takes"
_ARITHMETIC: Final = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/", "Mod": "%"}
_NUMBERS: Final = frozenset({"number"})
_SETS: Final = frozenset({"set"})


_CONSTANTS: Final[dict[str, Type]] = {
    "String": TEXT,
    "RawString": TEXT,
    "Number": NUMBER,
    "Bool": BOOLEAN,
    "Null": NULL,
}


class Types(Protocol):
    """Types of all rules, as a body asks for them."""

    graph: ReferenceGraph
    tree: DataTree
    input_type: Type

    def at(self, place: Path) -> Type: ...
    def result_of(self, path: Path) -> Type: ...
    def arity(self, path: Path) -> int: ...
    def is_called(self, path: Path, arguments: Sequence[Value]) -> None: ...
    def report(self, module: Module, line: int, message: str, remedy: str) -> None: ...
    def report_missing(self, module: Module, line: int, path: Path) -> None: ...


class Body:
    """One look through a rule of a module. It reports problems if `reports`, and calls of functions if `is_run`."""

    def __init__(self, types: Types, module: Module, *, reports: bool, is_run: bool = False) -> None:
        self._types = types
        self._module = module
        self._reports = reports
        self._is_run = is_run
        self._replaced: frozenset[str] = frozenset()
        """`input` or `data`, inside of a statement whose `with` replaces a part of it."""

    # --- statements ----------------------------------------------------------------------------------

    def run(self, statements: Iterable[Node], environment: Environment, given: Sequence[Node]) -> Value:
        """Return the value of the last given expression after the statements."""
        inner = dict(environment)
        for statement in statements:
            self._statement(statement, inner)
        values = [self.value(node, inner) for node in given]
        return values[-1]

    def _statement(self, statement: Node, environment: Environment) -> None:
        before = self._replaced
        for modifier in cast("list[Node]", statement.get("with_mods") or []):
            self.value(modifier["as"], environment)
            first, _ = syntax.split(modifier["refr"])
            self._replaced |= {self._root(syntax.variable(first) or "")}
        ((kind, literal),) = statement["literal"].items()
        if kind == "SomeVars":
            environment.update(dict.fromkeys(literal["vars"], UNKNOWN))
        elif kind == "SomeIn":
            self._some(literal, environment)
        elif kind == "Every":
            self._every(literal, environment)
        elif kind == "NotExpr" and self._asks_for_false(literal["expr"]):
            # `not x` and `not x == false`, one after the other, ask whether there is no x. OPA refuses it of the input.
            self.value(literal["expr"]["BoolExpr"]["lhs"], environment)
        else:
            self.value(literal["expr"], environment)
        self._replaced = before

    def _asks_for_false(self, expression: Node) -> bool:
        comparison = expression.get("BoolExpr", {})
        if comparison.get("op") != "Eq" or comparison["rhs"].get("Bool", {}).get("value") is not False:
            return False
        first, _ = syntax.split(comparison["lhs"])
        return self._root(syntax.variable(first) or "") != "input"

    def _root(self, name: str) -> str:
        return self._module.imports.get(name, name).partition(".")[0]

    def _some(self, literal: Node, environment: Environment) -> None:
        collection = self._operand(literal["collection"], environment)
        self._require_items(collection)
        known, firm = collection.value.type, collection.value.firm
        if literal.get("key"):
            self._match(literal["key"], Value(value_types.keys(known), firm), environment)
        self._match(literal["value"], Value(value_types.items(known), firm), environment)

    def _match(self, pattern: Node, value: Value, environment: Environment) -> None:
        """Bind the names of a pattern anew; a value in the place of a name is compared."""
        if syntax.literal_text(pattern) is not None or "Number" in pattern:
            operand = self._operand(pattern, environment)
            self._tell(pattern, comparisons.compare("Eq", operand, Operand({}, value)), _TYPE_REMEDY)
        else:
            self.bind(pattern, value, environment)

    def _every(self, literal: Node, environment: Environment) -> None:
        domain = self._operand(literal["domain"], environment)
        self._require_items(domain)
        known, firm = domain.value.type, domain.value.firm
        inner = dict(environment)
        if literal.get("key"):
            inner[literal["key"]] = Value(value_types.keys(known), firm)
        inner[literal["value"]] = Value(value_types.items(known), firm)
        for statement in literal["query"]["stmts"]:
            self._statement(statement, inner)

    def _require_items(self, collection: Operand) -> None:
        known = collection.value.type
        if known is not None and collection.value.firm and all(isinstance(item, Scalar) for item in known):
            message = f"{collection.shown} is {comparisons.describe(known)}, and has no items"
            self._tell(collection.node, message, _TYPE_REMEDY)

    def bind(self, pattern: Node, value: Value, environment: Environment) -> None:
        """Give the names of a pattern the types of the parts of a value."""
        name = syntax.variable(pattern)
        if name is not None:
            if name != "_":
                environment[name] = value
        elif "Array" in pattern:
            written = pattern["Array"]["items"]
            for item, known in zip(written, value_types.parts(value.type, len(written)), strict=True):
                self.bind(item, Value(known, value.firm), environment)
        elif "Object" in pattern:
            for _, _, item in pattern["Object"]["fields"]:
                self.bind(item, UNKNOWN, environment)

    # --- expressions ---------------------------------------------------------------------------------

    def value(self, node: Node, environment: Environment) -> Value:
        """Return the type of an expression's value, and report its mistakes."""
        ((kind, inner),) = node.items()
        if kind in _CONSTANTS:
            return Value(_CONSTANTS[kind])
        evaluate = self._EVALUATORS.get(kind)
        return UNKNOWN if evaluate is None else evaluate(self, node, inner, environment)

    def _operand(self, node: Node, environment: Environment) -> Operand:
        return Operand(node, self.value(node, environment))

    def _collect(self, node: Node, inner: Node, environment: Environment) -> Value:
        items = [self.value(item, environment) for item in inner["items"]]
        if "Set" in node:
            return Value((Collection("set", _common(items)),))
        return Value((Collection("array", _common(items), tuple(item.type if item.firm else None for item in items)),))

    def _mapping(self, _: Node, inner: Node, environment: Environment) -> Value:
        fields: dict[str, Type] = {}
        is_written_out = True
        for _, key, item in inner["fields"]:
            self.value(key, environment)
            name, value = syntax.literal_text(key), self.value(item, environment)
            is_written_out = is_written_out and name is not None
            fields[name or ""] = value.type if value.firm else None
        return Value((Object("", fields, frozenset(fields)),) if is_written_out else (OPEN,))

    def _comprehension(self, node: Node, inner: Node, environment: Environment) -> Value:
        given = [inner[key] for key in ("key", "value", "term") if key in inner]
        value = self.run(inner["query"]["stmts"], environment, given)
        if "ObjectCompr" in node:
            return Value((Object("", {}, closed=False, rest=_common([value])),))
        return Value((Collection("array" if "ArrayCompr" in node else "set", _common([value])),))

    def _negative(self, _: Node, inner: Node, environment: Environment) -> Value:
        self._require(_NUMBERS, "-", self._operand(inner["expr"], environment))
        return Value(NUMBER)

    def _arithmetic(self, _: Node, inner: Node, environment: Environment) -> Value:
        operator = _ARITHMETIC[inner["op"]]
        allowed = _NUMBERS | _SETS if operator == "-" else _NUMBERS
        operands = [self._operand(inner[side], environment) for side in ("lhs", "rhs")]
        for operand in operands:
            self._require(allowed, operator, operand)
        if operator != "-":
            return Value(NUMBER)
        known = value_types.union(operand.value.type for operand in operands)
        return Value(known if known in {NUMBER, (Collection("set"),)} else None)

    def _sets(self, _: Node, inner: Node, environment: Environment) -> Value:
        operands = [self._operand(inner[side], environment) for side in ("lhs", "rhs")]
        for operand in operands:
            self._require(_SETS, "|" if inner["op"] == "Union" else "&", operand)
        if not all(operand.value.firm for operand in operands):
            return Value((Collection("set"),))
        return Value((Collection("set", value_types.union(value_types.items(each.value.type) for each in operands)),))

    def _require(self, kinds: frozenset[str], operator: str, operand: Operand) -> None:
        if not comparisons.fits(kinds, operand):
            said = f"{operand.shown} is {comparisons.describe(operand.value.type)}"
            self._tell(operand.node, f"{said}, and `{operator}` takes {comparisons.words(kinds)}", _TYPE_REMEDY)

    def _compare(self, _: Node, inner: Node, environment: Environment) -> Value:
        left, right = (self._operand(inner[side], environment) for side in ("lhs", "rhs"))
        self._tell(inner["lhs"], comparisons.compare(inner["op"], left, right), _TYPE_REMEDY)
        return Value(BOOLEAN)

    def _membership(self, _: Node, inner: Node, environment: Environment) -> Value:
        if inner.get("key"):
            self.value(inner["key"], environment)
        item, collection = (self._operand(inner[side], environment) for side in ("value", "collection"))
        self._tell(inner["value"], comparisons.is_member(item, collection), _TYPE_REMEDY)
        for listed in comparisons.written_items(inner["collection"]):
            problem = comparisons.is_one_of(item, self._operand(listed, environment))
            self._tell(listed, problem, _TYPE_REMEDY)
        return Value(BOOLEAN)

    def _assign(self, _: Node, inner: Node, environment: Environment) -> Value:
        left, right = inner["lhs"], inner["rhs"]
        if inner["op"] != "ColEq" and not self._is_new(left, environment) and self._is_new(right, environment):
            left, right = right, left
        if inner["op"] == "ColEq" or self._is_new(left, environment):
            self._bind_to(left, right, environment)
        else:
            operands = [self._operand(node, environment) for node in (left, right)]
            self._tell(left, comparisons.compare("Eq", *operands), _TYPE_REMEDY)
        return Value(BOOLEAN)

    def _bind_to(self, pattern: Node, node: Node, environment: Environment) -> None:
        """Bind a pattern to an expression; a list that is written out gives each name its own item."""
        if "Array" in pattern and "Array" in node:
            items = node["Array"]["items"]
            values = [self.value(item, environment) for item in items]
            for part, value in zip(pattern["Array"]["items"], values, strict=False):
                self.bind(part, value, environment)
            return
        operand = self._operand(node, environment)
        if "Object" in pattern:
            self._tell(pattern, _find_mismatch(pattern, operand), _INPUT_REMEDY)
        self.bind(pattern, operand.value, environment)

    def _is_new(self, pattern: Node, environment: Environment) -> bool:
        """Return whether a pattern has a name that has no value yet."""
        name = syntax.variable(pattern)
        if name is not None:
            return name == "_" or (name not in environment and self._base(name) is None)
        parts = pattern.get("Array", {}).get("items", []) or [
            item for _, _, item in pattern.get("Object", {}).get("fields", [])
        ]
        return any(self._is_new(part, environment) for part in parts)

    # --- calls ---------------------------------------------------------------------------------------

    def _call(self, _: Node, inner: Node, environment: Environment) -> Value:
        name = syntax.join_names(inner["fcn"]) or ""
        path = self._types.graph.resolve(self._module, *syntax.split(inner["fcn"]))
        is_own = bool(self._types.tree.rules(path))
        wanted = self._types.arity(path) if is_own else len(BUILTINS[name].arguments) if name in BUILTINS else None
        given = inner["params"]
        if wanted is not None and not wanted <= len(given) <= wanted + 1:
            self._tell(inner["fcn"], f"`{name}` takes {wanted} arguments, and is given {len(given)}", _CALL_REMEDY)
            wanted = None
        # An argument beyond those that a function takes stands for its result.
        operands = [self._operand(node, environment) for node in given[:wanted]]
        for node in given[len(operands) :]:
            self.bind(node, UNKNOWN, environment)
        if wanted is None:
            return UNKNOWN
        if is_own:
            return self._own_call(path, operands)
        self._check_arguments(name, operands)
        return Value(value_types.of_kinds(BUILTINS[name].result))

    def _own_call(self, path: Path, operands: Sequence[Operand]) -> Value:
        if self._is_run:
            self._types.is_called(path, [operand.value for operand in operands])
        return UNKNOWN if "data" in self._replaced else Value(self._types.result_of(path))

    def _check_arguments(self, name: str, operands: Sequence[Operand]) -> None:
        for number, (kinds, operand) in enumerate(zip(BUILTINS[name].arguments, operands, strict=True), start=1):
            if kinds is not None and not comparisons.fits(kinds, operand):
                said = f"{operand.shown} is {comparisons.describe(operand.value.type)}"
                wanted = comparisons.words(kinds)
                self._tell(operand.node, f"{said}, and `{name}` takes {wanted} as argument {number}", _CALL_REMEDY)

    # --- references ----------------------------------------------------------------------------------

    def _name(self, _: Node, inner: Node, environment: Environment) -> Value:
        found = environment.get(inner["value"])
        return found or self._base(inner["value"]) or UNKNOWN

    def _reference(self, node: Node, _: Node, environment: Environment) -> Value:
        first, steps = syntax.split(node)
        value = self.value(first, environment)
        line = syntax.line(node)
        for number, step in enumerate(steps):
            if isinstance(step, str):
                value = self._step(value, step, syntax.show_reference(node, number + 1), line)
            else:
                value = self._index(value, step, node, environment)
        return value

    def follow(self, value: Value, steps: Sequence[str], shown: str, line: int) -> Value:
        """Return the value at the end of a constant path. `shown` and `line` describe the path in a problem."""
        for step in steps:
            value = self._step(value, step, shown, line)
        return value

    def _base(self, name: str) -> Value | None:
        """Return the value of a module's name (a document, an import or a rule), or `None` for another name."""
        if name in {"input", "data"}:
            return UNKNOWN if name in self._replaced else Value(self._document(name))
        if name in self._module.imports:
            root, *steps = self._module.imports[name].split(".")
            if root in self._replaced or root not in {"input", "data"}:
                return UNKNOWN
            quiet = Body(self._types, self._module, reports=False)
            return quiet.follow(Value(self._document(root)), steps, "", 0)
        path = (*self._module.package.split("."), name)
        if path not in self._types.graph.names:
            return None
        return UNKNOWN if "data" in self._replaced else Value(self._types.at(path))

    def _document(self, name: str) -> Type:
        if name == "data":
            return (DataPlace(("data",)),)
        # OPA asks the packages below `system` about itself, with an input of its own.
        return None if self._module.package.startswith("data.system.") else self._types.input_type

    def _index(self, value: Value, index: Node, reference: Node, environment: Environment) -> Value:
        name = syntax.variable(index)
        if name is not None and self._is_new(index, environment):
            self.bind(index, Value(value_types.keys(value.type), value.firm), environment)
        else:
            self.value(index, environment)
        self._require_items(Operand(reference, value))
        return Value(value_types.items(value.type), value.firm)

    def _step(self, value: Value, key: str, shown: str, line: int) -> Value:
        """Return the value at a constant key."""
        if value.type is None:
            return UNKNOWN
        found: list[Type] = []
        for item in value.type:
            if isinstance(item, DataPlace):
                found.append(self._at((*item.path, key), line))
            elif isinstance(item, Object) and (key in item.fields or not item.closed):
                found.append(item.fields.get(key, item.rest))
            elif isinstance(item, Collection) and item.kind == "set":
                found.append(item.items)
        if found:
            return Value(value_types.union(found))
        has_fields = any(isinstance(item, Object) for item in value.type)
        if value.firm or has_fields:
            self._tell_line(line, _without_field(value.type, key, shown), _INPUT_REMEDY)
        return UNKNOWN

    def _at(self, path: Path, line: int) -> Type:
        if self._types.tree.has(path):
            return self._types.at(path)
        if self._reports:
            self._types.report_missing(self._module, line, path)
        return None

    # --- problems ------------------------------------------------------------------------------------

    def _tell(self, node: Node, message: str | None, remedy: str) -> None:
        if message is not None:
            self._tell_line(syntax.line(node), message, remedy)

    def _tell_line(self, line: int, message: str, remedy: str) -> None:
        if self._reports:
            self._types.report(self._module, line, message, remedy)

    _EVALUATORS: ClassVar[dict[str, Any]] = {
        "Var": _name,
        "RefDot": _reference,
        "RefBrack": _reference,
        "Array": _collect,
        "Set": _collect,
        "Object": _mapping,
        "ArrayCompr": _comprehension,
        "SetCompr": _comprehension,
        "ObjectCompr": _comprehension,
        "UnaryExpr": _negative,
        "ArithExpr": _arithmetic,
        "BinExpr": _sets,
        "BoolExpr": _compare,
        "Membership": _membership,
        "AssignExpr": _assign,
        "Call": _call,
    }


def _common(values: Iterable[Value]) -> Type:
    """Return the type of the items of a collection. Of none, and of a parameter, nothing is known."""
    given = list(values)
    return value_types.union(value.type for value in given) if given and all(value.firm for value in given) else None


def _without_field(known: Sequence[Alternative], key: str, shown: str) -> str:
    above = shown.removesuffix(f".{key}")
    objects = [item for item in known if isinstance(item, Object)]
    if not objects:
        return f"`{above}` is {comparisons.describe(tuple(known))}, and has no field `{key}`"
    owner = objects[0].name
    fields = {name for item in objects for name in item.fields}
    alias = f"`{shown}`: " if owner and owner != above else ""
    return f"{alias}`{owner or above}` has no field `{key}`{syntax.nearest(key, fields)}"


def _find_mismatch(pattern: Node, operand: Operand) -> str | None:
    """Return why a mapping in the place of a name can never be the value: it needs exactly the same keys."""
    keys = {syntax.literal_text(key) for _, key, _ in pattern["Object"]["fields"]}
    known = operand.value.type
    if known is None or not operand.value.firm or None in keys:
        return None
    objects = [item for item in known if isinstance(item, Object)]
    if len(objects) < len(known) or any(_may_have(item, cast("set[str]", keys)) for item in objects):
        return None
    return f"{operand.shown} never has exactly the fields {', '.join(sorted(cast('set[str]', keys)))}"


def _may_have(item: Object, keys: set[str]) -> bool:
    return item.required <= keys and (not item.closed or keys <= item.fields.keys())
