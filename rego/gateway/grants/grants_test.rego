package gateway.grants_test

import data.gateway.grants
import data.gateway.testing.example_test as example

_granted(fields, call) := found if {
	found := grants.granted with input as call with data.gateway.grants.upstreams as example.granted(fields)
}

# Whether it asks for an approval or not, a grant is read alike.
_permits(fields) if _permits_in(fields, example.call)

_permits_call(fields, places) if _permits_in(fields, example.changed(places))

_permits_in(fields, call) if {
	_granted(fields, call) == "at once"
	_granted(object.union(fields, {"approval": true}), call) == "after approval"
}

_ways := [{}, {"approval": true}]

test_a_grant_permits if {
	_permits({})
	_permits_call({}, {"/arguments": {}})
	_permits_call({"effects": ["write"]}, {"/resource/properties/effect": "write"})
	_permits_call({"sensitivity": "restricted"}, {"/resource/properties/sensitivity": "restricted"})
}

test_every_part_of_a_grant_must_hold if {
	every fields in [
		{"agents": ["spiffe://corp/other/*"]}, {"issuers": ["https://other.example"]}, {"tools": ["write_*"]},
		{"users": ["bob"]}, {"groups": ["hr"]}, {"scopes": ["files.read", "files.write"]}, {"auth_methods": ["spiffe-jwt"]},
		{"environments": ["test"]}, {"tenants": ["other"]}, {"effects": ["write"]}, {"sensitivity": "public"},
		{"arguments": ["name"]}, {"when": {"/path": {"equals": "x"}}},
	] {
		every way in _ways {
			not _granted(object.union(way, fields), example.call)
		}
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
		{"arguments": false}, {"scope": []}, {"expires": "2027-01-01"}, {"when": {"/path": {}}}, {"groups": {"a": "sre"}},
		{"scopes": {"a": "files.read"}}, {"scopes": {}}, {"auth_methods": {"a": "jwt"}},
		{"environments": {"a": "production"}}, {"tenants": {"a": "acme"}},
	] {
		every way in _ways {
			not _granted(object.union(way, fields), example.call)
		}
	}
}

test_a_misspelt_field_voids_its_grant_whatever_it_says if {
	every fields in [
		{"condition": {"/path": {"under": "notes"}}}, {"condition": {}}, {"argument": ["path"]}, {"group": ["sre"]},
		{"user": ["alice"]}, {"scope": ["files.read"]}, {"auth_method": ["jwt"]}, {"environment": ["production"]},
		{"tenant": ["acme"]},
	] {
		every way in _ways {
			not _granted(object.union(way, fields), example.call)
		}
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
		every way in _ways {
			not _granted(object.union(way, fields), example.without(pointer))
		}
	}
}

test_an_approval_grant_is_another_thing if {
	_granted({"approval": true}, example.call) == "after approval"
	_permits({"approval": false})
}

test_a_grant_can_say_who_approves if {
	every rule in [{}, {"count": 2}, {"count": 2, "group": "sre", "assurance": "mfa", "scopes": ["once"]}] {
		_granted({"approval": rule}, example.call) == "after approval"
		asking := grants.asking with input as example.call
			with data.gateway.grants.upstreams as example.granted({"approval": rule})
		[grant.approval | some grant in asking] == [rule]
	}
	every rule in [{"count": 0}, {"counts": 2}, {"group": ""}, {"assurance": "password"}, ["sre"], 2] {
		not _granted({"approval": rule}, example.call)
	}
}

# To complete is to get with what is written so far.
test_a_grant_to_get_a_prompt_covers_its_completion if {
	prompt := object.union(example.note, {"type": "prompt", "id": "files/travel"})
	places := {"/action/name": "completion/complete", "/resource": prompt, "/arguments": {"to": "par"}}
	_permits_call({"prompts": ["travel"], "when": {"/to": {"matches": "[a-z]*"}}}, places)
	not _permits_call({"prompts": ["travel"], "arguments": ["from"]}, places)
	not _permits_call({"prompts": ["travel"], "when": {"/to": {"one_of": ["paris"]}}}, places)
	not _permits_call({"prompts": ["travel"], "when": {"/from": {"present": true}}}, places)
	both := object.union(places, {"/arguments": {"to": ["par", "/etc"]}})
	not _permits_call({"prompts": ["travel"], "when": {"/to": {"matches": "[a-z]*"}}}, both)
}

test_resources_and_prompts_are_read if {
	_permits_call({}, {"/resource": object.union(example.note, {"properties": {"effect": "write"}})})
	prompt := object.union(example.note, {"type": "prompt", "id": "files/summary"})
	_permits_call({"prompts": ["summary"]}, {"/resource": prompt})
	not _permits_call({"prompts": ["summary"], "effects": ["write"]}, {"/resource": prompt})
	not _permits_call({}, {"/resource": prompt})
	writing := example.changed({"/resource": object.union(prompt, {"properties": {"effect": "write"}})})
	every way in _ways {
		not _granted(object.union(way, {"prompts": ["summary"], "effects": ["write"]}), writing)
	}
	every way in _ways {
		not _granted(object.union(way, {"prompts": ["other"]}), writing)
	}
}

test_a_tool_without_an_effect_is_no_read if {
	call := example.without("/resource/properties/effect")
	every way in _ways {
		not _granted(object.union(way, {}), call)
	}
	not grants.designation(call.resource)
}

test_grants_for_every_upstream if {
	found := grants.granted with input as example.call with data.gateway.grants.upstreams as {"*": [example.grant]}
	found == "at once"
	asking := object.union(example.grant, {"approval": true})
	asked := grants.granted with input as example.call with data.gateway.grants.upstreams as {"*": [asking]}
	asked == "after approval"
}

test_the_grants_of_another_upstream_are_not_looked_at if {
	every approval in [true, false] {
		upstreams := {"mail": [object.union(example.grant, {"approval": approval})]}
		call := example.call
		not grants.granted with input as call with data.gateway.grants.upstreams as upstreams
	}
}

test_the_grants_that_name_a_target if {
	other := object.union(example.grant, {"tools": ["write_*"]})
	call := example.call
	found := grants.named(call.resource) with data.gateway.grants.upstreams as {
		"files": [example.grant, other],
		"mail": [example.grant],
		"*": [other, example.grant],
	}
	found == [example.grant, example.grant]
}

test_grants_that_are_no_list_are_not_looked_at if {
	every way in _ways {
		call := example.call
		upstreams := {"files": {"a": object.union(example.grant, way)}}
		not grants.granted with input as call with data.gateway.grants.upstreams as upstreams
		named := grants.named(call.resource) with data.gateway.grants.upstreams as upstreams
		named == []
	}
}

test_arguments_that_are_no_object_are_granted_nothing if {
	every way in _ways {
		not _granted(way, example.changed({"/arguments": []}))
	}
}

test_what_is_of_no_known_kind_is_covered_by_no_grant if {
	target := object.union(example.tool, {"type": "other"})
	grant := example.grant
	not grants.covers_effect(grant, target)
}

# --- the index -------------------------------------------------------------------------------------------

_agent := example.call.subject.id

_index(places) := {"files": {
	"count": 2,
	"agents": {_agent: places},
	"tools": {"read_file": {_agent: places}},
}}

_with_index(places, call) := found if {
	other := object.union(example.grant, {"agents": ["other"]})
	found := grants.granted with input as call
		with data.gateway.grants.upstreams as {"files": [other, example.grant]}
		with data.gateway.grants.index as _index(places)
}

test_a_grant_is_found_by_the_index if _with_index([1], example.call) == "at once"

test_a_grant_that_the_index_leaves_out_is_not_looked_at if not _with_index([], example.call)

test_a_grant_of_the_index_is_read_in_full if not _with_index([0], example.call)

test_a_place_without_a_grant_grants_nothing if not _with_index([7], example.call)

test_an_index_of_another_number_of_grants_does_not_count if {
	grants.granted with input as example.call
		with data.gateway.grants.upstreams as {"files": [example.grant]}
		with data.gateway.grants.index as _index([])
}

test_the_grants_for_an_agent_come_from_the_index_too if {
	found := grants.of_agent("files") with input as example.call
		with data.gateway.grants.upstreams as {"files": [example.grant, {"agents": ["other"]}]}
		with data.gateway.grants.index as _index([0])
	found == [example.grant]
}

test_a_grant_ends if {
	_until("2026-11-24T10:00:01Z") == "at once"
	_until("2026-11-24T10:00:00.5Z") == "at once"
	every until in ["2026-11-24T10:00:00Z", "2026-11-24T09:59:59.9Z", "2026-12-31", "9", "", null, true, 9999999999, ["9"]] {
		not _until(until)
	}
}

test_a_grant_with_an_end_needs_the_time if {
	every now in ["", "soon", null, 1, "2026-11-24T10:00:00+01:00"] {
		not _until_at("2027-01-01T00:00:00Z", now)
	}
}

test_owner_and_reason_restrict_nothing if {
	granted := grants.granted with input as example.call
		with data.gateway.grants.upstreams as example.granted({"owner": "ana", "reason": "triage"})
	granted == "at once"
}

_until(until) := _until_at(until, "2026-11-24T10:00:00Z")

_until_at(until, now) := found if {
	found := grants.granted with input as example.changed({"/context/time": now})
		with data.gateway.grants.upstreams as example.granted({"until": until})
}
