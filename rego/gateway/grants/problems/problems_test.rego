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

test_each_problem_is_told if {
	every fields in [
		{"id": 1}, {"description": 1}, {"agents": []}, {"agents": "a"}, {"tools": ["a*b*"]}, {"tools": [1]},
		{"effects": ["fly"]}, {"auth_methods": ["password"]}, {"approval": "yes"}, {"sensitivity": "secret"},
		{"sensitivity": null}, {"when": []}, {"scope": ["a"]}, {"when": {"x": {"equals": 1}}}, {"when": {"/x": "a"}},
		{"when": {"/x": {}}}, {"when": {"/x": {"optional": true}}}, {"when": {"/x": {"nope": 1}}},
		{"when": {"/x": {"one_of": []}}}, {"when": {"/x": {"one_of": "a"}}}, {"when": {"/x": {"matches": `\d`}}},
		{"when": {"/x": {"under": ""}}}, {"when": {"/x": {"under": 1}}}, {"when": {"/x": {"host_in": "a"}}},
		{"when": {"/x": {"max": "1"}}}, {"when": {"/x": {"present": false}}}, {"when": {"/x": {"absent": true, "max": 1}}},
		{"when": {"/x": {"equals": 1, "optional": "yes"}}},
	] {
		count(problems.of(object.union(example.grant, fields))) > 0
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
	count(twice) == 2
}
