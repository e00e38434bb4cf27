# METADATA
# scope: package
# title: What a list shows
# description: |
#   The same grants and denials as for a call, without the arguments, which a list does not have. What a call could be
#   approved for is shown. Where nothing is enforced (observe mode), only unusable definitions are hidden. Anything
#   malformed hides everything.
# schemas:
#   - input: schema.input
package gateway.visibility

import data.gateway.denials.catalogue
import data.gateway.denials.credential
import data.gateway.denials.identity
import data.gateway.denials.signal
import data.gateway.denials.tool
import data.gateway.grants
import data.gateway.lib.patterns
import data.gateway.overlay

# METADATA
# scope: document
# title: The answer, version 1
# entrypoint: true
default result := {"version": 1, "visible": []}

result := {"version": 1, "visible": sort({resource.id | some resource in input.resources; _visible(resource)})} if {
	input.version == 1
	identity.complete(input)
	identity.in_task(input)
	identity.in_time(input)
	data.gateway.denials.delegation.denials == set()
	not signal.refuses(input)
	every resource in input.resources {
		tool.labelled(resource)
	}
}

_visible(resource) if {
	_granted(resource)
	not catalogue.hides(resource)
	not credential.hides(resource)
	not identity.hides(resource)
	tool.within_ceiling(resource)
	not overlay.hides(resource)
} else if {
	input.context.enforced == false
	not catalogue.hides(resource)
}

_granted(resource) if {
	_named(resource)
	[field, name, _] := grants.designation(resource)
	some key in [resource.properties.upstream, "*"]
	some grant in _near[key]
	patterns.any_matches(grant[field], name)
	grants.covers(grant, resource)
	grants.open_to_caller(grant, resource)
} else if {
	# The upstream itself, a resource without a name: the caller has some grant there.
	resource.type == "resource"
	resource.id == concat("", [resource.properties.upstream, "/"])
	some key in [resource.properties.upstream, "*"]
	some grant in _near[key]
	grants.open_to_caller(grant, resource)
}

# A quick look, since most of a long list is granted to somebody else: some grant may name the target.
_named(resource) if {
	[resource.type, resource.id] in _ids
} else if {
	[resource.type, resource.properties.upstream] in _starred
} else if {
	count(_near["*"]) > 0
}

# The grants for this agent, so that those of others are not looked at for each target anew.
_near[upstream] := near if {
	some upstream in _upstreams
	near := [grant | some grant in grants.of_agent(upstream); grants.for_agent(grant)]
}

_upstreams contains "*"

_upstreams contains resource.properties.upstream if some resource in input.resources

# What their patterns name: whole ids, and kinds of target of which some pattern has a star.
_ids contains [type, concat("/", [upstream, pattern])] if {
	some type, field in data.gateway.settings.patterns_of
	some upstream, list in _near
	some grant in list
	is_array(grant[field])
	some pattern in grant[field]
	is_string(pattern)
}

_starred contains [type, upstream] if {
	some type, field in data.gateway.settings.patterns_of
	some upstream, list in _near
	some grant in list
	is_array(grant[field])
	some pattern in grant[field]
	is_string(pattern)
	contains(pattern, "*")
}
