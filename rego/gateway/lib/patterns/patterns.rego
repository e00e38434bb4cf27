# METADATA
# scope: package
# title: Name patterns
# description: |
#   A pattern is literal text with at most one `*`, which stands for any run of characters, slashes and colons
#   included. `glob.match` is not used: its delimiters differ between names, SPIFFE ids and URIs, and a wrong
#   delimiter widens a grant without a sound.
package gateway.lib.patterns

# METADATA
# title: The text follows one of the patterns
# description: Undefined, not false, if the patterns are no array.
any_matches(patterns, text) if {
	text in patterns
	_ = patterns[0]
} else if {
	# The most common pattern, and the dearest to look for in the way below. Only arrays have a place 0.
	"*" in patterns
	_ = patterns[0]
	text >= ""
	text < []
} else if {
	is_array(patterns)
	is_string(text)
	some pattern in patterns
	is_string(pattern)

	# A pattern without a star has no second part, one with two stars a third: neither matches here.
	[head, tail] := split(pattern, "*")
	startswith(text, head)
	endswith(text, tail)

	# Head and tail may not share characters: `ab*ba` does not match `aba`.
	count(text) >= count(head) + count(tail)
}
