package gateway.denials.credential_test

import data.gateway.denials.credential
import data.gateway.testing.example_test as example

_denials(call) := denials if denials := credential.denials with input as call

_codes(places) := example.codes(found) if {
	found := _denials(example.changed(places))
}

_standing := {"/resource/properties/credential": {"kind": "standing", "revocable": "never"}}

_lent := {"/resource/properties/credential": {"kind": "exchange", "revocable": "at_once", "min_ttl_seconds": 60}}

test_a_call_without_a_credential_is_not_refused if _codes({}) == set()

test_a_fixed_credential_passes_by_default if _codes(_standing) == set()

test_a_fixed_credential_is_refused_where_only_lent_ones_may_be_used if {
	every environment in ["production", "staging", ""] {
		places := object.union(_standing, {"/resource/properties/environment": environment})
		codes := _codes(places) with data.gateway.settings.standing_environments as ["test"]
		codes == {"credential/standing"}
	}
	allowed := _codes(object.union(_standing, {"/resource/properties/environment": "test"})) with data.gateway.settings.standing_environments as ["test"]
	allowed == set()
	lent := _codes(_lent) with data.gateway.settings.standing_environments as []
	lent == set()
}

test_an_environment_that_nobody_declared_is_production if {
	call := example.lacking(example.changed(_standing), "/resource/properties/environment")
	refused := _denials(call) with data.gateway.settings.standing_environments as ["test"]
	example.codes(refused) == {"credential/standing"}
	passed := _denials(call) with data.gateway.settings.standing_environments as ["production"]
	passed == set()
}

test_a_lost_list_refuses_a_fixed_credential if {
	every lost in [null, "*", {}] {
		codes := _codes(_standing) with data.gateway.settings.standing_environments as lost
		codes == {"credential/standing"}
	}
}

test_a_credential_of_a_user_needs_one if {
	codes := _codes(object.union(_lent, {"/subject/properties/user": null})) with data.gateway.settings.credentials_of_users as ["exchange"]
	codes == {"credential/no-user"}
	passed := _codes(_lent) with data.gateway.settings.credentials_of_users as ["exchange"]
	passed == set()
	_codes(object.union(_lent, {"/subject/properties/user": null})) == set()
}

test_a_task_outlives_the_shortest_life if {
	_codes(object.union(_lent, {"/context/time": "2026-11-24T10:59:00Z"})) == set()
	every moment in ["2026-11-24T10:59:00.001Z", "2026-11-24T10:59:59Z", "2026-11-24T12:00:00Z"] {
		_codes(object.union(_lent, {"/context/time": moment})) == {"credential/task-ends"}
	}
	malformed := {"/resource/properties/credential/min_ttl_seconds": "60"}
	_codes(object.union(_lent, malformed)) == {"credential/task-ends"}
	endless := example.lacking(example.changed(_lent), "/context/task/expires")
	denials := _denials(endless)
	denials == set()
}

test_a_task_with_a_stuck_lease_gets_no_further_one if {
	every stuck in [1, 7, "0", null, []] {
		_codes(object.union(_lent, {"/context/task/leases": {"open": 1, "stuck": stuck}})) == {"credential/unended"}
	}
	_codes(object.union(_lent, {"/context/task/leases": {"open": 3, "stuck": 0}})) == set()
	_codes(object.union(_standing, {"/context/task/leases": {"open": 1, "stuck": 1}})) == set()
	raised := _codes(object.union(_lent, {"/context/task/leases": {"open": 1, "stuck": 1}})) with data.gateway.settings.stuck_leases as 1
	raised == set()
}

test_lists_hide_what_would_be_refused if {
	resource := example.changed(_standing).resource
	not credential.hides(resource)
	credential.hides(resource) with data.gateway.settings.standing_environments as []
}
