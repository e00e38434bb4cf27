# METADATA
# scope: package
# title: What the task was declared for
# description: |
#   A contract only narrows: what is outside of it is refused, and what is inside still needs a grant. A list that it
#   does not have narrows nothing. See docs/policy/history.md.
# schemas:
#   - input: schema.input
package gateway.denials.contract

import data.gateway.lib.patterns

# METADATA
# title: The contract cannot be read
# custom:
#   code: contract/malformed
#   message: The contract of the task has a part that this policy cannot read, so nothing is inside of it.
#   remedy: Open a task with lists of text, and limits that are numbers of the names in docs/policy/history.md.
#   controls: [ASI01, ASI02]
denials contains {"code": "contract/malformed", "facts": [fact]} if {
	some name, limit in input.context.task.contract.limits
	fact := concat("/", ["/context/task/contract/limits", name])
	not _known_limit(name, limit)
}

# METADATA
# title: The contract is not one
denials contains {"code": "contract/malformed", "facts": ["/context/task/contract"]} if {
	_ = input.context.task.contract
	not _readable(input)
}

# METADATA
# title: A limit of the contract is not below the hard one
# custom:
#   code: contract/limit
#   message: The contract of the task states a limit that is not below the hard limit of the policy.
#   remedy: >-
#     Open a task that states a smaller number. An operator can raise the hard limit, under its name below `limits.task`
#     in gateway.yaml.
#   controls: [ASI02, ASI08]
denials contains {"code": "contract/limit", "facts": [concat("/", ["/context/task/contract/limits", name])]} if {
	some name, limit in input.context.task.contract.limits
	_known_limit(name, limit)
	not _below_hard(name, limit)
}

# METADATA
# title: A system that the task was not declared for
# custom:
#   code: contract/audience
#   message: The contract of this task does not name this system.
#   remedy: Use the systems that the contract names, or open a task that names this one.
#   controls: [ASI01, ASI02, ASI03]
denials contains {"code": "contract/audience", "facts": [
	"/context/task/contract/audiences",
	"/resource/properties/audience",
]} if {
	audiences := input.context.task.contract.audiences
	not _named(input, audiences)
}

# METADATA
# title: A tool that the task was not declared for
# custom:
#   code: contract/tool
#   message: The contract of this task does not name this tool.
#   remedy: Use the tools that the contract names, or open a task that names this one.
#   controls: [ASI01, ASI02, MCP02]
denials contains {"code": "contract/tool", "facts": ["/context/task/contract/tools", "/resource/id"]} if {
	tools := input.context.task.contract.tools
	not _covered(input, tools)
}

# METADATA
# title: A destination that the task was not declared for
# custom:
#   code: contract/destination
#   message: The call sends to a destination that the contract of this task does not name.
#   remedy: Send only where the contract says, or open a task that names this destination.
#   controls: [ASI01, ASI02, MCP06]
denials contains {"code": "contract/destination", "facts": [
	"/context/task/contract/destinations",
	"/session/call_destinations",
]} if {
	destinations := input.context.task.contract.destinations
	not _all_named(input, destinations)
}

# METADATA
# title: Another environment
# custom:
#   code: contract/environment
#   message: The task was declared for another environment than that of this system.
#   remedy: Open a task for this environment, if that is really meant.
#   controls: [ASI03, NHI8]
denials contains {"code": "contract/environment", "facts": [
	"/context/task/environment",
	"/resource/properties/environment",
]} if {
	declared := input.context.task.environment
	found := input.resource.properties.environment
	declared != found
}

# METADATA
# title: Another tenant
# custom:
#   code: contract/tenant
#   message: The task was declared for another tenant than that of this system.
#   remedy: Open a task for this tenant, if that is really meant.
#   controls: [ASI03, MCP10, NHI8]
denials contains {"code": "contract/tenant", "facts": ["/context/task/tenant", "/resource/properties/tenant"]} if {
	declared := input.context.task.tenant
	found := input.resource.properties.tenant
	declared != found
}

_known_limit(name, limit) if {
	_ = data.gateway.settings.task_limits[name]
	is_number(limit)
}

_below_hard(name, limit) if {
	hard := data.gateway.settings.task_limits[name].hard
	is_number(hard)
	limit < hard
}

_readable(call) if {
	contract := call.context.task.contract
	is_object(contract.limits)
	is_array(contract.credential_flows)
}

_named(call, audiences) if {
	call.resource.properties.audience in audiences
}

_covered(call, tools) if patterns.any_matches(tools, call.resource.id)

_all_named(call, destinations) if {
	is_array(call.session.call_destinations)
	every destination in call.session.call_destinations {
		patterns.any_names(destinations, destination)
	}
}
