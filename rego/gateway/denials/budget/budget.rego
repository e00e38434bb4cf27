# METADATA
# scope: package
# title: What a task may use up
# description: Counts, the call included, and the risk that the task was declared with. See docs/policy/history.md.
# schemas:
#   - input: schema.input
package gateway.denials.budget

import data.gateway.bounds
import data.gateway.lib.reach

# METADATA
# title: History does not know what the task has used up
# custom:
#   code: budget/incomplete
#   message: The gateway does not know what this task has used up.
#   remedy: An operator should check the history of the gateway.
#   controls: [ASI08, MCP08]
denials contains {"code": "budget/incomplete", "facts": sort(facts)} if {
	facts := {concat("/", ["/session", name]) | some name in (_always - _known)}
	facts != set()
}

# METADATA
# title: Too many calls
# custom:
#   code: budget/calls
#   message: The task has made as many calls as one task may.
#   remedy: >-
#     Ask a person who may approve it, or open another task. Beyond the hard limit only an operator can help:
#     `limits.task.calls` in gateway.yaml.
#   controls: [ASI02, ASI08, ASI10]
denials contains {"code": "budget/calls", "facts": ["/session/calls"]} if _is_beyond("calls", input)

# METADATA
# title: Too many refused calls
# custom:
#   code: budget/denials
#   message: So many calls of this task were refused that it may make no more.
#   remedy: >-
#     Stop trying what is refused; find out what the task is really allowed to do, and open a new one for that. A person
#     can approve more; beyond the hard limit only an operator can help: `limits.task.denials` in gateway.yaml.
#   controls: [ASI02, ASI10, MCP02]
denials contains {"code": "budget/denials", "facts": ["/session/denials"]} if {
	_is_beyond("denials", input)
	not _reads_on(input)
}

# METADATA
# title: Too many calls at once
# custom:
#   code: budget/in-flight
#   message: The task has as many calls open at once as one task may.
#   remedy: >-
#     Wait for answers before calling again. A person can approve more; beyond the hard limit only an operator can
#     help: `limits.task.in_flight` in gateway.yaml.
#   controls: [ASI02, ASI08]
denials contains {"code": "budget/in-flight", "facts": ["/session/in_flight"]} if _is_beyond("in_flight", input)

# METADATA
# title: Too many approvals
# description: Refuses a call that would ask a person once more. The decision looks here before it asks.
# custom:
#   code: budget/approvals
#   message: People were asked for this task as often as they may be for one.
#   remedy: >-
#     Finish this task and open another, whose grants and contract fit what it does. An operator can raise the limit:
#     `limits.task.approvals_used` in gateway.yaml.
#   controls: [ASI09]
exhausted contains {"code": "budget/approvals", "facts": ["/session/approvals_used"]} if not _may_ask(input)

# METADATA
# title: The task is too risky for this to pass unseen
# custom:
#   code: budget/risk
#   message: The task was declared as risky, so a person approves what it changes.
#   remedy: Ask a person who may approve it.
#   controls: [ASI02, ASI09]
asks contains {"code": "budget/risk", "facts": facts} if {
	input.context.task.risk
	not reach.reads_only(input)
	not _unattended(input)
	facts := array.concat(["/context/task/risk", "/resource/properties/effect"], reach.missing_labels(input))
}

# METADATA
# title: A person decides whether the task may use up so much
# description: Under the codes of the rules above, whose soft limits these are.
asks contains {"code": code, "facts": [concat("/", ["/session", name])], "limits": {name: shown}} if {
	some name, code in _codes
	size := input.session[name]
	is_number(size)
	not name in _within
	_stops(name, input)
	shown := _shown(name, size, bounds.soft_limits)
}

_codes := {
	"calls": "budget/calls",
	"denials": "budget/denials",
	"in_flight": "budget/in-flight",
}

# Each call would ask again if an approval held for one more. It holds for as many again as there were before the first
# question, and never beyond the hard limit.
_shown(name, size, declared) := min({hard, size + _step(name, declared)}) if {
	hard := data.gateway.settings.task_limits[name].hard
	is_number(hard)
} else := size

_step(name, declared) := limit if {
	limit := declared[name]
} else := soft if {
	soft := data.gateway.settings.task_limits[name].soft
	is_number(soft)
}

# Refused calls of before are no reason to stop a plain read of a system that the task has reached.
_stops(name, call) if {
	name != "denials"
} else if not _reads_on(call)

_reads_on(call) if {
	reach.reads_only(call)
	is_object(call.session.raises)
	not call.session.raises.audiences
}

_may_ask(call) if {
	limits := data.gateway.settings.task_limits
	is_number(limits.approvals_used.hard)
	is_number(call.session.approvals_used)
	limits.approvals_used.hard - call.session.approvals_used > 0
	_within_declared(call)
}

_within_declared(call) if {
	not bounds.soft_limits.approvals_used
	is_object(call)
} else if {
	bounds.soft_limits.approvals_used - call.session.approvals_used > 0
}

_unattended(call) if {
	call.resource.properties.effect in data.gateway.denials.budget.unattended[call.context.task.risk]
}

_always := {"approvals_used", "calls", "denials", "in_flight"}

_known contains name if {
	session := input.session
	some name in _always
	is_number(session[name])
}

_is_beyond(name, call) if {
	size := call.session[name]
	is_number(size)
	not _is_within_hard(name, size)
}

# A limit that is no number lets nothing pass.
_is_within_hard(name, size) if {
	hard := data.gateway.settings.task_limits[name].hard
	is_number(hard)
	size <= hard
}

_within contains name if {
	some name, _ in _codes
	size := input.session[name]
	_is_within(name, size, input, bounds.soft_limits)
}

# A person may have approved as much for this task before.
_is_within(name, size, call, declared) if {
	_is_within_hard(name, size)
	not declared[name]
	soft := data.gateway.settings.task_limits[name].soft
	is_number(soft)
	size <= soft
} else if {
	_is_within_hard(name, size)
	size <= declared[name]
} else if {
	_is_within_hard(name, size)
	number := call.session.approved[name]
	is_number(number)
	size <= number
}
