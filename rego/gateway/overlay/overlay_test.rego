package gateway.overlay_test

import data.gateway.overlay
import data.gateway.testing.example_test as example

test_without_an_overlay_nothing_is_found if {
	count(overlay.denials) == 0
	count(overlay.asks) == 0
}

test_without_an_overlay_obligations_stay_as_they_are if {
	obligations := [{"id": "conceal_credentials", "properties": {}}]
	overlay.with_own(obligations) == obligations
	overlay.with_own([]) == []
}

test_without_an_overlay_no_target_is_hidden if {
	not overlay.hides(example.tool)
	overlay.hides(false)
}
