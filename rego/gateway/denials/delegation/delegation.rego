# METADATA
# scope: package
# title: Denials about the chain of actors
# schemas:
#   - input: schema.input
package gateway.denials.delegation

# METADATA
# title: The chain is not fully known
# custom:
#   code: delegation/incomplete
#   message: The chain of actors behind the call is missing or malformed.
#   remedy: An operator should check what the token issuer writes into the `act` claim (RFC 8693).
#   controls: [ASI03, ASI07]
denials contains {"code": "delegation/incomplete", "facts": [
	"/subject/properties/delegation",
	"/subject/properties/delegation_depth",
]} if {
	not complete
}

# METADATA
# title: The chain is too long
# custom:
#   code: delegation/depth
#   message: Too many agents stand between the user and this call.
#   remedy: Call from an agent that is nearer to the user.
#   controls: [ASI03, ASI08]
denials contains {"code": "delegation/depth", "facts": ["/subject/properties/delegation_depth"]} if {
	not direct(input)
	not within_depth
}

# METADATA
# title: A link of a longer chain does not say who vouches for it
# custom:
#   code: delegation/issuer-missing
#   message: The chain of actors has a link that no issuer vouches for.
#   remedy: Exchange the token at an issuer that writes `iss` into each `act` claim.
#   controls: [ASI03, ASI07]
denials contains {"code": "delegation/issuer-missing", "facts": facts} if {
	count(input.subject.properties.delegation) > 1
	facts := [sprintf("/subject/properties/delegation/%d/issuer", [i]) |
		some i, link in input.subject.properties.delegation
		not _vouched_for(link)
	]
	facts != []
}

# METADATA
# title: A chain that begins with nobody
# custom:
#   code: delegation/user-missing
#   message: The call is made on behalf of somebody, and the token does not say of whom.
#   remedy: Exchange a token of the user, so that the result names both.
#   controls: [ASI03, NHI10]
denials contains {"code": "delegation/user-missing", "facts": ["/subject/properties/user"]} if {
	not direct(input)
	not _for_user(input)
}

# METADATA
# title: The chain is there, and its depth is its length
complete if {
	delegation := input.subject.properties.delegation
	is_array(delegation)
	count(delegation) == input.subject.properties.delegation_depth
	every link in delegation {
		_text(link.id)
	}
}

# METADATA
# title: The chain is no longer than the limit
within_depth if {
	depth := input.subject.properties.delegation_depth
	is_number(depth)
	limit := data.gateway.denials.delegation.max_depth
	is_number(limit)
	depth <= limit
}

# METADATA
# title: The agent acts for itself
direct(call) if {
	call.subject.properties.delegation == []
	call.subject.properties.delegation_depth == 0
}

_vouched_for(link) if _text(link.issuer)

_for_user(call) if _text(call.subject.properties.user.id)

_text(value) if {
	is_string(value)
	value != ""
}
