package gateway.grants.problems_test

import data.gateway.grants.problems
import data.gateway.testing.example_test as example

test_the_shipped_grants_have_no_problems if problems.found == set()

test_a_good_grant_has_none if {
	every condition in [
		{"one_of": ["a"]}, {"equals": null}, {"matches": "a+"}, {"under": "/a"}, {"host_in": ["a"]}, {"max": 1}, {"min": 1},
		{"max_items": 1}, {"present": true}, {"absent": true}, {"equals": 1, "optional": false},
	] {
		problems.of(object.union(example.grant, {"when": {"/x": condition}})) == set()
	}
}

test_a_grant_with_every_field_has_none if {
	narrow := {"users": ["a*"], "groups": ["a"], "scopes": ["a"], "auth_methods": ["jwt"], "environments": ["a"], "tenants": ["a"]}
	every fields in [
		narrow,
		{"owner": "ana", "reason": "The triage of tickets.", "until": "2026-12-31T00:00:00.5Z"},
		{"arguments": ["a", "b"], "resources": ["a"], "prompts": ["*b"]},
		{"effects": ["read", "exec"], "sensitivity": "public", "approval": true, "when": {}},
		object.union(narrow, {"arguments": [""], "sensitivity": "restricted", "approval": false}),
	] {
		problems.of(object.union(example.grant, fields)) == set()
	}
	every field in ["resources", "prompts"] {
		grant := object.remove(example.grant, ["tools", "resources", "prompts"])
		problems.of(object.union(grant, {field: ["a"]})) == set()
	}
}

_lists := [
	"agents", "issuers", "tools", "resources", "prompts", "effects", "users", "groups", "scopes", "auth_methods",
	"environments", "tenants", "arguments",
]

test_what_is_no_list_of_text_is_told if {
	every field in _lists {
		every value in [[], "a", null, {}, {"a": "b"}, [1], [["read"]], ["read", null], ["jwt", {}]] {
			problem := sprintf("%s is not a list of text, with at least one item", [field])
			problem in problems.of(object.union(example.grant, {field: value}))
		}
	}
}

test_a_second_star_is_told if {
	every field in ["agents", "issuers", "tools", "resources", "prompts", "users"] {
		found := problems.of(object.union(example.grant, {field: ["b", "a*b*"]}))
		found == {sprintf("%s: \"a*b*\" has more than one *", [field])}
	}
	problems.of(object.union(example.grant, {"arguments": ["a*b*"]})) == set()
}

test_each_problem_is_told if {
	every row in [
		[{"id": 1}, "id is not text"],
		[{"description": 1}, "description is not text"],
		[{"effects": ["read", "fly"]}, `effects: there is no "fly"`],
		[{"auth_methods": ["jwt", "password"]}, `auth_methods: there is no "password"`],
		[{"approval": "yes"}, "approval is neither true nor false, nor a rule on approvers"],
		[{"approval": null}, "approval is neither true nor false, nor a rule on approvers"],
		[{"approval": {"count": 0}}, "approval: count is not a whole number of at least 1"],
		[{"approval": {"counts": 2}}, "approval: there is no field \"counts\""],
		[{"sensitivity": "secret"}, "sensitivity is not one of public, internal, confidential, restricted"],
		[{"sensitivity": null}, "sensitivity is not one of public, internal, confidential, restricted"],
		[{"when": []}, "when is not a mapping of JSON pointer to condition"],
		[{"scope": ["a"]}, `there is no field "scope"`],
		[{"when": {"x": {"equals": 1}}}, `when: "x" is not a JSON pointer; write it like /to`],
		[{"when": {"/x": "a"}}, "when /x: a condition is a mapping of test to value"],
		[{"when": {"/x": {}}}, "when /x: it says nothing beside optional"],
		[{"when": {"/x": {"optional": true}}}, "when /x: it says nothing beside optional"],
		[{"when": {"/x": {"nope": 1}}}, `when /x: there is no test "nope"`],
		[{"when": {"/x": {"one_of": []}}}, "when /x: one_of has a value that it cannot have"],
		[{"when": {"/x": {"one_of": "a"}}}, "when /x: one_of has a value that it cannot have"],
		[{"when": {"/x": {"matches": `\d`}}}, "when /x: matches has a value that it cannot have"],
		[{"when": {"/x": {"under": ""}}}, "when /x: under has a value that it cannot have"],
		[{"when": {"/x": {"under": 1}}}, "when /x: under has a value that it cannot have"],
		[{"when": {"/x": {"host_in": "a"}}}, "when /x: host_in has a value that it cannot have"],
		[{"when": {"/x": {"max": "1"}}}, "when /x: max has a value that it cannot have"],
		[{"when": {"/x": {"min": "1"}}}, "when /x: min has a value that it cannot have"],
		[{"when": {"/x": {"max_items": "1"}}}, "when /x: max_items has a value that it cannot have"],
		[{"when": {"/x": {"present": false}}}, "when /x: present has a value that it cannot have"],
		[{"when": {"/x": {"absent": false}}}, "when /x: absent has a value that it cannot have"],
		[{"when": {"/x": {"absent": true, "max": 1}}}, "when /x: absent stands alone"],
		[{"when": {"/x": {"equals": 1, "optional": "yes"}}}, "when /x: optional has a value that it cannot have"],
	] {
		[fields, problem] := row
		problems.of(object.union(example.grant, fields)) == {problem}
	}
}

test_missing_fields_are_told if {
	problems.of({}) == {
		"id is missing",
		"agents is missing",
		"issuers is missing",
		"one of tools, resources and prompts is needed",
	}
	problems.of("a") == {"a grant is a mapping"}
}

test_where_a_problem_is if {
	found := problems.found with data.gateway.grants.upstreams as {"files": [example.grant, 7]}
	found == {{"upstream": "files", "index": 1, "problem": "a grant is a mapping"}}
	flat := problems.found with data.gateway.grants.upstreams as {"files": example.grant}
	flat == {{"upstream": "files", "index": 0, "problem": "the grants of an upstream are a list"}}
	none := problems.found with data.gateway.grants.upstreams as []
	none == {{"upstream": "", "index": 0, "problem": "upstreams is missing, or no mapping of upstream to grants"}}
	twice := problems.found with data.gateway.grants.upstreams as {"files": [example.grant], "mail": [example.grant]}
	twice == {{"upstream": upstream, "index": 0, "problem": "the id \"triage-reads-files\" is given twice"} |
		some upstream in ["files", "mail"]
	}
}

test_an_end_that_is_no_time_is_told if {
	every until in ["2026-12-31", "2026-12-31T00:00:00+01:00", "soon", "", 1, null, true, ["2026-12-31T00:00:00Z"]] {
		found := problems.of(object.union(example.grant, {"until": until}))
		found == {"until is not a time in UTC; write it like \"2026-12-31T00:00:00Z\", in quotes"}
	}
	every field in ["owner", "reason"] {
		sprintf("%s is not text", [field]) in problems.of(object.union(example.grant, {field: 1}))
	}
}
