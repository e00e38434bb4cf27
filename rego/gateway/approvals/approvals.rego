# METADATA
# scope: package
# title: What needs a person
# description: |
#   A call that would pass asks first if one of these rules holds. The gateway decides the call again with the
#   approval as a fact, so only this policy turns an approval into permission. An approval answers the codes that its
#   person was shown (`answers`), and no other. Who may approve is judged again with it: see `gateway.approvers`. An
#   endorsement is a yes of an earlier task of the same kind to the same values, and is judged again in the same way.
# schemas:
#   - input: schema.input
package gateway.approvals

import data.gateway.lib.approvers
import data.gateway.lib.declared
import data.gateway.lib.reach

# METADATA
# title: What a person has not answered yet
required contains question if {
	some question in questions
	code := question.code
	not answered(code)
	not _covers(endorsed, question)
}

# METADATA
# title: The grant asks for an approval
# custom:
#   code: approval/grant
#   message: The grant for this call asks for an approval by a person.
#   remedy: Ask a person who may approve it.
#   controls: [ASI02, ASI09]
questions contains {"code": "approval/grant", "facts": ["/resource/id", "/subject/id"]} if {
	data.gateway.grants.granted == "after approval"
}

# METADATA
# title: The effect asks for an approval
# custom:
#   code: approval/effect
#   message: What this call does cannot be taken back, so a person has to approve it.
#   remedy: Ask a person who may approve it.
#   controls: [ASI02, ASI09, ASI10]
questions contains {"code": "approval/effect", "facts": ["/resource/properties/effect"]} if {
	input.resource.type == "tool"
	not _unattended(input)
}

# METADATA
# title: What the task has done before asks for an approval
# description: The rules are those of the families, each with the code of what it would refuse at a higher limit.
questions contains ask if some ask in data.gateway.decision.asks

# METADATA
# title: Nobody may approve the call
# description: Refuses a call that would ask. The decision looks here before it asks.
# custom:
#   code: approval/no-approver
#   message: The policy lets nobody approve this call.
#   remedy: An operator should check who may approve (`approvers` in the settings) with `opagate policy check`.
#   controls: [ASI02, ASI09]
unanswerable contains {"code": "approval/no-approver", "facts": ["/resource/id"]} if {
	not data.gateway.approvers.rule
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
# title: Arguments whose values persons endorsed for later tasks of this kind
# description: The rule that holds now lets values recur, these persons approve, and this much time pass.
endorsed contains fact if {
	endorsement := input.context.endorsement
	_readable(endorsement)
	endorsement.scopes == ["recurring"]
	_text(endorsement.kind)
	endorsement.kind == input.context.task.declared_kind
	rule := data.gateway.approvers.rule
	approvers.satisfies(endorsement, rule, input)
	is_number(endorsement.age_seconds)
	endorsement.age_seconds >= 0
	endorsement.age_seconds < rule.recur_seconds
	is_array(endorsement.facts)
	some fact in endorsement.facts
}

# METADATA
# title: Persons who may have approved this very call
given if {
	approval := input.context.approval
	_readable(approval)
	rule := data.gateway.approvers.rule
	approvers.satisfies(approval, rule, input)
}

_readable(approval) if {
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

# Only the question about values without a source is one about values.
_covers(arguments, question) if {
	question.code == "toxic-flow/ungrounded"
	is_array(question.facts)
	question.facts != []
	every fact in question.facts {
		fact in arguments
	}
}

_scopes(scopes) if {
	is_array(scopes)
	count(scopes) > 0
	every scope in scopes {
		scope in approvers.scopes
	}
}

_person(approver) if {
	_text(approver.id)
	_text(approver.issuer)
	is_string(approver.assurance)
	groups := approver.groups
	is_array(groups)
	every group in groups {
		_text(group)
	}
}

_unattended(call) if {
	call.resource.properties.effect in data.gateway.settings.effects_without_approval
} else if {
	declared.effect_agreed(call)
} else if {
	reach.in_sandbox(call)
}

_text(value) if {
	is_string(value)
	value != ""
}
