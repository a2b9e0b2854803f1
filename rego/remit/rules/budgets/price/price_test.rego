package remit.rules.budgets.price_test

import data.remit.rules.budgets.price
import data.remit.testing

denied(request) := codes if codes := price.deny with input as request

unknown := {"facts": {"estimate": {"known": false, "amount": 0}}}

test_a_known_price_passes if {
	denied(testing.call({})) == set()
}

test_an_unknown_price_is_denied_for_every_use_of_a_service if {
	denied(testing.call(unknown)) == {"price_unknown"}
	denied(testing.send(unknown)) == {"price_unknown"}
	denied(testing.tool(unknown)) == {"price_unknown"}
}

test_only_true_is_known if {
	denied(testing.call({"facts": {"estimate": {"known": "true"}}})) == {"price_unknown"}
}

test_what_uses_no_service_has_no_price if {
	denied(testing.message(unknown)) == set()
	denied(testing.read(unknown)) == set()
}
