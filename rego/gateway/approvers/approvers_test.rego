package gateway.approvers_test

import data.gateway.approvers
import data.gateway.testing.example_test as example

_harmless := {"/resource/properties/environment": "test"}

_rule(places, grant) := rule if {
	rule := approvers.rule with input as example.changed(places)
		with data.gateway.grants.upstreams as example.granted(grant)
}

# The settings are replaced whole: OPA would put the fields of a part back.
_replaced(value) := object.union(object.remove(data.gateway.settings, ["approvers"]), {"approvers": value})

_by(value, call) := rule if {
	settings := _replaced(value)
	rule := approvers.rule with input as call with data.gateway.settings as settings
}

_with(fields, places) := _by(object.union(data.gateway.settings.approvers, fields), example.changed(places))

_none(settings, places) if {
	not _with(settings, places)
}

# The tests hold with other times and scopes too, which an operator may choose.
_shipped := object.union(
	{"groups": [], "exclude": ["requester"]},
	object.filter(_approving.every, ["count", "assurance", "expires_seconds", "recur_seconds", "scopes"]),
)

_approving := data.gateway.settings.approvers

test_the_rule_for_every_call_is_that_of_the_settings if _rule(_harmless, {}) == _shipped

test_a_user_does_not_approve_in_production if {
	every environment in ["production", "prod-eu", ""] {
		_rule({"/resource/properties/environment": environment}, {}).exclude == ["requester", "user", "delegates"]
	}
	undeclared := approvers.rule with input as example.without("/resource/properties/environment")
	undeclared.exclude == ["requester", "user", "delegates"]
	every environment in ["demo", "development", "test", "staging"] {
		_rule({"/resource/properties/environment": environment}, {}).exclude == ["requester"]
	}
}

test_a_user_does_not_approve_what_cannot_be_taken_back if {
	every effect in ["destructive", "mint", "exec"] {
		rule := _rule(object.union(_harmless, {"/resource/properties/effect": effect}), {})
		rule.exclude == ["requester", "user", "delegates"]
		rule.scopes == ["once"]
	}
	_rule(object.union(_harmless, {"/resource/properties/effect": "write"}), {}).exclude == ["requester"]
}

test_reading_a_resource_is_a_read_whatever_it_is_labelled if {
	resource := object.union(example.note, {"properties": {"effect": "destructive", "environment": "test"}})
	_rule({"/resource": resource}, {}).exclude == ["requester"]
}

test_the_settings_can_let_a_user_approve if {
	own_calls := {"own_calls": {"effects": ["read"], "environments": ["production"]}}
	_with(own_calls, {}).exclude == ["requester"]
	approving := object.union(data.gateway.settings.approvers, own_calls)
	undeclared := _by(approving, example.without("/resource/properties/environment"))
	undeclared.exclude == ["requester"]
	_with(own_calls, {"/resource/properties/environment": "prod-eu"}).exclude == ["requester", "user", "delegates"]
	_with(own_calls, {"/resource/properties/effect": "write"}).exclude == ["requester", "user", "delegates"]
}

test_lists_of_own_calls_that_are_lost_exclude_the_user if {
	every lost in [null, {}, [], "read", {"effects": "read", "environments": "test"}, {"effects": null}, {"effects": ["read"]}] {
		approving := object.union(object.remove(data.gateway.settings.approvers, ["own_calls"]), {"own_calls": lost})
		rule := _by(approving, example.changed(_harmless))
		rule.exclude == ["requester", "user", "delegates"]
	}
}

test_each_class_of_a_call_can_ask_for_more if {
	_with({"effects": {"read": {"count": 2}}}, {}).count == 2
	_with({"environments": {"production": {"group": "sre"}}}, {}).groups == ["sre"]
	_with({"environments": {"production": {"group": "sre"}}}, {"/resource/properties/environment": "prod-eu"}).groups == ["sre"]
	_with({"environments": {"production": {"group": "sre"}}}, _harmless).groups == []
	_with({"environments": {"test": {"group": "qa"}}}, _harmless).groups == ["qa"]
	_with({"sensitivities": {"internal": {"assurance": "mfa"}}}, {}).assurance == "mfa"
	_with({"sensitivities": {"restricted": {"assurance": "mfa"}}}, {}).assurance == "chat"
	_with({"every": {"expires_seconds": 60}}, {}).expires_seconds == 60
}

test_each_family_of_questions_can_ask_for_more if {
	families := {"families": {"fan-out": {"group": "fleet"}, "budget": {"count": 2}, "toxic-flow": {"count": 3}}}
	places := {"/session/calls": 200001, "/session/depth": 3}
	rule := _with(families, places)
	[rule.groups, rule.count] == [["fleet"], 2]
	quiet := _with(families, {})
	[quiet.groups, quiet.count] == [[], 1]
}

# A family counts as long as its question is there, answered or not.
test_an_answer_does_not_loosen_the_rule if {
	families := {"families": {"fan-out": {"group": "fleet"}}}
	answered := {"/session/depth": 3, "/context/approval": example.approving(["fan-out/depth"])}
	_with(families, answered).groups == ["fleet"]
}

test_a_grant_can_ask_for_more if {
	_rule({}, {"approval": true}).count == 1
	asked := _rule({}, {"approval": {"count": 2, "group": "sre"}})
	[asked.count, asked.groups] == [2, ["sre"]]
	looser := _rule({"/resource/properties/effect": "destructive"}, {
		"effects": ["destructive"],
		"approval": {"expires_seconds": 90000, "scopes": ["once", "limit"], "exclude": []},
	})
	[looser.expires_seconds, looser.scopes, looser.exclude] == [900, ["once"], ["requester", "user", "delegates"]]
}

test_a_grant_for_something_else_asks_for_nothing if {
	every fields in [{"tools": ["write_*"]}, {"agents": ["x"]}, {"when": {"/path": {"under": "reports"}}}] {
		_rule({}, object.union(fields, {"approval": {"count": 2}})).count == 1
	}
}

test_every_grant_that_asks_counts if {
	upstreams := {
		"files": [object.union(example.grant, {"approval": {"count": 2}})],
		"*": [object.union(example.grant, {"approval": {"group": "sre"}})],
	}
	rule := approvers.rule with input as example.call with data.gateway.grants.upstreams as upstreams
	[rule.count, rule.groups] == [2, ["sre"]]
}

test_an_overlay_can_ask_for_more_and_loosens_nothing if {
	own := [
		{"id": "require_approvers", "properties": {"count": 2, "group": "sre"}},
		{"id": "require_approvers", "properties": {"count": 1, "expires_seconds": 9000, "exclude": [], "assurance": "chat"}},
	]
	rule := approvers.rule with input as example.call with data.gateway.overlay.approvers as own
	[rule.count, rule.groups, rule.expires_seconds] == [2, ["sre"], 900]
	rule.exclude == ["requester", "user", "delegates"]
}

test_an_overlay_that_cannot_be_read_lets_nobody_approve if {
	every own in [
		{"id": "require_approvers"},
		{"id": "require_approvers", "properties": null},
		{"id": "require_approvers", "properties": {"count": "2"}},
		{"id": "require_approvers", "properties": {"channels": ["cli"]}},
	] {
		not approvers.rule with input as example.call with data.gateway.overlay.approvers as [own]
	}
}

test_settings_that_are_lost_let_nobody_approve if {
	every class in ["environments", "sensitivities", "families"] {
		every lost in [null, [], "x"] {
			approving := object.union(object.remove(data.gateway.settings.approvers, [class]), {class: lost})
			not _by(approving, example.call)
		}
	}
	every name, _ in data.gateway.settings.approvers {
		approving := object.remove(data.gateway.settings.approvers, [name])
		_lost(name, approving)
	}
}

_lost(name, _) if name == "own_calls"

_lost(name, approving) if {
	name != "own_calls"
	not _by(approving, example.call)
}

test_a_rule_of_a_class_that_cannot_be_read_lets_nobody_approve if {
	every rule in [null, {"count": 0}, {"counts": 2}, ["sre"]] {
		_none({"effects": {"read": rule}}, {})
		_none({"environments": {"production": rule}}, {})
		_none({"sensitivities": {"internal": rule}}, {})
	}
}

test_an_effect_without_a_rule_is_approved_by_nobody if {
	_none({}, {"/resource/properties/effect": "other"})
}

test_the_obligations_say_the_rule if {
	shown := approvers.obligations with input as example.call
	shown == [{
		"id": "require_approvers",
		"properties": object.union(
			object.remove(_shipped, ["groups"]),
			{"exclude": ["requester", "user", "delegates"]},
		),
	}]
	own := [{"id": "require_approvers", "properties": {"count": 2, "group": group}} | some group in ["sre", "security"]]
	grouped := approvers.obligations with input as example.call with data.gateway.overlay.approvers as own
	[[item.properties.group, item.properties.count] | some item in grouped] == [["security", 2], ["sre", 2]]
}
