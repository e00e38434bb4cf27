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

_place(places) := example.changed(object.union(
	{
		"/resource/properties/roles": {"/street": "destination", "/id": "selector"},
		"/resource/properties/effect": "write",
		"/resource/properties/egress": false,
		"/session/recorded": ["/street"],
	},
	places,
))

test_a_place_inside_the_system_may_stand_in_its_records if {
	sources.recorded_place(_place({}), "/street")
	sources.recorded_place(_place({"/resource/properties/effect": "destructive"}), "/street")
	not sources.recorded_place(_place({"/session/recorded": []}), "/street")
	not sources.recorded_place(_place({"/session/recorded": ["/id"]}), "/id")
}

test_no_record_names_a_place_outside if {
	every places in [
		{"/resource/properties/egress": true},
		{"/resource/properties/egress": null},
		{"/resource/properties/effect": "exec"},
		{"/resource/properties/effect": "mint"},
		{"/resource/type": "resource"},
	] {
		not sources.recorded_place(_place(places), "/street")
	}
}
