# METADATA
# scope: package
# title: What must happen if the call passes
# description: |
#   The gateway refuses a call if it cannot carry out an obligation, so nothing here looks at what it supports.
# schemas:
#   - input: schema.input
package gateway.obligations

import data.gateway.bounds
import data.gateway.denials.credential
import data.gateway.lib.patterns

# METADATA
# title: What must happen, in order
ordered := sort(required)

# METADATA
# title: The task has read something sensitive
# description: The gateway raises the task's confidentiality to it. Without a list of what is sensitive, everything is.
required contains {"id": "label", "properties": {"confidentiality": sensitivity}} if {
	sensitivity := input.resource.properties.sensitivity
	not _open(sensitivity)
}

# METADATA
# title: Credentials in the result are kept from the agent
# description: |
#   It gets handles in their place, which the gateway puts back where they came from. Without a list of whose results
#   are concealed, all are.
required contains {"id": "conceal_credentials", "properties": {}} if {
	not shown(input)
}

# METADATA
# title: A call with a far-reaching effect is kept short
required contains {"id": "limit", "properties": limit} if {
	limit := data.gateway.settings.call_limits[input.resource.properties.effect]
}

# METADATA
# title: A lent credential lives as long as class, risk and sensitivity let it
required contains {"id": "issue_credential", "properties": {"ttl_seconds": bounds.lease_seconds}} if {
	credential.leased(input.resource)
}

# METADATA
# title: The result is shown as it is
shown(call) if {
	data.gateway.settings.concealed == []
	is_object(call)
} else if {
	concealed := data.gateway.settings.concealed
	is_array(concealed)
	id := call.resource.id
	is_string(id)
	not patterns.any_matches(concealed, id)
}

_open(sensitivity) if {
	labelled := data.gateway.settings.labelled_sensitivities
	is_array(labelled)
	not sensitivity in labelled
}
