# METADATA
# title: The rules, by name
# description: Generated; see core/dispatch.py.
package remit.dispatch

allow contains {"policy": "access.agent", "code": said} if {
	input.action.name == "message.send"
	some said in data.remit.rules.access.agent.allow
	not data.remit.config.rules["access.agent"].level == "off"
}

allow contains {"policy": "access.approval", "code": said} if {
	input.action.name == "approval.resolve"
	some said in data.remit.rules.access.approval.allow
	not data.remit.config.rules["access.approval"].level == "off"
}

allow contains {"policy": "access.claim", "code": said} if {
	input.action.name == "claim.take"
	some said in data.remit.rules.access.claim.allow
	not data.remit.config.rules["access.claim"].level == "off"
}

allow contains {"policy": "access.dataset", "code": said} if {
	input.action.name in {"data.read", "data.write"}
	some said in data.remit.rules.access.dataset.allow
	not data.remit.config.rules["access.dataset"].level == "off"
}

allow contains {"policy": "access.decision", "code": said} if {
	input.action.name == "decision.make"
	some said in data.remit.rules.access.decision.allow
	not data.remit.config.rules["access.decision"].level == "off"
}

allow contains {"policy": "access.oversight", "code": said} if {
	some said in data.remit.rules.access.oversight.allow
	not data.remit.config.rules["access.oversight"].level == "off"
}

allow contains {"policy": "access.service", "code": said} if {
	input.action.name in {"api.call", "message.send"}
	some said in data.remit.rules.access.service.allow
	not data.remit.config.rules["access.service"].level == "off"
}

allow contains {"policy": "access.tool", "code": said} if {
	input.action.name == "tool.call"
	some said in data.remit.rules.access.tool.allow
	not data.remit.config.rules["access.tool"].level == "off"
}

allow contains {"policy": "access.workflow", "code": said} if {
	input.action.name == "workflow.open"
	some said in data.remit.rules.access.workflow.allow
	not data.remit.config.rules["access.workflow"].level == "off"
}

deny contains {"policy": "access.approval", "code": said} if {
	input.action.name == "approval.resolve"
	some said in data.remit.rules.access.approval.deny
	not data.remit.config.rules["access.approval"].level == "off"
}

deny contains {"policy": "access.claim", "code": said} if {
	input.action.name == "claim.take"
	some said in data.remit.rules.access.claim.deny
	not data.remit.config.rules["access.claim"].level == "off"
}

deny contains {"policy": "access.dataset", "code": said} if {
	input.action.name in {"data.read", "data.write"}
	some said in data.remit.rules.access.dataset.deny
	not data.remit.config.rules["access.dataset"].level == "off"
}

deny contains {"policy": "access.hosted", "code": said} if {
	input.action.name in {"api.call", "message.send"}
	some said in data.remit.rules.access.hosted.deny
	not data.remit.config.rules["access.hosted"].level == "off"
}

deny contains {"policy": "access.known", "code": said} if {
	some said in data.remit.rules.access.known.deny
	not data.remit.config.rules["access.known"].level == "off"
}

deny contains {"policy": "access.oversight", "code": said} if {
	input.action.name in {"budget.adjust", "control.halt"}
	some said in data.remit.rules.access.oversight.deny
	not data.remit.config.rules["access.oversight"].level == "off"
}

deny contains {"policy": "access.service", "code": said} if {
	input.action.name in {"api.call", "message.send"}
	some said in data.remit.rules.access.service.deny
	not data.remit.config.rules["access.service"].level == "off"
}

deny contains {"policy": "access.tool", "code": said} if {
	input.action.name == "tool.call"
	some said in data.remit.rules.access.tool.deny
	not data.remit.config.rules["access.tool"].level == "off"
}

deny contains {"policy": "access.workflow", "code": said} if {
	input.action.name == "workflow.open"
	some said in data.remit.rules.access.workflow.deny
	not data.remit.config.rules["access.workflow"].level == "off"
}

deny contains {"policy": "budgets.price", "code": said} if {
	input.action.name in {"api.call", "message.send", "tool.call"}
	some said in data.remit.rules.budgets.price.deny
	not data.remit.config.rules["budgets.price"].level == "off"
}

deny contains {"policy": "budgets.room", "code": said} if {
	some said in data.remit.rules.budgets.room.deny
	not data.remit.config.rules["budgets.room"].level == "off"
}

deny contains {"policy": "conflicts.claimed", "code": said} if {
	input.action.name in {"claim.take", "data.write", "decision.make", "message.send", "tool.call"}
	some said in data.remit.rules.conflicts.claimed.deny
	not data.remit.config.rules["conflicts.claimed"].level == "off"
}

deny contains {"policy": "conflicts.contradiction", "code": said} if {
	input.action.name in {"api.call", "message.send", "tool.call"}
	some said in data.remit.rules.conflicts.contradiction.deny
	not data.remit.config.rules["conflicts.contradiction"].level == "off"
}

deny contains {"policy": "failures.loop", "code": said} if {
	input.action.name in {"api.call", "data.read", "data.write", "decision.make", "message.send", "tool.call"}
	some said in data.remit.rules.failures.loop.deny
	not data.remit.config.rules["failures.loop"].level == "off"
}

deny contains {"policy": "failures.retries", "code": said} if {
	input.action.name in {"api.call", "data.read", "data.write", "decision.make", "message.send", "tool.call"}
	some said in data.remit.rules.failures.retries.deny
	not data.remit.config.rules["failures.retries"].level == "off"
}

deny contains {"policy": "flow.clearance", "code": said} if {
	input.action.name in {"api.call", "data.write", "message.send", "tool.call"}
	some said in data.remit.rules.flow.clearance.deny
	not data.remit.config.rules["flow.clearance"].level == "off"
}

deny contains {"policy": "flow.reading", "code": said} if {
	some said in data.remit.rules.flow.reading.deny
	not data.remit.config.rules["flow.reading"].level == "off"
}

deny contains {"policy": "halts.halted", "code": said} if {
	some said in data.remit.rules.halts.halted.deny
	not data.remit.config.rules["halts.halted"].level == "off"
}

deny contains {"policy": "ownership.owner", "code": said} if {
	input.action.name in {"api.call", "data.read", "data.write", "message.send", "tool.call"}
	some said in data.remit.rules.ownership.owner.deny
	not data.remit.config.rules["ownership.owner"].level == "off"
}

deny contains {"policy": "purposes.granted", "code": said} if {
	input.action.name in {"api.call", "data.read", "data.write", "decision.make", "message.send", "tool.call"}
	some said in data.remit.rules.purposes.granted.deny
	not data.remit.config.rules["purposes.granted"].level == "off"
}

deny contains {"policy": "variants.limit", "code": said} if {
	input.action.name in {"api.call", "message.send", "tool.call"}
	some said in data.remit.rules.variants.limit.deny
	not data.remit.config.rules["variants.limit"].level == "off"
}

deny contains {"policy": "variants.listed", "code": said} if {
	input.action.name in {"api.call", "message.send", "tool.call"}
	some said in data.remit.rules.variants.listed.deny
	not data.remit.config.rules["variants.listed"].level == "off"
}

hold contains {"policy": "conflicts.contradiction", "hold": said} if {
	input.action.name in {"api.call", "message.send", "tool.call"}
	some said in data.remit.rules.conflicts.contradiction.hold
	not data.remit.config.rules["conflicts.contradiction"].level == "off"
}

hold contains {"policy": "supervision.review", "hold": said} if {
	some said in data.remit.rules.supervision.review.hold
	not data.remit.config.rules["supervision.review"].level == "off"
}

hold contains {"policy": "variants.approval", "hold": said} if {
	input.action.name in {"api.call", "message.send", "tool.call"}
	some said in data.remit.rules.variants.approval.hold
	not data.remit.config.rules["variants.approval"].level == "off"
}

oblige contains said if {
	input.action.name == "approval.resolve"
	some said in data.remit.rules.approvals.outcome.oblige
	not data.remit.config.rules["approvals.outcome"].level == "off"
}

record contains said if some said in []
