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

test_anything_malformed_hides_everything if {
	every pointer in ["/version", "/subject/id", "/context/task", "/subject/properties/delegation", "/resources"] {
		_seen(json.remove(_list([example.tool]), [pointer]), {}) == []
	}
	_seen(_list([example.tool, json.remove(example.tool, ["/properties/trust"])]), {}) == []
	_seen(object.union(_list([example.tool]), {"context": {"time": "2026-11-25T00:00:00Z"}}), {}) == []
}
