package gateway.visibility_test

import data.gateway.testing.example_test as example
import data.gateway.visibility

_list(resources) := object.union(object.remove(example.call, ["resource", "arguments", "action"]), {"resources": resources})

_seen(document, grant) := found.visible if {
	found := visibility.result with input as document with data.gateway.grants.upstreams as example.granted(grant)
}

test_what_is_granted_is_seen if {
	_seen(_list([example.tool, example.note]), {}) == ["files/file:///notes/today.txt", "files/read_file"]
	_seen(_list([example.tool]), {"tools": ["write_*"]}) == []
}

test_what_needs_an_approval_or_certain_arguments_is_seen if {
	_seen(_list([example.tool]), {"approval": true}) == ["files/read_file"]
	_seen(_list([example.tool]), {"when": {"/path": {"equals": "x"}}}) == ["files/read_file"]
}

test_what_any_call_would_be_denied_is_hidden if {
	every properties in [{"pin": "changed"}, {"effect": "write"}, {"sensitivity": "restricted"}] {
		_seen(_list([object.union(example.tool, {"properties": properties})]), {}) == []
	}
}

test_an_upstream_is_seen_by_whoever_has_a_grant_there if {
	upstream := object.union(example.note, {"id": "files/"})
	_seen(_list([upstream]), {}) == ["files/"]
	_seen(_list([upstream]), {"tools": [], "prompts": [], "resources": []}) == ["files/"]
	_seen(_list([upstream]), {"agents": ["other"]}) == []
}

test_the_answer_is_of_version_1 if {
	every document in [_list([example.tool]), {}] {
		found := visibility.result with input as document with data.gateway.grants.upstreams as {}
		found == {"version": 1, "visible": []}
	}
}

test_what_is_granted_to_somebody_else_is_hidden if {
	listed := _list([example.tool])
	every fields in [{"users": ["bob"]}, {"environments": ["test"]}, {"issuers": ["https://other.example"]}, {"scope": ["x"]}] {
		_seen(listed, fields) == []
	}
	every upstreams in [{"mail": [example.grant]}, {"files": {"a": example.grant}}, {"files": null}, null] {
		found := visibility.result with input as listed with data.gateway.grants.upstreams as upstreams
		found.visible == []
	}
}

test_a_grant_shows_nothing_of_another_upstream if {
	mail := object.union(example.tool, {"id": "mail/read_file", "properties": {"upstream": "mail"}})
	found := visibility.result with input as _list([example.tool, mail])
		with data.gateway.grants.upstreams as {"mail": [example.grant]}
	found.visible == ["mail/read_file"]
}

test_what_this_caller_may_never_do_is_hidden if {
	granted := {"effects": ["read", "write", "exec", "mint"], "sensitivity": "restricted"}
	anonymous := {"subject": {"properties": {"auth_method": "anonymous"}}}
	bearer := {"subject": {"properties": {"bound": false}}}
	every case in [
		[anonymous, {"environment": "demo", "effect": "write"}],
		[anonymous, {"environment": "demo", "sensitivity": "confidential"}],
		[anonymous, {}],
	] {
		[caller, properties] := case
		tool := object.union(example.tool, {"properties": properties})
		_seen(object.union(_list([tool]), caller), granted) == []
	}
	runs := object.union(example.tool, {"properties": {"effect": "exec"}})
	_seen(_list([runs]), granted) == ["files/read_file"]
	trial := object.union(example.tool, {"properties": {"environment": "demo"}})
	_seen(object.union(_list([trial]), anonymous), granted) == ["files/read_file"]
	every effect in ["read", "mint"] {
		tool := object.union(example.tool, {"properties": {"effect": effect}})
		_seen(object.union(_list([tool]), bearer), granted) == ["files/read_file"]
	}
}

test_anything_malformed_hides_everything if {
	every pointer in [
		"/version", "/subject/id", "/subject/properties/scopes", "/subject/properties/user", "/subject/properties/bound",
		"/context/task", "/subject/properties/delegation", "/resources",
	] {
		_seen(example.lacking(_list([example.tool]), pointer), {}) == []
	}
	_seen(_list([example.tool, example.lacking(example.tool, "/properties/trust")]), {}) == []
	_seen(object.union(_list([example.tool]), {"context": {"time": "2026-11-25T00:00:00Z"}}), {}) == []
}

test_names_patterns_and_grants_for_all_upstreams_are_seen if {
	listed := _list([example.tool])
	every fields in [{"tools": ["read_file"]}, {"tools": ["*_file"]}, {"tools": ["x", "*"]}] {
		_seen(listed, fields) == ["files/read_file"]
		everywhere := object.union(example.grant, fields)
		found := visibility.result with input as listed with data.gateway.grants.upstreams as {"*": [everywhere]}
		found.visible == ["files/read_file"]
	}
	every fields in [{"tools": ["file"]}, {"tools": ["files/read_file"]}, {"tools": [1, null]}, {"tools": "*"}, {"agents": ["b"]}] {
		_seen(listed, fields) == []
	}
}

test_where_nothing_is_enforced_all_usable_definitions_are_seen if {
	every properties in [{}, {"effect": "destructive"}, {"sensitivity": "restricted"}] {
		listed := _list([object.union(example.tool, {"properties": properties})])
		_seen(object.union(listed, {"context": {"enforced": false}}), {"tools": ["write_*"]}) == ["files/read_file"]
		_seen(object.union(listed, {"context": {"enforced": true}}), {"tools": ["write_*"]}) == []
	}
	every pin in ["changed", "unknown", "unreviewed", null] {
		listed := _list([object.union(example.tool, {"properties": {"pin": pin}})])
		_seen(object.union(listed, {"context": {"enforced": false}}), {}) == []
	}
}
