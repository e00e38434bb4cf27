package gateway.denials.budget_test

import data.gateway.denials.budget
import data.gateway.testing.example_test as example

_call(name, size) := example.changed({concat("/", ["/session", name]): size})

_denied(call) := example.codes(found) if found := budget.denials with input as call

_asked(call) := example.codes(found) if found := budget.asks with input as call

_table := {
	"calls": "budget/calls",
	"denials": "budget/denials",
	"in_flight": "budget/in-flight",
}

_limits := data.gateway.settings.task_limits

test_up_to_the_soft_limit_nothing_is_asked if {
	every name, _ in _table {
		call := _call(name, _limits[name].soft)
		_found(call) == set()
		_denied(call) == set()
		_asked(call) == set()
	}
}

test_above_the_soft_limit_a_person_is_asked if {
	every name, code in _table {
		call := _call(name, _limits[name].soft + 1)
		_found(call) != set()
		_asked(call) == {code}
	}
}

test_above_the_hard_limit_nobody_can_allow_it if {
	every name, code in _table {
		_denied(_call(name, _limits[name].hard)) == set()
		found := budget.denials with input as _call(name, _limits[name].hard + 1)
		found == {{"code": code, "facts": [concat("/", ["/session", name])]}}
	}
}

test_an_unknown_count_refuses if {
	every name, _ in object.union(_table, {"approvals_used": ""}) {
		pointer := concat("/", ["/session", name])
		without := example.without(pointer)
		_found(without) != set()
		found := budget.denials with input as without
		found == {{"code": "budget/incomplete", "facts": [pointer]}}
		every value in [null, "1", []] {
			_denied(example.changed({pointer: value})) == {"budget/incomplete"}
		}
	}
}

_contracted(limits, name, size) := json.patch(_call(name, size), [{
	"op": "add",
	"path": "/context/task/contract",
	"value": {"credential_flows": [], "limits": limits},
}])

test_a_contract_moves_the_soft_limit_and_not_the_hard_one if {
	_asked(_contracted({"calls": 10}, "calls", 11)) == {"budget/calls"}
	_found(_contracted({"calls": 10}, "calls", 11)) != set()
	_asked(_contracted({"calls": 10}, "calls", 10)) == set()
	_asked(_contracted({"denials": 60}, "denials", 60)) == set()
	_asked(_contracted({"denials": 1000}, "denials", 501)) == {"budget/denials"}
	_denied(_contracted({"denials": 1000}, "denials", 501)) == {"budget/denials"}
	_asked(_contracted({"denials": "60"}, "denials", 51)) == {"budget/denials"}
	_found(_contracted({}, "calls", 11)) == set()
}

_risky(risk, effect) := example.changed({"/context/task/risk": risk, "/resource/properties/effect": effect})

test_a_risky_task_asks_for_what_it_changes if {
	_asked(_risky("high", "read")) == set()
	_asked(_risky("low", "destructive")) == set()
	_asked(_risky("medium", "write")) == set()
	every effect in ["write", "destructive", "mint", "exec", "other"] {
		_asked(_risky("high", effect)) == {"budget/risk"}
		_found(_risky("high", effect)) != set()
	}
	_asked(_risky("medium", "exec")) == {"budget/risk"}
	_asked(_risky("unheard-of", "write")) == {"budget/risk"}
	_asked(_risky("unheard-of", "read")) == set()
}

test_a_task_without_a_risk_asks_for_nothing_here if {
	_asked(example.changed({"/resource/properties/effect": "write"})) == set()
}

test_a_lost_limit_refuses if {
	every limits in [null, {}, {"calls": {"soft": "9", "hard": "9"}}] {
		found := budget.denials with input as example.call with data.gateway.settings as _with_limits(limits)
		"budget/calls" in example.codes(found)
	}
	asked := budget.asks with input as example.call with data.gateway.settings as _with_limits({"calls": {"hard": 5}})
	"budget/calls" in example.codes(asked)
	unattended := budget.asks with input as _risky("low", "write") with data.gateway.denials.budget.unattended as null
	example.codes(unattended) == {"budget/risk"}
}

_with_limits(limits) := object.union(object.remove(data.gateway.settings, ["task_limits"]), {"task_limits": limits})

_found(call) := example.found(denials, asks) if {
	denials := budget.denials with input as call
	asks := budget.asks with input as call
}

_with_limit(name, limit) := object.union(object.remove(data.gateway.settings, ["task_limits"]), {"task_limits": limits}) if {
	limits := object.union(object.remove(_limits, [name]), {name: limit})
}

test_a_limit_is_seen_at_a_glance_as_the_rules_see_it if {
	every name, code in _table {
		every soft in [0, 1] {
			call := _call(name, 2)
			settings := _with_limit(name, {"soft": soft, "hard": 300})
			found := _found(call) with data.gateway.settings as settings
			shown := min({300, 2 + soft})
			found == {{"code": code, "facts": [concat("/", ["/session", name])], "limits": {name: shown}, "asked": true}}
		}
	}
}

test_a_limit_that_is_no_number_lets_nothing_pass if {
	every name, code in _table {
		every value in [null, "", "9", [], {}] {
			without_soft := _with_limit(name, {"soft": value, "hard": 300})
			asks := budget.asks with input as _call(name, 2) with data.gateway.settings as without_soft
			asks == {{"code": code, "facts": [concat("/", ["/session", name])], "limits": {name: 2}}}
			without_hard := _with_limit(name, {"soft": 1, "hard": value})
			denials := budget.denials with input as _call(name, 2) with data.gateway.settings as without_hard
			denials == {{"code": code, "facts": [concat("/", ["/session", name])]}}
		}
	}
}

_exhausted(call) := example.codes(found) if found := budget.exhausted with input as call

test_so_many_approvals_are_enough if {
	_exhausted(_call("approvals_used", 99)) == set()
	every used in [100, 101, null, "1"] {
		_exhausted(_call("approvals_used", used)) == {"budget/approvals"}
	}
	_exhausted(_contracted({"approvals_used": 3}, "approvals_used", 2)) == set()
	_exhausted(_contracted({"approvals_used": 3}, "approvals_used", 3)) == {"budget/approvals"}
	_exhausted(_contracted({"approvals_used": 999}, "approvals_used", 100)) == {"budget/approvals"}
	lost := budget.exhausted with input as example.call with data.gateway.settings as _with_limit("approvals_used", {})
	example.codes(lost) == {"budget/approvals"}
}

test_what_asks_nobody_passes_whatever_was_approved if {
	every used in [20, 100] {
		_asked(_call("approvals_used", used)) == set()
		_denied(_call("approvals_used", used)) == set()
	}
}

_raising(raises, name, size) := json.patch(_call(name, size), [{"op": "add", "path": "/session/raises", "value": raises}])

test_refused_calls_stop_no_plain_read_of_what_was_reached if {
	every size in [51, 501] {
		every raises in [{}, {"depth": 1}] {
			_asked(_raising(raises, "denials", size)) == set()
			_denied(_raising(raises, "denials", size)) == set()
		}
		every raises in [{"audiences": 2}, null, "x"] {
			_asked(_raising(raises, "denials", size)) == {"budget/denials"}
		}
		writes := json.patch(_raising({}, "denials", size), [{"op": "replace", "path": "/resource/properties/effect", "value": "write"}])
		_asked(writes) == {"budget/denials"}
	}
}

_limits_shown(call) := limits if {
	asks := budget.asks with input as call
	some ask in asks
	limits := ask.limits
}

test_an_approval_holds_for_as_many_again if {
	_limits_shown(_call("denials", 51)) == {"denials": 101}
	_limits_shown(_call("denials", 490)) == {"denials": 500}
	_limits_shown(_contracted({"calls": 10}, "calls", 11)) == {"calls": 21}
	every approved, codes in {100: set(), 60: {"budget/denials"}} {
		call := json.patch(_call("denials", 61), [{"op": "add", "path": "/session/approved", "value": {"denials": approved}}])
		_asked(call) == codes
	}
	hard := json.patch(_call("denials", 501), [{"op": "add", "path": "/session/approved", "value": {"denials": 999}}])
	_denied(hard) == {"budget/denials"}
}
