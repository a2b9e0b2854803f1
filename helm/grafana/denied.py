"""Why denied: what agents were kept from, by which rule, and what waits for a person."""

from __future__ import annotations

from helm.grafana.parts import BAD, CARE, GOOD, RUNBOOKS, Json, Query, Row, Variable, bars, lines, link, number, table
from helm.grafana.parts import dashboard as made
from helm.grafana.queries import HERE, TEN_MINUTES, alerts, counted

WHO = f'{HERE}, agent=~"$agent"'
ALERTS = (
    "RemitDenialsSurging|RemitLabelStopped|RemitApprovalWaiting|RemitEffectsUnreported|RemitUnknownCallers"
    "|RemitHaltInForce|RemitCallsRefusedForBudget"
)
MONEY = "/d/remit-money?var-agent=${__value.text}&var-datasource=${datasource}&${__url_time_range}"
RUNBOOK = RUNBOOKS + "${__value.text}.md"
ALL_AGENTS = "Of all agents, whatever is chosen above."

VARIABLES = (
    Variable("installation", ["remit_build_info"], any=True),
    Variable("team", ["remit_agent_info"], ["installation"], any=True),
    Variable("agent", ["remit_agent_info", "remit_decisions_total"], ["installation", "team"]),
)


def dashboard() -> Json:
    """`Remit: why denied`."""
    says = "What agents were denied or made to wait for, by which rule, and what waits for a person."
    rows = [_now(), _why(), _kept(), _people()]
    return made("denied", "Remit: why denied", says, VARIABLES, rows, since="6h")


def _decisions(where: str) -> str:
    return f"remit_decisions_total{{{WHO}{where and ', '}{where}}}"


def _now() -> Row:
    everything = counted(_decisions(""), "installation")
    total = f"sum({everything})"

    def of(where: str) -> str:
        return f"sum({counted(_decisions(where), 'installation')}) or vector(0)"

    allowed = of('effect="ALLOW"')

    return Row(
        "How much",
        [
            number(
                "Decisions",
                "All that was asked for and answered within the time range.",
                Query(f"{total} or vector(0)", "decisions"),
                decimals=0,
            ),
            number(
                "Allowed",
                "The share of all decisions that were allowed at once.",
                Query(f"({allowed}) / ({total} > 0)", "of all"),
                unit="percentunit",
                steps=[(None, GOOD)],
            ),
            number(
                "Denied",
                "Refused for good, by agents in force (mode enforce).",
                Query(of('effect="DENY", mode="enforce"'), "denied"),
                decimals=0,
                steps=[(None, GOOD), (1, CARE)],
            ),
            number(
                "Made to wait",
                "Held for an approval. The agent may go on once somebody has approved.",
                Query(of('effect="HOLD", mode="enforce"'), "held"),
                decimals=0,
                steps=[(None, GOOD), (1, CARE)],
            ),
            number(
                "Would have been stopped",
                "Denied or held by policy, but let through because the agent is observed only (mode observe).",
                Query(of('effect!="ALLOW", mode="observe"'), "observed"),
                decimals=0,
            ),
            number(
                "Callers without identity",
                f"Calls that proved no identity, and were turned away before any decision. {ALL_AGENTS}",
                Query(
                    f"sum({counted(f'remit_identity_failures_total{{{HERE}}}', 'installation')}) or vector(0)", "calls"
                ),
                decimals=0,
                steps=[(None, GOOD), (10, CARE)],
            ),
        ],
    )


def _why() -> Row:
    stopped = 'effect!="ALLOW"'
    reasons = counted(_decisions(stopped), "reason, effect")
    return Row(
        "Why",
        [
            lines(
                "Decisions, by effect",
                "How many within the ten minutes before each point.",
                Query(counted(_decisions(""), "effect, mode", TEN_MINUTES), "{{effect}} · {{mode}}"),
                decimals=0,
            ),
            lines(
                "Denied and held, by reason",
                "How many within the ten minutes before each point. The reasons are explained in docs/reasons.md.",
                Query(counted(_decisions(stopped), "reason", TEN_MINUTES), "{{reason}}"),
                decimals=0,
            ),
            bars(
                "Most frequent reasons",
                "The ten reasons for which most was denied or held within the time range.",
                Query(f"sort_desc(topk(10, {reasons} > 0))", "{{reason}} · {{effect}}"),
                decimals=0,
            ),
            lines(
                "Denied and held, by agent",
                "How many within the ten minutes before each point. One that leaps: the agent, its task or a policy "
                "has "
                "changed.",
                Query(counted(_decisions(stopped), "agent", TEN_MINUTES), "{{agent}}"),
                decimals=0,
            ),
            table(
                "Who was denied what, and why",
                "Within the time range; only the first reason of each decision. `remit trace` shows a "
                "workflow's, `remit explain` tells all of one. A click on an agent shows what it spends.",
                {"Times": (f"{counted(_decisions(stopped), 'agent, action, effect, reason, mode')} > 0", "none")},
                decimals=0,
                overrides=[link("agent", "Money", MONEY)],
            ),
            table(
                "Rules that decided",
                f"Each reason that a rule gave within the time range, with the rule: what to read, or to change. "
                f"{ALL_AGENTS}",
                {"Times": (f"{counted(f'remit_rule_hits_total{{{HERE}}}', 'policy, code, effect')} > 0", "none")},
                decimals=0,
            ),
        ],
    )


def _kept() -> Row:
    flows = counted(f"remit_flow_denials_total{{{WHO}}}", "agent, label, sink")
    masked = counted(f"remit_view_masked_total{{{WHO}}}", "agent, dataset, column")
    return Row(
        "What was stopped on its way",
        [
            table(
                "Data stopped at a sink",
                "The session held data with the label, and the sink is not cleared for it: nothing went out. Empty "
                "is well.",
                {"Times": (f"{flows} > 0", "none")},
                decimals=0,
                overrides=[link("agent", "Money", MONEY)],
            ),
            bars(
                "Calls that the egress refused",
                f"API calls that did not go out, or whose answer did not go on, by reason. Empty is well. {ALL_AGENTS}",
                Query(f"sort_desc({counted(f'remit_egress_refused_total{{{HERE}}}', 'reason')} > 0)", "{{reason}}"),
                decimals=0,
            ),
            bars(
                "Callers without identity, by cause",
                f"Somebody tries doors, or a credential has gone wrong. Empty is well. {ALL_AGENTS}",
                Query(f"sort_desc({counted(f'remit_identity_failures_total{{{HERE}}}', 'reason')} > 0)", "{{reason}}"),
                decimals=0,
                width=8,
            ),
            bars(
                "Failures, and what was done",
                f"Loops, calls that failed again and again, agents that vanished; and the answer. Empty is well. "
                f"{ALL_AGENTS}",
                Query(
                    f"sort_desc({counted(f'remit_failures_total{{{HERE}}}', 'kind, answer')} > 0)",
                    "{{kind}}: {{answer}}",
                ),
                decimals=0,
                width=8,
            ),
            bars(
                "Conflicts between agents",
                f"Refused or held because of another agent's claim or act. Empty is well. {ALL_AGENTS}",
                Query(f"sort_desc({counted(f'remit_conflicts_total{{{HERE}}}', 'reason')} > 0)", "{{reason}}"),
                decimals=0,
                width=8,
            ),
            table(
                "Rows of data that were read",
                "Rows that agents got of data views within the time range. Empty where no agent reads a dataset.",
                {"Rows": (f"{counted(f'remit_view_rows_total{{{WHO}}}', 'agent, dataset')} > 0", "none")},
                decimals=0,
            ),
            table(
                "Columns that were masked",
                "Queries whose agent does not see the column as it is. Empty where there is none.",
                {"Queries": (f"{masked} > 0", "none")},
                decimals=0,
            ),
        ],
    )


def _people() -> Row:
    late = [(None, GOOD), (300, CARE), (900, BAD)]
    unreported = {
        "Oldest due for": (f"max by (installation, agent) (remit_unreported_overdue_seconds{{{WHO}}})", "s"),
        "Effects": (f"max by (installation, agent) (remit_unreported_effects{{{WHO}}})", "none"),
    }
    return Row(
        "What waits for a person",
        [
            number(
                "Approvals that wait",
                f"Now. {ALL_AGENTS}",
                Query(
                    f"sum(max by (installation, queue) (remit_approvals_pending{{{HERE}}})) or vector(0)", "approvals"
                ),
                decimals=0,
                width=6,
            ),
            number(
                "Oldest approval",
                f"How long it has waited. After 15 minutes somebody is told. {ALL_AGENTS}",
                Query(f"max(remit_approval_oldest_age_seconds{{{HERE}}})", "waited"),
                unit="s",
                decimals=0,
                steps=late,
                width=6,
            ),
            number(
                "Halts in force",
                f"Whatever a halt covers is denied until it is lifted, as `halted`. {ALL_AGENTS}",
                Query(f"sum(max by (installation, scope) (remit_halted{{{HERE}}})) or vector(0)", "halts"),
                decimals=0,
                steps=[(None, GOOD), (1, BAD)],
                width=6,
            ),
            number(
                "Claims held",
                f"Things that an agent has claimed, and others may not touch now. {ALL_AGENTS}",
                Query(f"sum(max by (installation) (remit_claims_held{{{HERE}}}))", "claims"),
                decimals=0,
                width=6,
            ),
            lines(
                "Approvals that wait, by who is asked",
                f"An agent that supervises, or a role of people. {ALL_AGENTS}",
                Query(f"max by (installation, queue) (remit_approvals_pending{{{HERE}}})", "{{queue}}"),
                decimals=0,
            ),
            lines(
                "Longest wait, by who is asked and whose agent asks",
                "How long the oldest approval has waited; the agent stands still meanwhile. No line is well: none "
                "waits.",
                Query(
                    f"max by (installation, queue, team) (remit_approval_waiting_seconds{{{HERE}}})",
                    "{{queue}} · for {{team}}",
                ),
                unit="s",
                steps=late,
            ),
            bars(
                "Halts, by what they stop",
                f"How many are in force on agents, workflows, services and everything. {ALL_AGENTS}",
                Query(f"max by (installation, scope) (remit_halted{{{HERE}}})", "{{scope}}"),
                decimals=0,
                width=8,
                steps=[(None, GOOD), (1, BAD)],
            ),
            table(
                "Effects that nobody reported",
                "What was allowed and not reported: nobody knows whether it happened, and its estimate is presumed "
                "spent. Those that are due for more than 0 s are late; `remit unresolved` lists them. Empty is well.",
                unreported,
                width=8,
                decimals=0,
                overrides=[link("agent", "Money", MONEY)],
            ),
            table(
                "Alerts on agents",
                "Those that fire; the name leads to what to do. Empty is well, and empty without the rules of alerts.",
                {"Firing": (alerts(ALERTS), "none")},
                sort="alertname",
                hide=["Value"],
                width=8,
                overrides=[link("alertname", "Runbook", RUNBOOK)],
            ),
        ],
    )
