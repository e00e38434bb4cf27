package gateway.lib.letters_test

import data.gateway.lib.letters

test_lowered if {
	every text, lower_case in {
		"Alice_B-C 7": "alice_b-c 7",
		"\u0130d": "i\u0307d",
		"\u039f\u0394\u039f\u03a3": "\u03bf\u03b4\u03bf\u03c3",
		"\u00c4": "\u00e4",
		"": "",
	} {
		letters.lowered(text) == lower_case
	}
}

test_different_letters_stay_different if {
	every text in ["adm\u0130n", "adm\u0131n", "admi\u0307n"] {
		letters.lowered(text) != "admin"
	}
}

test_folded if {
	every name in ["user_id", "USER-ID", "userId", "user\u0130d", "user\u0131d", "u\u017fer_id", "useri\u0307d"] {
		letters.folded(name) == "userid"
	}
	letters.folded("to\u212aen") == "token"
	letters.folded("\u03a3\u03c2") == "\u03c3\u03c3"
}
