# METADATA
# scope: package
# title: Effects that happen once
# description: |
#   A tool may declare what makes two calls the same effect (`effect_key`, docs/policy/labels.md). While the first call
#   is open, done or of unknown outcome, the second is refused, or asks.
#   The setting `repeats_that_ask` is in gateway/settings/data.yaml.
# schemas:
#   - input: schema.input
package gateway.denials.effect

# METADATA
# title: The same effect again
# custom:
#   code: effect/repeated
#   message: An earlier call has the same effect, and did not fail.
#   remedy: >-
#     Do not try again. Find out what the earlier call did, and tell the user. A person settles an unknown outcome with
#     `opagate journal settle`.
#   controls: [ASI02, ASI08]
denials contains {"code": "effect/repeated", "facts": ["/context/repeats/state", "/context/repeats/call"]} if {
	_is_repeated
	not _may_ask
}

# METADATA
# title: The same effect again, if a person wants it
# description: For the states in `repeats_that_ask`. Without the list, a repeated effect is refused.
asks contains {"code": "effect/repeated", "facts": ["/context/repeats/state", "/context/repeats/call"]} if {
	_is_repeated
	_may_ask
}

_is_repeated if "repeats" in object.keys(input.context)

_may_ask if input.context.repeats.state in data.gateway.settings.repeats_that_ask
