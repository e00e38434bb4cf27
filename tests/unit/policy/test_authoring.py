"""Rules of an author, judged by a real OPA: a mistake that nothing shows keeps a policy out of force."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.model.errors import PolicyBroken
from gateway.policy import authoring
from gateway.policy.authoring import PolicyTest
from gateway.policy.folder import bundle, folders
from gateway.policy.folder.bundle import Bundle, Suite
from gateway.policy.folder.folders import PolicyFolders, find_shipped
from gateway.policy.opa import program as opa_program
from gateway.policy.plan.loading import Plans
from gateway.policy.plan.store import PlanTrust
from gateway.surfaces.cli import policy_build, rego
from tests import tiny_policy
from tests.tiny_policy import OVERLAY
from tests.unit.policy.conftest import Tree

pytestmark = pytest.mark.opa

FILE = "gateway/denials/tickets/tickets.rego"
FINDING = '{"code": "tickets/late", "facts": ["/context/time"]}'
ASKED = "data.gateway.denials.tickets.denials"
DENIALS = f"denials contains {FINDING} if input.session.calls > 3"


def _decision(*asked: str) -> str:
    return f"""package gateway.decision

default result := {{}}

result := {{"findings": findings}} if input.version == 1

findings := union({{set(), {", ".join(asked)}}})
"""


def _unasked(family: str, *asked: str, package: str = "gateway.denials.tickets", file: str = FILE) -> list[str]:
    modules = (("gateway/decision/decision.rego", _decision(*asked)), (file, f"package {package}\n\n{family}\n"))
    policy, opa = Bundle(modules, "{}", "r"), opa_program.require_opa("this test")
    return authoring.find_unasked(
        bytes(authoring.compile_rules(policy, opa).plan), authoring.read_modules(policy.modules, opa)
    )


@pytest.mark.parametrize(
    ("family", "asked"),
    [
        (DENIALS, ASKED),
        (DENIALS, "{found | some found in data.gateway.denials[_].denials}"),
        (DENIALS, "{found | some family; found := data.gateway.denials[family].denials[_]}"),
        (f"found(call) := denials if call.version == 1\n\n{DENIALS}", "data.gateway.denials.tickets.found(input)"),
        (f"{DENIALS}\n\nasks contains {FINDING}\n\nall := denials | asks", "data.gateway.denials.tickets.all"),
        ("helper(call) if call.version == 1", "{1 | data.gateway.denials.tickets.helper(input)}"),
        (DENIALS.replace('"tickets/late"', "input.action.name"), ASKED),
    ],
)
def test_a_family_that_is_asked_passes(family: str, asked: str):
    assert _unasked(family, asked) == []


def test_a_family_that_the_decision_never_asks_is_refused():
    (found,) = _unasked(DENIALS)

    assert found.startswith(
        f"{FILE}: the decision never asks `{ASKED}`, so it refuses nothing; add `{ASKED},` to `denials` in "
    )


def test_questions_that_the_decision_never_asks_are_refused():
    (found,) = _unasked(f"{DENIALS}\n\nasks contains {FINDING}", ASKED)

    assert "never asks `data.gateway.denials.tickets.asks`" in found


def test_a_family_that_only_a_list_asks_is_refused():
    shows = f'package gateway.visibility\n\nresult := {{"visible": {ASKED}}}\n'
    modules = (
        ("gateway/decision/decision.rego", _decision()),
        ("gateway/visibility/visibility.rego", shows),
        (FILE, f"package gateway.denials.tickets\n\n{DENIALS}\n"),
    )
    policy, opa = Bundle(modules, "{}", "r"), opa_program.require_opa("this test")

    read = authoring.read_modules(policy.modules, opa)
    (found,) = authoring.find_unasked(bytes(authoring.compile_rules(policy, opa).plan), read)

    assert "the decision never asks" in found


@pytest.mark.parametrize("family", ["deny contains 1", "late if input.session.calls > 3"])
def test_a_family_without_denials_is_named(family: str):
    (found,) = _unasked(family)

    assert found.startswith(f"{FILE}: the family `tickets` has no rule `denials`, so it refuses nothing")


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("denials := {1} if input.version", "no partial set"),
        ("default denials := {1}", "no partial set"),
        ('denials["a"] := 1', "no partial set"),
        ("denials.a contains 1", "no partial set"),
        ("denials(call) := call", "no partial set"),
        ("denials if input.version", "no partial set"),
        ('denials contains {"code": "late", "facts": []}', 'the code "late" of'),
        ('denials contains {"code": "Tickets/Late", "facts": []}', 'the code "Tickets/Late" of'),
        ('asks contains {"code": "x", "facts": []}', 'the code "x" of'),
        ('obligations contains {"id": "limits", "properties": {}}', 'there is no obligation "limits"'),
        ("hides if input.version", "is no function"),
        ("hides contains 1", "is no function"),
    ],
)
def test_a_rule_of_an_overlay_that_would_find_nothing_is_refused(family: str, said: str):
    """The place of an overlay asks each rule by its name, and would find nothing in a value of another form."""
    places = [f"{{x | some x in data.overlay.x.{name}}}" for name in ("denials", "asks", "obligations")]
    if "hides" in family or "(" in family or family.startswith("denials if"):
        places = []

    found = _unasked(family, *places, package="overlay.x", file="overlay/x.rego")

    assert [item for item in found if said in item] != []


@pytest.mark.parametrize("package", ["overlay.x.y", "overlay.lib.hours"])
@pytest.mark.parametrize("rule", ["denials contains 1", "obligations contains 1", "hides(resource) if resource.id"])
def test_a_rule_of_an_overlay_in_a_package_that_nobody_asks_is_refused(package: str, rule: str):
    (found,) = _unasked(rule, package=package, file="overlay/x.rego")

    assert "name its package overlay.<family>, in two parts" in found


def test_a_package_of_the_policy_in_a_file_of_an_overlay_is_refused():
    found = _unasked("helper := 1", "{data.gateway.lib.x.helper}", package="gateway.lib.x", file="overlay/x.rego")

    assert found == ["overlay/x.rego: gateway.lib.x is no package of an overlay"]


GUARDS = """package overlay.x

members contains 1

given(x) if x

same(x) := x

named if input.resource

default sure := false

guarded(call) if {{
	y := call.version
	{}
}}
"""


@pytest.mark.parametrize(
    "guard",
    [
        "not is_string(input.x)",
        "not input.x > 3",
        'not startswith(call.a.b, "x")',
        "not given(same(call))",
        'not lower(input.x) == "a"',
        "not input.x in {1}",
        "not 1 in input.x",
        "not data.overlay.x.named in {1}",
        "every z in [1] { not is_string(input.x[z]) }",
        "1 in [1 | not is_string(call.x)]",
    ],
)
def test_a_guard_that_has_no_value_where_a_fact_is_missing_is_refused(guard: str):
    """In OPA the whole rule has no value then, so a denial would not hold."""
    (found,) = _guards(GUARDS.format(guard))

    assert found.startswith("overlay/x.rego")
    assert "guards nothing" in found


@pytest.mark.parametrize(
    "guard",
    [
        "not input.x",
        "not input.x == 1",
        "not named",
        "not given(call)",
        "not is_array(y)",
        "not count({1 | input.y}) > 0",
        "not members == set()",
        "not count(data.overlay.x.members) > 1",
        "not data.overlay.x.sure in {1}",
        "not given(call) with input as {}",
    ],
)
def test_a_guard_that_always_has_a_value_passes(guard: str):
    assert _guards(GUARDS.format(guard)) == []


def _guards(text: str) -> list[str]:
    modules = [("overlay/x.rego", text)]
    return authoring.find_void_guards(modules, authoring.read_modules(modules, opa_program.require_opa("this test")))


def test_the_shipped_policy_has_no_void_guards():
    policy = folders.read_policy(PolicyFolders(find_shipped()))

    read = authoring.read_modules(policy.modules, opa_program.require_opa("this test"))
    assert authoring.find_void_guards(policy.modules, read) == []


@pytest.mark.parametrize("name", ["http.send", "time.now_ns", "rand.intn", "opa.runtime", "io.jwt.decode"])
async def test_a_function_out_of_the_bounds_of_a_policy_is_refused_by_name(name: str, tree: Tree):
    arguments = {"http.send": '{"url": "x"}', "rand.intn": '"a", 2', "io.jwt.decode": "input.action.name"}.get(name, "")
    text = f"package gateway.decision\n\nresult := {{}} if {name}({arguments}) == input.version\n"
    policy = bundle.read_folder(tree({"gateway/decision/extra.rego": text}))

    with pytest.raises(PolicyBroken, match=rf"gateway/decision/extra\.rego:3: the function {name} may not be used"):
        await Plans().load(policy)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x := \n", "gateway/decision/extra.rego:4: "),
        ("x if input.subjekt\n", "gateway/decision/extra.rego:3: undefined ref: input.subjekt; it may be one of "),
        ("x if input.session.calls == y\n", "gateway/decision/extra.rego:3: var y is unsafe"),
        ("x if nothing(input)\n", "gateway/decision/extra.rego:3: undefined function nothing"),
        ("x if { y := 1 }\n", "gateway/decision/extra.rego:3: assigned var y unused"),
    ],
)
def test_what_opa_finds_is_told_with_its_place(tree: Tree, text: str, said: str):
    policy = bundle.read_folder(tree({"gateway/decision/extra.rego": f"package gateway.decision\n\n{text}"}))

    with pytest.raises(PolicyBroken) as raised:
        authoring.judge(policy, ())

    assert raised.value.message.startswith(said)


def test_a_misspelt_field_is_found_beside_annotations_that_name_a_schema(tmp_path: Path):
    own = tiny_policy.write(tmp_path / "own", {"tickets/tickets.rego": OVERLAY.replace("task.kind", "task.kinds")})
    policy = folders.read_policy(PolicyFolders(find_shipped(), None, own))

    assert any("undefined ref: input.context.task.kinds" in found for found in _check(policy))
    assert _check(folders.read_policy(PolicyFolders(find_shipped()))) == []


def _check(policy: Bundle) -> list[str]:
    return authoring.check_rules(policy, opa_program.require_opa("this test"))


def test_tests_run_on_the_data_of_the_policy_and_only_below_their_folder(tree: Tree):
    text = 'package a_test\n\ntest_data if data.gateway.grants.upstreams.agents == ["spiffe://corp/agent/triage"]\n'
    policy = bundle.read_folder(tree({"a/a_test.rego": text, "b/b_test.rego": "package b_test\n\ntest_red if false\n"}))
    opa = opa_program.require_opa("this test")

    assert authoring.run_tests(Suite(policy, "a/"), opa) == [
        PolicyTest("a_test.test_data", "a/a_test.rego:3", passed=True)
    ]
    assert [test.passed for test in authoring.run_tests(Suite(policy), opa)] == [True, False]
    assert authoring.run_tests(Suite(replace(policy, tests=())), opa) == []


@pytest.mark.parametrize(
    "package",
    [
        "package a.own_test",
        "# package b_test\n\npackage a.own_test # own",
        'package a["own-rules"].own_test',
        "package a.own_test\n\ntext := `\npackage b_test\n`",
        "  package a.own_test",
    ],
)
def test_each_test_below_a_folder_runs_however_its_package_is_written(tree: Tree, package: str):
    own = f"{package}\n\ntest_own if true\n"
    policy = bundle.read_folder(
        tree({"a/own_test.rego": own, "b/b_test.rego": "package b_test\n\ntest_red if false\n"})
    )

    found = authoring.run_tests(Suite(policy, "a/"), opa_program.require_opa("this test"))

    assert [(test.name.rpartition(".")[2], test.passed) for test in found] == [("test_own", True)]


def test_a_red_test_is_told_with_its_file_and_line(tree: Tree):
    policy = bundle.read_folder(tree({"b_test.rego": "package b_test\n\ntest_red if false\n\ntest_too if false\n"}))

    with pytest.raises(PolicyBroken, match=r"^b_test\.rego:3: the test b_test\.test_red fails \(and 1 more\)$"):
        authoring.judge(policy, (Suite(policy),))


def test_data_in_the_place_of_a_test_are_refused(tree: Tree):
    """They would make the test pass."""
    files = {"b_test.rego": "package b_test\n\ntest_red if false\n", "b_test/data.json": '{"test_red": true}'}
    policy = bundle.read_folder(tree(files))

    with pytest.raises(PolicyBroken, match="conflicting rule"):
        authoring.judge(policy, (Suite(policy),))


async def test_without_an_opa_own_rules_say_what_to_do(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.policy.plan.loading.find_program", lambda: None)
    policy = bundle.read_folder(tree({"gateway/decision/extra.rego": "package gateway.decision\n\nx := 7\n"}))

    with pytest.raises(
        PolicyBroken, match=r"^no compiled form fits the rules, and there is no `opa` on PATH"
    ) as raised:
        await Plans().load(policy)
    assert "opagate policy build --sign KEY" in raised.value.remedy
    assert "docs/operations/policy.md" in raised.value.remedy


async def _check_shipped() -> None:
    await rego.checks(PolicyFolders(find_shipped()), 1.0)


async def _test_shipped() -> None:
    rego.run_tests(rego.suites(PolicyFolders(find_shipped())))


async def _build_shipped() -> None:
    policy_build.compare_plan(PolicyFolders(find_shipped()), PlanTrust())


@pytest.mark.parametrize("command", [_check_shipped, _test_shipped, _build_shipped])
async def test_a_command_that_needs_an_opa_says_how_to_get_it(
    command: Callable[[], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(opa_program, "find_program", lambda: None)

    with pytest.raises(PolicyBroken, match=r"^`opagate policy \w+` needs the OPA program") as raised:
        await command()
    assert "docs/operations/policy.md" in raised.value.remedy


def test_a_program_that_does_not_run_is_told(tmp_path: Path):
    with pytest.raises(PolicyBroken, match="cannot be run: No such file"):
        opa_program.run_program(tmp_path / "opa")


def test_a_program_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(opa_program, "_PATIENCE", 0.01)

    with pytest.raises(PolicyBroken, match="took longer than 0 s"):
        opa_program.run_program(Path("/bin/sleep"), "60")
