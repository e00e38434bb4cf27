# METADATA
# scope: package
# title: Who may approve a call
# description: |
#   Several rules hold for a call: those of the settings (`approvers`), of the grants that ask for an approval, and of
#   the overlay. Merged, they are as strict as the strictest. Without a rule that can be read, nobody may approve. The
#   same rule is asked for at the question and again at the release. docs/policy/approvals.md explains it.
# schemas:
#   - input: schema.input
package gateway.approvers

import data.gateway.bounds
import data.gateway.grants
import data.gateway.lib.approvers

# METADATA
# title: What an approval of this call has to satisfy, now
rule := approvers.merged([one |
	some rules in [_of_settings, bounds.approvers, _of_grants, _of_overlay]
	some one in rules
])

# METADATA
# title: The rule as obligations of an answer that asks
# description: One for each group that every approver has to be in, or a single one without a group.
obligations := [_obligation({})] if {
	rule.groups == []
} else := [_obligation({"group": group}) | some group in rule.groups]

_obligation(more) := {
	"id": "require_approvers",
	"properties": object.union(object.remove(rule, ["groups"]), more),
}

_of_settings := array.concat(beside, approvers.of_kinds(input, _families)) if {
	approving := data.gateway.settings.approvers
	[_, _, effect] := grants.designation(input.resource)
	beside := [approving.every, approving.effects[effect], _own_call]
}

# Whether the user of the task, and the agents that act for the user, may approve. A list that is lost excludes them.
default _own_call := {"exclude": ["user", "delegates"]}

_own_call := {} if {
	own_calls := data.gateway.settings.approvers.own_calls
	[_, _, effect] := grants.designation(input.resource)
	is_array(own_calls.effects)
	effect in own_calls.effects
	is_array(own_calls.environments)
	object.get(input.resource.properties, "environment", "production") in own_calls.environments
}

_families contains family if {
	some question in data.gateway.approvals.questions
	parts := split(question.code, "/")
	family := parts[0]
}

_of_grants := [grant.approval | some grant in data.gateway.grants.asking; is_object(grant.approval)]

_of_overlay := [object.get(obligation, "properties", null) | some obligation in data.gateway.overlay.approvers]
