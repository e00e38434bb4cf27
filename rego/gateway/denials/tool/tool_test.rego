package gateway.denials.tool_test

import data.gateway.denials.tool
import data.gateway.testing.example_test as example

_denials(call) := denials if denials := tool.denials with input as call

_codes(places, grant) := example.codes(found) if {
	found := _denials(example.changed(places)) with data.gateway.grants.upstreams as example.granted(grant)
}

test_a_granted_call_is_not_refused if _codes({}, {}) == set()

test_without_a_grant_nothing_passes if {
	every upstreams in [null, {}, {"files": null}, {"files": []}, {"mail": [example.grant]}] {
		found := _denials(example.call) with data.gateway.grants.upstreams as upstreams
		example.codes(found) == {"tool/not-granted"}
	}
}

test_the_nearest_grant_explains if {
	_codes({"/resource/properties/effect": "write"}, {}) == {"tool/not-granted", "tool/effect"}
	_codes({"/resource/properties/sensitivity": "restricted"}, {}) == {"tool/not-granted", "tool/sensitivity"}
	_codes({}, {"when": {"/path": {"equals": "x"}}}) == {"tool/arguments"}
	_codes({}, {"arguments": ["other"]}) == {"tool/arguments"}
	_codes({"/resource/properties/effect": "write"}, {"arguments": ["other"]}) == {"tool/not-granted", "tool/effect"}
	_codes({}, {"agents": ["other"], "when": {"/path": {"equals": "x"}}}) == {"tool/not-granted"}
}

test_the_arguments_that_stand_in_the_way_are_named if {
	grants := example.granted({"when": {"/path": {"equals": "x"}}, "arguments": ["other"]})
	found := _denials(example.call) with data.gateway.grants.upstreams as grants
	{"code": "tool/arguments", "facts": ["/arguments/path"]} in found
	unlisted := example.changed({"/arguments/more": 1})
	grants_of_names := example.granted({"arguments": ["path"]})
	second := _denials(unlisted) with data.gateway.grants.upstreams as grants_of_names
	{"code": "tool/arguments", "facts": ["/arguments/more"]} in second
	conditions := example.granted({"when": {"/path": {"equals": "x"}, "/more": {"equals": 1}}})
	third := _denials(unlisted) with data.gateway.grants.upstreams as conditions
	third == {{"code": "tool/arguments", "facts": ["/arguments/path"]}}
}

test_a_grant_that_would_hold_but_for_the_arguments_speaks_for_all if {
	near := object.union(example.grant, {"when": {"/path": {"equals": "x"}}})
	far := object.union(example.grant, {"agents": ["other"]})
	every grants in [[near, far], [far, near]] {
		found := _denials(example.call) with data.gateway.grants.upstreams as {"files": grants}
		example.codes(found) == {"tool/arguments"}
	}
}

test_a_void_grant_is_named if {
	_codes({}, {"scope": ["x"]}) == {"tool/not-granted", "tool/grant-void"}
	_codes({}, {"when": {"/path": {"equal": "x"}}}) == {"tool/not-granted", "tool/grant-void"}
}

_everything := {"tools": ["*"], "resources": ["*"], "prompts": ["*"], "sensitivity": "restricted"}

test_a_grant_that_holds_speaks_for_all if {
	grants := [object.union(example.grant, fields) |
		some fields in [{"effects": ["write"]}, {"sensitivity": "public"}, {"when": {"/path": {"equals": "x"}}}, {"scope": ["x"]}, {}]
	]
	found := _denials(example.call) with data.gateway.grants.upstreams as {"files": grants}
	found == set()
}

test_arguments_that_are_no_object_are_covered_by_no_grant if {
	_codes({"/arguments": []}, {}) == {"tool/not-granted"}
}

test_each_missing_label_is_named if {
	every label in ["audience", "effect", "sensitivity", "trust", "egress", "roles"] {
		pointer := concat("/", ["/resource/properties", label])
		found := _denials(example.without(pointer)) with data.gateway.grants.upstreams as example.granted(_everything)
		{"code": "tool/incomplete", "facts": [pointer]} in found
	}
	found := _denials(example.without("/resource/type"))
	"tool/incomplete" in example.codes(found)
	everything := _denials(example.without("/resource"))
	"tool/incomplete" in example.codes(everything)
}

_labelled := [
	{"/resource/properties/trust": "trusted", "/resource/properties/sensitivity": "public"},
	{"/resource/properties/trust": "untrusted", "/resource/properties/egress": true},
	{"/resource/properties/roles": {}, "/resource/properties/sensitivity": "restricted"},
	{"/resource/type": "resource"},
	{"/resource/type": "prompt"},
]

test_every_label_that_there_is_will_do if {
	every places in _labelled {
		_codes(places, _everything) == set()
	}
}

test_a_label_that_is_none_is_named_alone if {
	every places in _labelled {
		every pointer, values in {
			"/resource/id": ["mail/read_file", "filesx/read_file", "files", ""],
			"/resource/type": ["tools", "", null],
			"/resource/properties/audience": ["", 7, null, {}, []],
			"/resource/properties/effect": ["Read", "", null],
			"/resource/properties/sensitivity": ["secret", "", null],
			"/resource/properties/trust": ["Trusted", true, null],
			"/resource/properties/egress": ["false", 0, null],
			"/resource/properties/roles": [[], "x", null],
		} {
			every value in values {
				call := example.changed(object.union(places, {pointer: value}))
				found := _denials(call) with data.gateway.grants.upstreams as example.granted(_everything)
				{"code": "tool/incomplete", "facts": [pointer]} in found
			}
		}
	}
}

test_a_weak_proof_is_not_good_for_every_effect if {
	anonymous := {"/subject/properties/auth_method": "anonymous", "/resource/properties/effect": "write"}
	_codes(anonymous, {"effects": ["write"]}) == {"tool/effect-ceiling"}
	found := _denials(example.call) with data.gateway.grants.upstreams as example.granted({}) with data.gateway.settings.effects_of as null
	example.codes(found) == {"tool/effect-ceiling"}
}

test_what_runs_code_says_which_argument if {
	places := {"/resource/properties/effect": "exec"}
	_asked(places) == {{"code": "tool/unlabelled-exec", "facts": ["/resource/properties/roles"]}}
	_codes(places, {"effects": ["exec"]}) == set()
	_asked(object.union(places, {"/resource/properties/roles": {"/path": "command"}})) == set()
	_asked(object.union(places, {"/resource/properties/sandbox": true})) == set()
	outside := {"/resource/properties/sandbox": true, "/resource/properties/egress": true}
	_asked(object.union(places, outside)) != set()
}

_asked(places) := asks if {
	asks := tool.asks with input as example.changed(places)
}

test_lists_hide_what_would_be_refused if {
	every hidden in [
		object.remove(example.tool, ["type"]),
		object.union(example.tool, {"properties": {"effect": "other"}}),
	] {
		tool.hides(hidden) with input as example.call
	}
}

test_lists_hide_what_is_beyond_the_ceiling if {
	writing := object.union(example.tool, {"properties": {"effect": "write"}})
	tool.hides(writing) with input as example.changed({"/subject/properties/auth_method": "anonymous"})
}

test_lists_show_what_would_pass if {
	call := example.call
	not tool.hides(call.resource) with input as call
}
