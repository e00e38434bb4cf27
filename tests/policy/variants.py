"""Rules as authors write them: right ones, and ones with a mistake that a check must find.

Each stands in a package `gateway.denials.mine` beside the modules of `AROUND` and the data of `DATA`.
"""

from __future__ import annotations

from typing import Any, Final

AROUND: Final = {
    "gateway/lib/lib.rego": """package gateway.lib

is_text(value) if {
	is_string(value)
	value != ""
}

empty(value) if value == ""

empty(value) if value == []

empty(value) if value == {}

own(document, path) := object.get(document, path, null)

named(thing) := thing.name if {
	is_object(thing)
} else := thing if is_string(thing)
""",
    "gateway/other/other.rego": """package gateway.other

default limit := 3

names contains name if some name in ["a", "b"]

roles := input.resource.properties.roles

table := {"low": 1, "high": 2}

by_name[name] := size if some name, size in {"a": 1}

deep.er := 7
""",
}
DATA: Final[dict[str, Any]] = {
    "gateway": {
        "grants": {"upstreams": {"files": []}},
        "mine": {
            "limit": 3,
            "names": ["a"],
            "hours": {"from": 9, "to": 17},
            "rules": [{"id": "x", "tools": ["a"]}],
            "nothing": None,
            "odd-name": 1,
        },
    }
}
MINE: Final = "gateway/denials/mine/mine.rego"
PACKAGE: Final = "package gateway.denials.mine\n\n"
HEAD: Final = f"{PACKAGE}import data.gateway.lib\nimport data.gateway.other\n\n"


def denial(body: str) -> str:
    """Return a module with one denial."""
    lines = "\n".join(f"\t{line.strip()}" for line in body.strip().splitlines())
    return f'{HEAD}denials contains {{"code": "mine/x", "facts": []}} if {{\n{lines}\n}}\n'


RIGHT: Final = {
    "an argument of any name": 'input.arguments.ticket.id == "T-1"',
    "an argument by bracket": 'input.arguments["x-y"][0].z > 3',
    "a computed key": 'some name in ["calls", "denials"]\ninput.session[name] > 3',
    "a key from the input": "role := input.resource.properties.roles[input.arguments.pointer]\nrole",
    "object.get of what is not there": 'object.get(input.resource.properties, "tenent", "x") == "x"',
    "object.get along a path": 'object.get(input, ["context", "task", "own"], {}) == {}',
    "every member of the arguments": 'some key, value in input.arguments\nstartswith(key, "x")\nvalue == 3',
    "every field of the input": "some key in object.keys(input)\nkey",
    "a walk": 'walk(input.arguments, [path, value])\nvalue == "x"\ncount(path) > 1',
    "a part in a variable": 'properties := input.resource.properties\nproperties.tenant == "a"',
    "parts of parts": "task := input.context.task\ncontract := task.contract\ncount(contract.audiences) > 3",
    "a declared name": 'some i\ninput.session.audiences[i] == "x"\ni > 0',
    "destructuring": '[first, second] := [input.subject.id, input.session.calls]\nfirst == "x"\nsecond > 3',
    "destructuring a split": '[head, _] := split(input.resource.id, "/")\nhead == "x"',
    "annotations of a tool": "input.resource.properties.annotations.readOnlyHint == true",
    "a role by pointer": 'input.resource.properties.roles["/to"] == "destination"',
    "a limit by name": "input.context.task.contract.limits.audiences > 3",
    "a union with null": 'user := input.subject.properties.user\nuser != null\n"sre" in user.groups',
    "null or not": "input.context.approval == null",
    "a field that is there": "input.context.task.tenant != null",
    "no field": "task := input.context.task\nnot task.tenant",
    "an order of kinds": 'input.subject.id > ""\ninput.subject.id < []\ninput.session.audiences >= []',
    "one of several kinds": 'input.arguments.x in ["a", 1, null, true]',
    "an item or nothing": 'not input.resource.properties.environment in ["", "demo"]',
    "one of the effects": 'input.resource.properties.effect in {"write", "exec"}',
    "a role among the roles": '"command" in input.resource.properties.roles',
    "some pointer of a role": 'some pointer, "command" in input.resource.properties.roles\npointer',
    "every item": 'every name in input.session.audiences { startswith(name, "x") }',
    "a comprehension": 'found := {link.id | some link in input.subject.properties.delegation}\n"x" in found',
    "sets of arrays": 'written := {name | some name in input.session.write_audiences}\nwritten - {"x"} != set()',
    "arithmetic": "input.session.calls - input.session.denials > 3 * 2",
    "a function of the library": "not lib.is_text(input.arguments.x)",
    "a function for many kinds": "not lib.empty(input.subject.id)",
    "a function for objects and texts": 'lib.named(input.subject.id) == "x"',
    "a result of a function": 'lib.own(input.arguments, ["a"]) == 7',
    "a rule of another package": "data.gateway.other.limit < input.session.calls",
    "a set of another package": '"a" in data.gateway.other.names\ndata.gateway.other.names["b"]',
    "a rule for a part of the input": 'data.gateway.other.roles["/x"] == "content"',
    "a table": "data.gateway.other.table.low == 1\nother.table[input.context.task.risk] == 2",
    "a rule by name": "data.gateway.other.by_name.anything == 1",
    "a rule with a path": "data.gateway.other.deep.er == 7",
    "a package as a whole": "count(data.gateway.other) > 3",
    "data": "input.session.calls > data.gateway.mine.limit",
    "data by a variable": 'settings := data.gateway.mine\nsettings.hours.from < 9\n"a" in settings.names',
    "data in a list": "some rule in data.gateway.mine.rules\nnot rule.disabled",
    "data by bracket": 'data.gateway.mine["odd-name"] == 1\ndata.gateway.mine.nothing == null',
    "data by a computed key": "data.gateway.mine.hours[input.arguments.key] == 3",
    "data that may be missing": 'object.get(data.gateway.mine, "own", []) == []',
    "grants of an upstream that has none": "some grant in data.gateway.grants.upstreams.mail\ngrant.id",
    "another input": 'data.gateway.other.limit == 3 with input as {"any": {"thing": 1}}',
    "a part of another input": 'input.any.thing == 1 with input as {"any": {"thing": 1}}',
    "other data": 'data.any.thing == 1 with data.any as {"thing": 1}',
    "time": "[hour, _, _] := time.clock(time.parse_rfc3339_ns(input.context.time))\nhour < 9",
    "a result as an argument": "count(input.session.audiences, n)\nn > 3",
    "a list of resources": 'some resource in input.resources\nresource.properties.effect == "write"',
    "a text with a beginning": "startswith(input.resource.id, `x`)",
    "the number of anything": "count(input.arguments) > 3",
    "a name that is shadowed": 'input.session.calls > 3\nnames := {x | some other in input.session.audiences; x := lower(other)}\nnames["x"]',
}  # fmt: skip
"""What a check must let pass, by what it shows."""

RIGHT_TOO: Final = (
    'field := input.arguments.f\ninput.resource.properties[field] == "x"',
    '"a" in object.keys(input.arguments)',
    "x := input\nx.session.calls > 3",
    'some i, "x" in input.session.audiences\ni > 0',
    'input.session.credentials[_].origin.kind == "result"',
    "count({x | input.session.audiences[x]}) > 1",
    'walk(input, [["session", "calls"], v])\nv > 3',
    'not "x" in input.arguments.list',
    "is_null(input.context.approval)",
    "parsed := json.unmarshal(input.arguments.body)\nparsed.foo.bar == 3",
    'split(input.resource.id, "/")[0] == "x"',
    'regex.find_n("a", input.resource.id, -1)[0] == "a"',
    'max(input.session.audiences) == "z"',
    "to_number(input.arguments.n) > 3",
    "time.parse_rfc3339_ns(input.context.time) > time.parse_rfc3339_ns(input.context.task.expires)",
    'net.cidr_contains("10.0.0.0/8", input.context.client.ip)',
    'count([a | a := input.session.audiences[_]; a != "x"]) > 1',
    'input.resource.properties.annotations["x-y"].z == 1',
    'units := {"a": 1}\nunits[input.arguments.u] == 1',
    'sprintf("%v", [input.session.calls]) == "3"',
    'concat(",", {x | some x in input.session.tenants}) == "a"',
    'array.concat(input.session.audiences, ["x"])[0] == "x"',
    "{input.subject.id: 1}[input.subject.id] == 1",
    "data.gateway.mine[input.arguments.key] == 1",
    'input["context"]["task"]["kind"] == "declared"',
    '{"a", "b"}[input.subject.id]',
    "input.session.audiences != []\ninput.session.tenants == []",
    'input.session.labels == {"untrusted": true, "confidentiality": "public"}',
    "input.arguments == {}",
    "input.arguments != null",
    "input.resource.properties.roles == {}",
    'some role in {"a", "content"}\ninput.resource.properties.roles[_] == role',
    "input.session.calls % 2 == 0\ninput.session.calls * 2 > 1\ninput.session.calls / 2 > 1",
    "x = input.session.calls\nx > 3",
    '[_, rest] = ["x", input.session]\nrest.calls > 3',
    "true with input.session.calls as 3",
    'some name, number in {"calls": 3, "denials": 4}\ninput.session[name] > number',
    'every name, number in {"calls": 3, "denials": 4} {\ninput.session[name] > number\n}',
    'some held in input.session.credentials\nheld.origin.kind in {"user", "result"}\nnot held.handle',
    'object.get(input.context, ["task", "contract", "limits", "x"], 3) > 2',
    'limits := object.get(input.context.task, "contract", {"limits": {}}).limits\nlimits.calls > 2',
    'object.union(input.arguments, {"a": 1}).a == 1',
    "minutes := time.diff(time.parse_rfc3339_ns(input.context.time), time.parse_rfc3339_ns(input.context.task.opened))[4]\nminutes > 3",
    "count(input.subject.id) > 100",
    "input.subject.properties.user.id == input.subject.id",
    'lower(input.resource.properties.environment) == "production"',
    'input.context.task.goal == ""',
    'input.context.task.goal != ""',
    'startswith(input.resource.id, sprintf("%s/", [input.resource.properties.upstream]))',
    "abs(input.session.calls - 3) > 2",
    "sum([x | some x in [input.session.calls, input.session.denials]]) > 3",
    '[x, y] := [input.session.calls, input.subject.id]\nx > 3\ny == "a"',
    "to := input.arguments.to\nis_array(to)\ncount(to) > 3",
    'some to in input.arguments.to\nendswith(to, "@evil.test")',
    "to := [x | some x in input.arguments.to]\nto[0] != to[1]",
    "input.session.depth - 1 > 0",
    'sets := {"a"} | {x | some x in input.session.tenants}\ncount(sets - {"b"}) > 1',
    'weekday := time.weekday(time.parse_rfc3339_ns(input.context.time))\nweekday in {"Saturday", "Sunday"}',
    '"sre" in input.subject.properties.user.groups\n"once" in input.context.approval.scopes',
    "input.subject.properties.user == null",
    'user := object.get(input.subject.properties, "user", {})\nuser.id == "x"',
    'input.resource.properties.pin in {"match", "unpinned"}\nnot input.resource.properties.pin == "unknown"',
    'level := {"low": 1, "medium": 2, "high": 3}[input.context.task.risk]\nlevel > 2',
    'x := {"a": {"b": input.session.calls}}\nx.a.b > 3',
    'names := [n | some n in ["calls"]]\nsome n in names\ninput.session[n] > 3',
)  # fmt: skip
"""More bodies that a check must let pass."""

WRONG: Final[dict[str, tuple[str, str]]] = {
    "a misspelt field": ('input.resource.properties.tenent == "x"', "did you mean `tenant`?"),
    "a misspelt field, negated": ('not input.resource.properties.enviroment == "x"', "did you mean `environment`?"),
    "a misspelt field, by bracket": ('input["subjct"].id == "x"', "did you mean `subject`?"),
    "a misspelt first field": ('inputs := input.resuorce\ninputs.id == "x"', "did you mean `resource`"),
    "a misspelt field of a variable": (
        'properties := input.resource.properties\nproperties.tenent == "x"',
        "`properties.tenent`: `input.resource.properties` has no field `tenent`",
    ),
    "a misspelt field of a variable of a variable": (
        "task := input.context.task\ncontract := task.contract\ncount(contract.audience) > 3",
        "did you mean `audiences`?",
    ),
    "a misspelt field in a list": (
        'some link in input.subject.properties.delegation\nlink.isuer == "x"',
        "did you mean `issuer`?",
    ),
    "a misspelt field by index": ('input.subject.properties.delegation[0].isuer == "x"', "did you mean `issuer`?"),
    "a misspelt field in every": (
        'every held in input.session.credentials { held.orgin.kind == "user" }',
        "did you mean `origin`?",
    ),
    "a misspelt field in a comprehension": (
        "count({held.pinter | some held in input.session.credentials}) > 3",
        "did you mean `pointer`?",
    ),
    "a misspelt field in the head of a comprehension": (
        "x := [input.session.cals | input.version == 1]\nx == [1]",
        "did you mean `calls`?",
    ),
    "a misspelt field behind null": ('input.subject.properties.user.group == ["x"]', "did you mean `groups`?"),
    "a misspelt field of an argument": ('startswith(input.resource.idd, "x")', "did you mean `id`?"),
    "a misspelt field of a rule": (
        'held := data.gateway.other.roles\nheld["/x"] == "destnation"',
        "did you mean `destination`?",
    ),
    "a field of a text": ('input.subject.id.name == "x"', "`input.subject.id` is a text, and has no field `name`"),
    "a field of a list": ('input.session.audiences.github == "x"', "is a list, and has no field `github`"),
    "an index of a number": ('input.session.calls[0] == "x"', "is a number, and has no items"),
    "a list that is none": ("some x in input.session.calls\nx == 1", "is a number, and has no items"),
    "a number and a text": ('input.session.calls == "3"', 'is a number, and is compared with "3", a text'),
    "a number above a text": ('input.session.calls > "3"', 'is a number, and is compared with "3", a text'),
    "a text and a number": ("3 == input.subject.id", "is a text, and is compared with 3, a number"),
    "a number and a text, negated": ('not input.session.calls == "3"', "is compared with"),
    "a number that is not a text": ('input.session.calls != "3"', "is compared with"),
    "a number and a text by a variable": ('calls := input.session.calls\ncalls >= "3"', "is compared with"),
    "a number and a text by unification": ('input.session.calls = "3"', "is compared with"),
    "a number and a text of the input": ("input.session.calls == input.subject.id", "is compared with a text"),
    "true as a text": ('input.subject.properties.bound == "true"', 'true or false, and is compared with "true"'),
    "no field, asked twice": ("not input.context.task.tenant == false", "is a text, and is compared with false"),
    "null for what is absent": ("input.context.task.tenant == null", "is a text, and is compared with null"),
    "a list and a set": ('input.session.audiences == {"x"}', "is a list, and is compared with a set"),
    "a number in a list of texts": ("3 in input.session.audiences", "3 is a number, and each item of"),
    "a number in a list of texts that is written out": (
        'input.session.calls in ["1", "2"]',
        'is compared with "1", a text',
    ),
    "a part of a text": ('"x" in input.subject.id', "is a text, and has no items"),
    "an effect that there is not": ('input.resource.properties.effect == "wriet"', "did you mean `write`?"),
    "an effect that there is not, in a list": (
        'input.resource.properties.effect in ["read", "wriet"]',
        "did you mean `write`?",
    ),
    "a role that there is not": ('"comand" in input.resource.properties.roles', "did you mean `command`?"),
    "some role that there is not": (
        'some pointer, "comand" in input.resource.properties.roles\npointer',
        "did you mean `command`?",
    ),
    "an action that there is not": ('not input.action.name == "tools/cal"', "did you mean `tools/call`?"),
    "a sum with a text": ('input.session.calls + "1" > 3', '"1" is a text, and `+` takes a number'),
    "a difference of lists": (
        'input.session.audiences - {"x"} == set()',
        "is a list, and `-` takes a number or a set",
    ),
    "a union of lists": ('input.session.audiences | {"x"} == set()', "is a list, and `|` takes a set"),
    "a number for a text": ('startswith(input.session.calls, "x")', "`startswith` takes a text as argument 1"),
    "a count of a number": ("count(input.session.calls) > 3", "is a number, and `count` takes"),
    "a count above a text": ('count(input.session.audiences) > "3"', "is a number, and is compared with"),
    "too few arguments": ("startswith(input.resource.id)", "`startswith` takes 2 arguments, and is given 1"),
    "too many arguments": ('lib.is_text("a", "b", "c")', "`lib.is_text` takes 1 arguments, and is given 3"),
    "a rule that is not there": ("data.gateway.other.limits == 3", "did you mean `limit`?"),
    "a package that is not there": ("data.gateway.othr.limit == 3", "did you mean `other`?"),
    "data that are not there": ("data.gateway.mine.limt > 3", "did you mean `limit`?"),
    "data deep down that are not there": ("data.gateway.mine.hours.form > 3", "did you mean `from`?"),
    "data of a variable that are not there": ("settings := data.gateway.mine\nsettings.hours.fron > 3", "`from`?"),
    "a rule of a set": ("some name in data.gateway.other.names\nname > 3", "`name` is a text, and is compared with 3"),
    "a field of a table": ("other.table.hi == 1", "`other.table` has no field `hi`"),
    "a field of a mapping of one's own": ('x := {"a": 1}\nx.b == 1', "`x` has no field `b`"),
    "a mapping with other keys": ('{"id": name} = input.subject\nname == "x"', "never has exactly the fields id"),
}  # fmt: skip
"""What a check must find, by what it shows; and a part of what it must say."""

SILENT: Final = frozenset(
    {
        "a number above a text",
        "a number that is not a text",
        "a number and a text by a variable",
        "a part of a text",
        "an effect that there is not, in a list",
        "a role that there is not",
        "a misspelt field of a rule",
        "a count above a text",
        "a rule of a set",
        "a union of lists",
        "a number and a text by a parameter",
        "a misspelt field of a parameter of a parameter in a set",
    }
)
"""What no check finds: OPA compares any two values by order. The values of a rule that computes are not followed."""

FUNCTIONS: Final[dict[str, tuple[str, str]]] = {
    "a misspelt field of a parameter": (
        "x if glance(input)\n\nglance(call) if call.session.cals > 3",
        "`call.session.cals`: `input.session` has no field `cals`; did you mean `calls`?",
    ),
    "a number and a text by a parameter": (
        'x if glance(input)\n\nglance(call) if call.session.calls == "3"',
        "`call.session.calls` is a number, and is compared with",
    ),
    "a parameter of a parameter": (
        "x if outer(input)\n\nouter(call) if inner(call.resource)\n\ninner(resource) if resource.propertys.egress",
        "did you mean `properties`?",
    ),
    "two calls with the same": (
        (
            "x if inner(input.resource)\n\ny if { some resource in input.resources; inner(resource) }\n\n"
            "inner(resource) if resource.propertys.egress"
        ),
        "did you mean `properties`?",
    ),
    "a rule before its function": (
        "glance(call) if call.sesion\n\nx if glance(input)",
        "did you mean `session`?",
    ),
    "a misspelt field in an else": (
        "x := 1 if { input.version == 1 } else := input.subject.idd",
        "did you mean `id`?",
    ),
    "a misspelt field in a default of an else": (
        "f(call) := 1 if { call.version == 1 } else := call.subject.idd\n\nx if f(input) == 1",
        "did you mean `id`?",
    ),
    "a misspelt field of a parameter of a parameter in a set": (
        (
            "x if { some [_, found] in places; look(found) }\n\nplaces contains [1, made(input.subject.id)]\n\n"
            'made(text) := {"host": text}\n\nlook(found) if found.hosts == "a"'
        ),
        "`found` has no field `hosts`; did you mean `host`?",
    ),
    "a call that only a function makes which nothing calls": (
        "x if glance(input)\n\nglance(call) if call.session.cals\n\nunused(thing) if glance(thing)",
        "did you mean `calls`?",
    ),
    "a misspelt import of the input": ("import input.subjct as caller\n\nx if caller.id", "did you mean `subject`?"),
    "a misspelt field of an import": ("import input.subject as caller\n\nx if caller.idd", "did you mean `id`?"),
    "a misspelt import of data": ("import data.gateway.othe\n\nx if othe.limit", "did you mean `other`?"),
    "a misspelt field in a head": ("x contains input.session.cals", "did you mean `calls`?"),
    "a misspelt key in a head": ("x[input.subject.idd] := 1 if input.version == 1", "did you mean `id`?"),
}
"""Whole modules: what a check must find by way of functions, imports and heads."""

FUNCTIONS_RIGHT: Final = {
    "a function that nothing calls": "glance(call) if call.anything.at_all",
    "a parameter that is anything": "x if glance(input.arguments)\n\nglance(call) if call.anything.at_all",
    "a parameter that is several things": (
        "x if name_of(input.subject)\n\ny if name_of(input.context.task)\n\nz if name_of(input.arguments)\n\n"
        "name_of(thing) := thing.nickname"
    ),
    "a parameter of another kind": 'x if own(input.session.calls)\n\nown(value) if value == "x"\n\nown(value) if value == 3',
    "no field of a parameter": (
        "x if whole(input)\n\nwhole(call) if {\n\tnot call.context.task.expires\n\tnot call.context.task.expires == false\n}"
    ),
    "a parameter that is a list or a text": (
        "x if first(input.subject.id)\n\nfirst(value) := value[0] if is_array(value)\n\nfirst(value) := value"
    ),
    "a parameter named as a rule": "names := 1\n\nx if f(input.arguments)\n\nf(names) if names.any == 1",
    "a rule that is a switch": 'mode := "audit"\n\nx if { mode == "enforce"; input.version == 1 }',
    "an import of the input": "import input.subject as caller\n\nx if caller.properties.bound",
    "an import of the whole input": "import input as call\n\nx if call.session.calls > 3",
    "an import of a package": "import data.gateway.other as o\n\nx if o.limit > 3",
    "a partial object": "x[name] := role if some name, role in input.resource.properties.roles",
    "a default function": "default f(_) := false\n\nf(x) if x > 3\n\ny if f(input.session.calls)",
    "a test that replaces": "x if { y with input as {} with data.gateway.mine.limit as 1 }\n\ny if input.version == 1",
    "a rule in two files": "x if input.version == 1\n\nx if input.session.calls == 1",
    "a recursive walk": "x contains value if { walk(input.arguments, [_, value]); is_string(value) }",
    "a finding with a computed code": (
        'codes := {"calls": "mine/calls"}\n\n'
        'denials contains {"code": code, "facts": []} if { some name in object.keys(codes); code := codes[name] }'
    ),
}
"""Whole modules that a check must let pass."""
