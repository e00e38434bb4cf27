package gateway.grants_test

import data.gateway.grants
import data.gateway.testing.example_test as example

_granted(fields, call) := found if {
	found := grants.granted with input as call with data.gateway.grants.upstreams as example.granted(fields)
}

_permits(fields) if _granted(fields, example.call) == "at once"

_permits_call(fields, places) if _granted(fields, example.changed(places)) == "at once"

test_a_grant_permits if _permits({})

test_every_part_of_a_grant_must_hold if {
	every fields in [
		{"agents": ["spiffe://corp/other/*"]}, {"issuers": ["https://other.example"]}, {"tools": ["write_*"]},
		{"users": ["bob"]}, {"groups": ["hr"]}, {"scopes": ["files.read", "files.write"]}, {"auth_methods": ["spiffe-jwt"]},
		{"environments": ["test"]}, {"tenants": ["other"]}, {"effects": ["write"]}, {"sensitivity": "public"},
		{"arguments": ["name"]}, {"when": {"/path": {"equals": "x"}}},
	] {
		not _permits(fields)
	}
	_permits({
		"agents": ["spiffe://corp/agent/triage"], "users": ["ali*"], "groups": ["hr", "sre"], "scopes": ["files.read"],
		"auth_methods": ["jwt"], "environments": ["production"], "tenants": ["acme"], "effects": ["read", "write"],
		"sensitivity": "restricted", "arguments": ["path"], "when": {"/path": {"under": "notes"}}, "description": "all",
	})
}

test_malformed_grants_are_void if {
	every fields in [
		{"agents": "spiffe://corp/agent/triage"}, {"issuers": null}, {"tools": {"read_file": true}}, {"users": "alice"},
		{"groups": "sre"}, {"scopes": "files.read"}, {"scopes": null}, {"auth_methods": "jwt"}, {"environments": "production"},
		{"tenants": "acme"}, {"effects": "read"}, {"effects": null}, {"sensitivity": "secret"}, {"sensitivity": null},
		{"approval": "no"}, {"approval": null}, {"when": false}, {"when": []}, {"when": null}, {"arguments": "path"},
		{"arguments": false}, {"scope": []}, {"expires": "2027-01-01"}, {"when": {"/path": {}}},
	] {
		not _permits(fields)
	}
}

test_absent_facts_hold_for_nothing if {
	every fields, pointer in {
		{"users": ["*"]}: "/subject/properties/user",
		{"groups": ["sre"]}: "/subject/properties/user",
		{"scopes": ["files.read"]}: "/subject/properties/scopes",
		{"environments": ["production"]}: "/resource/properties/environment",
		{"tenants": ["acme"]}: "/resource/properties/tenant",
	} {
		_permits(fields)
		not _granted(fields, example.without(pointer))
	}
}

test_an_approval_grant_is_another_thing if {
	_granted({"approval": true}, example.call) == "after approval"
	_permits({"approval": false})
}

test_resources_and_prompts_are_read if {
	_permits_call({}, {"/resource": object.union(example.note, {"properties": {"effect": "write"}})})
	prompt := object.union(example.note, {"type": "prompt", "id": "files/summary"})
	_permits_call({"prompts": ["summary"]}, {"/resource": prompt})
	not _permits_call({"prompts": ["summary"], "effects": ["write"]}, {"/resource": prompt})
	not _permits_call({}, {"/resource": prompt})
}

test_grants_for_every_upstream if {
	found := grants.granted with input as example.call with data.gateway.grants.upstreams as {"*": [example.grant]}
	found == "at once"
}
