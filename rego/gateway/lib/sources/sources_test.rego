package gateway.lib.sources_test

import data.gateway.lib.sources
import data.gateway.testing.example_test as example

_call(roles) := example.changed({
	"/resource/properties/roles": roles,
	"/session/unread": ["/card"],
})

test_roles_of_the_places_above_count if {
	call := _call({"/pay": "selector", "/pay/card": "record", "/payee": "destination"})
	sources.roles(call, "/pay/card") == {"selector", "record"}
	sources.roles(call, "/pay") == {"selector"}
	sources.roles(call, "/pa") == set()
}

test_a_record_may_be_unread if {
	sources.unread_record(_call({"/card": "record"}), "/card")
	not sources.unread_record(_call({"/card": "record"}), "/order")
	not sources.unread_record(_call({"/card": "destination"}), "/card")
	not sources.unread_record(_call({}), "/card")
}

test_a_setting_ends_it if {
	settings := object.union(data.gateway.settings, {"unread_records": false})
	not sources.unread_record(_call({"/card": "record"}), "/card") with data.gateway.settings as settings
}
