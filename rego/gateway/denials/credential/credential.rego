# METADATA
# scope: package
# title: Denials about the credential that an upstream would get
# description: |
#   The gateway lends credentials that end with their task. These rules say where that is not enough, or not the case.
#   The settings `standing_environments`, `credentials_of_users` and `stuck_leases` are in gateway/settings/data.yaml.
# schemas:
#   - input: schema.input
package gateway.denials.credential

# METADATA
# title: A fixed credential where only lent ones may be used
# custom:
#   code: credential/standing
#   message: >-
#     The gateway has only a fixed credential for this system, which nobody can end, and this environment wants lent
#     ones.
#   remedy: >-
#     An operator should lend a credential to the upstream (docs/lent-credentials.md), or list the environment in
#     `standing_environments`.
#   controls: [ASI03, MCP01, NHI7]
denials contains {"code": "credential/standing", "facts": [
	"/resource/properties/credential/kind",
	"/resource/properties/environment",
]} if {
	standing_beyond_limit(input.resource)
}

# METADATA
# title: The credential is one of a user, and the call has none
# custom:
#   code: credential/no-user
#   message: The credential of this system is lent for a user, and the caller acts for nobody.
#   remedy: Call with a token that names the user for whom the agent acts.
#   controls: [ASI03, MCP07]
denials contains {"code": "credential/no-user", "facts": [
	"/resource/properties/credential/kind",
	"/subject/properties/user",
]} if {
	_of_user(input.resource)
	not input.subject.properties.user.id
}

# METADATA
# title: The task ends before the shortest life of a credential
# custom:
#   code: credential/task-ends
#   message: The task ends sooner than the shortest life of a credential of this system.
#   remedy: Open a new task, and call in it.
#   controls: [ASI03, NHI1]
denials contains {"code": "credential/task-ends", "facts": [
	"/context/task/expires",
	"/context/time",
	"/resource/properties/credential/min_ttl_seconds",
]} if {
	is_string(input.context.task.expires)
	shortest := input.resource.properties.credential.min_ttl_seconds
	not _time_left(shortest)
}

# METADATA
# title: Too many credentials of the task could not be ended
# custom:
#   code: credential/unended
#   message: The end of an earlier credential of this task is not proven, so the task gets no further one.
#   remedy: An operator should look at `opagate credentials list --stuck`.
#   controls: [ASI03, NHI1, NHI7]
denials contains {"code": "credential/unended", "facts": ["/context/task/leases/stuck"]} if {
	leased(input.resource)
	stuck := input.context.task.leases.stuck
	not _few(stuck)
}

# METADATA
# title: A target stays hidden
# description: For lists. What any call to the target would be denied for by the first rule above.
hides(resource) if standing_beyond_limit(resource)

# METADATA
# title: The upstream gets a fixed credential in an environment that wants lent ones
standing_beyond_limit(resource) if {
	resource.properties.credential.kind == "standing"
	not _standing_allowed(resource)
}

# METADATA
# title: The credential of the upstream is lent
leased(resource) if {
	kind := resource.properties.credential.kind
	kind != "standing"
}

_standing_allowed(resource) if {
	allowed := data.gateway.settings.standing_environments
	is_array(allowed)
	some environment in ["*", object.get(resource.properties, "environment", "production")]
	environment in allowed
}

_of_user(resource) if {
	resource.properties.credential.kind in data.gateway.settings.credentials_of_users
}

_time_left(shortest) if {
	is_number(shortest)
	left := time.parse_rfc3339_ns(input.context.task.expires) - time.parse_rfc3339_ns(input.context.time)
	left >= shortest * 1000000000
}

_few(stuck) if {
	is_number(stuck)
	stuck <= data.gateway.settings.stuck_leases
}
