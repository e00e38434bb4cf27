package gateway.explanation_test

import data.gateway.explanation
import data.gateway.testing.example_test as example

_fit(fields) := _fit_of(fields, example.call)

_fit_of(fields, call) := fit if {
	upstreams := example.granted(fields)
	answer := explanation.result with input as call with data.gateway.grants.upstreams as upstreams
	answer.version == 1
	[fit] := answer.grants
}

_failed(fields) := [part.field | some part in _fit(fields).failed]

test_a_grant_that_holds_lacks_nothing if {
	_fit({}) == {"upstream": "files", "index": 0, "id": "triage-reads-files", "approval": false, "failed": [], "open": []}
	_fit({"when": {"/path": {"under": "notes"}}, "arguments": ["path"], "users": ["alice"]}).failed == []
	_fit({"approval": true}).approval == true
}

test_each_part_that_does_not_hold_is_named if {
	every field, wanted in {
		"agents": ["mallory"], "issuers": ["https://other.example"], "tools": ["write_*"], "effects": ["write"],
		"sensitivity": "public", "users": ["bob"], "groups": ["admins"], "scopes": ["files.write"],
		"auth_methods": ["anonymous"], "environments": ["staging"], "tenants": ["globex"],
	} {
		some part in _fit({field: wanted}).failed
		part.field == field
		part.wanted == wanted
		_failed({field: wanted}) == [field]
	}
}

test_a_part_says_what_the_call_has if {
	every field, found in {
		"agents": "spiffe://corp/agent/triage", "tools": "read_file", "users": "alice", "groups": ["staff", "sre"],
		"scopes": ["files.read", "mail.send"], "environments": "production", "tenants": "acme", "auth_methods": "jwt",
	} {
		some part in _fit({field: ["none"]}).failed
		part.field == field
		part.found == found
	}
	some effect in _fit({"effects": ["write"]}).failed
	effect.found == "read"
	some sensitivity in _fit({"sensitivity": "public"}).failed
	sensitivity.found == "internal"
}

test_a_caller_without_a_user_has_none if {
	call := example.changed({"/subject/properties/user": null})
	[users] := _fit_of({"users": ["alice"]}, call).failed
	users.found == null
	[groups] := _fit_of({"groups": ["sre"]}, call).failed
	groups.found == []
}

test_the_narrow_readings_of_a_grant_are_named if {
	call := example.changed({"/resource/properties/effect": "write", "/resource/properties/sensitivity": "restricted"})
	{part.field: part.wanted | some part in _fit_of({}, call).failed} == {"effects": ["read"], "sensitivity": "internal"}
}

test_a_condition_names_its_tests_and_the_argument if {
	fit := _fit({"when": {"/path": {"under": "reports", "matches": "[a-z/.]+"}, "/size": {"max": 3}}})
	{part.pointer: [part.wanted, part.found] | some part in fit.failed} == {
		"/path": [{"under": "reports"}, ["notes/today.txt"]],
		"/size": [{"max": 3}, []],
	}
	_failed({"when": {"/path": {"under": "notes", "optional": true}, "/size": {"max": 3, "optional": true}}}) == []
	[part] := _fit({"arguments": ["to"]}).failed
	part == {"field": "arguments", "wanted": ["to"], "found": "path"}
}

test_a_grant_that_cannot_be_read_says_why if {
	some part in _fit({"scope": ["x"]}).failed
	part == {"field": "", "problem": "there is no field \"scope\""}
	void := explanation.result with input as example.call with data.gateway.grants.upstreams as {"files": [{}, 1], "*": "x"}
	[only] := void.grants
	only.id == ""
	count(only.failed) > 3
}

test_without_arguments_conditions_are_open if {
	call := example.without("/arguments")
	fit := _fit_of({"when": {"/path": {"under": "reports"}}, "arguments": ["path"], "users": ["bob"]}, call)
	[part.field | some part in fit.failed] == ["users"]
	{[part.field, part.wanted] | some part in fit.open} == {["when", {"under": "reports"}], ["arguments", ["path"]]}
	_fit_of({}, call).open == []
	list := example.changed({"/arguments": ["path"]})
	[part.field | some part in _fit_of({"arguments": ["path"]}, list).open] == ["arguments"]
}

test_resources_and_prompts_have_grants_too if {
	note := example.changed({"/resource": example.note, "/arguments": {"uri": "file:///notes/today.txt"}})
	_fit_of({}, note).failed == []
	other := example.changed({"/resource": object.union(example.note, {"id": "files/file:///etc/passwd"})})
	[part] := _fit_of({}, other).failed
	part == {"field": "resources", "wanted": ["file:///notes/*"], "found": "file:///etc/passwd"}
	prompt := example.changed({"/resource": object.union(example.note, {"type": "prompt", "id": "files/hello"})})
	[lacks] := _fit_of({}, prompt).failed
	lacks == {"field": "prompts", "wanted": [], "found": "hello"}
}

test_grants_of_all_upstreams_come_last if {
	upstreams := {"*": [example.grant], "files": [example.grant], "mail": [example.grant]}
	answer := explanation.result with input as example.call with data.gateway.grants.upstreams as upstreams
	[fit.upstream | some fit in answer.grants] == ["files", "*"]
}

test_a_call_without_a_target_has_no_grants if {
	call := example.without("/resource")
	explanation.result == {"version": 1, "grants": []} with input as call
}
