package gateway.problems_test

import data.gateway.denials.budget
import data.gateway.denials.fan_out
import data.gateway.problems

_found(task_limits) := found if {
	found := problems.found with data.gateway.settings.task_limits as task_limits
}

_shipped := data.gateway.settings.task_limits

test_the_shipped_settings_have_no_problems if problems.found == set()

test_the_limits_are_those_that_rules_ask_for if {
	problems.limits == (object.keys(fan_out._codes) | object.keys(budget._codes)) | {"approvals_used"}
}

test_a_limit_has_two_numbers_in_their_order if {
	every limit in [
		null, 5, {}, {"soft": 1}, {"hard": 1}, {"soft": null, "hard": 1}, {"soft": 1, "hard": null},
		{"soft": "1", "hard": "2"}, {"soft": 2, "hard": 1}, {"soft": -1, "hard": 1}, [1, 2],
	] {
		_found(object.union(object.remove(_shipped, ["calls"]), {"calls": limit})) == {sprintf(
			"task_limits.%s needs two numbers, soft and hard, with soft not above hard",
			["calls"],
		)}
	}
}

test_a_limit_may_be_nothing_at_all if {
	_found(object.union(_shipped, {"calls": {"soft": 0, "hard": 0}})) == set()
}

test_a_limit_that_is_missing_or_misspelt_is_told if {
	_found(object.union(object.remove(_shipped, ["calls"]), {"call": {"soft": 1, "hard": 1}})) == {
		"task_limits.calls is missing",
		"task_limits.call is no limit that a rule asks for",
	}
}

test_without_limits_each_is_missing if {
	every limits in [null, [], "x"] {
		count(_found(limits)) == count(problems.limits)
	}
}
