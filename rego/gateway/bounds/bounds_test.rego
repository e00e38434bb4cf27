package gateway.bounds_test

import data.gateway.approvers
import data.gateway.bounds
import data.gateway.obligations
import data.gateway.testing.example_test as example

_entry(class) := {"match": {"issuer": "https://idp.example", "id": "spiffe://corp/agent/*"}, "class": class}

_of(class) := object.union(object.remove(data.gateway.settings, ["classes"]), {"classes": [_entry(class)]})

_with(entries) := object.union(object.remove(data.gateway.settings, ["classes"]), {"classes": entries})

_call(risk, sensitivity, effect) := example.changed({
	"/context/task/risk": risk,
	"/resource/properties/sensitivity": sensitivity,
	"/resource/properties/effect": effect,
	"/resource/properties/credential": {"kind": "gateway", "revocable": "at_once"},
})

_risks := ["low", "medium", "high"]

_sensitivities := ["public", "internal", "confidential", "restricted"]

test_without_classes_nothing_is_bounded if {
	every effect in data.gateway.settings.effects {
		call := _call("high", "restricted", effect)
		bounds.permits(call.resource) with input as call
	}
	call := _call("high", "restricted", "write")
	bounds.class == "" with input as call
	found := bounds.rows with input as call
	found == []
	limits := bounds.soft_limits with input as call
	limits == {}
	rules := bounds.approvers with input as call
	rules == []
	not _life(call, data.gateway.settings)
}

test_the_first_entry_that_fits_counts if {
	entries := [{"match": {"id": "spiffe://corp/other/*"}, "class": "privileged"}, _entry("operator"), _entry("privileged")]
	found := bounds.class with input as example.call with data.gateway.settings as _with(entries)
	found == "operator"
}

test_a_caller_without_an_entry_has_the_narrowest_class if {
	every entries in [
		[{"match": {"issuer": "https://other.example"}, "class": "privileged"}],
		[{"match": {"id": "spiffe://corp/agent/triag"}, "class": "privileged"}],
		[{"match": {"id": "*agent*"}, "class": "root"}],
		[{"class": "privileged"}],
		[_entry("root")],
		["privileged"],
		null, {}, "privileged", 7, false,
	] {
		found := bounds.class with input as example.call with data.gateway.settings as _with(entries)
		found == "retrieval"
		not _permitted(_call("low", "public", "write"), _with(entries))
	}
	lost := object.remove(data.gateway.settings, ["classes"])
	not _permitted(_call("low", "public", "write"), lost)
	_permitted(_call("low", "public", "read"), lost)
}

test_lost_bounds_permit_nothing if {
	every rows in [null, {}, "x", [null], [{"effects": null}], [{"effects": "read"}], [{"classes": "operator", "effects": []}]] {
		settings := object.union(object.remove(_of("privileged"), ["bounds"]), {"bounds": rows})
		not _permitted(_call("low", "public", "read"), settings)
	}
	not _permitted(_call("low", "public", "read"), object.remove(_of("privileged"), ["bounds"]))
}

test_each_class_has_its_effects if {
	every class, effects in {
		"retrieval": {"read"},
		"operator": {"read", "write", "destructive"},
		"privileged": {"read", "write", "destructive", "mint", "exec"},
	} {
		permitted := {effect |
			some effect in data.gateway.settings.effects
			_permitted(_call("low", "internal", effect), _of(class))
		}
		permitted == effects
	}
}

# The higher the risk, the narrower, the shorter, the stronger; and the same for the sensitivity.
test_more_risk_and_more_sensitivity_never_widen if {
	every class in bounds.classes {
		every i, risk in _risks {
			every j, sensitivity in _sensitivities {
				low := _summary(class, risk, sensitivity)
				every higher in _beside(i, j) {
					_is_as_strict(_summary(class, higher[0], higher[1]), low)
				}
			}
		}
	}
}

_beside(i, j) := [[_risks[i + 1], _sensitivities[j]] | _ = _risks[i + 1]] if {
	j == count(_sensitivities) - 1
} else := array.concat([[_risks[i], _sensitivities[j + 1]]], [[_risks[i + 1], _sensitivities[j]] | _ = _risks[i + 1]])

_summary(class, risk, sensitivity) := {"effects": effects, "life": life, "limits": limits, "approvers": rule} if {
	settings := _of(class)
	effects := {effect | some effect in settings.effects; _permitted(_call(risk, sensitivity, effect), settings)}
	call := _call(risk, sensitivity, "read")
	life := _life(call, settings)
	bounded := bounds.soft_limits with input as call with data.gateway.settings as settings
	limits := {name: object.get(bounded, name, settings.task_limits[name].soft) | some name in ["destinations", "write_audiences"]}
	rule := approvers.rule with input as call with data.gateway.settings as settings
}

_is_as_strict(above, below) if {
	above.effects - below.effects == set()
	above.life <= below.life
	every name, limit in above.limits {
		limit <= below.limits[name]
	}
	above.approvers.count >= below.approvers.count
	ranks := data.gateway.settings.assurances
	ranks[above.approvers.assurance] >= ranks[below.approvers.assurance]
}

_permitted(call, settings) if bounds.permits(call.resource) with input as call with data.gateway.settings as settings

_life(call, settings) := life if {
	required := obligations.required with input as call with data.gateway.settings as settings
	some obligation in required
	obligation.id == "issue_credential"
	life := obligation.properties.ttl_seconds
}

test_a_fixed_credential_has_no_life if {
	call := json.patch(_call("low", "internal", "read"), [{
		"op": "replace",
		"path": "/resource/properties/credential",
		"value": {"kind": "standing", "revocable": "never"},
	}])
	not _life(call, _of("operator"))
}

_limited(limits, class, risk) := found if {
	call := json.patch(_call(risk, "internal", "read"), [{
		"op": "add",
		"path": "/context/task/contract",
		"value": {"credential_flows": [], "limits": limits},
	}])
	found := bounds.soft_limits with input as call with data.gateway.settings as _of(class)
}

test_a_contract_raises_no_limit_of_a_class if {
	_limited({"destinations": 60}, "operator", "high").destinations == 3
	_limited({"destinations": 1}, "operator", "high").destinations == 1
	_limited({"destinations": 60}, "operator", "low").destinations == 60
	_limited({}, "retrieval", "low").destinations == 5
	_limited({"calls": 7, "denials": "7"}, "retrieval", "low") == {"calls": 7, "destinations": 5}
}

test_a_limit_without_a_soft_number_is_lowered_too if {
	rows := [{"limits": {"approvals_used": 3}}, {"limits": {"approvals_used": 200}}]
	settings := object.union(object.remove(_of("operator"), ["bounds"]), {"bounds": rows})
	limits := bounds.soft_limits with input as example.call with data.gateway.settings as settings
	limits == {"approvals_used": 3}
	high := object.union(object.remove(_of("operator"), ["bounds"]), {"bounds": [{"limits": {"approvals_used": 200}}]})
	as_shipped := bounds.soft_limits with input as example.call with data.gateway.settings as high
	as_shipped == {"approvals_used": 100}
}
