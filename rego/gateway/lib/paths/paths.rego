# METADATA
# scope: package
# title: File paths
# description: |
#   Judged as text, without a file system: a path that could mean something else after normalisation, by any
#   operating system or decoder on the way, is not plain. RE2 and Rust's engine read these expressions alike.
package gateway.lib.paths

# METADATA
# title: The path lies in a folder, whoever reads it
# description: The folder itself counts. `/data` does not hold `/database`.
under(path, folder) if {
	base := trim_right(folder, "/")
	startswith(concat("", [path, "/"]), concat("", [base, "/"]))
	plain(path)
}

# METADATA
# title: The path has one reading
# description: |
#   No empty segment, none that is only dots and spaces, no backslash, no percent sign, no control character and
#   none of the characters that Unicode normalisation turns into dots and slashes.
plain(path) if {
	not regex.match(`(^|/)[. ]+(/|$)|//|[\\%\x00-\x1f\x7f\x{2024}-\x{2026}\x{2044}\x{2215}\x{fe19}\x{fe30}\x{fe52}\x{fe68}\x{ff0e}\x{ff0f}\x{ff3c}]`, path)
}

# METADATA
# title: The text climbs out of where it starts
# description: |
#   A `..` segment, plain or percent-encoded any number of times, with either slash or a full-width one; or a
#   NUL, which ends the path for some readers and not for others.
traverses(text) if {
	# Most texts have none of these, and looking for them is far cheaper than the whole expression.
	regex.match(`\.\.|[%\x00\x{2024}\x{2025}\x{fe30}\x{fe52}\x{ff0e}]`, text)
	regex.match(_climbing, text)
}

_climbing := concat("", [
	`(?i)(^|[?&=:]|`, _slash, `)(`, _dot, `){2} *($|[?&#;]|`, _slash, `)`,
	`|[\x00\x{2025}\x{fe30}]|%(25)*00`,
])

_slash := `[/\\\x{2044}\x{2215}\x{fe68}\x{ff0f}\x{ff3c}]|%(25)*(2f|5c)`

_dot := `[.\x{2024}\x{fe52}\x{ff0e}]|%(25)*2e`
