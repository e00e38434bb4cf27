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
		"h\nttp://a@b/", "http://①.example/", "http://[1:2]/", "http://256.1.1.1/", " http://a@b", "//a@b",
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

test_every_writing_of_a_url_has_its_host if {
	every text in [
		"https://docs.example?x", "https://docs.example#x", "https://@docs.example/", "https:docs.example", "ws:docs.example",
		"wss:docs.example", "ftp:docs.example", "http:\t//docs.example", "http:/\t/docs.example", "http:/\r/docs.example",
		"http:/\n/docs.example", "http:\r/docs.example", "http:\n/docs.example", "http://\tdocs.example",
		"http://\\docs.example", "git+ssh://docs.example", "s3://docs.example", "a.b://docs.example", "x-y://docs.example",
		"h\rttp://docs.example", "h\nttp://docs.example", "a:b:c://docs.example", "c:/docs.example", "c:\\docs.example",
		"jdbc:x:\\\\docs.example", "\\\\docs.example", "/\\docs.example", "\u0001http://docs.example", " //docs.example",
		"git:\t//docs.example", "git:\r//docs.example", "git:\n//docs.example", "//\rdocs.example", "//\ndocs.example",
		"///docs.example", "//\\docs.example",
	] {
		found := hosts.address(text)
		found.host == "docs.example"
		found.url
	}
	hosts.address("https://docs.example.box").host == "docs.example.box"
	hosts.disguised(hosts.address("https://a@b/"))
}

test_what_begins_like_no_url_is_none if {
	every text in ["/a@b", "/a/b@c", "a //b@c", "a@b", "4:/a@b", "mailto:a@b"] {
		hosts.address(text).url == false
	}
	hosts.address("eve\n@docs.example").host == "docs.example"
}

test_the_characters_that_every_reader_takes_alike if {
	hosts.plain({"host": "a", "authority": "!\"#$&'()*+,-./09:;<=>?AZ[]^_`az{|}~"})
	every character in [" ", "\u0000", "\t", "%", "@", "\\", "\u007f", "é"] {
		not hosts.plain({"host": "a", "authority": character})
	}
}

test_an_address_is_four_decimal_numbers if {
	every i in numbers.range(0, 255) {
		every host in [sprintf("%d.2.3.4", [i]), sprintf("1.2.3.%d", [i])] {
			hosts.plain({"host": host, "authority": ""})
			hosts.within(host, [], {"v4": ["0.0.0.0/0"]})
		}
	}
	every host in [
		"1.2.3.256", "1.2.3.260", "1.2.3.300", "1.2.3.1000", "1.2.3.04", "1.2.3", "1.2.3.4.5", "1234", "12", "127001", "0x",
		"0x0", "0x5", "0x9", "0xc", "0xa", "0xf", "a.0xff", "a.1", "a.09",
	] {
		not hosts.plain({"host": host, "authority": ""})
	}
	every host in ["host1", "a0x", "12a", "0xg", "a.12b", "a.0xg", "1.a", "0x1.a", "beef"] {
		hosts.plain({"host": host, "authority": ""})
	}
}
