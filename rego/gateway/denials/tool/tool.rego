# METADATA
# scope: package
# title: Denials about what is called
# description: |
#   Labels, grants and ceilings. A call that no grant holds for is refused with `tool/not-granted`, or, if a grant
#   would hold but for the arguments, with `tool/arguments` in its place. The other rules say what was nearest.
# schemas:
#   - input: schema.input
package gateway.denials.tool

import data.gateway.bounds
import data.gateway.grants
import data.gateway.grants.problems
import data.gateway.lib.conditions
import data.gateway.lib.reach

# METADATA
# title: The target is not fully labelled
# custom:
#   code: tool/incomplete
#   message: The gateway does not know all it needs about what is called.
#   remedy: An operator should label the tool in the configuration of its upstream; what is missing is named.
#   controls: [ASI02, MCP02]
denials contains {"code": "tool/incomplete", "facts": sort(_flaws)} if not _labelled(input)

# METADATA
# title: No grant holds for the call
# custom:
#   code: tool/not-granted
#   message: No grant allows this caller to make this call.
#   remedy: >-
#     Use what is granted, or ask whoever is responsible for the grants file to add a grant; docs/policy/grants.md
#     says how.
#   controls: [ASI02, ASI03, MCP02, NHI5]
denials contains {"code": "tool/not-granted", "facts": ["/resource/id", "/subject/id"]} if {
	not data.gateway.grants.granted
	_short_of_arguments == set()
}

# METADATA
# title: A grant would hold, but for what the tool does
# custom:
#   code: tool/effect
#   message: A grant names this caller and this tool, but does not cover what the tool does.
#   remedy: Use a tool that does less, or ask for a grant that lists this effect.
#   controls: [ASI02, MCP02, NHI5]
denials contains {"code": "tool/effect", "facts": ["/resource/properties/effect"]} if {
	not data.gateway.grants.granted
	some grant in _near
	resource := input.resource
	not grants.covers_effect(grant, resource)
}

# METADATA
# title: A grant would hold, but for the sensitivity of the target
# custom:
#   code: tool/sensitivity
#   message: A grant names this caller and this target, but does not reach its sensitivity.
#   remedy: Use a less sensitive source, or ask for a grant with a higher sensitivity.
#   controls: [ASI03, MCP10, NHI5]
denials contains {"code": "tool/sensitivity", "facts": ["/resource/properties/sensitivity"]} if {
	not data.gateway.grants.granted
	some grant in _near
	resource := input.resource
	not grants.covers_sensitivity(grant, resource)
}

# METADATA
# title: A grant would hold, but for the arguments
# custom:
#   code: tool/arguments
#   message: A grant covers this tool for this caller, but not with these arguments.
#   remedy: Change the arguments that are named so that the grant covers them, or ask for a wider grant.
#   controls: [ASI02, MCP02]
denials contains {"code": "tool/arguments", "facts": facts} if {
	not data.gateway.grants.granted
	some facts in _short_of_arguments
}

# METADATA
# title: A grant for the target is malformed
# custom:
#   code: tool/grant-void
#   message: A grant that names this target is malformed, so it holds for nobody.
#   remedy: An operator should run `opagate policy check` and mend the grant.
#   controls: [ASI03, NHI5]
denials contains {"code": "tool/grant-void", "facts": ["/resource/id"]} if {
	not data.gateway.grants.granted
	_void != set()
}

# METADATA
# title: The way in which the caller proved itself is too weak for the effect
# custom:
#   code: tool/effect-ceiling
#   message: A caller that proved itself in this way may not do this, whatever its grants say.
#   remedy: Present a stronger credential.
#   controls: [ASI02, ASI03, NHI4]
denials contains {"code": "tool/effect-ceiling", "facts": [
	"/resource/properties/effect",
	"/subject/properties/auth_method",
]} if {
	not _proved_enough(input)
}

# METADATA
# title: The class of the caller, the risk of its task or the sensitivity bounds the effect
# custom:
#   code: tool/class
#   message: >-
#     The class of the caller, the risk of its task or the sensitivity of the target forbids this effect.
#   remedy: >-
#     Use a tool that does less, or have an operator look at the class of the agent: `policy.classes` in gateway.yaml
#     (docs/policy/classes.md).
#   controls: [ASI02, ASI03, NHI5]
denials contains {"code": "tool/class", "facts": [
	"/context/task/risk",
	"/resource/properties/effect",
	"/resource/properties/sensitivity",
	"/subject/id",
]} if {
	not _within_class(input)
}

# METADATA
# title: Nobody said which argument is run
# custom:
#   code: tool/unlabelled-exec
#   message: The tool runs code, and none of its arguments is labelled as the command.
#   remedy: An operator should label the argument with the role `command` in the configuration of the upstream.
#   controls: [ASI05, MCP05]
asks contains {"code": "tool/unlabelled-exec", "facts": ["/resource/properties/roles"]} if {
	input.resource.properties.effect == "exec"
	not _names_command(input)
	not reach.in_sandbox(input)
}

# METADATA
# title: A target stays hidden from this caller
# description: For lists. What any call to the target would be denied for by the rules above, grants aside.
hides(resource) if not _presentable(resource)

# METADATA
# title: Every label of a target is there
labelled(resource) if {
	properties := resource.properties
	startswith(resource.id, concat("", [properties.upstream, "/"]))
	resource.type in ["tool", "resource", "prompt"]
	properties.audience > ""
	properties.audience < []
	properties.effect in data.gateway.settings.effects
	data.gateway.settings.sensitivities[properties.sensitivity] >= 0
	properties.trust in ["trusted", "untrusted"]
	properties.egress in [true, false]

	# Of all values that JSON has, mappings come last.
	properties.roles >= {}
}

# METADATA
# title: The caller's way of proving itself, and its class, are good for the effect of a target
within_ceiling(resource) if {
	_proves_enough_for(resource)
	bounds.permits(resource)
}

_proves_enough_for(resource) if {
	method := input.subject.properties.auth_method
	resource.properties.effect in data.gateway.settings.effects_of[method]
}

_presentable(resource) if {
	labelled(resource)
	within_ceiling(resource)
}

_names_command(call) if "command" in call.resource.properties.roles

# A negated call needs an argument that exists, and of a call only `input` itself surely does.
_labelled(call) if labelled(call.resource)

_proved_enough(call) if _proves_enough_for(call.resource)

_within_class(call) if bounds.permits(call.resource)

# Each fact that is there; see identity.rego for why not each that is missing.
_known contains "/resource/id" if {
	startswith(input.resource.id, concat("", [input.resource.properties.upstream, "/"]))
}

_known contains "/resource/type" if input.resource.type in ["tool", "resource", "prompt"]

_known contains "/resource/properties/audience" if _text(input.resource.properties.audience)

_known contains "/resource/properties/effect" if input.resource.properties.effect in data.gateway.settings.effects

_known contains "/resource/properties/sensitivity" if {
	data.gateway.settings.sensitivities[input.resource.properties.sensitivity] >= 0
}

_known contains "/resource/properties/trust" if input.resource.properties.trust in ["trusted", "untrusted"]

_known contains "/resource/properties/egress" if is_boolean(input.resource.properties.egress)

_known contains "/resource/properties/roles" if is_object(input.resource.properties.roles)

_flaws := {
	"/resource/id",
	"/resource/type",
	"/resource/properties/audience",
	"/resource/properties/effect",
	"/resource/properties/sensitivity",
	"/resource/properties/trust",
	"/resource/properties/egress",
	"/resource/properties/roles",
} - _known

_text(value) if {
	is_string(value)
	value != ""
}

_named := grants.named(input.resource)

# Those of them that cannot be read in full, so that they hold for nobody.
_void contains grant if {
	some grant in _named
	problems.of(grant) != set()
}

# The grants that name the target and are open to the caller, for a call that none holds for.
_near contains grant if {
	some grant in _named
	grants.open_to_caller(grant, input.resource)
}

# The arguments that stand in the way, for each grant that would hold but for them. A void grant never would.
_short_of_arguments contains facts if {
	some grant in _near
	not grant in _void
	grants.covers(grant, input.resource)
	facts := _uncovered(grant)
	facts != []
}

_uncovered(grant) := sort({concat("", ["/arguments", pointer]) |
	some pointer, condition in grant.when
	arguments := input.arguments
	not conditions.holds(condition, arguments, pointer)
} | {concat("", ["/arguments/", name]) |
	some name, _ in input.arguments
	listed := object.get(grant, "arguments", [name])
	not name in listed
})
