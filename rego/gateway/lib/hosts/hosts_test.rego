package gateway.lib.hosts_test

import data.gateway.lib.hosts

_networks := {"v4": ["127.0.0.0/8"], "v6": ["::1/128"]}

test_the_host_of_an_address if {
	every text, host in {
		"https://docs.example/page?x=1": "docs.example",
		"https://DOCS.Example.:8443#top": "docs.example",
		"//docs.example/x": "docs.example",
		"http:docs.example": "docs.example",
		"jdbc:mysql://docs.example:3306/x": "docs.example",
		"http:\\\\docs.example": "docs.example",
		"http://[::1]:80/": "::1",
		"::1": "::1",
		"bob@docs.example": "docs.example",
		"docs.example:80/x": "docs.example",
		"general": "general",
		"": "",
	} {
		hosts.address(text).host == host
	}
}

test_what_has_more_than_one_reading_is_disguised if {
	every text in [
		"http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1/", "http://1.2.3.04/",
		"http://a@b/", "http://a\\@b/", "http://a%2eb/", "http://a b/", "http://a\tb/", "ht\ttp://a@b/",
		"http://①.example/", "http://[1:2]/", "http://256.1.1.1/", " http://a@b", "//a@b",
	] {
		hosts.disguised(hosts.address(text))
	}
}

test_plain_addresses_are_not_disguised if {
	every text in [
		"https://docs.example/", "http://10.0.0.1:80/", "http://[2001:db8::1]/", "bob@docs.example", "#general", "42",
		"https://xn--mnchen-3ya.example/%2e", "https://docs.example:443/a@b",
	] {
		found := hosts.address(text)
		not hosts.disguised(found)
	}
}

test_names_and_networks if {
	hosts.within("localhost", [".localhost"], _networks)
	hosts.within("a.localhost", [".localhost"], _networks)
	not hosts.within("notlocalhost", [".localhost"], _networks)
	hosts.within("127.8.8.8", [], _networks)
	hosts.within("::1", [], _networks)
	not hosts.within("128.0.0.1", [], _networks)
	not hosts.within("::2", [], _networks)
	not hosts.within("1:2", [], _networks)
}
