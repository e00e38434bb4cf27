package gateway.denials.tree_test

import data.gateway.denials.tree
import data.gateway.testing.example_test as example

_denied(call) := example.codes(found) if found := tree.denials with input as call

_asked(call) := found if found := tree.asks with input as call

_with(trees) := json.patch(example.call, [{"op": "add", "path": "/session/trees", "value": trees}])

_one(raises, more) := _with([object.union({"task": "root", "raises": raises}, more)])

_limits := data.gateway.settings.task_limits

test_a_task_without_a_tree_passes if {
	_denied(example.call) == set()
	_asked(example.call) == set()
}

test_up_to_the_soft_limit_nothing_is_asked if {
	call := _one({"audiences": _limits.audiences.soft, "calls": _limits.calls.soft}, {})
	_denied(call) == set()
	_asked(call) == set()
}

test_above_the_soft_limit_a_person_is_asked_and_shown_the_number_of_the_tree if {
	number := _limits.audiences.soft + 1
	_asked(_one({"audiences": number}, {})) == {{
		"code": "tree/limit",
		"facts": ["/session/trees/0/raises/audiences"],
		"limits": {"root.audiences": number},
	}}
}

test_a_question_about_calls_shows_as_many_again if {
	number := _limits.calls.soft + 1
	some ask in _asked(_one({"calls": number}, {}))
	ask.limits == {"root.calls": number + _limits.calls.soft}
}

test_above_the_hard_limit_nobody_can_allow_it if {
	number := _limits.audiences.hard + 1
	_denied(_one({"audiences": number}, {"approved": {"audiences": number}})) == {"tree/limit"}
}

test_a_yes_holds_up_to_its_number if {
	number := _limits.audiences.soft + 1
	_asked(_one({"audiences": number}, {"approved": {"audiences": number}})) == set()
	count(_asked(_one({"audiences": number + 1}, {"approved": {"audiences": number}}))) == 1
}

test_the_contract_of_the_task_stands_in_the_place_of_the_soft_limit if {
	_asked(_one({"audiences": _limits.audiences.soft + 1}, {"limits": {"audiences": 10}})) == set()
	count(_asked(_one({"audiences": 3}, {"limits": {"audiences": 2}}))) == 1
}

test_a_class_bounds_a_tree_as_it_bounds_a_task if {
	entries := [{"match": {"id": "*"}, "class": "privileged"}]
	bounded := object.union(object.remove(data.gateway.settings, ["classes"]), {"classes": entries})
	most := 3
	call := _one({"write_audiences": most + 1}, {"limits": {"write_audiences": most + 1}})
	_asked(call) == set()
	found := tree.asks with input as call with data.gateway.settings as bounded
	{ask.limits | some ask in found} == {{"root.write_audiences": most + 1}}
	within := tree.asks with input as _one({"write_audiences": most}, {"limits": {"write_audiences": 9}})
		with data.gateway.settings as bounded
	within == set()
}

test_each_task_above_has_a_limit_of_its_own if {
	call := _with([
		{"task": "middle", "raises": {"calls": 4}, "limits": {"calls": 3}},
		{"task": "root", "raises": {"calls": 5}, "limits": {"calls": 9}},
	])
	{ask.facts | some ask in _asked(call)} == {["/session/trees/0/raises/calls"]}
}

test_a_soft_limit_counts_destinations_that_nobody_named_and_a_hard_one_all if {
	soft := _limits.destinations.soft
	_asked(_one({"destinations": soft + 1, "unnamed_destinations": soft}, {})) == set()
	some ask in _asked(_one({"destinations": soft + 1, "unnamed_destinations": soft + 1}, {}))
	ask.limits == {"root.destinations": soft + 1}
	_denied(_one({"destinations": _limits.destinations.hard + 1}, {})) == {"tree/limit"}
	_denied(_one({"unnamed_destinations": _limits.destinations.hard + 1}, {})) == set()
}

test_refused_calls_stop_no_plain_read if {
	raises := {"denials": _limits.denials.hard + 1}
	read := _one(raises, {})
	_denied(read) == set()
	_asked(read) == set()
	write := json.patch(read, [{"op": "replace", "path": "/resource/properties/effect", "value": "write"}])
	_denied(write) == {"tree/limit"}
}

test_a_number_without_a_limit_passes_nothing if {
	_denied(_one({"audiences": 1}, {})) == {"tree/limit"} with data.gateway.settings.task_limits as {}
	count(_asked(_one({"audiences": 1}, {}))) == 1 with data.gateway.settings.task_limits as {}
}
