package gateway.denials.identity_test

import data.gateway.denials.identity
import data.gateway.testing.example_test as example

_denials(call) := denials if denials := identity.denials with input as call

_codes(places) := example.codes(found) if {
	found := _denials(example.changed(places))
}

_asked(places) := example.codes(found) if {
	call := example.changed(places)
	found := identity.asks with input as call
}

test_a_known_caller_in_a_task_is_not_refused if _codes({}) == set()

test_each_missing_fact_is_named if {
	every fact in ["type", "id", "properties/issuer", "properties/auth_method", "properties/bound", "properties/scopes"] {
		pointer := concat("/", ["/subject", fact])
		found := _denials(example.without(pointer))
		some denial in found
		denial == {"code": "identity/incomplete", "facts": [pointer]}
	}
}

test_a_user_is_null_or_known if {
	_codes({"/subject/properties/user": null}) == set()
	_codes({"/subject/properties/user": {"id": "", "groups": []}}) == {"identity/incomplete"}
	_codes({"/subject/properties/user": {"id": "alice"}}) == {"identity/incomplete"}
	found := _denials(example.without("/subject/properties/user"))
	found == {{"code": "identity/incomplete", "facts": ["/subject/properties/user"]}}
}

test_every_fact_that_there_is_will_do if {
	every places in [
		{"/subject/properties/bound": true},
		{"/subject/properties/bound": false},
		{"/subject/properties/scopes": []},
		{"/subject/properties/user": {"id": "alice", "groups": []}},
		{"/context/task/kind": "implicit"},
		{"/context/task/kind": "declared"},
	] {
		_codes(places) == set()
	}
}

test_malformed_facts_are_no_facts if {
	every pointer, values in {
		"/subject/type": ["user", "", null],
		"/subject/id": ["", 7, true, null, [], ["a"], {}],
		"/subject/properties/issuer": ["", 7, true, null, [], ["a"], {}],
		"/subject/properties/auth_method": ["password", "", null],
		"/subject/properties/bound": ["true", 0, null],
		"/subject/properties/scopes": ["files.read", 7, null, {}],
		"/subject/properties/user": [
			{"id": 7, "groups": []}, {"id": [], "groups": []}, {"id": {}, "groups": []}, {"id": "alice", "groups": "sre"},
			{"id": "alice", "groups": {}}, {"id": "alice", "groups": {"a": "sre"}}, {"id": "alice", "groups": null},
		],
	} {
		every value in values {
			found := _denials(example.changed({pointer: value}))
			incomplete := {denial | some denial in found; denial.code == "identity/incomplete"}
			incomplete == {{"code": "identity/incomplete", "facts": [pointer]}}
		}
	}
}

test_a_call_without_a_task_is_refused if {
	every path in ["/context/task", "/context/task/id", "/context/task/kind", "/context"] {
		found := _denials(example.without(path))
		example.codes(found) == {"identity/task-missing"}
	}
	every id in ["", 7, null, [], {}] {
		_codes({"/context/task/id": id}) == {"identity/task-missing"}
	}
	_codes({"/context/task/kind": "other"}) == {"identity/task-missing"}
}

test_a_task_ends_at_its_time if {
	_codes({"/context/time": "2026-11-24T10:59:59.999Z"}) == set()
	_codes({"/context/time": "2026-11-24T11:00:00Z"}) == {"identity/task-expired"}
	_codes({"/context/time": "2026-11-24T11:00:00.001Z"}) == {"identity/task-expired"}
	_codes({"/context/task/expires": "2026-11-24T10:00:00.5Z"}) == set()
}

test_a_time_that_cannot_be_read_is_over if {
	every moment in [
		"soon", "2999", "", null, false, 99999999999, [], {}, "2026-11-24T11:00:00+02:00", "2026-11-24T11:00:00.Z",
		"2026-11-24T11:00:00Z or later",
	] {
		_codes({"/context/task/expires": moment}) == {"identity/task-expired"}
		_codes({"/context/time": moment}) == {"identity/task-expired"}
	}
	_codes({"/context/task/expires": "not 2026-11-24T11:00:00Z"}) == {"identity/task-expired"}
	_codes({"/context/time": "2026-11-24T10:00:00Z or later"}) == {"identity/task-expired"}
	found := _denials(example.without("/context/time"))
	example.codes(found) == {"identity/task-expired"}
}

test_a_task_may_have_no_end if {
	found := _denials(example.without("/context/task/expires"))
	found == set()
}

_anonymous := {"/subject/properties/auth_method": "anonymous", "/resource/properties/environment": "demo"}

test_anonymous_callers_try_harmless_things if _codes(_anonymous) == set()

test_anonymous_callers_reach_nothing_confidential if {
	every sensitivity in ["confidential", "restricted", "", null] {
		places := object.union(_anonymous, {"/resource/properties/sensitivity": sensitivity})
		_codes(places) == {"identity/anonymous"}
	}
}

test_anonymous_callers_reach_nothing_in_production if {
	every environment in ["production", "Demo", null, ""] {
		places := object.union(_anonymous, {"/resource/properties/environment": environment})
		_codes(places) == {"identity/anonymous"}
	}
}

test_an_undeclared_environment_counts_as_production if {
	anonymous := example.lacking(example.changed(_anonymous), "/resource/properties/environment")
	found := _denials(anonymous)
	example.codes(found) == {"identity/anonymous"}
}

test_a_bearer_token_asks_before_it_destroys_in_production if {
	every effect in ["destructive", "mint", "exec", "other"] {
		places := {"/subject/properties/bound": false, "/resource/properties/effect": effect}
		_codes(places) == set()
		_asked(places) == {"identity/unbound"}
		_asked(object.union(places, {"/resource/properties/environment": "test"})) == set()
		_asked(object.union(places, {"/subject/properties/bound": true})) == set()
	}
	every effect in ["read", "write"] {
		_asked({"/subject/properties/bound": false, "/resource/properties/effect": effect}) == set()
	}
}

test_lost_lists_refuse_or_ask if {
	anonymous := example.changed(_anonymous)
	first := _denials(anonymous) with data.gateway.settings.anonymous_sensitivities as null
	example.codes(first) == {"identity/anonymous"}
	second := _denials(anonymous) with data.gateway.settings.harmless_environments as null
	example.codes(second) == {"identity/anonymous"}
	bearer := example.changed({"/subject/properties/bound": false})
	third := identity.asks with input as bearer with data.gateway.settings.unbound_effects as null
	example.codes(third) == {"identity/unbound"}
}

test_lists_hide_what_would_be_refused if {
	anonymous := example.changed(_anonymous)
	identity.hides(example.tool) with input as anonymous
	not identity.hides(anonymous.resource) with input as anonymous
	bearer := example.changed({"/subject/properties/bound": false, "/resource/properties/effect": "mint"})
	not identity.hides(bearer.resource) with input as bearer
}
