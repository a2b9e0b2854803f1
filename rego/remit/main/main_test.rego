package remit.main_test

import data.remit.testing

decision(request, said) := verdict if {
	verdict := data.remit.decision with input as request
		with data.remit.dispatch.allow as object.get(said, "allow", set())
		with data.remit.dispatch.deny as object.get(said, "deny", set())
		with data.remit.dispatch.hold as object.get(said, "hold", set())
		with data.remit.dispatch.oblige as object.get(said, "oblige", set())
		with data.remit.dispatch.record as object.get(said, "record", set())
}

allowed := {{"policy": "p", "code": "allowed"}}

denied := {{"policy": "q", "code": "too_late"}}

held := {{"policy": "r", "hold": {"code": "large", "approval": {"roles": ["finance"]}}}}

log := {{"id": "log", "properties": {}}}

granting(grants) := testing.call({"facts": {"grants": grants}})

test_nothing_said_is_denied if {
	decision(testing.call({}), {}) == {
		"effect": "DENY",
		"reasons": [{"policy": "main", "code": "default_deny"}],
		"obligations": [],
		"approval": {},
		"record": [],
	}
}

test_an_allow_allows_and_all_that_is_asked_of_it_is_told if {
	decision(testing.call({}), {"allow": allowed, "oblige": log, "record": {"/b", "/a"}}) == {
		"effect": "ALLOW",
		"reasons": [{"policy": "p", "code": "allowed"}],
		"obligations": [{"id": "log", "properties": {}}],
		"approval": {},
		"record": ["/a", "/b"],
	}
}

test_a_deny_beats_a_hold_and_an_allow if {
	decision(testing.call({}), {"allow": allowed, "hold": held, "deny": denied, "oblige": log, "record": {"/a"}}) == {
		"effect": "DENY",
		"reasons": [{"policy": "q", "code": "too_late"}],
		"obligations": [],
		"approval": {},
		"record": ["/a"],
	}
}

test_a_hold_beats_an_allow if {
	decision(testing.call({}), {"allow": allowed, "hold": held, "oblige": log}) == {
		"effect": "HOLD",
		"reasons": [{"policy": "r", "code": "large"}],
		"obligations": [{"id": "log", "properties": {}}],
		"approval": {"holds": [{
			"policy": "r",
			"code": "large",
			"approval": {"roles": ["finance"], "bind": "variant"},
		}]},
		"record": [],
	}
}

test_what_no_rule_allows_is_denied_and_not_held if {
	decision(testing.call({}), {"hold": held}).reasons == [{"policy": "main", "code": "default_deny"}]
}

test_a_grant_takes_away_the_hold_that_it_covers if {
	request := granting([{"id": "g-1", "policy": "r", "code": "large"}])
	decision(request, {"allow": allowed, "hold": held}).effect == "ALLOW"
}

test_a_grant_of_another_policy_or_code_does_not if {
	every grant in [
		{"id": "g", "policy": "s", "code": "large"},
		{"id": "g", "policy": "r", "code": "small"},
		{"id": "g"},
	] {
		decision(granting([grant]), {"allow": allowed, "hold": held}).effect == "HOLD"
	}
}

test_of_several_holds_those_not_covered_stay if {
	second := {"policy": "s", "hold": {"code": "night", "approval": {"roles": ["lead"]}}}
	said := {"allow": allowed, "hold": (held | {second})}
	decision(testing.call({}), said).approval.holds == [
		{"policy": "r", "code": "large", "approval": {"roles": ["finance"], "bind": "variant"}},
		{"policy": "s", "code": "night", "approval": {"roles": ["lead"], "bind": "variant"}},
	]
	verdict := decision(granting([{"id": "g", "policy": "r", "code": "large"}]), said)
	verdict.effect == "HOLD"
	verdict.reasons == [{"policy": "s", "code": "night"}]
	verdict.approval.holds == [{"policy": "s", "code": "night", "approval": {"roles": ["lead"], "bind": "variant"}}]
}

test_a_grant_is_never_an_allow if {
	request := granting([{"id": "g-1", "policy": "r", "code": "large"}])
	decision(request, {"hold": held}).reasons == [{"policy": "main", "code": "default_deny"}]
}

test_a_hold_that_cannot_be_read_denies if {
	every hold in [
		"large", null, {}, {"code": "large"}, {"approval": {}},
		{"code": 1, "approval": {}}, {"code": "x", "approval": 1},
	] {
		verdict := decision(testing.call({}), {"allow": allowed, "hold": {{"policy": "r", "hold": hold}}})
		verdict.effect == "DENY"
		verdict.reasons == [{"policy": "r", "code": "policy_invalid"}]
	}
}

test_a_grant_is_bound_to_a_variant_of_a_model_and_to_all_of_anything_else if {
	every request in [
		testing.send({}), testing.tool({}), testing.read({}), testing.write({}), testing.message({}), testing.decide({}),
		testing.open({}), testing.claim({}),
	] {
		decision(request, {"allow": allowed, "hold": held}).approval.holds[0].approval.bind == "exact"
	}
	decision(testing.call({}), {"allow": allowed, "hold": held}).approval.holds[0].approval.bind == "variant"
}

test_what_a_hold_says_of_its_grant_stays if {
	every bind in ["exact", "operation", "odd", null, 1] {
		terms := {"bind": bind, "quorum": 2}
		said := {"allow": allowed, "hold": {{"policy": "r", "hold": {"code": "large", "approval": terms}}}}
		decision(testing.call({}), said).approval.holds[0].approval == terms
	}
}

test_two_approvals_of_one_code_deny_and_none_covers_the_other if {
	lenient := {"policy": "r", "hold": {"code": "large", "approval": {"roles": ["lead"]}}}
	request := granting([{"id": "g-1", "policy": "r", "code": "large"}])
	verdict := decision(request, {"allow": allowed, "hold": (held | {lenient})})
	verdict.effect == "DENY"
	verdict.reasons == [{"policy": "r", "code": "policy_invalid"}]
	second := {"policy": "s", "hold": lenient.hold}
	decision(testing.call({}), {"allow": allowed, "hold": (held | {second})}).effect == "HOLD"
}

test_reasons_come_in_one_order if {
	deny := {{"policy": "z", "code": "a"}, {"policy": "a", "code": "z"}, {"policy": "a", "code": "b"}}
	decision(testing.call({}), {"deny": deny}).reasons == [
		{"policy": "z", "code": "a"},
		{"policy": "a", "code": "b"},
		{"policy": "a", "code": "z"},
	]
}

test_an_input_that_is_not_whole_is_denied_and_nothing_of_it_kept_in_clear if {
	request := json.remove(testing.call({}), ["context/reason"])
	decision(request, {"allow": allowed, "record": {"/context/reason"}}) == {
		"effect": "DENY",
		"reasons": [{"policy": "main", "code": "context_invalid"}],
		"obligations": [],
		"approval": {},
		"record": [],
	}
}

test_a_rule_that_is_off_is_not_heard if {
	request := testing.read({"resource": {"owner": ""}})
	on := data.remit.decision with input as request with data.remit.catalogue as testing.catalogue
	on.reasons == [{"policy": "ownership.owner", "code": "no_owner"}]
	off := data.remit.decision with input as request
		with data.remit.catalogue as testing.catalogue
		with data.remit.config.rules as {"ownership.owner": {"level": "off"}}
	off.effect == "ALLOW"
}

test_a_rule_that_the_configuration_does_not_name_or_misspells_is_heard if {
	request := testing.read({"resource": {"owner": ""}})
	every rules in [{}, {"ownership.owner": {}}, {"ownership.owner": {"level": "of"}}, {"ownership.owner": "off"}] {
		verdict := data.remit.decision with input as request
			with data.remit.catalogue as testing.catalogue
			with data.remit.config.rules as rules
		verdict.effect == "DENY"
	}
}

test_every_builder_is_allowed_as_it_stands if {
	every request in [
		testing.call({}), testing.send({}), testing.tool({}), testing.read({}), testing.write({}),
		testing.message({}), testing.decide({}), testing.open({}), testing.halt({}), testing.adjust({}),
		testing.claim({}), testing.ticket({}), testing.reviewed({}), testing.resolve({}), testing.expire({}),
	] {
		verdict := data.remit.decision with input as request with data.remit.catalogue as testing.catalogue
		verdict.effect == "ALLOW"
	}
}

test_without_a_catalogue_nothing_is_allowed if {
	verdict := data.remit.decision with input as testing.call({}) with data.remit.catalogue as {}
	verdict.effect == "DENY"
}
