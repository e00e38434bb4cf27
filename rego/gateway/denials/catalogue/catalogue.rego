# METADATA
# scope: package
# title: Denials about definitions of tools and prompts
# description: One whose description changes after review is another one (tool poisoning, rug pull).
# schemas:
#   - input: schema.input
package gateway.denials.catalogue

# METADATA
# title: The upstream has no such tool or prompt
# custom:
#   code: catalogue/unknown
#   message: The upstream does not list a tool, or a prompt, of this name.
#   remedy: List them again and use a name from the list.
#   controls: [ASI04, MCP09]
denials contains {"code": "catalogue/unknown", "facts": ["/resource/id"]} if input.resource.properties.pin == "unknown"

# METADATA
# title: It is not the one that was reviewed
# custom:
#   code: catalogue/changed
#   message: The definition of this {kind} has changed since it was pinned.
#   remedy: >-
#     An operator should look at `opagate catalogue diff`, and accept the new definition with `opagate catalogue
#     pin` only if every change is meant.
#   controls: [ASI04, MCP03, MCP04]
denials contains {"code": "catalogue/changed", "facts": ["/resource/properties/pin"]} if {
	input.resource.properties.pin == "changed"
}

# METADATA
# title: Nobody has reviewed it
# custom:
#   code: catalogue/unpinned
#   message: The definition of the tool or prompt is not pinned, and only pinned ones are accepted here.
#   remedy: An operator should review it and pin it with `opagate catalogue pin`.
#   controls: [ASI04, MCP03, MCP09]
denials contains {"code": "catalogue/unpinned", "facts": ["/resource/properties/pin"]} if {
	input.resource.properties.pin in ["unpinned", "unreviewed"]
	not _on_first_use(input)
}

# METADATA
# title: Nothing is known of the definition
# custom:
#   code: catalogue/unverified
#   message: The definition of the tool or prompt was not compared with a pinned one.
#   remedy: An operator should check that the gateway can list the tools and prompts of this upstream.
#   controls: [ASI04, MCP03]
denials contains {"code": "catalogue/unverified", "facts": ["/resource/properties/pin"]} if {
	input.resource.type in ["tool", "prompt"]
	not _compared(input)
}

# METADATA
# title: A target stays hidden
# description: For lists. What any call to the target would be denied for by the rules above.
hides(resource) if not _usable(resource)

_on_first_use(call) if {
	call.resource.properties.pin == "unpinned"
	data.gateway.denials.catalogue.unpinned == "allow"
}

_compared(call) if call.resource.properties.pin in ["match", "unpinned", "unreviewed", "changed", "unknown"]

_usable(resource) if {
	resource.properties.pin == "match"
} else if {
	# A resource has no definition that could be pinned.
	resource.type == "resource"
} else if {
	resource.properties.pin == "unpinned"
	data.gateway.denials.catalogue.unpinned == "allow"
}
