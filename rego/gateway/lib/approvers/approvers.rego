# METADATA
# scope: package
# title: Rules on approvers
# description: |
#   A rule is a mapping with `count`, `group`, `exclude`, `assurance`, `max_age_seconds`, `expires_seconds`,
#   `recur_seconds` and `scopes`; each may be left out. Rules stand in the settings, in the field `approval` of a grant,
#   and in the obligation `require_approvers`. docs/policy/approvals.md explains the fields.
package gateway.lib.approvers

# METADATA
# title: The reaches that an approval can have
scopes := ["once", "destination", "limit", "recurring"]

# METADATA
# title: The parties to a call that a rule can exclude
parties := ["requester", "user", "delegates"]

# METADATA
# title: The problems of one rule, each in words
problems(rule) := {text |
	some field, value in rule
	text := _problem(field, value)
} if {
	is_object(rule)
} else := {"it is no mapping of fields to values"}

# METADATA
# title: One rule that is at least as strict as each of several
# description: |
#   It has no value if one of the rules cannot be read, or if no rule gives a count, an assurance, a time or scopes.
#   Nobody may approve then. The calling agent is always excluded, and the scope `once` is always in reach. The scope
#   `recurring` is in reach if all rules with scopes list it, and one of the rules gives `recur_seconds`.
merged(rules) := object.union_n([_freshness(rules), _recurrence(rules), {
	"count": floor(max(counts)),
	"groups": sort({rule.group | some rule in rules}),
	"exclude": _exclusions(rules),
	"assurance": _strongest(rules),
	"expires_seconds": floor(min(times)),
	"scopes": _reach(rules),
}]) if {
	every rule in rules {
		problems(rule) == set()
	}
	counts := [rule.count | some rule in rules]
	counts != []
	times := [rule.expires_seconds | some rule in rules]
	times != []
}

# METADATA
# title: An approval satisfies a merged rule
# description: |
#   Every approver has to fit. The same id counts as one person at whatever issuer, in whatever case, and with whatever
#   spaces around it.
satisfies(approval, rule, call) if {
	people := {person(approver.id) | some approver in approval.approvers}
	count(people) >= rule.count
	people & excluded(rule.exclude, call) == set()
	every approver in approval.approvers {
		_fits(approver, rule)
	}
	every scope in approval.scopes {
		scope in rule.scopes
	}
}

# METADATA
# title: The person behind an id
person(id) := lower(upper(trim_space(id))) if is_string(id)

# METADATA
# title: The persons behind some parties to a call
# description: The agents of the tasks above a child are delegates too.
excluded(named, call) := union({
	{person(call.subject.id) | "requester" in named},
	{person(call.subject.properties.user.id) | "user" in named},
	{person(link.id) |
		"delegates" in named
		some link in call.subject.properties.delegation
	},
	{person(agent) |
		"delegates" in named
		some agent in call.context.task.agents
	},
})

# METADATA
# title: The rules of the settings for environment, sensitivity and families of reasons
# description: A kind of rules that is lost leaves no value, so that nobody approves.
of_kinds(call, families) := [rule |
	some kind, names in {
		"environments": environments(call),
		"sensitivities": {call.resource.properties.sensitivity},
		"families": families,
	}
	some name in names
	rule := data.gateway.settings.approvers[kind][name]
] if {
	every kind in ["environments", "sensitivities", "families"] {
		is_object(data.gateway.settings.approvers[kind])
	}
}

# METADATA
# title: The environments that count for the approvers of a call
# description: An environment that is not known to be harmless counts as production too.
environments(call) := {call.resource.properties.environment} if {
	is_array(data.gateway.settings.harmless_environments)
	call.resource.properties.environment in data.gateway.settings.harmless_environments
} else := {object.get(call.resource.properties, "environment", "production"), "production"}

_exclusions(rules) := [party | some party in parties; party in named] if {
	named := {"requester"} | {party | some rule in rules; some party in rule.exclude}
}

_freshness(rules) := {} if {
	ages := [rule.max_age_seconds | some rule in rules]
	ages == []
} else := {"max_age_seconds": floor(min([rule.max_age_seconds | some rule in rules]))}

_strongest(rules) := names[0] if {
	ranks := data.gateway.settings.assurances
	asked := [ranks[rule.assurance] | some rule in rules]
	asked != []
	highest := max(asked)
	names := sort([name | some name, rank in ranks; rank == highest])
}

_reach(rules) := [scope | some scope in scopes; _in_all(scope, lists); _has_time(scope, rules)] if {
	lists := [rule.scopes | some rule in rules]
	lists != []
}

_has_time(scope, rules) if {
	scope in ["once", "destination", "limit"]
	rules != []
} else if {
	scope == "recurring"
	_recurring_times(rules) != []
}

_in_all(scope, lists) if {
	scope == "once"
	lists != []
} else if {
	every list in lists {
		scope in list
	}
}

_recurrence(rules) := {"recur_seconds": floor(min(_recurring_times(rules)))} if {
	"recurring" in _reach(rules)
} else := {}

_recurring_times(rules) := [rule.recur_seconds | some rule in rules]

_problem(field, value) := sprintf("there is no field %q", [field]) if {
	not _known(field)
} else := sprintf("%s is not %s", [field, _forms[field]]) if {
	not _may_be(field, value)
}

_forms := {
	"count": "a whole number of at least 1",
	"group": "the name of a group",
	"exclude": "a list of requester, user and delegates",
	"assurance": "one of chat, peer, login, mfa and passkey",
	"expires_seconds": "a whole number of at least 1",
	"scopes": "a list of once, destination, limit and recurring, with at least one item",
	"max_age_seconds": "a whole number of at least 1",
	"recur_seconds": "a whole number of at least 1",
}

_known(field) if _forms[field]

_choices := {"exclude": parties, "scopes": scopes}

_may_be(field, value) if {
	field in ["count", "expires_seconds", "max_age_seconds", "recur_seconds"]
	is_number(value)
	value >= 1
	value == floor(value)
} else if {
	field == "group"
	is_string(value)
	trim_space(value) != ""
} else if {
	field == "assurance"
	is_string(value)
	data.gateway.settings.assurances[value] >= 0
} else if {
	is_array(value)
	choices := _choices[field]
	every choice in value {
		choice in choices
	}
	_is_long_enough(field, value)
}

_is_long_enough(field, value) if {
	field == "exclude"
	is_array(value)
} else if value != []

_fits(approver, rule) if {
	not _logged_in_too_early(approver, rule)
	every group in rule.groups {
		group in approver.groups
	}
	ranks := data.gateway.settings.assurances
	ranks[approver.assurance] >= ranks[rule.assurance]
}

# An approver whose login has no known time is refused, if a rule asks for a fresh one.
_logged_in_too_early(approver, rule) if {
	rule.max_age_seconds
	not _logged_in_lately(approver, rule)
}

_logged_in_lately(approver, rule) if {
	is_number(approver.login_age_seconds)
	approver.login_age_seconds >= 0
	approver.login_age_seconds <= rule.max_age_seconds
}
