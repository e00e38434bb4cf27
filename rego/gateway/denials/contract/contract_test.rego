package gateway.denials.contract_test

import data.gateway.denials.contract
import data.gateway.testing.example_test as example

_under(fields) := example.changed({"/context/task/contract": object.union(
	{"credential_flows": [], "limits": {}},
	fields,
)})

_denied(call) := example.codes(found) if found := contract.denials with input as call

test_a_task_that_declares_nothing_is_not_narrowed if {
	_denied(example.call) == set()
}

test_a_contract_that_narrows_nothing_refuses_nothing if {
	_denied(_under({})) == set()
}

test_only_the_systems_that_it_names if {
	_denied(_under({"audiences": ["mail", "files"]})) == set()
	every audiences in [["mail"], [], null, "files", {}, ["file"]] {
		_denied(_under({"audiences": audiences})) == {"contract/audience"}
	}
}

test_only_the_tools_that_it_names if {
	every tools in [["files/read_file"], ["mail/*", "files/*"], ["*"]] {
		_denied(_under({"tools": tools})) == set()
	}
	every tools in [["read_file"], ["files/write_file"], [], null, "files/read_file"] {
		_denied(_under({"tools": tools})) == {"contract/tool"}
	}
}

test_resources_and_prompts_are_named_like_tools if {
	call := json.patch(_under({"tools": ["files/read_*"]}), [{"op": "add", "path": "/resource", "value": example.note}])
	_denied(call) == {"contract/tool"}
	named := json.patch(_under({"tools": ["files/file:///notes/*"]}), [{"op": "add", "path": "/resource", "value": example.note}])
	_denied(named) == set()
}

_sending(destinations, declared) := json.patch(_under({"destinations": declared}), [{
	"op": "add",
	"path": "/session/call_destinations",
	"value": destinations,
}])

test_only_the_destinations_that_it_names if {
	_denied(_sending([], ["bob@example.com"])) == set()
	_denied(_sending(["bob@example.com"], ["bob@example.com"])) == set()
	_denied(_sending(["bob@example.com", "docs.example"], ["*@example.com", "docs.example"])) == set()
	_denied(_sending(["bob@example.com", "eve@evil.test"], ["*@example.com"])) == {"contract/destination"}
	_denied(_sending(["eve@evil.test|bob@example.com"], ["*@example.com"])) == {"contract/destination"}
	every declared in [[], null, "eve@evil.test", {}] {
		_denied(_sending(["eve@evil.test"], declared)) == {"contract/destination"}
	}
}

test_unknown_destinations_are_outside if {
	call := example.lacking(_under({"destinations": ["*"]}), "/session/call_destinations")
	_denied(call) == {"contract/destination"}
	every value in [{}, {"a": "bob@example.com"}, null, "bob@example.com"] {
		_denied(_sending(value, ["*"])) == {"contract/destination"}
	}
}

test_a_limit_of_no_known_name_refuses if {
	found := contract.denials with input as _under({"limits": {"audience": 1, "calls": 10}})
	found == {{"code": "contract/malformed", "facts": ["/context/task/contract/limits/audience"]}}
	_denied(_under({"limits": {"calls": "10"}})) == {"contract/malformed"}
	lost := contract.denials with input as _under({"limits": {"calls": 10}}) with data.gateway.settings as _with_limits(null)
	example.codes(lost) == {"contract/malformed"}
}

test_a_limit_that_is_not_below_the_hard_one_refuses if {
	found := contract.denials with input as _under({"limits": {"audiences": 50, "calls": 10}})
	found == {{"code": "contract/limit", "facts": ["/context/task/contract/limits/audiences"]}}
	_denied(_under({"limits": {"audiences": 1000}})) == {"contract/limit"}
	_denied(_under({"limits": {"audiences": 49, "approvals_used": 99}})) == set()
	every hard in [null, "60", [], {}] {
		settings := _with_limits({"audiences": {"soft": 5, "hard": hard}})
		lost := contract.denials with input as _under({"limits": {"audiences": 6}}) with data.gateway.settings as settings
		example.codes(lost) == {"contract/limit"}
	}
}

test_what_is_no_contract_refuses if {
	every value in ["x", [], 7, {"limits": {}}, {"credential_flows": []}, {"limits": [], "credential_flows": []}] {
		call := example.changed({"/context/task/contract": value})
		"contract/malformed" in _denied(call)
	}
}

test_a_task_stays_in_its_environment if {
	_denied(example.changed({"/context/task/environment": "production"})) == set()
	staging := example.changed({"/context/task/environment": "staging"})
	_denied(staging) == {"contract/environment"}
	undeclared := example.lacking(staging, "/resource/properties/environment")
	_denied(undeclared) == set()
}

test_a_task_stays_with_its_tenant if {
	_denied(example.changed({"/context/task/tenant": "acme"})) == set()
	other := example.changed({"/context/task/tenant": "other"})
	_denied(other) == {"contract/tenant"}
	undeclared := example.lacking(other, "/resource/properties/tenant")
	_denied(undeclared) == set()
}

_with_limits(limits) := object.union(object.remove(data.gateway.settings, ["task_limits"]), {"task_limits": limits})
