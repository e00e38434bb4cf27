# METADATA
# scope: package
# title: Lasting effects that a contract declares
# description: |
#   A contract names the tools with which its task destroys or makes credentials. The declaration counts once a person
#   approved the task. An agent writes contracts itself, so its own word opens nothing.
package gateway.lib.declared

import data.gateway.lib.patterns

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
# title: People other than the agent approved the task as it was declared
task_approved(call) if {
	approvers := call.context.task.approved_by
	is_array(approvers)
	count(approvers) > 0
	every approver in approvers {
		_is_person(approver, call.subject)
	}
}

_is_person(approver, subject) if {
	_text(approver.id)
	_text(approver.issuer)
	approver.id != subject.id
	every link in subject.properties.delegation {
		approver.id != link.id
	}
}

# Credentials have a family of their own.
_has_sources(call) if {
	is_array(call.session.ungrounded)
	every pointer in call.session.ungrounded {
		call.resource.properties.roles[pointer] == "credential"
	}
}

_text(value) if {
	is_string(value)
	value != ""
}
