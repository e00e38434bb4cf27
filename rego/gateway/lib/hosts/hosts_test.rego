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
		"http://a@b/", "http://a\\@b/", "http://a%2eb/", "http://a b/", "http://\u212aelvin.example/", "http://\u0130.example/", "http://a\tb/", "ht\ttp://a@b/",
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

_schemes := ["http", "https", "wss", "ssh"]

test_the_host_that_every_reader_finds if {
	every text, host in {
		"docs.example": "docs.example",
		"DOCS.example.": "docs.example",
		"docs.example:443": "docs.example",
		"docs.example:8080/a/b?x=1#y": "docs.example",
		"localhost": "localhost",
		"redis:6379": "redis",
		"my_db-1.internal": "my_db-1.internal",
		"10.0.0.1": "10.0.0.1",
		"10.0.0.1:80": "10.0.0.1",
		"[2001:db8::1]": "2001:db8::1",
		"https://docs.example": "docs.example",
		"HTTPS://Docs.Example/": "docs.example",
		"https://docs.example:8443/a": "docs.example",
		"https://docs.example./a": "docs.example",
		"https://docs.example?x=1": "docs.example",
		"https://docs.example#top": "docs.example",
		"https://docs.example/a,b;c|d?e=f@g&h=https://other.example/": "docs.example",
		"https://docs.example/@bob/post": "docs.example",
		"https://docs.example/日本語/%20x": "docs.example",
		"https://docs.example/a,12.5,z": "docs.example",
		"https://docs.example/x;jsessionid=1": "docs.example",
		"https://docs.example/{id}/[a]": "docs.example",
		"https://docs.example/web/2020/https://other.example/": "docs.example",
		"https://xn--mnchen-3ya.example/": "xn--mnchen-3ya.example",
		"https://[2001:db8::1]:443/": "2001:db8::1",
		"https://10.0.0.1/": "10.0.0.1",
		"wss://docs.example/socket": "docs.example",
		"ssh://docs.example:22/repo.git": "docs.example",
	} {
		hosts.certain(text, _schemes) == host
	}
}

_uncertain(text) if not hosts.certain(text, _schemes)

test_no_host_is_certain_in_a_url_of_another_scheme if {
	every text in [
		"file:///docs.example", "file://docs.example/etc/passwd", "file:docs.example", "FILE://docs.example/", "file:/docs.example/x",
		"javascript:alert(1)", "javascript://docs.example/%0aalert(1)", "JavaScript://docs.example/\nalert(1)", "javascript:1//docs.example", "javascript:1/alert(1)",
		"data:text/html,docs.example", "data://docs.example/,x", "data:,x", "vbscript://docs.example/", "blob:https://docs.example/1",
		"view-source:https://docs.example/", "jar:https://docs.example/x!/y", "filesystem:https://docs.example/", "about:blank",
		"mailto:a@docs.example", "tel:911", "urn:docs.example", "jdbc:mysql://docs.example/x", "postgres://docs.example/?host=evil.test",
		"gopher://docs.example/", "dict://docs.example/", "phar://docs.example/x", "php://docs.example", "s3://docs.example/x",
		"ext::ssh://docs.example", "c:/docs.example", "C:\\docs.example", "intent://docs.example/#Intent;scheme=x;end",
		"feed:https://docs.example/", "http+unix://docs.example/", "https+x://docs.example/", "://docs.example/", ":docs.example",
	] {
		_uncertain(text)
	}
}

test_no_host_is_certain_that_another_reader_finds_elsewhere if {
	every text in [
		"", " ", ".", "..", "/", "//", "docs.example,evil.test", "evil.test,a.docs.example", "docs.example;evil.test", "docs.example|evil.test",
		"docs.example evil.test", "docs.example\nevil.test", "docs.example\u0000.evil.test", "docs.example/x,evil.test", "docs.example/x;y",
		"docs.example/ evil.test", "docs.example，evil.test", "docs.example、evil.test", "[\"docs.example\",\"evil.test\"]", "{docs.example,evil.test}",
		"https://{docs,evil}.example/", "https://docs.example,https://evil.test/", "https://docs.example/,https://evil.test/",
		"https://docs.example/ https://evil.test/", "https://docs.example/\thttps://evil.test/", "https://docs.example/\u00a0https://evil.test/",
		"https://docs.example/\u3000evil.test", "https://docs.example/\u2028evil.test", "https://docs.example/;//evil.test", "https://docs.example/|evil@evil.test",
		"https://docs.example/，https://evil.test", "https://docs.example/,javascript:alert(1)", "https://docs.example/,mailto:a@evil.test",
		"https://docs.example/\"https://evil.test", "https://docs.example/<https://evil.test>",
		"https://evil.test@docs.example/", "https://docs.example@evil.test/", "https://a:b@docs.example/", "a@docs.example", "docs.example:x@evil.test",
		"https://docs.example#@evil.test/", "https://docs.example?@evil.test/", "https://docs.example?\\@evil.test/", "https://docs.example\\@evil.test/",
		"https://docs.example\\.evil.test/", "https:docs.example", "https:/docs.example/", "https:///docs.example/", "https:\\\\docs.example/",
		"//docs.example/", "\\\\docs.example\\share", "/docs.example", "./docs.example", "../docs.example", "~docs.example", " https://docs.example/",
		"https://docs.example/ ", "https://docs.example /", "https://docs.example%2f.evil.test/", "https://docs.example%00.evil.test/",
		"https://docs%2eexample/", "https://docs。example/", "https://docs．example/", "https://ｄocs.example/", "https://docs.example／.evil.test/",
		"https://docs.example\u2044.evil.test/", "https://docs.e\u00adxample/", "https://docs.\u200bexample/", "https://\u212aelvin.example/",
		"\u212aelvin.example", "\u0130.example", "https://mıtre.example/", "https://docs..example/", "https://.docs.example/", "docs.example..",
		"https://-oProxyCommand=x/", "https://-docs.example/", "-docs.example", "https://docs.example-/", "https://docs!.example/", "https://docs$x.example/",
		"https://*.docs.example/", "*", "https://docs.example:x/", "https://docs.example:80:80/", "https://docs.example:123456/", "docs.example:x",
		"docs.example:", "docs.example:22:/etc", "docs.example:repo/x", "host:text/html", "https://2130706433/", "2130706433", "0x7f.1", "0177.0.0.1",
		"127.1", "1.2.3.4.5", "1.2.3.04", "https://[::1/", "https://[::1]x/", "https://[fe80::1%25eth0]/", "https://[::ffff:1.2.3.x]/", "::1", "[1:2]",
		"https://[docs.example]/", "h\tttps://docs.example/", "ht\ntps://docs.example/", "https://docs.example:80@evil.test/", "<https://docs.example>",
		"https://$HOST/", "https://docs.example\u0085/", "https://docs.example\uff03@evil.test/",
	] {
		_uncertain(text)
	}
}

test_a_list_of_schemes_that_is_lost_makes_no_url_certain if {
	every schemes in [[], null, "https", {"https": true}, [["https"]]] {
		not hosts.certain("https://docs.example/", schemes)
	}
	hosts.certain("docs.example", null) == "docs.example"
}
