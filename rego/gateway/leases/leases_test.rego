package gateway.leases_test

import data.gateway.leases
import data.gateway.testing.example_test as example

_lease := {
	"id": "lease-1",
	"resource": example.tool,
	"audience": "files",
	"scope": ["files.read"],
	"kind": "exchange",
	"expires": "2026-11-24T10:01:00Z",
}

_message := object.union(_lease, {"id": "lease-2", "resource": object.union(example.note, {"id": "files/"})})

_asking(held) := object.union(object.remove(example.call, ["resource", "arguments", "action"]), {"leases": held})

_kept(document, upstreams) := found.keep if {
	found := leases.result with input as document with data.gateway.grants.upstreams as upstreams
}

test_a_lease_stays_while_its_target_is_granted if {
	_kept(_asking([_lease]), example.granted({})) == ["lease-1"]
	_kept(_asking([_lease]), {"*": [example.grant]}) == ["lease-1"]
	_kept(_asking([_lease]), example.granted({"approval": true})) == ["lease-1"]
	_kept(_asking([_lease]), example.granted({"when": {"/path": {"equals": "x"}}})) == ["lease-1"]
}

test_a_lease_ends_with_its_grant if {
	every upstreams in [{}, null, {"files": null}, {"mail": [example.grant]}, example.granted({"tools": ["write_*"]})] {
		_kept(_asking([_lease]), upstreams) == []
	}
	every fields in [
		{"users": ["bob"]}, {"agents": ["b"]}, {"issuers": ["https://other.example"]}, {"environments": ["test"]},
		{"scopes": ["x"]}, {"misspelt": []}, {"effects": ["write"]}, {"sensitivity": "public"},
	] {
		_kept(_asking([_lease]), example.granted(fields)) == []
	}
}

test_one_lease_ends_and_the_other_stays if {
	other := object.union(_lease, {"id": "lease-3", "resource": {"id": "files/write_file", "properties": {"effect": "write"}}})
	_kept(_asking([_lease, other]), example.granted({})) == ["lease-1"]
}

test_a_lease_for_messages_stays_while_anything_is_granted if {
	_kept(_asking([_message]), example.granted({"tools": ["write_*"], "resources": []})) == ["lease-2"]
	_kept(_asking([_message]), {"*": [example.grant]}) == ["lease-2"]
	every upstreams in [{}, null, {"mail": [example.grant]}, {"files": null}, example.granted({"users": ["bob"]})] {
		_kept(_asking([_message]), upstreams) == []
	}
}

test_a_changed_pin_ends_a_lease if {
	changed := object.union(_lease, {"resource": {"properties": {"pin": "changed"}}})
	_kept(_asking([changed]), example.granted({})) == []
}

test_a_caller_that_may_do_less_loses_a_lease if {
	anonymous := {"subject": {"properties": {"auth_method": "anonymous"}}}
	_kept(object.union(_asking([_lease]), anonymous), example.granted({})) == []
	weak := object.union(_lease, {"resource": {"properties": {"effect": "mint"}}})
	bearer := {"subject": {"properties": {"bound": false}}}
	granted := example.granted({"effects": ["mint"]})
	_kept(object.union(_asking([weak]), bearer), granted) == ["lease-1"]
	_kept(_asking([weak]), granted) == ["lease-1"]
	ceiling := {"jwt": ["read"]}
	_kept(_asking([weak]), granted) == [] with data.gateway.settings.effects_of as ceiling
}

test_anything_malformed_keeps_no_lease if {
	every pointer in [
		"/version", "/subject/id", "/subject/properties/user", "/context/task", "/subject/properties/delegation", "/leases",
		"/leases/0/resource", "/leases/0/resource/properties/trust", "/leases/0/resource/properties/effect",
	] {
		_kept(example.lacking(_asking([_lease, _message]), pointer), example.granted({})) == []
	}
	_kept(object.union(_asking([_lease]), {"version": 2}), example.granted({})) == []
	_kept(object.union(_asking([_lease]), {"context": {"time": "2026-11-25T00:00:00Z"}}), example.granted({})) == []
	found := leases.result with input as {}
	found == {"version": 1, "keep": []}
}

test_where_nothing_is_enforced_a_lease_stays_unless_its_pin_changed if {
	observed := object.union(_asking([_lease]), {"context": {"enforced": false}})
	_kept(observed, example.granted({"tools": ["write_*"]})) == ["lease-1"]
	changed := object.union(_lease, {"resource": {"properties": {"pin": "changed"}}})
	_kept(object.union(_asking([changed]), {"context": {"enforced": false}}), example.granted({})) == []
}
