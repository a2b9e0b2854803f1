package remit.custom.onboarding_test

import data.remit.custom.onboarding
import data.remit.testing

deciding(arguments) := testing.decide({"context": {"arguments": arguments}})

test_an_approval_without_a_score_is_denied if {
	onboarding.deny == {"score_missing"} with input as deciding({"outcome": "approve", "customer": "C-1"})
}

test_an_approval_with_a_score_is_not if {
	onboarding.deny == set() with input as deciding({"outcome": "approve", "customer": "C-1", "risk": 12})
}

test_a_score_is_a_number_from_0_to_100 if {
	every risk in [null, true, "12", -1, 101, [12]] {
		onboarding.deny == {"score_missing"} with input as deciding({"outcome": "approve", "risk": risk})
	}
}

test_other_outcomes_need_no_score if {
	every outcome in ["refuse", "review", "left for a person"] {
		onboarding.deny == set() with input as deciding({"outcome": outcome})
	}
}

test_the_reason_is_recorded_of_everything_and_the_outcome_of_decisions if {
	onboarding.record == {"/reason"} with input as testing.call({})
	onboarding.record == {
		"/reason", "/arguments/customer", "/arguments/outcome", "/arguments/risk",
		"/arguments/available", "/arguments/summary",
	} with input as deciding({"outcome": "review"})
}
