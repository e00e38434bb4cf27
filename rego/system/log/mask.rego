# METADATA
# scope: package
# title: What the decision log of an OPA server leaves out
# description: |
#   Arguments are the caller's data, and the gateway's own journal keeps a digest of them. Whatever is named like a
#   credential goes as well, wherever it stands.
package system.log

# METADATA
# title: The arguments of the call
mask contains "/input/arguments" if _ = input.input.arguments

# METADATA
# title: Everything that is named like a credential
mask contains concat("/", ["", "input", _pointer(path)]) if {
	walk(input.input, [path, _])
	count(path) > 0
	name := path[count(path) - 1]
	is_string(name)
	regex.match(`(?i)token|secret|passw|pwd|api_?key|private_?key|credential|authorization|cookie|\botp\b|\bdsn\b`, name)
	path[0] != "arguments"
	path[0] != "session"
}

_pointer(path) := concat("/", [_escaped(step) | some step in path])

_escaped(step) := replace(replace(step, "~", "~0"), "/", "~1") if is_string(step)

_escaped(step) := format_int(step, 10) if is_number(step)
