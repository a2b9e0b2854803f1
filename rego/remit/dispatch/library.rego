# METADATA
# title: The rules, by name
# description: Generated; see core/dispatch.py.
package remit.dispatch

allow contains said if some said in []

deny contains said if some said in []

hold contains said if some said in []

oblige contains said if some said in []

record contains said if some said in []

allow contains {"policy": "access.agent", "code": said} if {
	not data.remit.config.rules["access.agent"].level == "off"
	some said in data.remit.rules.access.agent.allow
}

allow contains {"policy": "access.dataset", "code": said} if {
	not data.remit.config.rules["access.dataset"].level == "off"
	some said in data.remit.rules.access.dataset.allow
}

deny contains {"policy": "access.dataset", "code": said} if {
	not data.remit.config.rules["access.dataset"].level == "off"
	some said in data.remit.rules.access.dataset.deny
}

allow contains {"policy": "access.decision", "code": said} if {
	not data.remit.config.rules["access.decision"].level == "off"
	some said in data.remit.rules.access.decision.allow
}

deny contains {"policy": "access.known", "code": said} if {
	not data.remit.config.rules["access.known"].level == "off"
	some said in data.remit.rules.access.known.deny
}

allow contains {"policy": "access.oversight", "code": said} if {
	not data.remit.config.rules["access.oversight"].level == "off"
	some said in data.remit.rules.access.oversight.allow
}

deny contains {"policy": "access.oversight", "code": said} if {
	not data.remit.config.rules["access.oversight"].level == "off"
	some said in data.remit.rules.access.oversight.deny
}

allow contains {"policy": "access.service", "code": said} if {
	not data.remit.config.rules["access.service"].level == "off"
	some said in data.remit.rules.access.service.allow
}

deny contains {"policy": "access.service", "code": said} if {
	not data.remit.config.rules["access.service"].level == "off"
	some said in data.remit.rules.access.service.deny
}

allow contains {"policy": "access.tool", "code": said} if {
	not data.remit.config.rules["access.tool"].level == "off"
	some said in data.remit.rules.access.tool.allow
}

deny contains {"policy": "access.tool", "code": said} if {
	not data.remit.config.rules["access.tool"].level == "off"
	some said in data.remit.rules.access.tool.deny
}

allow contains {"policy": "access.workflow", "code": said} if {
	not data.remit.config.rules["access.workflow"].level == "off"
	some said in data.remit.rules.access.workflow.allow
}

deny contains {"policy": "access.workflow", "code": said} if {
	not data.remit.config.rules["access.workflow"].level == "off"
	some said in data.remit.rules.access.workflow.deny
}

deny contains {"policy": "budgets.price", "code": said} if {
	not data.remit.config.rules["budgets.price"].level == "off"
	some said in data.remit.rules.budgets.price.deny
}

deny contains {"policy": "budgets.room", "code": said} if {
	not data.remit.config.rules["budgets.room"].level == "off"
	some said in data.remit.rules.budgets.room.deny
}

deny contains {"policy": "flow.clearance", "code": said} if {
	not data.remit.config.rules["flow.clearance"].level == "off"
	some said in data.remit.rules.flow.clearance.deny
}

deny contains {"policy": "flow.reading", "code": said} if {
	not data.remit.config.rules["flow.reading"].level == "off"
	some said in data.remit.rules.flow.reading.deny
}

deny contains {"policy": "halts.halted", "code": said} if {
	not data.remit.config.rules["halts.halted"].level == "off"
	some said in data.remit.rules.halts.halted.deny
}

deny contains {"policy": "ownership.owner", "code": said} if {
	not data.remit.config.rules["ownership.owner"].level == "off"
	some said in data.remit.rules.ownership.owner.deny
}

deny contains {"policy": "purposes.granted", "code": said} if {
	not data.remit.config.rules["purposes.granted"].level == "off"
	some said in data.remit.rules.purposes.granted.deny
}

hold contains {"policy": "variants.approval", "hold": said} if {
	not data.remit.config.rules["variants.approval"].level == "off"
	some said in data.remit.rules.variants.approval.hold
}

deny contains {"policy": "variants.limit", "code": said} if {
	not data.remit.config.rules["variants.limit"].level == "off"
	some said in data.remit.rules.variants.limit.deny
}

deny contains {"policy": "variants.listed", "code": said} if {
	not data.remit.config.rules["variants.listed"].level == "off"
	some said in data.remit.rules.variants.listed.deny
}
