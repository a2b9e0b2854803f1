package remit.lib.verdicts_test

import data.remit.lib.verdicts

said(kind, by, verdict, level) := {"kind": kind, "by": by, "verdict": verdict, "level": level}

lead(verdict) := said("agent", "lead", verdict, 0)

chief(verdict) := said("agent", "chief", verdict, 1)

ana(verdict, level) := said("person", "ana", verdict, level)

bo(verdict, level) := said("person", "bo", verdict, level)

# Asked for by `support`; two supervisors, then people.
base := {
	"subject": "support",
	"quorum": 1,
	"chain": ["lead", "chief"],
	"level": 0,
	"addressee": "lead",
	"verdicts": [],
}

at(level) := object.union(base, {"level": level, "addressee": ["lead", "chief", ""][level]})

people := object.union(base, {"chain": [], "addressee": ""})

# Description -> who says what about which approval, and what comes of it.
table := {
	"time is over for the first supervisor": ["timeout", "remit", at(0), "escalated"],
	"time is over for the last supervisor": ["timeout", "remit", at(1), "escalated"],
	"time is over for people": ["timeout", "remit", at(2), "expired"],
	"time is over, and nobody supervises": ["timeout", "remit", people, "expired"],
	"time is over with one of two approvals": [
		"timeout", "remit",
		object.union(at(2), {"quorum": 2, "verdicts": [ana("approve", 2)]}),
		"expired",
	],
	"time is over for people while one holds": [
		"timeout", "remit",
		object.union(at(2), {"verdicts": [ana("hold", 2)]}),
		"expired",
	],
	"time is over although enough approve": [
		"timeout", "remit",
		object.union(at(2), {"verdicts": [ana("hold", 2), bo("approve", 2)]}),
		"expired",
	],
	"the supervisor denies": ["deny", "lead", object.union(at(0), {"verdicts": [lead("deny")]}), "denied"],
	"a person denies while a supervisor is asked": [
		"deny", "ana",
		object.union(at(0), {"verdicts": [ana("deny", 0)]}),
		"denied",
	],
	"a tie of deny and approve": [
		"approve", "bo",
		object.union(people, {"verdicts": [ana("deny", 0), bo("approve", 0)]}),
		"denied",
	],
	"one denies, and more than enough approve": [
		"approve", "cy",
		object.union(people, {"quorum": 2, "verdicts": [
			ana("deny", 0), bo("approve", 0), said("person", "cy", "approve", 0), lead("approve"),
		]}),
		"denied",
	],
	"a tie of deny and hold": [
		"hold", "bo",
		object.union(people, {"verdicts": [ana("deny", 0), bo("hold", 0)]}),
		"denied",
	],
	"a denial whose verdict is not listed": ["deny", "lead", at(0), "denied"],
	"the supervisor holds": ["hold", "lead", object.union(at(0), {"verdicts": [lead("hold")]}), "escalated"],
	"the last supervisor holds": [
		"hold", "chief",
		object.union(at(1), {"verdicts": [lead("hold"), chief("hold")]}),
		"escalated",
	],
	"the supervisor holds, and a person has approved": [
		"hold", "lead",
		object.union(at(0), {"quorum": 2, "verdicts": [ana("approve", 0), lead("hold")]}),
		"escalated",
	],
	"a person holds while a supervisor is asked": [
		"hold", "ana",
		object.union(at(0), {"verdicts": [ana("hold", 0)]}),
		"pending",
	],
	"the supervisor approves what a person holds": [
		"approve", "lead",
		object.union(at(0), {"verdicts": [ana("hold", 0), lead("approve")]}),
		"pending",
	],
	"the supervisor holds what a person holds": [
		"hold", "lead",
		object.union(at(0), {"verdicts": [ana("hold", 0), lead("hold")]}),
		"escalated",
	],
	"the next supervisor approves what a person held before": [
		"approve", "chief",
		object.union(at(1), {"verdicts": [ana("hold", 0), lead("hold"), chief("approve")]}),
		"approved",
	],
	"a person holds": ["hold", "ana", object.union(at(2), {"verdicts": [ana("hold", 2)]}), "pending"],
	"a tie of hold and approve among people": [
		"approve", "bo",
		object.union(at(2), {"verdicts": [ana("hold", 2), bo("approve", 2)]}),
		"pending",
	],
	"one holds, and enough others approve": [
		"approve", "bo",
		object.union(people, {"quorum": 2, "verdicts": [
			ana("hold", 0), bo("approve", 0), said("person", "cy", "approve", 0),
		]}),
		"pending",
	],
	"a hold from before it came to people does not count": [
		"approve", "bo",
		object.union(at(2), {"verdicts": [lead("hold"), ana("hold", 0), bo("approve", 2)]}),
		"approved",
	],
	"whoever held approves": ["approve", "ana", object.union(at(2), {"verdicts": [ana("approve", 2)]}), "approved"],
	"the supervisor approves": ["approve", "lead", object.union(at(0), {"verdicts": [lead("approve")]}), "approved"],
	"a person approves while a supervisor is asked": [
		"approve", "ana",
		object.union(at(0), {"verdicts": [ana("approve", 0)]}),
		"approved",
	],
	"a person approves": ["approve", "ana", object.union(people, {"verdicts": [ana("approve", 0)]}), "approved"],
	"the supervisor approves, and a second is needed": [
		"approve", "lead",
		object.union(at(0), {"quorum": 2, "verdicts": [lead("approve")]}),
		"escalated",
	],
	"both supervisors approve": [
		"approve", "chief",
		object.union(at(1), {"quorum": 2, "verdicts": [lead("approve"), chief("approve")]}),
		"approved",
	],
	"one supervisor held and the next approves": [
		"approve", "chief",
		object.union(at(1), {"verdicts": [lead("hold"), chief("approve")]}),
		"approved",
	],
	"the last supervisor approves, and a person is needed": [
		"approve", "chief",
		object.union(at(1), {"quorum": 3, "verdicts": [lead("approve"), chief("approve")]}),
		"escalated",
	],
	"one of two people approves": [
		"approve", "ana",
		object.union(people, {"quorum": 2, "verdicts": [ana("approve", 0)]}),
		"pending",
	],
	"a person approves while a supervisor is asked, and a second is needed": [
		"approve", "ana",
		object.union(at(0), {"quorum": 2, "verdicts": [ana("approve", 0)]}),
		"pending",
	],
	"two people approve": [
		"approve", "bo",
		object.union(people, {"quorum": 2, "verdicts": [ana("approve", 0), bo("approve", 0)]}),
		"approved",
	],
	"one person approves twice": [
		"approve", "ana",
		object.union(people, {"quorum": 2, "verdicts": [ana("approve", 0), ana("approve", 0)]}),
		"pending",
	],
	"an agent and a person of one name approve": [
		"approve", "ana",
		object.union(people, {"quorum": 2, "verdicts": [ana("approve", 0), said("agent", "ana", "approve", 0)]}),
		"approved",
	],
	"the requester's own does not count": [
		"approve", "ana",
		object.union(people, {"quorum": 2, "verdicts": [ana("approve", 0), said("agent", "support", "approve", 0)]}),
		"pending",
	],
	"nobody has said anything": ["approve", "ana", people, "pending"],
	"a quorum of nobody": ["approve", "ana", object.union(people, {"quorum": 0}), "pending"],
	"it is taken back": ["revoke", "ana", object.union(people, {"verdicts": [ana("approve", 0)]}), "pending"],
	"a verdict that is none": ["allow", "ana", object.union(people, {"verdicts": [ana("approve", 0)]}), "pending"],
}

test_every_row_of_the_table if {
	outcomes := {name: outcome |
		some name, [operation, by, approval, _] in table
		outcome := verdicts.outcome(operation, by, approval)
	}
	outcomes == {name: wanted | some name, [_, _, _, wanted] in table}
}

test_what_cannot_be_read_never_approves if {
	approved := object.union(people, {"verdicts": [ana("approve", 0)]})
	verdicts.outcome("approve", "ana", approved) == "approved"
	every name in ["quorum", "verdicts", "subject"] {
		verdicts.outcome("approve", "ana", object.remove(approved, [name])) == "pending"
		verdicts.outcome("approve", "ana", object.union(approved, {name: null})) == "pending"
	}
}

test_a_verdict_that_cannot_be_read_never_approves if {
	approved := object.union(at(2), {"verdicts": [bo("approve", 2), said("agent", "lead", "hold", 0)]})
	verdicts.outcome("approve", "bo", approved) == "approved"
	every odd in [null, "allow", 1] {
		wrong := object.union(approved, {"verdicts": [bo("approve", 2), said("agent", "lead", odd, 0)]})
		verdicts.outcome("approve", "bo", wrong) == "pending"
	}
	held := object.union(at(2), {"verdicts": [bo("approve", 2), ana("hold", null)]})
	verdicts.outcome("approve", "bo", held) == "pending"
}

test_what_cannot_be_read_never_waits_on if {
	every name in ["level", "chain"] {
		verdicts.outcome("timeout", "remit", object.remove(at(0), [name])) == "expired"
		verdicts.outcome("timeout", "remit", object.union(at(0), {name: null})) == "expired"
	}
	verdicts.outcome("deny", "lead", {}) == "denied"
}
