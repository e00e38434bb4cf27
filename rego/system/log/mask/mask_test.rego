package system.log.mask_test

test_arguments_are_left_out if {
	found := data.system.log.mask with input as {"input": {"arguments": {"token": "t"}, "version": 1}}
	found == {"/input/arguments"}
}

test_what_is_named_like_a_credential_is_left_out if {
	found := data.system.log.mask with input as {"input": {"subject": {"api_key": "x", "a/b": [{"Password~": "y"}], "id": "z"}}}
	found == {"/input/subject/api_key", "/input/subject/a~1b/0/Password~0"}
}

test_fingerprints_stay if {
	found := data.system.log.mask with input as {"input": {"session": {"credentials": [{"fingerprint": "f"}]}}}
	found == set()
}

test_each_name_of_a_credential_is_left_out if {
	every name in [
		"id_token", "client_secret", "passwd", "PASSWORD", "pwd", "apikey", "X-API_KEY", "privatekey", "private_key",
		"credentials", "Authorization", "set-cookie", "otp", "the otp", "dsn", "the-dsn",
	] {
		found := data.system.log.mask with input as {"input": {"subject": {name: "x"}}}
		found == {concat("/", ["/input/subject", name])}
	}
	every name in ["id", "hotpot", "otps", "dsns", "path", "keys"] {
		found := data.system.log.mask with input as {"input": {"subject": {name: "x"}}}
		found == set()
	}
}
