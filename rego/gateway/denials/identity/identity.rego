# METADATA
# scope: package
# title: Denials and questions about who is calling
# schemas:
#   - input: schema.input
package gateway.denials.identity

# METADATA
# title: The caller is not fully known
# custom:
#   code: identity/incomplete
#   message: The gateway does not know all it needs about who is calling.
#   remedy: >-
#     Have an operator check the identity section of the configuration. The named facts of the caller's credential
#     are missing or malformed.
#   controls: [ASI03, MCP07, NHI4]
denials contains {"code": "identity/incomplete", "facts": sort(_flaws)} if not complete(input)

# METADATA
# title: The call belongs to no task
# custom:
#   code: identity/task-missing
#   message: The call belongs to no task, and authority lives in tasks.
#   remedy: Open a task, or call without one so that the gateway opens it.
#   controls: [ASI03, MCP10]
denials contains {"code": "identity/task-missing", "facts": ["/context/task"]} if not in_task(input)

# METADATA
# title: The task is over
# custom:
#   code: identity/task-expired
#   message: The task has expired, and with it the authority of its calls.
#   remedy: Open a new task.
#   controls: [ASI03, NHI1]
denials contains {"code": "identity/task-expired", "facts": ["/context/task/expires", "/context/time"]} if {
	not in_time(input)
}

# METADATA
# title: A caller without credentials wants more than a trial
# custom:
#   code: identity/anonymous
#   message: Callers without credentials reach nothing confidential and nothing in production.
#   remedy: >-
#     Present a token. Where the target is harmless, an operator can declare the environment and the sensitivity of
#     its upstream in the configuration.
#   controls: [ASI03, MCP07, NHI4]
denials contains {"code": "identity/anonymous", "facts": [
	"/resource/properties/environment",
	"/resource/properties/sensitivity",
	"/subject/properties/auth_method",
]} if {
	anonymous_beyond_trial(input.resource)
}

# METADATA
# title: A bearer token wants to do what cannot be undone
# description: A stolen token works for everybody, so people look at each such call (`approvers.families.identity`).
# custom:
#   code: identity/unbound
#   message: >-
#     The token is not bound to its holder, and the call would destroy, mint credentials or run code in production.
#   remedy: >-
#     Ask two people who log in and may approve it: where `approvals.people` names none, nobody can. Or use a
#     sender-constrained credential (DPoP or mutual TLS). Where the target is harmless, an operator can declare the
#     environment of its upstream in the configuration.
#   controls: [ASI03, ASI09, MCP01, NHI4]
asks contains {"code": "identity/unbound", "facts": [
	"/resource/properties/effect",
	"/resource/properties/environment",
	"/subject/properties/bound",
]} if {
	unbound_beyond_limit(input.resource)
}

# METADATA
# title: A target stays hidden from this caller
# description: For lists. What any call to the target would be denied for by the rules above.
hides(resource) if anonymous_beyond_trial(resource)

# METADATA
# title: Every fact about the caller is there
complete(call) if {
	subject := call.subject
	subject.type == "agent"
	is_string(subject.id)
	subject.id != ""
	properties := subject.properties
	is_string(properties.issuer)
	properties.issuer != ""
	properties.auth_method in data.gateway.settings.auth_methods
	properties.bound in [true, false]
	is_array(properties.scopes)
	_user(properties.user)
}

# METADATA
# title: The call belongs to a task
in_task(call) if {
	task := call.context.task
	is_string(task.id)
	task.id != ""
	task.kind in ["declared", "implicit"]
}

# METADATA
# title: The task's time is not up
# description: A task without an end has time. Of times that cannot be read, none is left.
in_time(call) if {
	expires := call.context.task.expires
	is_string(expires)
	now := call.context.time
	is_string(now)

	# Without the Z, times of this form sort as text, fractions included.
	trim_suffix(now, "Z") < trim_suffix(expires, "Z")
	regex.match(_times, concat(" ", [expires, now]))
} else if {
	not call.context.task.expires
	not call.context.task.expires == false
}

# METADATA
# title: The caller has no credentials, and the target is more than a trial
anonymous_beyond_trial(resource) if {
	input.subject.properties.auth_method == "anonymous"
	not _trial(resource)
}

# METADATA
# title: The caller's token is not bound, and the target does more than such a token may
unbound_beyond_limit(resource) if {
	not input.subject.properties.bound
	not _safe_for_bearer(resource)
}

_times := concat("", ["^", _moment, " ", _moment, "$"])

_moment := `[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z`

# Each fact that is there. What a negated call would be given must exist, or OPA skips the whole expression; so these
# say what is known, and the rest is a flaw.
_known contains "/subject/type" if input.subject.type == "agent"

_known contains "/subject/id" if _text(input.subject.id)

_known contains "/subject/properties/issuer" if _text(input.subject.properties.issuer)

_known contains "/subject/properties/auth_method" if {
	input.subject.properties.auth_method in data.gateway.settings.auth_methods
}

_known contains "/subject/properties/bound" if is_boolean(input.subject.properties.bound)

_known contains "/subject/properties/scopes" if is_array(input.subject.properties.scopes)

_known contains "/subject/properties/user" if _user(input.subject.properties.user)

_flaws := {
	"/subject/type",
	"/subject/id",
	"/subject/properties/issuer",
	"/subject/properties/auth_method",
	"/subject/properties/bound",
	"/subject/properties/scopes",
	"/subject/properties/user",
} - _known

_text(value) if {
	is_string(value)
	value != ""
}

_user(user) if {
	user == null
} else if {
	_text(user.id)
	is_array(user.groups)
}

_safe_for_bearer(resource) if {
	resource.properties.effect in data.gateway.settings.unbound_effects
} else if {
	_harmless(resource)
}

_trial(resource) if {
	resource.properties.sensitivity in data.gateway.settings.anonymous_sensitivities
	_harmless(resource)
}

_harmless(resource) if {
	resource.properties.environment in data.gateway.settings.harmless_environments
}
