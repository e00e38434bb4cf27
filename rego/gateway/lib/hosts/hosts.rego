# METADATA
# scope: package
# title: The host that a destination names
# description: |
#   Readers of addresses disagree (WHATWG, RFC 3986, C libraries). An address on which they could disagree is
#   disguised; what is left has one host, which can be compared.
package gateway.lib.hosts

# METADATA
# title: The address that a text is, or begins with
# description: |
#   `host`, in lower case, without port, brackets and the dot at its end; `authority`, as it stands there; `url`,
#   whether the text has a scheme or begins with two slashes.
address(text) := {"host": host, "authority": authority, "url": url} if {
	lowered := lower(strings.replace_n(_lowered_to_ascii, text))
	[url, rest] := _scheme(lowered)

	authority := split(split(split(rest, "/")[0], "?")[0], "#")[0]
	parts := split(authority, "@")
	host := trim_right(_bare(parts[count(parts) - 1]), ".")
}

# METADATA
# title: The host of a URL has more than one reading
# description: |
#   A destination that is no URL may be anything: a mail address, the name of a channel, a number.
disguised(found) if {
	found.url
	not plain(found)
}

# METADATA
# title: Every reader finds the same host
# description: |
#   Without characters that some readers drop or turn (white space, control characters, backslashes, percent signs,
#   anything beyond ASCII), without user information before an `@`, IPv4 addresses as four decimal numbers, and
#   colons in IPv6 addresses only.
plain(found) if {
	regex.match(`^[\x21-$&-?A-\[\]-~]*$`, found.authority)
	_one_form(found.host)
}

# METADATA
# title: The host of a text that names this one destination to every reader
# description: |
#   A URL of one of the `schemes`, which are those that name a host to connect to; or a bare host, perhaps with a port
#   and a path. A path holds no white space, and no second URL or mail address behind the mark of a list. Undefined for
#   every other text.
certain(text, schemes) := host if {
	# The usual one. Its host ends with a name, so it is no number.
	regex.match(`^https?://([a-z0-9]+[.-])*[a-z][a-z0-9]*(/[A-Za-z0-9_~=&?#/+.:@!$()*%-]*)?$`, text)
	is_array(schemes)
	[scheme, _, host] := array.slice(split(text, "/"), 0, 3)
	trim_suffix(scheme, ":") in schemes
} else := found.host if {
	is_array(schemes)
	regex.match(_url, text)
	not _has_second_destination(text)
	lower(split(text, "://")[0]) in schemes
	found := address(text)
	_one_form(found.host)
} else := found.host if {
	regex.match(_bare_host, text)
	not _has_hostless_scheme(text)
	found := address(text)
	_one_form(found.host)
}

# METADATA
# scope: document
# title: The host is one of the names or below one, or an address in one of the networks
# description: Names begin with a dot; `networks` has a list `v4` and a list `v6`.
within(host, names, _) if strings.any_suffix_match(concat("", [".", host]), names)

within(host, _, networks) if {
	_quad(host)
	some network in networks.v4
	net.cidr_contains(network, host)
}

within(host, _, networks) if {
	_ipv6(host)
	some network in networks.v6
	net.cidr_contains(network, host)
}

# `http:host` and `http:\\host` are URLs to browsers, `jdbc:mysql://host` to Java. The usual one needs no expression.
_scheme(text) := [true, trim_left(substring(text, 8, -1), "/\\\t\r\n")] if {
	startswith(text, "https://")
} else := [true, substring(text, count(matches[0][0]), -1)] if {
	regex.match(`(?s)^[\x00-\x20]*[a-z/\\].*[:/\\]`, text)
	matches := regex.find_all_string_submatch_n(
		`^[\x00-\x20]*(([a-z][a-z0-9+.\t\r\n-]*:)+[/\\\t\r\n]*[/\\]|(https?|wss?|ftp):|[/\\]{2})[/\\\t\r\n]*`,
		text, 1,
	)
	count(matches) == 1
} else := [false, text]

# With brackets: an IPv6 address and perhaps a port. Two colons without brackets: an IPv6 address. Else: host:port.
_bare(authority) := parts[0] if {
	startswith(authority, "[")
	parts := split(substring(authority, 1, -1), "]")
} else := parts[0] if {
	parts := split(authority, ":")
	count(parts) < 3
} else := authority

_one_form(host) if {
	not contains(host, ":")
	not regex.match(`(^|\.)(0x[0-9a-f]*|[0-9]+)$`, host)
} else if {
	_quad(host)
} else if {
	_ipv6(host)
}

_quad(host) if regex.match(`^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\.|$)){4}$`, host)

_ipv6(host) if {
	contains(host, ":")
	net.cidr_is_valid(concat("", [host, "/128"]))
}

# Their lower case is ASCII for some readers. Replaced, they stay beyond ASCII.
# Readers differ about a sigma at the end of a word.
_lowered_to_ascii := {"\u0130": "\ufffd", "\u212a": "\ufffd", "\u03a3": "\u03c3"}

_url := sprintf(`^[A-Za-z][A-Za-z0-9+.-]*://%s(/[^%s]*|[?#][^@\\%s]*)?$`, [_authority, _blank, _blank])

_bare_host := sprintf(`^%s([/?#][^,;|，；、｜@\\%s]*)?$`, [_authority, _blank])

# `javascript:1/alert(1)` is no host with a port.
_has_hostless_scheme(text) if {
	regex.match(`^(?i:about|blob|cid|data|file|filesystem|javascript|mailto|mid|sms|tel|urn|vbscript|view-source):`, text)
}

_authority := sprintf(`(\[[0-9A-Fa-f:.]+\]|(%s\.)*%s\.?)(:[0-9]{1,5})?`, [_label, _label])

_label := `[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?`

# White space of all of Unicode, control characters, and marks around a URL in a text.
_blank := `\x00-\x20"<>\x7f-\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}`

_has_second_destination(text) if {
	regex.match(`[,;|，；、｜](//|\\|[A-Za-z][A-Za-z0-9+.-]*:|[A-Za-z0-9._+-]+[@＠])`, text)
}
