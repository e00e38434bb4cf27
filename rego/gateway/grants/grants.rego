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

import data.gateway.lib.approvers
import data.gateway.lib.conditions
import data.gateway.lib.patterns

# METADATA
# title: Some grant holds for the call
# description: Either one that asks for no approval (`at once`), or one that does (`after approval`).
granted := "at once" if {
	# Of all values that JSON has, mappings come last.
	input.arguments >= {}
	[field, name, effect] := designation(input.resource)
	some key in [input.resource.properties.upstream, "*"]
	some grant in _near(key, field, name)
	not grant.approval
	effect in object.get(grant, "effects", ["read"])
	patterns.any_matches(grant[field], name)
	subject := input.subject
	patterns.any_matches(grant.agents, subject.id)
	patterns.any_matches(grant.issuers, subject.properties.issuer)
	ranks := data.gateway.settings.sensitivities
	ranks[input.resource.properties.sensitivity] <= ranks[object.get(grant, "sensitivity", "internal")]
	rest := object.remove(grant, data.gateway.settings.grant_fields)
	_rest_holds(grant, rest)
} else := "after approval" if {
	[field, name, _] := designation(input.resource)
	some key in [input.resource.properties.upstream, "*"]
	some grant in _near(key, field, name)
	_holds_after_approval(grant, field, name, input)
}

# METADATA
# title: The grants that hold for the call after an approval
asking := [grant |
	[field, name, _] := designation(input.resource)
	some key in [input.resource.properties.upstream, "*"]
	some grant in _near(key, field, name)
	_holds_after_approval(grant, field, name, input)
]

# METADATA
# title: The grants that name a target, and may be for the agent
# description: Those for its upstream and those for all upstreams (`*`), in the order of the file.
named(resource) := [grant |
	[field, name, _] := designation(resource)
	some key in [resource.properties.upstream, "*"]
	some grant in _near(key, field, name)
	patterns.any_matches(grant[field], name)
]

# METADATA
# title: The grants of an upstream that may be for the agent
# description: By the index that the gateway puts beside many grants; else all of the upstream.
of_agent(key) := [list[place] | some place in places] if {
	list := _list(key)
	index := _index(key, list)
	places := {place | some agent in [input.subject.id, "*"]; some place in index.agents[agent]}
} else := _list(key)

# METADATA
# title: How grants name a target
# description: |
#   The field of a grant that has the patterns for its kind, the name that they are compared with, and the effect that a
#   grant has to cover: reading a resource and getting a prompt are reads.
designation(resource) := [field, name, effect] if {
	resource.type == "tool"
	effect := resource.properties.effect
	field := data.gateway.settings.patterns_of.tool
	name := substring(resource.id, count(resource.properties.upstream) + 1, -1)
} else := [field, name, "read"] if {
	resource.type in ["resource", "prompt"]
	field := data.gateway.settings.patterns_of[resource.type]
	name := substring(resource.id, count(resource.properties.upstream) + 1, -1)
}

# METADATA
# title: The caller, and the place of the target, are ones that a grant is for
open_to_caller(grant, resource) if {
	for_agent(grant)
	rest := object.remove(grant, data.gateway.settings.grant_fields)
	_restrictions_hold(rest, resource)
}

# METADATA
# title: A grant is for the agent
for_agent(grant) if {
	subject := input.subject
	patterns.any_matches(grant.agents, subject.id)
	patterns.any_matches(grant.issuers, subject.properties.issuer)
}

# METADATA
# title: A grant covers what the target does and how sensitive it is
covers(grant, resource) if {
	covers_effect(grant, resource)
	covers_sensitivity(grant, resource)
}

# METADATA
# title: A grant covers the effect of a target
# description: A grant that names no effects covers reads only.
covers_effect(grant, resource) if {
	resource.type == "tool"
	resource.properties.effect in object.get(grant, "effects", ["read"])
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

_list(key) := list if {
	list := data.gateway.grants.upstreams[key]
	is_array(list)
}

# The gateway's index of a list of grants. One of another length is of other grants.
_index(key, list) := index if {
	index := data.gateway.grants.index[key]
	index.count == count(list)
}

# Those that may name a target, and be for the agent: by the index, or else all of the upstream. Each is read in full.
_near(key, field, name) := [list[place] | some place in places] if {
	list := _list(key)
	named := _index(key, list)[field]
	places := {place |
		some text in [name, "*"]
		some agent in [input.subject.id, "*"]
		some place in named[text][agent]
	}
} else := _list(key)

_holds_after_approval(grant, field, name, call) if {
	_asks(grant.approval)
	patterns.any_matches(grant[field], name)
	covers(grant, call.resource)
	open_to_caller(grant, call.resource)
	conditions.hold(grant, call.arguments)
}

_asks(approval) if {
	approval == true
} else if {
	is_object(approval)
	approvers.problems(approval) == set()
}

# What is left of a grant for a call.
_rest_holds(grant, rest) if {
	rest == {}
} else if {
	_restrictions_hold(rest, input.resource)
	conditions.hold(grant, input.arguments)
}

# What is left must be restrictions that are known and hold, so a misspelt field voids its grant.
_restrictions_hold(rest, resource) if {
	subject := input.subject
	every field, value in rest {
		restriction_holds(field, value, subject.properties, resource.properties)
	}
}

# One function and not one for each field: a field has one way to hold, and an unknown field has none.

# METADATA
# title: One restriction of a grant holds for the caller and the target
# description: Conditions on arguments are judged elsewhere; here `when` and `arguments` only have to be readable.
restriction_holds(field, value, subject, resource) if {
	field == "when"
	is_object(value)
} else if {
	field == "arguments"
	is_array(value)
} else if {
	field == "groups"
	is_array(value)
	some group in value
	group in subject.user.groups
} else if {
	field == "users"
	patterns.any_matches(value, subject.user.id)
} else if {
	field == "scopes"
	is_array(value)
	every scope in value {
		scope in subject.scopes
	}
} else if {
	field == "auth_methods"
	is_array(value)
	subject.auth_method in value
} else if {
	field == "environments"
	is_array(value)
	resource.environment in value
} else if {
	field == "tenants"
	is_array(value)
	resource.tenant in value
} else if {
	field == "until"
	_ahead(value)
}

# Without the Z, times of this form sort as text, fractions included. Of a time that cannot be read, none is left.
_ahead(until) if {
	is_string(until)
	now := input.context.time
	is_string(now)
	trim_suffix(now, "Z") < trim_suffix(until, "Z")
	regex.match(data.gateway.settings.time_form, now)
	regex.match(data.gateway.settings.time_form, until)
}
