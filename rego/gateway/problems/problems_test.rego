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
		{"soft": "1", "hard": "2"}, {"soft": 2, "hard": 1}, {"soft": 2, "hard": 2}, {"soft": -1, "hard": 1}, [1, 2],
	] {
		_found(object.union(object.remove(_shipped, ["calls"]), {"calls": limit})) == {sprintf(
			"task_limits.%s needs two numbers, soft and hard, with soft below hard",
			["calls"],
		)}
	}
}

test_a_soft_limit_may_be_nothing_at_all if {
	_found(object.union(_shipped, {"calls": {"soft": 0, "hard": 1}})) == set()
}

test_the_limit_of_questions_has_no_soft_number if {
	every limit in [null, {}, {"soft": 1}, {"soft": 1, "hard": 2}, {"hard": "2"}, {"hard": -1}, 5] {
		_found(object.union(object.remove(_shipped, ["approvals_used"]), {"approvals_used": limit})) == {"task_limits.approvals_used needs one number, hard, and has no soft"}
	}
}

test_the_limit_of_foreign_words_may_have_a_soft_number if {
	every limit in [{"hard": 2}, {"soft": 0, "hard": 2}] {
		_found(object.union(object.remove(_shipped, ["spread"]), {"spread": limit})) == set()
	}
	every limit in [{"soft": 2, "hard": 2}, {"soft": 1}, {}, null, {"hard": "2"}] {
		count(_found(object.union(object.remove(_shipped, ["spread"]), {"spread": limit}))) == 1
	}
}

test_a_limit_that_is_missing_or_misspelt_is_told if {
	_found(object.union(object.remove(_shipped, ["calls"]), {"call": {"soft": 1, "hard": 2}})) == {
		"task_limits.calls is missing",
		"task_limits.call is no limit that a rule asks for",
	}
}

test_without_limits_each_is_missing if {
	every limits in [null, [], "x"] {
		count(_found(limits)) == count(problems.limits)
	}
}

_among(fields) := found if {
	settings := object.union(object.remove(data.gateway.settings, object.keys(fields)), fields)
	found := problems.found with data.gateway.settings as settings
}

_approving := data.gateway.settings.approvers

_class(class, names) := _among({"approvers": object.union(object.remove(_approving, [class]), {class: names})})

test_a_rule_on_approvers_that_cannot_be_read_is_told if {
	every number in [0, -1, 1.5, "2", null] {
		_class("environments", {"production": {"count": number}}) == {sprintf(
			"approvers.environments.production: %s",
			["count is not a whole number of at least 1"],
		)}
	}
	_class("families", {"toxic-flow": null}) == {"approvers.families.toxic-flow: it is no mapping of fields to values"}
	_class("sensitivities", {"restricted": {"quorum": 2}}) == {"approvers.sensitivities.restricted: there is no field \"quorum\""}
	_class("every", object.union(_approving.every, {"scopes": []})) == {sprintf(
		"approvers.every: %s",
		["scopes is not a list of once, destination, limit and recurring, with at least one item"],
	)}
}

test_the_rule_for_every_call_is_whole if {
	_class("every", object.remove(_approving.every, ["count", "scopes"])) == {
		"approvers.every.count is missing",
		"approvers.every.scopes is missing",
	}
}

test_a_scope_that_no_rule_gives_time_is_told if {
	recurring := object.union(object.remove(_approving.every, ["recur_seconds"]), {"scopes": ["once", "recurring"]})
	_class("every", recurring) == {"approvers.every lists the scope recurring, and no rule gives recur_seconds"}
	_class("every", object.union(recurring, {"recur_seconds": 60})) == set()
	with_time := object.union(object.remove(_approving, ["every"]), {"every": recurring, "environments": {"production": {"recur_seconds": 60}}})
	_among({"approvers": with_time}) == set()
}

test_an_effect_that_nobody_approves_is_told if {
	missing := "approvers.effects.exec is missing, so nobody approves such a call"
	_class("effects", object.remove(_approving.effects, ["exec"])) == {missing}
	_class("effects", object.union(_approving.effects, {"exec": null})) == {
		missing,
		"approvers.effects.exec: it is no mapping of fields to values",
	}
}

test_a_misspelt_name_is_told if {
	_class("effects", object.union(_approving.effects, {"wriet": {}})) == {"approvers.effects.wriet is never looked at"}
	_class("sensitivities", {"secret": {"count": 2}}) == {"approvers.sensitivities.secret is never looked at"}
	_class("environment", {}) == {"approvers.environment is nothing that a rule asks for"}
}

test_what_is_no_mapping_is_told if {
	every class in ["effects", "environments", "every", "families", "own_calls", "sensitivities"] {
		every lost in [null, [], "x", 1] {
			_class(class, lost) == {sprintf("approvers.%s is no mapping", [class])}
		}
	}
	every lost in [null, [], "x"] {
		count(_among({"approvers": lost})) == 6
	}
}

test_lists_of_own_calls_are_lists if {
	_class("own_calls", {"effects": "read"}) == {
		"approvers.own_calls.effects is no list",
		"approvers.own_calls.environments is no list",
	}
}

test_assurances_have_an_order if {
	told := {"assurances needs a number for each of chat, peer, login, mfa and passkey"}
	shipped := data.gateway.settings.assurances
	every lost in [null, [], {}, object.remove(shipped, ["mfa"]), object.union(shipped, {"retina": 5})] {
		told - _among({"assurances": lost}) == set()
	}
	_among({"assurances": object.union(shipped, {"mfa": "3"})}) == told
}

_over_tasks(limits) := found if {
	found := problems.found with data.gateway.settings.user_limits as limits
}

_of_users := data.gateway.settings.user_limits

test_a_limit_over_tasks_is_told_as_one_of_a_task if {
	_over_tasks(object.union(object.remove(_of_users, ["calls"]), {"call": {"soft": 1, "hard": 2}})) == {
		"user_limits.calls is missing",
		"user_limits.call is no limit that a rule asks for",
	}
	every limit in [null, 5, {}, {"soft": 1}, {"soft": 2, "hard": 2}] {
		_over_tasks(object.union(object.remove(_of_users, ["calls"]), {"calls": limit})) == {"user_limits.calls needs two numbers, soft and hard, with soft below hard"}
	}
	count(_over_tasks(null)) == count(problems.over_tasks)
}

test_a_class_that_cannot_be_read_is_told if {
	told := {"classes[0] needs a match with an issuer or an id, and one of the classes retrieval, operator, privileged"}
	every entry in [
		null, 7, {}, {"class": "operator"}, {"match": {}, "class": "operator"}, {"match": {"id": "x"}, "class": "root"},
		{"match": {"id": 7}, "class": "operator"}, {"match": {"id": "a*b*"}, "class": "operator"},
		{"match": {"name": "x"}, "class": "operator"}, {"match": {"id": "x"}, "class": "operator", "risk": "low"},
	] {
		_among({"classes": [entry]}) == told
	}
	_among({"classes": [{"match": {"id": "a*", "issuer": "*"}, "class": "operator"}]}) == set()
	_among({"classes": {}}) == {"classes is no list"}
	_among({"bounds": null}) == {"bounds is no list"}
}

test_a_row_of_bounds_that_cannot_be_read_is_told if {
	every text, row in {
		"it is no mapping of fields to values": 7,
		"classes is not a list of classes": {"classes": ["root"]},
		"risks is not a list of low, medium and high": {"risks": "high"},
		"sensitivities is not a list of sensitivities": {"sensitivities": ["secret"]},
		"effects is not a list of effects": {"effects": ["delete"]},
		"lease_seconds is not a whole number of at least 1": {"lease_seconds": 0.5},
		"limits is not a mapping of limits of a task to numbers": {"limits": {"call": 1}},
		"risk is not a field of a row": {"risk": ["high"]},
		"approvers: count is not a whole number of at least 1": {"approvers": {"count": 0}},
	} {
		_among({"bounds": [row]}) == {sprintf("bounds[0]: %s", [text])}
	}
	_among({"bounds": [{"limits": {"calls": 0}}]}) == set()
	_among({"bounds": [{"limits": {"calls": -1}}]}) == {"bounds[0]: limits is not a mapping of limits of a task to numbers"}
}
