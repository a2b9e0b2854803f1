package remit.lib.selector_test

import data.remit.lib.selector
import data.remit.testing

call := {
	"agent": "support",
	"team": "cx",
	"service": "models",
	"operation": "chat",
	"variant": "small-2",
	"region": "eu",
	"purpose": "",
}

test_no_key_selects_everything if {
	selector.matches({}, call)
}

test_every_key_must_match if {
	selector.matches({"agent": ["support"], "team": ["cx"]}, call)
	not selector.matches({"agent": ["support"], "team": ["research"]}, call)
}

test_one_of_a_key_s_values_must_match if {
	selector.matches({"team": ["research", "cx"]}, call)
	not selector.matches({"team": []}, call)
}

test_a_star_stands_for_any_characters if {
	every pattern in ["*", "small*", "*-2", "s*l*2", "small-2*", "small**-2"] {
		selector.matches({"variant": [pattern]}, call)
	}
	every pattern in ["small", "*small", "small*3", "s*-1", "Small*"] {
		not selector.matches({"variant": [pattern]}, call)
	}
}

test_nothing_else_is_special_in_a_value if {
	dotted := object.union(call, {"variant": "a.b/c:d@e"})
	selector.matches({"variant": ["a.*@e"]}, dotted)
	selector.matches({"variant": ["*/c*"]}, dotted)
	not selector.matches({"variant": ["a.*d"]}, dotted)
}

test_a_star_alone_matches_what_the_request_does_not_have if {
	selector.matches({"purpose": ["*"]}, call)
	not selector.matches({"purpose": ["a*"]}, call)
}

test_an_unknown_key_never_matches if {
	not selector.matches({"colour": ["*"]}, call)
}

test_the_request_s_attributes_are_read_from_the_input if {
	selector.request == {
		"agent": "support",
		"team": "cx",
		"service": "models",
		"operation": "chat",
		"variant": "small",
		"region": "eu",
		"purpose": "support",
	} with input as testing.call({})
}

test_what_is_no_service_and_has_no_chain_has_neither_service_nor_region if {
	request := selector.request with input as testing.message({})
	[request.service, request.region] == ["", ""]
}
