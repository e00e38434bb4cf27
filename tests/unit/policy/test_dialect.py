from __future__ import annotations

from typing import Any, cast

import pytest
import regorus

from gateway.errors import PolicyBroken
from gateway.policy import dialect, syntax
from gateway.policy.rego_functions import BARRED, BUILTINS


def _new() -> Any:
    return cast("Any", regorus).Engine()  # the engine has no types


def _require(*modules: str) -> None:
    trees = [_tree(f"m{number}.rego", text) for number, text in enumerate(modules)]
    syntax.require(dialect.problems(syntax.parse_module(trees)))


def _tree(name: str, text: str) -> str:
    engine = _new()
    engine.add_policy(name, text)
    return engine.get_ast_as_json()


LIB = "package gateway.lib.hosts\n\nwithin(host, domain) if endswith(host, domain)\n\ndefault flat(_) := false\n"


def test_builtins_and_the_policys_own_functions_may_be_called():
    _require(
        LIB,
        """package gateway.decision

import data.gateway.lib.hosts
import data.gateway.lib.hosts as h
import rego.v1

a if hosts.within("a", "b")
b if h.flat("a")
c if data.gateway.lib.hosts.within("a", lower("B"))
d if own(1)
e := f if { f := count([x | some x in input.xs; startswith(x, "a")]) } else := sprintf("%v", [1])
own(x) if x > 1
i2 if { some x in input.xs; data.gateway.decision.a with input as x with data.gateway.y as input.y }
g["x"].y := 1
h2 if { data.gateway.decision.a with input as {} with data.gateway.x as 1 }
i if { data.gateway.decision.a with input as [1 | true][0] }
j := k if { {input.key: k} := input.arguments }
""",
    )


@pytest.mark.parametrize(
    "call",
    [
        'http.send({"url": "http://x"})',
        "time.now_ns()",
        "opa.runtime()",
        'rand.intn("a", 2)',
        'net.lookup_ip_addr("x")',
        'net.cidr_expand("10.0.0.0/8")',
        "numbers.range(1, input.n)",
        "io.jwt.encode_sign({}, {}, {})",
        'uuid.rfc4122("a")',
        "print(input)",
        'trace("x")',
        'crypto.sha256("a")',
        "rego.metadata.rule()",
    ],
)
@pytest.mark.parametrize(
    "rule",
    [
        "x := CALL\n",
        "x if { y := CALL; y }\n",
        "x := 1 if { false } else := CALL\n",
        "x := [y | y := CALL]\n",
        "x if { every y in [1] { z := CALL; z == y } }\n",
        "x if { not CALL }\n",
        "f(_) := CALL\n",
        "x contains CALL if true\n",
        "x if { data.other with input.a as CALL }\n",
    ],
)
def test_a_builtin_that_is_not_listed_is_refused_wherever_it_is_called(call: str, rule: str):
    with pytest.raises(PolicyBroken, match=r"^m0\.rego:3: the built-in function .* may not be used") as raised:
        _require("package gateway.x\n\n" + rule.replace("CALL", call))

    assert raised.value.remedy


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "import data.gateway.lib.hosts\nx if hosts.without(1)",
            r"m1\.rego:3: there is no function data\.gateway\.lib",
        ),
        ("x if data.gateway.lib.nowhere.f(1)", "there is no function"),
        ("x if { true } { false }", "second body"),
        ("f(input) := input.x", "`input` is the name of a variable"),
        ('f({"a": data}) := data', "`data` is the name of a variable"),
        ("x if { [data, _] := [1, 2]; data == 1 }", "`data` is the name of a variable"),
        ("x if { every data in [1] { data == 1 } }", "`data` is the name of a variable"),
        ("x := [1 | some data; data = 1]", "`data` is the name of a variable"),
        ("f(x) := 1 if { x } { false }", "second body"),
        ("import data.gateway.lib.hosts as x\nx := 1", "both imported and a rule"),
        ("import data.gateway.lib.hosts as http\ny := http.flat(1)", "built-in namespace"),
        ("http := 1", "built-in namespace"),
        ("time.now_ns(x) := x", "built-in namespace"),
        ("import input as net\nx := net.a", "built-in namespace"),
        ("x if { count([1]) > 0 with count as http.send }", "`with` replaces a function"),
        ("x if { f(1) with data.gateway.x.f as true }\nf(a) := a", "`with` replaces a function"),
        ("import data.gateway.lib.hosts\nx if { hosts.flat(1) with hosts.flat as true }", "`with` replaces a function"),
        ("x if { data.a with data.a as http.send }", "function in the place of a value"),
        ("x if { data.a with data.a as count }", "function in the place of a value"),
        ("x if { data.a with input.b as data.gateway.lib.hosts.flat }", "function in the place of a value"),
        ("x if { data.a with input.b as time[input.c] }", "function in the place of a value"),
        ("x if { data.gateway.lib.hosts.flat(1) with net.cidr_contains as true }", "`with` replaces a function"),
        ("own := 1\nx if { data.gateway.lib.hosts.flat(own) with input as own }", "`with` takes a rule"),
        ("import data.gateway.y\nx if { data.gateway.lib.hosts.flat(y.z) with input as y.z }", "`with` takes a rule"),
        ("x if { data.gateway.lib.hosts.flat(data.y) with data.z as data.y }", "`with` takes a rule"),
        ('x := json.remove(input, ["/a/b"])', "paths may mean others"),
        ('x := json.filter(input, {"a", "/b"})', "paths may mean others"),
        ("x := json.remove(input, [`/a`])", "paths may mean others"),
        ('x := json.remove(input, ["a/b~1c"])', "paths may mean others"),
        (r'x := json.remove(input, ["\u002fa"])', "paths may mean others"),
        ("x := json.remove(input, input.paths)", "paths may mean others"),
        ("x := json.remove(input, [input.path])", "paths may mean others"),
        ('x := json.remove(input, [concat("", ["/", "a"])])', "paths may mean others"),
    ],
)
def test_what_the_two_engines_do_not_share_is_refused(text: str, problem: str):
    with pytest.raises(PolicyBroken, match=problem):
        _require(LIB, f"package gateway.x\n{text}\n")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("_office_hour(input)", "there is no function `_office_hour`; did you mean `_office_hours`?"),
        ("hosts.withn(1)", "there is no function data.gateway.lib.hosts.withn; did you mean `within`?"),
        ("startwith(1)", "there is no function `startwith`; did you mean `startswith`?"),
        ("regex.mach(1)", "there is no function `regex.mach`; did you mean `regex.match`?"),
        ("zzz(1)", "there is no function `zzz`"),
        ("time.now_ns()", "the built-in function time.now_ns may not be used in a policy"),
    ],
)
def test_a_function_that_there_is_not_is_named_with_the_closest_that_there_is(call: str, said: str):
    text = "package gateway.x\n\nimport data.gateway.lib.hosts\n\n_office_hours(call) if call.version == 1\n\n"

    with pytest.raises(PolicyBroken, match=r"m1\.rego:7") as raised:
        _require(LIB, f"{text}x if {call}\n")

    assert raised.value.message == f"m1.rego:7: {said}"
    assert raised.value.remedy


def test_no_function_is_both_allowed_and_barred():
    assert BUILTINS.keys() & BARRED == set()


def test_a_quoted_package_part_is_refused():
    with pytest.raises(PolicyBroken, match=r"m0\.rego:1: a quoted part"):
        _require('package gateway["x-y"]\n\nx := 1\n')


def test_an_alias_after_text_beyond_ascii_is_read_right():
    _require(LIB, "# ä€𝄞\npackage gateway.x\nimport data.gateway.lib.hosts as host\n")


def test_paths_that_both_engines_take_alike_may_be_removed():
    _require("""package gateway.x

x := json.remove(input, ["a/b", ["a", input.x], `c`])
y := json.filter(input, {"a"})
z := json.remove(input, [])
""")


@pytest.mark.parametrize("name", sorted(BUILTINS))
def test_the_engine_has_every_builtin_that_is_listed(name: str):
    assert any(_knows(name, count) for count in range(1, 5))


def _knows(name: str, count: int) -> bool:
    engine = _new()
    engine.add_policy("a.rego", f"package a\n\nx := y if y := {name}({', '.join('1' * count)})\n")
    engine.set_input_json("{}")
    try:
        engine.eval_rule_as_json("data.a.x")
    except RuntimeError as error:
        return "could not find function" not in str(error)
    return True


NEGATIONS = """package gateway.x

import data.gateway.y.complete
import data.gateway.y.some_set

text(x) if { is_string(x); x != "" }

own_set contains 1 if input.a

default own_default := 1

own_complete := 1 if input.a

x if { some item in input.items; NEGATION }
"""
OTHER = """package gateway.y

complete := 1 if input.a

some_set contains 1 if input.a
"""


@pytest.mark.parametrize(
    "negation",
    [
        "not input.x",
        'not input["x"].y',
        "not item.x.y",
        "not input[item]",
        "not input.x == 1",
        "not 1 == input.x",
        "not input.x = 1",
        "not item.x == input.y",
        "not input.x == [1]",
        "not input.x == lower(item)",
        "not text(item)",
        "not item in {1, 2}",
        "not item > 3",
        'not startswith(lower(item), "a")',
        "not is_object(input)",
        'not is_array(object.get(input, "x", []))',
        "not own_set == set()",
        "not item in own_set",
        "not item in data.gateway.x.own_set",
        "not item in some_set",
        "not count(own_default) > 0",
        "not own_complete",
        "not own_complete == 2",
        "not complete",
        "not count([1 | text(input.y)]) > 0",
        "not count({1 | text(input.y)}) > 0",
        "not count({1: 2 | text(input.y)}) > 0",
    ],
)
def test_a_negation_that_both_engines_read_alike_may_be_written(negation: str):
    _require(NEGATIONS.replace("NEGATION", negation), OTHER)


@pytest.mark.parametrize(
    "negation",
    [
        "not is_array(input.x)",
        "not text(item.x)",
        "not text(input[item])",
        "not input.x > 3",
        "not input.x != 1",
        "not input.x in {1}",
        "not 1 in input.xs",
        "not input.x + 1 == 2",
        "not [input.x] == [1]",
        'not text({"a": input.x})',
        "not input[input.k]",
        "not input[item.k].y == 1",
        'not lower(input.x) == "a"',
        'not startswith(lower(input.x), "a")',
        "not text(lower(text(item)))",
        "not text(item) == true",
        "not data.gateway.x.own_set[input.k]",
        "not item in own_complete",
        "not item in complete",
        "not count(own_complete) > 0",
        "every y in [1] { not text(y.x) }",
        "[y | some y in item; not text(y.x)] == []",
    ],
)
def test_a_negation_that_the_engines_read_differently_is_refused(negation: str):
    with pytest.raises(PolicyBroken, match=r"^m0\.rego:14: `not` stands around") as raised:
        _require(NEGATIONS.replace("NEGATION", negation), OTHER)

    assert raised.value.remedy


def test_every_problem_is_told_once():
    tree = _tree("a.rego", "package a\n\nx if { not f(input.y, input.z) }\n\ny := time.now_ns()\n\nf(a, b) if a == b\n")

    found = dialect.problems(syntax.parse_module([tree]))

    assert [item.message.partition(": ")[0] for item in found] == ["a.rego:5", "a.rego:3"]
    with pytest.raises(PolicyBroken, match=r"\(and 1 more\)$"):
        syntax.require(found)
