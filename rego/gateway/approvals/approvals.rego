# METADATA
# scope: package
# title: What needs a person
# description: |
#   A call that would pass asks first if one of these rules holds. The gateway decides the call again with the
#   approval as a fact, so only this policy turns an approval into permission. An approval answers the codes that its
#   person was shown (`answers`), and no other.
# schemas:
#   - input: schema.input
package gateway.approvals

import data.gateway.lib.declared

# METADATA
# title: The grant asks for an approval
# custom:
#   code: approval/grant
#   message: The grant for this call asks for an approval by a person.
#   remedy: Ask a person who may approve it.
#   controls: [ASI02, ASI09]
required contains {"code": "approval/grant", "facts": ["/resource/id", "/subject/id"]} if {
	data.gateway.grants.granted == "after approval"
	not answered("approval/grant")
}

# METADATA
# title: The effect asks for an approval
# custom:
#   code: approval/effect
#   message: What this call does cannot be taken back, so a person has to approve it.
#   remedy: Ask a person who may approve it.
#   controls: [ASI02, ASI09, ASI10]
required contains {"code": "approval/effect", "facts": ["/resource/properties/effect"]} if {
	input.resource.type == "tool"
	not _unattended(input)
	not answered("approval/effect")
}

# METADATA
# title: What the task has done before asks for an approval
# description: The rules are those of the families, each with the code of what it would refuse at a higher limit.
required contains object.remove(finding, ["approvable"]) if {
	some finding in data.gateway.decision.findings
	finding.approvable
	code := finding.code
	not answered(code)
}

# METADATA
# title: A person has approved this very call, and was shown this code
answered(code) if {
	given
	answers := input.context.approval.answers
	is_array(answers)
	code in answers
}

# METADATA
# title: A person has approved this very call
given if {
	approval := input.context.approval
	_text(approval.id)
	_text(approval.digest)
	_text(approval.granted)
	_scopes(approval.scopes)
	is_array(approval.approvers)
	count(approval.approvers) > 0
	every approver in approval.approvers {
		_person(approver)
	}
}

_scopes(scopes) if {
	is_array(scopes)
	count(scopes) > 0
	every scope in scopes {
		scope in ["once", "destination", "limit"]
	}
}

_person(approver) if {
	_text(approver.id)
	_text(approver.issuer)
	approver.assurance in ["chat", "peer", "login", "mfa", "passkey"]
	groups := approver.groups
	is_array(groups)
	every group in groups {
		_text(group)
	}
}

_unattended(call) if {
	settings := data.gateway.settings
	call.resource.properties.effect in settings.effects_without_approval
} else if declared.effect_agreed(call)

_text(value) if {
	is_string(value)
	value != ""
}
