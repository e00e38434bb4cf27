# METADATA
# scope: package
# title: What is wrong with the settings
# description: |
#   A limit that cannot be read lets nothing pass. One whose `soft` is not below its `hard` is a wall: it refuses where
#   it should ask. A rule on approvers that cannot be read lets nobody approve. This says so before a policy
#   is put into force. It runs when one is checked or loaded.
#   It is no package of the settings: rules bind those whole, and would run this with each call.
package gateway.problems

import data.gateway.bounds
import data.gateway.lib.approvers

# METADATA
# title: The limits that rules ask for
# description: By the name of the fact that each is for.
limits := {
	"approvals_used",
	"audiences",
	"audiences_in_window",
	"call_destinations",
	"call_own_destinations",
	"calls",
	"denials",
	"depth",
	"destinations",
	"environments",
	"in_flight",
	"own_destinations",
	"spread",
	"tenants",
	"unnamed_systems",
	"write_audiences",
}

# METADATA
# title: The limits over tasks that rules ask for
over_tasks := {"amount", "calls", "destinations", "repeats", "systems", "writes"}

# METADATA
# title: The limit that has no soft number
# description: It bounds the questions to people, so no person can be asked about it.
hard_alone := {"approvals_used"}

# METADATA
# title: The limit that may have a soft number
soft_by_choice := {"spread"}

# METADATA
# scope: document
# title: Every problem of the settings, each in a sentence
# entrypoint: true
found contains sprintf("task_limits.%s is missing", [name]) if {
	some name in (limits - object.keys(_given))
}

found contains sprintf("task_limits.%s is no limit that a rule asks for", [name]) if {
	some name in (object.keys(_given) - limits)
}

found contains sprintf("task_limits.%s needs two numbers, soft and hard, with soft below hard", [name]) if {
	some name in (object.keys(_given) - hard_alone)
	limit := _given[name]
	not _ordered(limit)
	not _is_bound(name, limit)
}

found contains sprintf("task_limits.%s needs one number, hard, and has no soft", [name]) if {
	some name in hard_alone
	limit := _given[name]
	not _is_hard_alone(limit)
}

found contains sprintf("%s.%s is missing", [owner, name]) if {
	some owner in _owners
	some name in (over_tasks - object.keys(_given_over_tasks(owner)))
}

found contains sprintf("%s.%s is no limit that a rule asks for", [owner, name]) if {
	some owner in _owners
	some name in (object.keys(_given_over_tasks(owner)) - over_tasks)
}

found contains sprintf("%s.%s needs two numbers, soft and hard, with soft below hard", [owner, name]) if {
	some owner in _owners
	some name, limit in _given_over_tasks(owner)
	not _ordered(limit)
}

found contains "assurances needs a number for each of chat, peer, login, mfa and passkey" if not _assurances

found contains sprintf("approvers.%s is no mapping", [field]) if {
	some field in (_approver_fields - {name | some name, value in _approving; is_object(value)})
}

found contains sprintf("approvers.%s is nothing that a rule asks for", [field]) if {
	some field in (object.keys(_approving) - _approver_fields)
}

found contains sprintf("approvers.every.%s is missing", [field]) if {
	is_object(_approving.every)
	some field in ({"assurance", "count", "expires_seconds", "scopes"} - object.keys(_approving.every))
}

found contains sprintf("approvers.every: %s", [problem]) if {
	is_object(_approving.every)
	some problem in approvers.problems(_approving.every)
}

found contains sprintf("approvers.%s.%s: %s", [class, name, problem]) if {
	some class in ["effects", "environments", "families", "sensitivities"]
	is_object(_approving[class])
	some name, rule in _approving[class]
	some problem in approvers.problems(rule)
}

found contains "approvers.every lists the scope recurring, and no rule gives recur_seconds" if {
	"recurring" in _approving.every.scopes
	times := [seconds | walk(_approving, [path, seconds]); _is_recurring_time(path)]
	times == []
}

found contains sprintf("approvers.effects.%s is missing, so nobody approves such a call", [effect]) if {
	is_object(_approving.effects)
	some effect in data.gateway.settings.effects
	not _has_rule(effect)
}

found contains sprintf("approvers.%s.%s is never looked at", [class, name]) if {
	some class, names in {"effects": data.gateway.settings.effects, "sensitivities": _sensitivities}
	is_object(_approving[class])
	some name, _ in _approving[class]
	not name in names
}

found contains sprintf("approvers.own_calls.%s is no list", [field]) if {
	is_object(_approving.own_calls)
	some field in ["effects", "environments"]
	not _is_list(field)
}

found contains sprintf("%s is no list", [name]) if {
	some name in ["bounds", "classes"]
	not _has_list(name)
}

found contains sprintf("classes[%d] needs a match with an issuer or an id, and one of the classes %s", [i, known]) if {
	some i, entry in data.gateway.settings.classes
	not _is_class(entry)
	known := concat(", ", bounds.classes)
}

found contains sprintf("bounds[%d]: %s", [i, problem]) if {
	some i, row in data.gateway.settings.bounds
	some problem in _row_problems(row)
}

_has_list(name) if is_array(data.gateway.settings[name])

_is_class(entry) if {
	object.keys(entry) == {"class", "match"}
	entry.class in bounds.classes
	object.keys(entry.match) - {"id", "issuer"} == set()
	entry.match != {}
	every pattern in entry.match {
		is_string(pattern)
		count(split(pattern, "*")) < 3
	}
}

_row_problems(row) := {sprintf("%s is not %s", [field, object.get(_row_fields, field, "a field of a row")]) |
	some field, value in row
	not _may_stand(field, value)
} | {sprintf("approvers: %s", [problem]) | some problem in approvers.problems(object.get(row, "approvers", {}))} if {
	is_object(row)
} else := {"it is no mapping of fields to values"}

_row_fields := {
	"classes": "a list of classes",
	"risks": "a list of low, medium and high",
	"sensitivities": "a list of sensitivities",
	"effects": "a list of effects",
	"lease_seconds": "a whole number of at least 1",
	"limits": "a mapping of limits of a task to numbers",
}

_choices := {
	"classes": bounds.classes,
	"risks": ["low", "medium", "high"],
	"sensitivities": _sensitivities,
	"effects": data.gateway.settings.effects,
}

_may_stand(field, value) if {
	is_array(value)
	every item in value {
		item in _choices[field]
	}
} else if {
	field == "lease_seconds"
	is_number(value)
	value >= 1
	value == floor(value)
} else if {
	field == "limits"
	is_object(value)
	every name, number in value {
		name in limits
		is_number(number)
		number >= 0
	}
} else if field == "approvers"

default _approving := {}

_approving := data.gateway.settings.approvers if is_object(data.gateway.settings.approvers)

_approver_fields := {"effects", "environments", "every", "families", "own_calls", "sensitivities"}

_assurances if {
	names := ["chat", "login", "mfa", "passkey", "peer"]
	ranks := data.gateway.settings.assurances
	is_object(ranks)
	[name | some name in names; is_number(ranks[name])] == names
	count(ranks) == count(names)
}

_is_recurring_time(path) if {
	path != []
	path[count(path) - 1] == "recur_seconds"
}

_has_rule(effect) if is_object(_approving.effects[effect])

_sensitivities := object.keys(data.gateway.settings.sensitivities)

_is_list(field) if is_array(_approving.own_calls[field])

default _given := {}

_given := data.gateway.settings.task_limits if is_object(data.gateway.settings.task_limits)

_owners := {"agent_limits", "user_limits"}

_given_over_tasks(owner) := limits if {
	limits := data.gateway.settings[owner]
	is_object(limits)
} else := {}

_ordered(limit) if {
	is_number(limit.soft)
	is_number(limit.hard)
	limit.soft >= 0
	limit.soft < limit.hard
}

_is_bound(name, limit) if {
	name in soft_by_choice
	_is_hard_alone(limit)
}

_is_hard_alone(limit) if {
	is_number(limit.hard)
	limit.hard >= 0
	object.keys(limit) == {"hard"}
}
