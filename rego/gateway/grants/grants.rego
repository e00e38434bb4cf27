# METADATA
# scope: package
# title: Grants
# description: |
#   Who may call what. Grants only add: a call needs one that holds in full, and nothing here refuses. What a grant
#   does not say is read in the narrow way, and a grant that cannot be read in full is void. The grants are data, in
#   data.yaml beside this file, keyed by upstream so that the others cost nothing; see docs/policy/grants.md.
# schemas:
#   - input: schema.input
package gateway.grants

import data.gateway.lib.conditions
import data.gateway.lib.patterns

# METADATA
# title: Some grant holds for the call, if need be after an approval
granted if {
	permit
} else if {
	permit_with_approval
}

# METADATA
# title: A grant that asks for no approval holds for the call
permit if {
	resource := input.resource
	some key in [resource.properties.upstream, "*"]
	some grant in data.gateway.grants.upstreams[key]
	not grant.approval
	names(grant, resource)
	covers(grant, resource)
	open_to_caller(grant, resource)
	conditions.hold(grant, input.arguments)
}

# METADATA
# title: A grant that asks for an approval holds for the call
permit_with_approval if {
	some grant in named(input.resource)
	grant.approval == true
	covers(grant, input.resource)
	open_to_caller(grant, input.resource)
	conditions.hold(grant, input.arguments)
}

# METADATA
# title: The grants that name a target
# description: Those for its upstream and those for all upstreams (`*`), in the order of the file.
named(resource) := [grant |
	some key in [resource.properties.upstream, "*"]
	some grant in data.gateway.grants.upstreams[key]
	names(grant, resource)
]

# METADATA
# title: A grant names a target
names(grant, resource) if {
	name := substring(resource.id, count(resource.properties.upstream) + 1, -1)
	patterns.any_matches(grant[data.gateway.settings.patterns_of[resource.type]], name)
}

# METADATA
# title: The caller, and the place of the target, are ones that a grant is for
open_to_caller(grant, resource) if {
	subject := input.subject
	patterns.any_matches(grant.issuers, subject.properties.issuer)
	patterns.any_matches(grant.agents, subject.id)

	# What is left must be restrictions that are known and hold, so a misspelt field voids its grant.
	every field, value in object.remove(grant, data.gateway.settings.grant_fields) {
		_restriction_holds(field, value, {"subject": subject.properties, "resource": resource.properties})
	}
}

# METADATA
# title: A grant covers what the target does and how sensitive it is
covers(grant, resource) if {
	covers_effect(grant, resource)
	covers_sensitivity(grant, resource)
}

# METADATA
# title: A grant covers the effect of a target
# description: Reading a resource and getting a prompt are reads. A grant that names no effects covers reads only.
covers_effect(grant, resource) if {
	resource.properties.effect in object.get(grant, "effects", ["read"])
	resource.type == "tool"
} else if {
	resource.type in ["resource", "prompt"]
	"read" in object.get(grant, "effects", ["read"])
}

# METADATA
# title: A target is no more sensitive than a grant covers
# description: A grant that names no sensitivity covers `internal` and what is more open.
covers_sensitivity(grant, resource) if {
	ranks := data.gateway.settings.sensitivities
	ranks[resource.properties.sensitivity] <= ranks[object.get(grant, "sensitivity", "internal")]
}

_restriction_holds("users", value, facts) if patterns.any_matches(value, facts.subject.user.id)

_restriction_holds("groups", value, facts) if {
	is_array(value)
	some group in value
	group in facts.subject.user.groups
}

_restriction_holds("scopes", value, facts) if {
	is_array(value)
	every scope in value {
		scope in facts.subject.scopes
	}
}

_restriction_holds("auth_methods", value, facts) if {
	is_array(value)
	facts.subject.auth_method in value
}

_restriction_holds("environments", value, facts) if {
	is_array(value)
	facts.resource.environment in value
}

_restriction_holds("tenants", value, facts) if {
	is_array(value)
	facts.resource.tenant in value
}

# What these say is looked at with the arguments; here only that they can be read.
_restriction_holds("when", value, _) if is_object(value)

_restriction_holds("arguments", value, _) if is_array(value)
