# METADATA
# title: What several verdicts come to
# description: |
#   Deny beats hold, hold beats allow, and time never allows. A table of all cases stands in the test; another order is
#   a rule of one's own, with `approvals.outcome` set to off.
package remit.lib.verdicts

# METADATA
# description: |
#   What becomes of an approval when `by` says `operation` about it (or, with timeout, nobody said anything in time):
#   approved, denied, expired, escalated (the next in the chain is asked, after the last of them people) or pending.
#   `approval` are the properties of the resource; its `verdicts` are each voter's latest, this one included.
outcome(operation, by, approval) := _timed_out(approval) if {
	operation == "timeout"
} else := "denied" if {
	_denied(operation, approval)
} else := "escalated" if {
	operation == "hold"
	_addressed(by, approval)
} else := "pending" if {
	# Whoever else is not sure keeps it waiting where it is, however many approve.
	_held(approval)
} else := "approved" if {
	operation == "approve"
	_enough(approval)
} else := "escalated" if {
	operation == "approve"
	_addressed(by, approval)
} else := "pending"

_timed_out(approval) := "escalated" if {
	_supervised(approval)
} else := "expired"

_denied("deny", _)

_denied(_, approval) if {
	some verdict in approval.verdicts
	verdict.verdict == "deny"
}

_held(approval) if {
	some verdict in approval.verdicts
	not _sure(verdict, approval)
}

# What cannot be read counts as not being sure.
_sure(verdict, _) if verdict.verdict == "approve"

_sure(verdict, approval) if {
	is_number(verdict.level)
	is_number(approval.level)
	verdict.level != approval.level
}

_addressed(by, approval) if {
	_supervised(approval)
	by == approval.addressee
}

# Whether a supervisor is asked now; after the last of the chain it is people.
_supervised(approval) if {
	is_number(approval.level)
	is_array(approval.chain)
	approval.level < count(approval.chain)
}

_enough(approval) if {
	is_number(approval.quorum)
	is_string(approval.subject)
	every verdict in approval.verdicts {
		verdict.verdict in {"approve", "hold"}
	}
	count(_approving(approval)) >= approval.quorum
	count(_approving(approval)) > 0
}

_approving(approval) := {[verdict.kind, verdict.by] |
	some verdict in approval.verdicts
	verdict.verdict == "approve"
	verdict.by != approval.subject
}
