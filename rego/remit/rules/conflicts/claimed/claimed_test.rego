package remit.rules.conflicts.claimed_test

import data.remit.rules.conflicts.claimed
import data.remit.testing

denied(request) := codes if codes := claimed.deny with input as request

held(own) := {"object": "7", "holder": "support", "workflow": "w-1", "own": own, "expires": 1796083260}

holding(claims) := {"facts": {"claims": claims}}

requests(changes) := [
	testing.write(changes), testing.tool(changes), testing.message(changes), testing.send(changes),
	testing.decide(changes), testing.claim(changes),
]

test_without_claims_all_goes_on if {
	every request in requests({}) {
		denied(request) == set()
	}
}

test_one_s_own_claim_does_not_stop if {
	every request in requests(holding([held(true)])) {
		denied(request) == set()
	}
}

test_another_s_claim_stops_also_beside_one_s_own if {
	every request in requests(holding([held(true), held(false)])) {
		denied(request) == {"claim_held"}
	}
}

test_claims_that_are_not_told_count_as_another_s if {
	every path in ["facts/claims", "facts/claims/0/own"] {
		denied(json.remove(testing.write(holding([held(true)])), [path])) == {"claim_held"}
	}
	denied(testing.write(holding(null))) == {"claim_held"}
	denied(testing.write(holding([held("true")]))) == {"claim_held"}
}

test_reading_and_asking_a_model_respect_no_claim if {
	denied(testing.read(holding([held(false)]))) == set()
	denied(testing.call(holding([held(false)]))) == set()
}
