# METADATA
# scope: package
# title: Which grants are near a call
# description: |
#   For each grant of the target's upstream, the parts that do not hold. `opagate policy can` and `opagate journal
#   explain` ask for it.
#   No decision rests on it, so nothing here may be used by another package.
# schemas:
#   - input: schema.input
package gateway.explanation

import data.gateway.grants
import data.gateway.grants.problems
import data.gateway.lib.conditions
import data.gateway.lib.patterns
import data.gateway.lib.pointers

# METADATA
# scope: document
# title: The answer, version 1
# description: |
#   `grants`, in the order of the file: `upstream`, `index`, `id` and `approval` name one; `failed` has the parts that
#   do not hold, `open` the conditions that cannot be judged without the arguments of the call.
# entrypoint: true
result := {"version": 1, "grants": [fit |
	some key in [input.resource.properties.upstream, "*"]
	list := data.gateway.grants.upstreams[key]
	is_array(list)
	some i, grant in list
	is_object(grant)
	fit := {
		"upstream": key,
		"index": i,
		"id": object.get(grant, "id", ""),
		"approval": object.get(grant, "approval", false),
		"failed": [part | some part in _failed(grant)],
		"open": [part | some part in _open(grant)],
	}
]}

_failed(grant) := union({
	{{"field": "", "problem": text} | some text in problems.of(grant)},
	_names(grant),
	_who(grant),
	_covers(grant),
	_restrictions(grant),
	_arguments(grant),
	_conditions(grant),
})

_names(grant) := {{"field": field, "wanted": wanted, "found": name} |
	[field, name, _] := grants.designation(input.resource)
	wanted := object.get(grant, field, [])
	not patterns.any_matches(wanted, name)
}

_who(grant) := {{"field": field, "wanted": wanted, "found": found} |
	some field, found in {"agents": input.subject.id, "issuers": input.subject.properties.issuer}
	wanted := object.get(grant, field, [])
	not patterns.any_matches(wanted, found)
}

_covers(grant) := {{"field": field, "wanted": wanted, "found": found} |
	resource := input.resource
	[_, _, effect] := grants.designation(resource)
	some field, found in {"effects": effect, "sensitivity": resource.properties.sensitivity}
	wanted := object.get(grant, field, _default[field])
	not _covers_part(field, grant, resource)
}

_default := {"effects": ["read"], "sensitivity": "internal"}

_covers_part(field, grant, resource) if {
	field == "effects"
	grants.covers_effect(grant, resource)
} else if {
	field == "sensitivity"
	grants.covers_sensitivity(grant, resource)
}

_restrictions(grant) := {{"field": field, "wanted": wanted, "found": found} |
	some field, found in _given
	wanted := grant[field]
	not _holds(field, wanted, input)
}

_holds(field, wanted, call) if {
	grants.restriction_holds(field, wanted, call.subject.properties, call.resource.properties)
}

# What the call has where a grant restricts it.
_given := {
	"until": input.context.time,
	"users": _user.id,
	"groups": _user.groups,
	"scopes": input.subject.properties.scopes,
	"auth_methods": input.subject.properties.auth_method,
	"environments": object.get(input.resource.properties, "environment", null),
	"tenants": object.get(input.resource.properties, "tenant", null),
}

default _user := {"id": null, "groups": []}

_user := input.subject.properties.user if is_object(input.subject.properties.user)

_arguments(grant) := {{"field": "arguments", "wanted": wanted, "found": name} |
	_has_arguments
	wanted := object.get(grant, "arguments", object.keys(input.arguments))
	some name, _ in input.arguments
	not name in wanted
}

_conditions(grant) := {{"field": "when", "pointer": pointer, "wanted": tests, "found": found} |
	arguments := input.arguments
	is_object(arguments)
	some pointer, condition in grant.when
	tests := conditions.failures(condition, arguments, pointer)
	tests != {}
	found := _found(arguments, pointer)
}

# As a list, which is empty if the argument is missing.
_found(arguments, pointer) := [value | value := pointers.value(arguments, pointer)]

_open(grant) := {{"field": "when", "pointer": pointer, "wanted": condition} |
	not _has_arguments
	some pointer, condition in grant.when
} | {{"field": "arguments", "wanted": grant.arguments} |
	not _has_arguments
	is_array(grant.arguments)
}

_has_arguments if is_object(input.arguments)
