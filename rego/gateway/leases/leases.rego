# METADATA
# scope: package
# title: Leases that stay
# description: |
#   The gateway asks about credentials that it has lent already: under a new policy, after a changed pin, and at a
#   signal. A lease stays while its caller may still use the target of the call that needed it. The arguments of that
#   call are past, and do not count. Where nothing is enforced (observe mode), a lease stays while its definition is
#   usable. Anything malformed keeps no lease.
# schemas:
#   - input: schema.input
package gateway.leases

import data.gateway.denials.catalogue
import data.gateway.denials.credential
import data.gateway.denials.identity
import data.gateway.denials.signal
import data.gateway.denials.tool
import data.gateway.grants
import data.gateway.overlay

# METADATA
# scope: document
# title: The answer, version 1
# description: The ids of the leases that stay. The gateway ends all others.
# entrypoint: true
default result := {"version": 1, "keep": []}

result := {"version": 1, "keep": sort({lease.id | some lease in input.leases; _stays(lease.resource)})} if {
	input.version == 1
	identity.complete(input)
	identity.in_task(input)
	identity.in_time(input)
	data.gateway.denials.delegation.denials == set()
	not signal.refuses(input)
	every lease in input.leases {
		tool.labelled(lease.resource)
	}
}

_stays(resource) if {
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
	some grant in grants.named(resource)
	grants.covers(grant, resource)
	grants.open_to_caller(grant, resource)
} else if {
	# A lease for messages without a decision: it stays while the caller may use anything of the upstream.
	resource.type == "resource"
	resource.id == concat("", [resource.properties.upstream, "/"])
	some key in [resource.properties.upstream, "*"]
	some grant in grants.of_agent(key)
	grants.open_to_caller(grant, resource)
}
