"""Types of the rules of a policy and of the parameters of its functions. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.policy import syntax, value_types
from gateway.policy.comparisons import UNKNOWN, Value
from gateway.policy.data_tree import DataTree
from gateway.policy.references import Path, ReferenceGraph
from gateway.policy.rule_bodies import Body
from gateway.policy.syntax import Module, Node, Problem, Rule
from gateway.policy.value_types import Collection, DataPlace, Object, Type

_REMEDY_DATA = "mend the path, or give the value in a data file; `object.get` reads a value that may be missing"


class RuleTypes:
    """The types of a policy's rules. `found` are the problems met on the way, each with its file and line."""

    def __init__(self, graph: ReferenceGraph, tree: DataTree, input_type: Type) -> None:
        self.found: list[tuple[str, int, Problem]] = []
        self.graph = graph
        self.tree = tree
        self.input_type = input_type
        self._values: dict[Path, Type] = {}
        self._results: dict[Path, Type] = {}
        self._under_way: set[Path] = set()
        self._calls: dict[Path, list[Sequence[Value]]] = {}

    def check_imports(self, module: Module) -> None:
        """Look for imports of what is not there."""
        for alias, dotted in module.imports.items():
            path = tuple(dotted.split("."))
            if path[0] == "data":
                body = Body(self, module, reports=True)
                body.follow(Value((DataPlace(("data",)),)), path[1:], dotted, module.import_lines[alias])
            elif path[0] == "input":
                body = Body(self, module, reports=True)
                body.follow(Value(self.input_type), path[1:], dotted, module.import_lines[alias])

    def check(self, path: Path) -> None:
        """Look through the definitions of a rule. A function is looked through after the rules that call it."""
        if self._is_function(path):
            # A call in a function that no rule calls is never made.
            self._evaluate(path, self._parameters(path), reports=True, is_run=path in self._calls)
        else:
            self.of(path)

    def of(self, path: Path) -> Type:
        """Return the type of what a rule gives."""
        if self._is_function(path) or path in self._under_way:
            return None
        if path not in self._values:
            self._values[path] = self._evaluate(path, (), reports=True, is_run=True)
        return self._values[path]

    def items_of(self, rule: Rule) -> Type:
        """Return the type of the items of a set rule, by one definition of the rule."""
        known = self._type_of_definition(rule, (), reports=False)
        return value_types.items(known)

    def result_of(self, path: Path) -> Type:
        """Return the type of a function's result for arguments of any type."""
        if path in self._under_way:
            return None
        if path not in self._results:
            self._results[path] = self._evaluate(path, (), reports=False)
        return self._results[path]

    def is_called(self, path: Path, arguments: Sequence[Value]) -> None:
        """Remember a call of a function."""
        self._calls.setdefault(path, []).append(arguments)

    def arity(self, path: Path) -> int:
        """Return how many parameters a function has."""
        return len(_arguments(self.tree.rules(path)[0]))

    def at(self, place: Path) -> Type:
        """Return the type of an existing place of `data`."""
        if self.tree.rules(place):
            return self.of(place)
        return None if self.tree.is_open(place) else (DataPlace(place),)

    def report(self, module: Module, line: int, message: str, remedy: str) -> None:
        """Add a problem."""
        self.found.append((module.file, line, Problem(f"{module.file}:{line}: {message}", remedy)))

    def report_missing(self, module: Module, line: int, path: Path) -> None:
        """Add the problem that nothing stands at a path of `data`."""
        self.report(module, line, self.tree.missing(path), _REMEDY_DATA)

    def _is_function(self, path: Path) -> bool:
        return any(rule.kind == "Func" for rule in self.tree.rules(path))

    def _parameters(self, path: Path) -> Sequence[Value]:
        """Return what every call together gives the parameters of a function."""
        calls = self._calls.get(path, [])
        if not calls:
            return ()
        return [
            Value(value_types.union(call[index].type for call in calls), firm=False)
            for index in range(self.arity(path))
        ]

    def _evaluate(self, path: Path, parameters: Sequence[Value], *, reports: bool, is_run: bool = False) -> Type:
        self._under_way.add(path)
        try:
            return value_types.union(
                self._type_of_definition(rule, parameters, reports=reports, is_run=is_run)
                for rule in self.tree.rules(path)
            )
        finally:
            self._under_way.discard(path)

    def _type_of_definition(
        self, rule: Rule, parameters: Sequence[Value], *, reports: bool, is_run: bool = False
    ) -> Type:
        """Return the type of the value of one definition of a rule."""
        body = Body(self, rule.module, reports=reports, is_run=is_run)
        environment: dict[str, Value] = {}
        for index, pattern in enumerate(_arguments(rule)):
            body.bind(pattern, parameters[index] if index < len(parameters) else UNKNOWN, environment)
        if rule.kind == "Default" or "Default" in rule.node:
            return body.value(rule.node["Default"]["value"], environment).type
        given = [body.run(query, environment, self._head_expressions(rule, index)) for index, query in _bodies(rule)]
        return _shape_type(rule, value_types.union(value.type for value in given))

    @staticmethod
    def _head_expressions(rule: Rule, index: int) -> list[Node]:
        """Return the expressions of a rule's head that are evaluated after its body; the last is its value."""
        ((_, head),) = rule.node["Spec"]["head"].items()
        assigned = head.get("assign") if index == 0 else rule.node["Spec"]["bodies"][index].get("assign")
        _, steps = syntax.split(head["refr"])
        indices = [step for step in steps if not isinstance(step, str)]
        if rule.kind == "Set":
            return [*indices, head["key"]]
        return [*indices, assigned["value"] if assigned else {"Bool": {"value": True}}]


def _arguments(rule: Rule) -> list[Node]:
    if "Default" in rule.node:
        return rule.node["Default"]["args"]
    ((_, head),) = rule.node["Spec"]["head"].items()
    return head.get("args", [])


def _bodies(rule: Rule) -> list[tuple[int, list[Node]]]:
    bodies = rule.node["Spec"]["bodies"]
    return [(index, body["query"]["stmts"]) for index, body in enumerate(bodies)] or [(0, [])]


def _shape_type(rule: Rule, given: Type) -> Type:
    """Return the type of a rule whose value or item has the given type."""
    if rule.kind == "Func":
        return given
    ((_, head),) = rule.node["Spec"]["head"].items()
    _, steps = syntax.split(head["refr"])
    open_steps = [step for step in steps if not isinstance(step, str)]
    if rule.kind == "Set":
        return (Collection("set", given),) if not open_steps else None
    if not open_steps:
        return given
    return (Object("", {}, closed=False, rest=given),) if isinstance(steps[-1], dict) and len(open_steps) == 1 else None
