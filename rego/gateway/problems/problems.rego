# METADATA
# scope: package
# title: What is wrong with the settings
# description: |
#   A limit that cannot be read lets nothing pass, and one whose `soft` is above its `hard` lets calls pass up to `soft`
#   without a look at `hard`. This says so before a policy is put into force. It runs when one is checked or loaded.
#   It is no package of the settings: rules bind those whole, and would run this with each call.
package gateway.problems

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
	"write_audiences",
}

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

found contains sprintf("task_limits.%s needs two numbers, soft and hard, with soft not above hard", [name]) if {
	some name, limit in _given
	not _ordered(limit)
}

default _given := {}

_given := data.gateway.settings.task_limits if is_object(data.gateway.settings.task_limits)

_ordered(limit) if {
	is_number(limit.soft)
	is_number(limit.hard)
	limit.soft >= 0
	limit.soft <= limit.hard
}
