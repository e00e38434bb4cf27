# METADATA
# scope: package
# title: What a list shows
# description: |
#   The same grants and denials as for a call, without the arguments, which a list does not have. What a call could be
#   approved for is shown. Anything malformed hides everything.
# schemas:
#   - input: schema.input
package gateway.visibility

import data.gateway.denials.catalogue
import data.gateway.denials.delegation
import data.gateway.denials.identity
import data.gateway.denials.tool
import data.gateway.grants

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
	delegation.found(input) == set()
	every resource in input.resources {
		tool.labelled(resource)
	}
}

_visible(resource) if {
	_granted(resource)
	not catalogue.hides(resource)
	not identity.hides(resource)
	not tool.hides(resource)
}

_granted(resource) if {
	some grant in grants.named(resource)
	grants.open_to_caller(grant, resource)
	grants.covers(grant, resource)
}
