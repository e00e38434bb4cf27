package gateway.denials.fan_out_test

import data.gateway.denials.fan_out
import data.gateway.testing.example_test as example

_names(size) := [format_int(i, 10) | some i in numbers.range(1, size)] if size > 0

_names(0) := []

_lists := {"audiences", "audiences_in_window", "write_audiences", "call_destinations", "tenants", "environments"}

_value(name, size) := _names(size) if name in _lists

_value(name, size) := size if not name in _lists

_call(name, size) := example.changed({concat("/", ["/session", name]): _value(name, size)})

_denied(name, size) := example.codes(found) if {
	found := fan_out.denials with input as _call(name, size)
}

_refused(call) := example.codes(found) if {
	found := fan_out.denials with input as call
}

_asked(name, size) := example.codes(found) if {
	found := fan_out.asks with input as _call(name, size)
}

# What each fact may be, the code that refuses it, and the soft and the hard limit.
_table := {
	"audiences": ["fan-out/audiences", 5, 50],
	"audiences_in_window": ["fan-out/burst", 5, 50],
	"write_audiences": ["fan-out/writes", 4, 40],
	"destinations": ["fan-out/destinations", 7, 70],
	"call_destinations": ["fan-out/destinations", 7, 70],
	"spread": ["fan-out/spread", 1, 10],
	"depth": ["fan-out/depth", 2, 20],
	"tenants": ["fan-out/tenants", 1, 10],
	"environments": ["fan-out/environments", 1, 10],
}

# The limits with a soft number. `spread` has one by choice alone.
_soft := object.remove(_table, ["spread"])

test_a_first_call_passes if {
	_found(example.call) == set()
}

test_up_to_the_soft_limit_nothing_is_asked if {
	every name, row in _table {
		every size in {0, row[1]} {
			_denied(name, size) == set()
			_asked(name, size) == set()
			_found(_call(name, size)) == set()
		}
	}
}

test_above_the_soft_limit_a_person_is_asked if {
	every name, row in _soft {
		_asked(name, row[1] + 1) == {row[0]}
		_found(_call(name, row[1] + 1)) != set()
		_asked(name, row[2]) - {row[0]} == set()
		_denied(name, row[2]) == set()
	}
}

test_above_the_hard_limit_nobody_can_allow_it if {
	every name, row in _table {
		_denied(name, row[2] + 1) == {row[0]}
		_denied(name, 100) == {row[0]}
	}
}

test_the_finding_says_which_fact if {
	found := fan_out.denials with input as _call("call_destinations", 71)
	found == {{"code": "fan-out/destinations", "facts": ["/session/call_destinations"]}}
	asked := fan_out.asks with input as _call("destinations", 8)
	asked == {{"code": "fan-out/destinations", "facts": ["/session/destinations"], "limits": {"destinations": 8}}}
}

test_an_unknown_fact_refuses if {
	every name, _ in object.remove(_table, ["depth"]) {
		call := example.without(concat("/", ["/session", name]))
		_found(call) != set()
		found := fan_out.denials with input as call
		found == {{"code": "fan-out/incomplete", "facts": [concat("/", ["/session", name])]}}
	}
	nothing := fan_out.denials with input as example.without("/session")
	example.codes(nothing) == {"fan-out/incomplete", "fan-out/depth"}
}

test_a_fact_of_another_kind_is_unknown if {
	every name, row in _table {
		every value in [null, true, {}, "1"] {
			codes := _refused(example.changed({concat("/", ["/session", name]): value}))
			(codes - {"fan-out/depth"}) in [{"fan-out/incomplete"}, set()]
			codes != set()
			row != []
		}
	}
}

test_an_unknown_depth_is_without_bounds if {
	call := example.without("/session/depth")
	_found(call) != set()
	found := fan_out.denials with input as call
	found == {{"code": "fan-out/depth", "facts": ["/session/depth"]}}
}

_contracted(limits, name, size) := json.patch(_call(name, size), [{
	"op": "add",
	"path": "/context/task/contract",
	"value": {"credential_flows": [], "limits": limits},
}])

_asked_under(limits, name, size) := example.codes(found) if {
	found := fan_out.asks with input as _contracted(limits, name, size)
}

test_a_contract_without_limits_keeps_the_soft_limit if _found(_contracted({}, "audiences", 5)) == set()

test_the_sixth_system_is_a_question_and_no_wall if {
	_found(_call("audiences", 6)) == {{
		"code": "fan-out/audiences",
		"facts": ["/session/audiences"],
		"limits": {"audiences": 6},
		"asked": true,
	}}
}

test_a_contract_raises_the_soft_limit if {
	_asked_under({"destinations": 8}, "destinations", 8) == set()
	_asked_under({"audiences": 8}, "destinations", 8) == {"fan-out/destinations"}
}

test_a_contract_lowers_the_soft_limit if {
	_asked_under({"audiences": 1}, "audiences", 2) == {"fan-out/audiences"}
	_found(_contracted({"audiences": 1}, "audiences", 2)) != set()
}

test_a_contract_never_passes_the_hard_limit if {
	every name, row in _table {
		found := fan_out.denials with input as _contracted({name: 1000}, name, row[2] + 1)
		example.codes(found) == {row[0]}
		_asked_under({name: 1000}, name, row[2] + 1) == {row[0]}
	}
}

test_a_contract_limit_that_is_none_raises_nothing if {
	every limit in [null, "9", [], {}] {
		_asked_under({"destinations": limit}, "destinations", 8) == {"fan-out/destinations"}
	}
}

test_a_lost_limit_refuses if {
	every limits in [null, {}, {"audiences": {}}, {"audiences": {"soft": "3", "hard": "5"}}, {"audiences": {"soft": 3, "hard": null}}] {
		"fan-out/audiences" in _refused_within(limits)
	}
	asked := fan_out.asks with input as example.call
		with data.gateway.settings as _with_limits({"audiences": {"hard": 5}})
	"fan-out/audiences" in example.codes(asked)
	call := example.call
	lost := _found(call) with data.gateway.settings as _with_limits({"audiences": {"soft": 3}})
	"fan-out/audiences" in example.codes(lost)
}

_refused_within(limits) := example.codes(found) if {
	found := fan_out.denials with input as example.call with data.gateway.settings as _with_limits(limits)
}

_with_limits(limits) := object.union(object.remove(data.gateway.settings, ["task_limits"]), {"task_limits": limits})

_found(call) := example.found(denials, asks) if {
	denials := fan_out.denials with input as call
	asks := fan_out.asks with input as call
}

# The glances look at `soft` alone, so a call that is within it must be within `hard`.
test_no_limit_asks_only_above_what_it_refuses if {
	every limit in object.remove(data.gateway.settings.task_limits, ["approvals_used", "spread"]) {
		is_number(limit.soft)
		is_number(limit.hard)
		limit.soft < limit.hard
	}
}

_with_limit(name, limit) := object.union(object.remove(data.gateway.settings, ["task_limits"]), {"task_limits": limits}) if {
	limits := object.union(object.remove(data.gateway.settings.task_limits, [name]), {name: limit})
}

# One look and a close one say the same.
_findings(call, settings) := findings if {
	findings := _found(call) with data.gateway.settings as settings
}

_writing := example.changed({"/session/write_audiences": ["files"]})

test_a_limit_is_seen_at_a_glance_as_the_rules_see_it if {
	every name, row in _table {
		every soft in [0, 1] {
			settings := _with_limit(name, {"soft": soft, "hard": 300})
			found := _findings(_call(name, 2), settings)
			found == {{"code": row[0], "facts": [concat("/", ["/session", name])], "limits": {name: 2}, "asked": true}}
			every call in [example.call, _writing, _call(name, 0), _call(name, 1)] {
				_findings(call, settings)
			}
		}
	}
}

test_a_lost_limit_lets_nothing_pass if {
	every name, row in _soft {
		found := _findings(example.call, _with_limit(name, {"hard": 300}))
		example.codes(found) == {row[0]}
	}
}

test_a_limit_that_is_no_number_lets_nothing_pass if {
	every name, row in _table {
		every value in [null, "", "9", [], {}] {
			call := _call(name, 2)
			without_soft := _with_limit(name, {"soft": value, "hard": 300})
			asks := fan_out.asks with input as call with data.gateway.settings as without_soft
			asks == {{"code": row[0], "facts": [concat("/", ["/session", name])], "limits": {name: 2}}}
			without_hard := _with_limit(name, {"soft": 1, "hard": value})
			denials := fan_out.denials with input as call with data.gateway.settings as without_hard
			denials == {{"code": row[0], "facts": [concat("/", ["/session", name])]}}
		}
	}
}

test_a_list_that_is_none_is_unknown if {
	every name in _lists {
		every value in ["x", "", {}, {"a": "files"}] {
			found := _findings(example.changed({concat("/", ["/session", name]): value}), data.gateway.settings)
			example.codes(found) == {"fan-out/incomplete"}
		}
	}
}

test_a_limit_of_the_contract_holds_for_a_first_call if {
	found := _findings(_contracted({"environments": 0}, "audiences", 1), data.gateway.settings)
	example.codes(found) == {"fan-out/environments"}
	first := json.patch(example.call, [{
		"op": "add",
		"path": "/context/task/contract",
		"value": {"credential_flows": [], "limits": {"audiences": 0}},
	}])
	example.codes(_findings(first, data.gateway.settings)) == {"fan-out/audiences"}
}

# --- which calls ask -----------------------------------------------------------------------------------------

_raising(raises, name, size) := json.patch(_call(name, size), [{"op": "add", "path": "/session/raises", "value": raises}])

test_a_call_that_raises_nothing_asks_nothing if {
	every name, row in object.remove(_table, ["depth"]) {
		every size in [row[1] + 1, row[2], row[2] + 1, 100] {
			_findings(_raising({}, name, size), data.gateway.settings) == set()
			_findings(_raising({"write_audiences": 1}, name, size), data.gateway.settings) == set()
		}
	}
}

test_a_call_that_raises_a_number_asks_above_soft_and_is_refused_above_hard if {
	every name, row in object.remove(_soft, ["destinations", "call_destinations"]) {
		asked := _findings(_raising({name: row[1] + 1}, name, row[1] + 1), data.gateway.settings)
		example.codes(asked) == {row[0]}
		refused := _findings(_raising({name: row[2] + 1}, name, row[2] + 1), data.gateway.settings)
		example.codes({finding | some finding in refused; not finding.asked}) == {row[0]}
	}
}

test_foreign_words_are_bounded_and_ask_by_choice_alone if {
	every size in [2, 10] {
		_findings(_raising({"spread": size}, "spread", size), data.gateway.settings) == set()
		_found(_call("spread", size)) == set()
		by_operator := _findings(_call("spread", size), _with_limit("spread", {"soft": 1, "hard": 10}))
		example.codes(by_operator) == {"fan-out/spread"}
		_findings(_contracted({"spread": 10}, "spread", size), data.gateway.settings) == set()
		by_contract := _findings(_contracted({"spread": 1}, "spread", size), data.gateway.settings)
		example.codes(by_contract) == {"fan-out/spread"}
	}
	_denied("spread", 11) == {"fan-out/spread"}
	lost := _with_limits(object.remove(data.gateway.settings.task_limits, ["spread"]))
	found := _findings(_call("spread", 1), lost)
	example.codes(found) == {"fan-out/spread"}
}

test_malformed_raises_raise_everything if {
	every raises in [null, [], "audiences", true, {"audiences": null}, {"audiences": "1"}, {"x": []}] {
		found := _findings(_raising(raises, "destinations", 8), data.gateway.settings)
		example.codes(found) == {"fan-out/destinations"}
	}
}

test_soft_limits_count_what_nobody_named if {
	every name, unnamed in {"destinations": "unnamed_destinations", "call_destinations": "call_unnamed_destinations"} {
		_findings(_raising({name: 8, unnamed: 5}, name, 8), data.gateway.settings) == set()
		_findings(_raising({name: 8}, name, 8), data.gateway.settings) == set()
		asked := _findings(_raising({name: 8, unnamed: 8}, name, 8), data.gateway.settings)
		asked == {{"code": "fan-out/destinations", "facts": [concat("/", ["/session", name])], "limits": {name: 8}, "asked": true}}
		refused := _findings(_raising({name: 71, unnamed: 0}, name, 71), data.gateway.settings)
		example.codes({finding | some finding in refused; not finding.asked}) == {"fan-out/destinations"}
	}
	named := object.union_n([_call("destinations", 8), {"session": {"unnamed_destinations": 5}}])
	_findings(named, data.gateway.settings) == set()
}

test_own_domains_have_limits_of_their_own if {
	every name in ["own_destinations", "call_own_destinations"] {
		_findings(_raising({name: 20}, "destinations", 8), data.gateway.settings) == set()
		asked := _findings(_raising({name: 21}, "destinations", 8), data.gateway.settings)
		example.codes(asked) == {"fan-out/destinations"}
		refused := _findings(_raising({name: 201}, "destinations", 8), data.gateway.settings)
		example.codes({finding | some finding in refused; not finding.asked}) == {"fan-out/destinations"}
	}
	many := json.patch(example.call, [{"op": "add", "path": "/session/own_destinations", "value": 21}])
	example.codes(_findings(many, data.gateway.settings)) == {"fan-out/destinations"}
}

_approved(known, name, size) := json.patch(_call(name, size), [{"op": "add", "path": "/session/approved", "value": known}])

test_an_approved_number_asks_no_more if {
	every name, row in _table {
		_findings(_approved({name: row[2]}, name, row[2]), data.gateway.settings) == set()
		further := _findings(_approved({name: row[2] + 9}, name, row[2] + 1), data.gateway.settings)
		example.codes({finding | some finding in further; not finding.asked}) == {row[0]}
	}
	example.codes(_findings(_approved({"call_destinations": 8}, "call_destinations", 9), data.gateway.settings)) == {"fan-out/destinations"}
	every known in [{"destinations": null}, {"destinations": "9"}, {}, null, [], {"spread": 9}] {
		example.codes(_findings(_approved(known, "destinations", 8), data.gateway.settings)) == {"fan-out/destinations"}
	}
}

# --- first writes to systems that nobody has named -------------------------------------------------------------

_unnamed(raises, systems) := json.patch(example.call, [
	{"op": "add", "path": "/session/raises", "value": raises},
	{"op": "add", "path": "/session/unnamed_systems", "value": systems},
])

_question := {
	"code": "fan-out/unnamed-system",
	"facts": ["/session/labels/untrusted", "/session/unnamed_systems"],
	"asked": true,
}

test_each_first_write_to_a_system_that_nobody_named_asks if {
	every number in [1, 2, 3, 40] {
		_findings(_unnamed({"unnamed_systems": number}, _names(number)), data.gateway.settings) == {_question}
	}
}

test_a_write_without_a_label_names_the_label if {
	call := json.patch(_unnamed({"unnamed_systems": 1, "write_audiences": 5, "audiences": 6}, ["crm"]), [{
		"op": "add",
		"path": "/resource/properties/assumed",
		"value": ["effect", "sensitivity"],
	}])
	{finding.code: finding.facts | some finding in _findings(call, data.gateway.settings)} == {
		"fan-out/audiences": ["/session/audiences"],
		"fan-out/unnamed-system": ["/session/labels/untrusted", "/resource/properties/effect", "/session/unnamed_systems"],
		"fan-out/writes": ["/resource/properties/effect", "/session/write_audiences"],
	}
}

test_a_later_write_asks_no_more if {
	call := _unnamed({}, ["crm"])
	_found(call) == set()
	_findings(call, data.gateway.settings) == set()
}

test_no_approval_of_one_system_holds_for_the_next if {
	approved := json.patch(_unnamed({"unnamed_systems": 2}, ["crm", "mail"]), [{
		"op": "add",
		"path": "/session/approved",
		"value": {"audiences": 50, "write_audiences": 40},
	}])
	_findings(approved, data.gateway.settings) == {_question}
}

test_so_many_systems_that_nobody_named_are_refused if {
	found := _findings(_unnamed({"unnamed_systems": 41}, _names(41)), data.gateway.settings)
	object.remove(_question, ["asked"]) in found
}

test_an_operator_lets_a_number_of_systems_pass if {
	settings := _with_limit("unnamed_systems", {"soft": 2, "hard": 40})
	_findings(_unnamed({"unnamed_systems": 2}, ["crm", "mail"]), settings) == set()
	_findings(_unnamed({"unnamed_systems": 3}, _names(3)), settings) == {_question}
	lost := _with_limit("unnamed_systems", {"soft": 2})
	object.remove(_question, ["asked"]) in _findings(_unnamed({"unnamed_systems": 1}, ["crm"]), lost)
}

test_without_readable_raises_each_system_counts_as_new if {
	every raises in [null, [], "x", {"unnamed_systems": "1"}] {
		_findings(_unnamed(raises, ["crm"]), data.gateway.settings) == {_question}
	}
	unknown := json.patch(example.call, [{"op": "add", "path": "/session/unnamed_systems", "value": ["crm"]}])
	_findings(unknown, data.gateway.settings) == {_question}
}
