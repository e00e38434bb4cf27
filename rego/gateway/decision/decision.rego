# METADATA
# scope: package
# title: The decision on one call
# description: |
#   A call passes if a grant holds for it, nothing denies it, and no approval is wanting. A family is one folder, with a
#   line in `denials` below and one in `asks`; families of your own come by `overlay`.
# schemas:
#   - input: schema.input
package gateway.decision

import data.gateway.denials.budget
import data.gateway.obligations
import data.gateway.overlay

# METADATA
# scope: document
# title: The answer, version 1
# description: In the form of rego/schemas/result.json. Where nothing else is decided, this denial is.
# entrypoint: true
# custom:
#   code: policy/undefined
#   message: The policy came to no decision, so the call is refused.
#   remedy: An operator should check the policy folder with `opagate policy check`.
#   controls: [ASI02]
default result := {
	"version": 1,
	"effect": "deny",
	"reasons": [{
		"code": "policy/undefined",
		"message": "The policy came to no decision, so the call is refused.",
		"remedy": "An operator should check the policy folder with `opagate policy check`.",
		"controls": ["ASI02"],
		"facts": [],
	}],
	"obligations": [],
	"policy": {"name": "opagate"},
}

# A question shows all codes, answered or not: the approval that comes of it is the only one at the next release.
result := object.union(_answer("deny", _reasons(denials), []), _beside_denial) if {
	denials != set()
} else := _answer("allow", [], overlay.with_own(obligations.ordered)) if {
	_every_family_answered
	data.gateway.grants.granted
	data.gateway.approvals.required == set()
} else := object.union(_answer("deny", _reasons(data.gateway.approvals.questions | _unasked), []), _beside_denial) if {
	_every_family_answered
	data.gateway.grants.granted
	data.gateway.approvals.required != set()
	_unasked != set()
} else := _answer("ask", _reasons(data.gateway.approvals.questions), array.concat(
	data.gateway.approvers.obligations,
	overlay.with_own(obligations.ordered),
)) if {
	_every_family_answered
	data.gateway.grants.granted
	data.gateway.approvals.required != set()
}

# METADATA
# title: Everything that refuses the call
denials := union({
	_unknown_version,
	data.gateway.denials.argument.denials,
	data.gateway.denials.budget.denials,
	data.gateway.denials.catalogue.denials,
	data.gateway.denials.contract.denials,
	data.gateway.denials.credential.denials,
	data.gateway.denials.credential_chain.denials,
	data.gateway.denials.delegation.denials,
	data.gateway.denials.effect.denials,
	data.gateway.denials.fact.denials,
	data.gateway.denials.fan_out.denials,
	data.gateway.denials.identity.denials,
	data.gateway.denials.limit.denials,
	data.gateway.denials.signal.denials,
	data.gateway.denials.tool.denials,
	data.gateway.denials.toxic_flow.denials,
	data.gateway.denials.tree.denials,
	data.gateway.overlay.denials,
})

# METADATA
# title: Everything that a person has to approve
asks := union({
	data.gateway.denials.argument.asks,
	data.gateway.denials.budget.asks,
	data.gateway.denials.credential_chain.asks,
	data.gateway.denials.effect.asks,
	data.gateway.denials.fan_out.asks,
	data.gateway.denials.identity.asks,
	data.gateway.denials.limit.asks,
	data.gateway.denials.signal.asks,
	data.gateway.denials.tool.asks,
	data.gateway.denials.toxic_flow.asks,
	data.gateway.denials.tree.asks,
	data.gateway.overlay.asks,
})

# What a denial leaves unsaid, for a gateway that lets denied calls pass (observe mode). Without an answer of every
# family there is nothing to say, and the denial stands.
default _beside_denial := {}

_beside_denial := {"unenforced": {
	"asks": _reasons(data.gateway.approvals.required),
	"obligations": overlay.with_own(obligations.ordered),
}} if {
	input.context.enforced == false
	_every_family_answered
}

# Why no person is asked.
_unasked := data.gateway.approvals.unanswerable | budget.exhausted

# A union has no value if one family has none, and then the findings of all others would be missing as well.
_every_family_answered if {
	denials >= set()
	asks >= set()
}

# METADATA
# title: The input follows a contract that this policy does not know
# custom:
#   code: policy/version
#   message: The gateway asked in a version of the policy contract that this policy does not know.
#   remedy: An operator should use a policy and a gateway of the same release.
#   controls: [ASI02]
_unknown_version contains {"code": "policy/version", "facts": ["/version"]} if not input.version == 1

_answer(effect, reasons, obligations) := {
	"version": 1,
	"effect": effect,
	"reasons": reasons,
	"obligations": obligations,
	"policy": {"name": data.gateway.settings.name},
}

# The numbers up to which an approval of the code holds.
_limits(findings, code) := {} if {
	every finding in findings {
		not _has_limits(finding, code)
	}
} else := {"limits": object.union_n([finding.limits | some finding in findings; _has_limits(finding, code)])}

_has_limits(finding, code) if {
	finding.code == code
	_ = finding.limits
}

# The kind of the target, for texts with `{kind}`. A skill is a resource with a scheme of its own.
_kind := "skill" if {
	contains(input.resource.id, "/skill://")
} else := object.get(input, ["resource", "type"], "resource")

# One reason for each code, with all the facts that were found for it.
_reasons(findings) := [reason |
	some code in sort({finding.code | some finding in findings})
	texts := object.get(reasons, code, {})
	reason := object.union(
		{
			"code": code,
			"message": replace(object.get(texts, "message", code), "{kind}", _kind),
			"remedy": object.get(texts, "remedy", ""),
			"controls": object.get(texts, "controls", []),
			"facts": sort({fact | some finding in findings; finding.code == code; some fact in finding.facts}),
		},
		_limits(findings, code),
	)
] if {
	reasons := data.gateway.reasons
}
