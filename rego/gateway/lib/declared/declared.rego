# METADATA
# scope: package
# title: Lasting effects that a contract declares
# description: |
#   A contract names the tools with which its task destroys or makes credentials. The declaration counts once a person
#   approved the task. An agent writes contracts itself, so its own word opens nothing.
package gateway.lib.declared

import data.gateway.bounds
import data.gateway.lib.approvers
import data.gateway.lib.patterns
import data.gateway.lib.sources

# METADATA
# title: A person agreed to the effect of the call with its task, and each value of the call has a source
effect_agreed(call) if {
	effect := call.resource.properties.effect
	effect in ["destructive", "mint"]
	call.resource.type == "tool"
	patterns.any_matches(call.context.task.contract.effects[effect], call.resource.id)
	task_approved(call)
	call.session.unsourced == []
	_has_sources(call)
}

# METADATA
# title: People other than the agent, its user and its delegates approved the task as it was declared
# description: |
#   The effects that a contract declares are lasting, and for these the user's own word does not count. The people
#   have to satisfy the rules on approvers that hold for the call. So a call that needs two persons asks after the
#   word of one.
task_approved(call) if {
	people := call.context.task.approved_by
	is_array(people)
	count(people) > 0
	approvers.satisfies({"approvers": people, "scopes": []}, _rule(call), call)
	excluded := approvers.excluded(approvers.parties, call)
	every one in people {
		_text(one.id)
		_text(one.issuer)
		not _is_excluded(one, excluded)
	}
}

# Grants have questions of their own, which no declaration answers.
_rule(call) := approvers.merged([one |
	some rules in [
		[approving.every, approving.effects[effect]],
		approvers.of_kinds(call, {"approval", "credential-chain"}),
		bounds.approvers,
		_of_overlay,
	]
	some one in rules
]) if {
	approving := data.gateway.settings.approvers
	effect := call.resource.properties.effect
	approving.effects[effect]
}

_of_overlay := [object.get(obligation, "properties", null) | some obligation in data.gateway.overlay.approvers]

_is_excluded(one, excluded) if approvers.person(one.id) in excluded

_has_sources(call) if {
	is_array(call.session.ungrounded)
	every pointer in call.session.ungrounded {
		_has_source(call, pointer)
	}
}

# Credentials have a family of their own.
_has_source(call, pointer) if {
	call.resource.properties.roles[pointer] == "credential"
} else if sources.unread_record(call, pointer)

_text(value) if {
	is_string(value)
	value != ""
}
