package gateway.denials.limit_test

import data.gateway.denials.limit
import data.gateway.problems
import data.gateway.testing.example_test as example

_denied(call) := example.codes(found) if found := limit.denials with input as call

_asked(call) := example.codes(found) if found := limit.asks with input as call

_call(name, number) := object.union(example.call, {
	"facts": {concat("_", ["party", name]): number},
	"facts_before": {concat("_", ["party", name]): number - 1},
})

_alone(call) := json.patch(call, [{"op": "replace", "path": "/subject/properties/user", "value": null}])

_code(name) := concat("/", ["limit", name])

_users := data.gateway.settings.user_limits

_agents := data.gateway.settings.agent_limits

test_the_limits_are_those_that_the_settings_need if {
	problems.over_tasks == object.keys(_users)
	problems.over_tasks == object.keys(_agents)
}

test_a_call_without_facts_passes if {
	_denied(example.call) == set()
	_asked(example.call) == set()
}

test_up_to_the_soft_limit_nothing_is_asked if {
	every name, limits in _users {
		call := _call(name, limits.soft)
		_asked(call) == set()
		_denied(call) == set()
	}
}

test_above_the_soft_limit_a_person_is_asked if {
	every name, limits in _users {
		found := limit.asks with input as _call(name, limits.soft + 1)
		found == {{
			"code": _code(name),
			"facts": [concat("_", ["/facts/party", name])],
			"limits": {concat(".", ["user", name]): (2 * limits.soft) + 1},
		}}
		_denied(_call(name, limits.hard)) == set()
	}
}

test_above_the_hard_limit_nobody_can_allow_it if {
	every name, limits in _users {
		_denied(_call(name, limits.hard + 1)) == {_code(name)}
	}
}

test_a_yes_holds_for_the_task_and_for_its_number if {
	every name, limits in _users {
		approved := {"session": {"approved": {concat(".", ["user", name]): limits.soft + 5}}}
		_asked(object.union(_call(name, limits.soft + 5), approved)) == set()
		_asked(object.union(_call(name, limits.soft + 6), approved)) == {_code(name)}
		_denied(object.union(_call(name, limits.hard + 1), {"session": {"approved": {concat(".", ["user", name]): limits.hard + 9}}})) == {_code(name)}
	}
}

test_an_approval_is_never_for_more_than_the_hard_limit if {
	found := limit.asks with input as _call("calls", _users.calls.hard - 1)
	{one.limits["user.calls"] | some one in found} == {_users.calls.hard}
}

test_a_sum_with_a_fraction_is_approved_in_whole_numbers if {
	found := limit.asks with input as _call("amount", _users.amount.soft + 0.5)
	{one.limits["user.amount"] | some one in found} == {(2 * _users.amount.soft) + 1}
}

test_a_call_that_raises_no_number_passes if {
	every name, limits in _users {
		same := {"facts_before": {concat("_", ["party", name]): limits.hard + 1}}
		call := object.union(_call(name, limits.hard + 1), same)
		_denied(call) == set()
		_asked(call) == set()
	}
}

test_the_first_call_of_all_counts if {
	first := object.remove(_call("amount", _users.amount.hard + 1), ["facts_before"])
	_denied(first) == {"limit/amount"}
	_denied(object.union(first, {"facts_before": {}})) == {"limit/amount"}
}

test_an_agent_without_a_user_has_limits_of_its_own if {
	agents := object.union(_agents, {"calls": {"soft": 3, "hard": 9}})
	found := limit.asks with input as _alone(_call("calls", 4)) with data.gateway.settings.agent_limits as agents
	{one.limits["agent.calls"] | some one in found} == {7}
	of_user := limit.asks with input as _call("calls", 4) with data.gateway.settings.agent_limits as agents
	of_user == set()
	approved := {"session": {"approved": {"user.calls": 9}}}
	lifted := limit.asks with input as object.union(_alone(_call("calls", 4)), approved)
		with data.gateway.settings.agent_limits as agents
	count(lifted) == 1
}

test_a_contract_raises_no_limit_over_tasks if {
	name := "user.calls"
	call := json.patch(_call("calls", _users.calls.soft + 1), [{
		"op": "add",
		"path": "/context/task/contract",
		"value": {"credential_flows": [], "limits": {name: _users.calls.hard, "calls": _users.calls.hard}},
	}])
	_asked(call) == {"limit/calls"}
}

test_a_limit_that_is_no_number_lets_nothing_pass if {
	every limits in [null, {}, {"soft": "1", "hard": "2"}, {"soft": 1}, 5] {
		denied := limit.denials with input as _call("calls", 1)
			with data.gateway.settings.user_limits as object.union(object.remove(_users, ["calls"]), {"calls": limits})
		example.codes(denied) == {"limit/calls"}
	}
	asked := limit.asks with input as _call("calls", 7)
		with data.gateway.settings.user_limits as {"calls": {"soft": "1", "hard": "2"}}
	{one.limits["user.calls"] | some one in asked} == {7}
	without := limit.denials with input as _call("calls", 1) with data.gateway.settings.user_limits as null
	example.codes(without) == {"limit/calls"}
}
