package gateway.lib.approvers_test

import data.gateway.lib.approvers

_every := {"count": 1, "assurance": "chat", "expires_seconds": 900, "scopes": ["once", "destination", "limit"]}

_all_fields := {
	"count": 2,
	"group": "sre",
	"exclude": ["user", "delegates"],
	"assurance": "passkey",
	"expires_seconds": 60,
	"scopes": ["once"],
	"max_age_seconds": 300,
}

_malformed := {
	"count": [0, -1, 1.5, "2", null, true, [2]],
	"expires_seconds": [0, -900, 0.5, "900", null],
	"recur_seconds": [0, -900, 0.5, "900", null],
	"group": ["", " ", null, ["sre"], 1],
	"exclude": ["user", null, ["everybody"], {"user": "user"}, [["user"]]],
	"assurance": ["password", "", null, 3, ["login"]],
	"scopes": [[], ["always"], "once", null, {"once": "once"}],
	"counts": [2],
	"max_age_seconds": [0, -1, 1.5, "300", null, true],
}

test_every_field_may_be_given_or_left_out if {
	every rule in [{}, _every, _all_fields, {"exclude": []}, {"group": "sre"}] {
		approvers.problems(rule) == set()
	}
}

test_each_problem_of_a_rule_is_told if {
	every field, values in _malformed {
		every value in values {
			problems := approvers.problems(object.union(_all_fields, {field: value}))
			count(problems) == 1
			some problem in problems
			contains(problem, field)
		}
	}
	every rule in [null, true, "sre", [], 2] {
		approvers.problems(rule) == {"it is no mapping of fields to values"}
	}
}

test_a_problem_says_what_a_field_has_to_be if {
	approvers.problems({"count": 0}) == {"count is not a whole number of at least 1"}
	approvers.problems({"quorum": 2}) == {"there is no field \"quorum\""}
}

test_the_strictest_word_of_all_rules_counts if {
	approvers.merged([_every]) == {
		"count": 1,
		"groups": [],
		"exclude": ["requester"],
		"assurance": "chat",
		"expires_seconds": 900,
		"scopes": ["once", "destination", "limit"],
	}
	approvers.merged([_every, _all_fields, {"group": "security", "count": 1, "expires_seconds": 120}, {"assurance": "mfa"}]) == {
		"count": 2,
		"groups": ["security", "sre"],
		"exclude": ["requester", "user", "delegates"],
		"assurance": "passkey",
		"expires_seconds": 60,
		"scopes": ["once"],
		"max_age_seconds": 300,
	}
	approvers.merged([_all_fields, _every, {"max_age_seconds": 60}]).max_age_seconds == 60
}

test_an_approval_of_the_call_alone_is_always_within_reach if {
	approvers.merged([_every, {"scopes": ["destination"]}, {"scopes": ["limit"]}]).scopes == ["once"]
	approvers.merged([_every, {"scopes": ["limit"]}]).scopes == ["once", "limit"]
}

_recurring := object.union(_every, {"scopes": ["once", "recurring"], "recur_seconds": 86400})

test_values_recur_only_if_a_rule_says_for_how_long if {
	approvers.merged([_recurring]).scopes == ["once", "recurring"]
	approvers.merged([_recurring]).recur_seconds == 86400
	without := approvers.merged([object.remove(_recurring, ["recur_seconds"])])
	without.scopes == ["once"]
	not without.recur_seconds
}

test_values_recur_only_if_all_rules_let_them if {
	narrower := approvers.merged([_recurring, {"scopes": ["once", "destination"]}])
	narrower.scopes == ["once"]
	not narrower.recur_seconds
	not approvers.merged([_every, {"recur_seconds": 60}]).recur_seconds
}

test_values_recur_for_the_shortest_time_of_all_rules if {
	approvers.merged([_recurring, {"recur_seconds": 60}, {"recur_seconds": 90000}]).recur_seconds == 60
}

test_a_rule_that_cannot_be_read_lets_nobody_approve if {
	every field, values in _malformed {
		every value in values {
			not approvers.merged([_every, {field: value}])
		}
	}
	every rule in [null, true, "sre", []] {
		not approvers.merged([_every, rule])
	}
}

test_rules_that_leave_something_open_let_nobody_approve if {
	not approvers.merged([])
	not approvers.merged([{}])
	every field, _ in _every {
		not approvers.merged([object.remove(_every, [field])])
	}
}

test_without_an_order_of_assurances_nobody_approves if {
	every lost in [null, {}, [], "x"] {
		settings := object.union(object.remove(data.gateway.settings, ["assurances"]), {"assurances": lost})
		not approvers.merged([_every]) with data.gateway.settings as settings
	}
}

test_the_same_id_is_the_same_person if {
	every id in ["alice", "ALICE", " Alice ", "aLiCe\t"] {
		approvers.person(id) == "alice"
	}
	approvers.person("alice@corp.example") != approvers.person("alice")
	not approvers.person(null)
}
