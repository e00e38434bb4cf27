# METADATA
# scope: package
# title: What must happen if the call passes
# description: |
#   The gateway refuses a call if it cannot carry out an obligation, so nothing here looks at what it supports.
# schemas:
#   - input: schema.input
package gateway.obligations

# METADATA
# title: The task has read something sensitive
# description: The gateway raises the task's confidentiality to it.
required contains {"id": "label", "properties": {"confidentiality": sensitivity}} if {
	sensitivity := input.resource.properties.sensitivity
	sensitivity in data.gateway.obligations.labelled_sensitivities
}

# METADATA
# title: A call with a far-reaching effect is kept short
required contains {"id": "limit", "properties": limit} if {
	limit := data.gateway.obligations.limits[input.resource.properties.effect]
}
