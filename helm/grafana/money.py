"""Money: who spends how much on what, and whether budgets last."""

from __future__ import annotations

from helm.grafana.parts import (
    BAD,
    CARE,
    GOOD,
    PLAIN,
    RUNBOOKS,
    Json,
    Query,
    Row,
    Variable,
    bars,
    lines,
    link,
    number,
    table,
)
from helm.grafana.parts import dashboard as made
from helm.grafana.queries import COST, HERE, alerts, by_team, spent

WHERE = f'{HERE}, agent=~"$agent", service=~"$service", owner=~"$owner"'
BUDGET = "installation, budget, currency"
ALERTS = "RemitBudget.*|RemitCallsRefusedForBudget|Remit(Agent|Service)SpendUp"
DENIED = "/d/remit-denied?var-agent=${__value.text}&var-datasource=${datasource}&${__url_time_range}"
RUNBOOK = RUNBOOKS + "${__value.text}.md"
HISTORY = "Empty until fourteen days are known, and without the recording rules."

VARIABLES = (
    Variable("installation", ["remit_build_info"], any=True),
    Variable("team", ["remit_agent_info"], ["installation"], any=True),
    Variable("agent", ["remit_agent_info", "remit_cost_total"], ["installation", "team"]),
    Variable("owner", ["remit_service_info", "remit_cost_total"], ["installation"], any=True),
    Variable("service", ["remit_service_info", "remit_cost_total"], ["installation", "owner"]),
)


def dashboard() -> Json:
    """`Remit: money`."""
    says = "Who spends how much on what, and whether budgets last. Money is in the currency that its label says."
    rows = [_now(), _who(), _budgets(), _detail()]
    return made("money", "Remit: money", says, VARIABLES, rows, since="7d")


def _budget(metric: str) -> str:
    return f"max by ({BUDGET}) (remit_budget_{metric}{{{HERE}}})"


def _week(of: str, where: str) -> tuple[str, str]:
    now, before = f"remit:{of}_cost:week{{{where}}}", f"remit:{of}_cost:week_before{{{where}}}"
    return f"{now}", f"{now} / ({before} > 0) - 1"


def _now() -> Row:
    total_now, total_before = (
        f'sum by (currency) (remit:agent_cost:{each}{{{HERE}, agent=~"$agent"}})' for each in ("week", "week_before")
    )
    overruns = f"sum(max by (installation) (remit_overruns_total{{{HERE}}}))"
    before = (
        f"sum(max by (installation) (last_over_time(remit_overruns_total{{{HERE}}}[1h] offset $__range))) or vector(0)"
    )
    used = [(None, GOOD), (0.8, CARE), (1, BAD)]
    return Row(
        "What was spent",
        [
            number(
                "Spent in this range",
                "What was spent within the time range above, for good: what is only set aside is not in it. Spending "
                "that Prometheus never saw before counts whole, so a range that begins before Prometheus did shows too "
                "much.",
                Query(spent(WHERE, "currency"), "{{currency}}"),
                unit="locale",
                decimals=2,
                width=5,
            ),
            number(
                "Spent in the last 24 hours",
                "The 24 hours until the end of the time range.",
                Query(spent(WHERE, "currency", "1d"), "{{currency}}"),
                unit="locale",
                decimals=2,
                width=5,
            ),
            number(
                "Last seven days against the seven before",
                f"+40 % means 1.4 times as much, of the chosen agents and all services. {HISTORY}",
                Query(f"{total_now} / ({total_before} > 0) - 1", "{{currency}}"),
                unit="percentunit",
                width=5,
                steps=[(None, GOOD), (0.2, CARE), (0.4, BAD)],
            ),
            number(
                "Fullest budget",
                "What is spent and set aside, of the limit; the budget that has least left. At 100 % calls are "
                "refused.",
                Query(f"max(({_budget('spent')} + {_budget('held')}) / ({_budget('limit')} > 0))", "of its limit"),
                unit="percentunit",
                steps=used,
                width=5,
            ),
            number(
                "Overruns in this range",
                "Calls that cost more than was set aside for them: prices or estimates are too low. 0 is well.",
                Query(f"clamp_min({overruns} - ({before}), 0)", "overruns"),
                steps=[(None, GOOD), (1, CARE)],
                decimals=0,
                width=4,
            ),
        ],
    )


def _who() -> Row:
    day = "What was spent within the 24 hours before each point: the pace per day."
    return Row(
        "Who spends, on what",
        [
            bars(
                "By team",
                "Spent in this range, by the team of the agent; (none) is of agents that the catalogue has no team "
                "for.",
                Query(f"sort_desc({by_team(WHERE)})", "{{team}} · {{currency}}"),
                unit="locale",
                decimals=2,
                width=8,
            ),
            bars(
                "By service and variant",
                "Spent in this range, by what it was paid for, such as a model.",
                Query(
                    f"sort_desc({spent(WHERE, 'service, variant, currency')})", "{{service}} {{variant}} · {{currency}}"
                ),
                unit="locale",
                decimals=2,
                width=8,
            ),
            bars(
                "By owner of the service",
                "Spent in this range, by the team that answers for the service: whose invoice it is.",
                Query(f"sort_desc({spent(WHERE, 'owner, currency')})", "{{owner}} · {{currency}}"),
                unit="locale",
                decimals=2,
                width=8,
            ),
            lines(
                "Per day, by agent",
                day,
                Query(spent(WHERE, "agent, currency", "1d"), "{{agent}} · {{currency}}"),
                decimals=2,
            ),
            lines(
                "Per day, by service",
                day,
                Query(spent(WHERE, "service, currency", "1d"), "{{service}} · {{currency}}"),
                decimals=2,
            ),
            lines(
                "Per hour, by agent",
                "What was spent within the hour before each point: when something began to spend more.",
                Query(spent(WHERE, "agent, currency", "1h"), "{{agent}} · {{currency}}"),
                decimals=2,
                width=24,
            ),
        ],
    )


def _budgets() -> Row:
    share = f"({_budget('spent')} + {_budget('held')}) / ({_budget('limit')} > 0)"
    start, end = _budget("window_start_seconds"), _budget("window_end_seconds")
    passed = f"(time() - {start}) / ({end} - {start} > 0)"
    names = "{{budget}} · {{currency}}"
    return Row(
        "Budgets",
        [
            table(
                "Budgets now",
                "Compare Used with Window passed: a budget is on plan while the first is not above the second. Used is "
                "spent and set aside. Those counted per agent or workflow are summed; Full says of how many of them "
                "less "
                "than 1 % is left. A budget without a window has no end.",
                {
                    "Used": (share, "percentunit"),
                    "Window passed": (passed, "percentunit"),
                    "Limit": (_budget("limit"), "locale"),
                    "Spent": (_budget("spent"), "locale"),
                    "Set aside": (_budget("held"), "locale"),
                    "Full": (_budget("exhausted"), "none"),
                    "Ends": (f"({end} > 0) * 1000", "dateTimeFromNow"),
                },
                width=24,
                decimals=2,
                steps=[(None, "text")],
            ),
            lines(
                "Used, of the limit",
                "What is spent and set aside, of each budget's limit. It falls back where a window begins anew.",
                Query(share, names),
                unit="percentunit",
                steps=[(None, PLAIN), (0.8, CARE), (1, BAD)],
                defaults={"min": 0},
            ),
            lines(
                "Burn rate",
                "1 spends exactly the limit in exactly the window. Lines show the last hour, and six: above 14.4 and 6 "
                "somebody is woken, if it would not last. Empty without the recording rules, or as long as these have "
                "less than an hour to look at.",
                Query(f"remit:budget_burn:1h{{{HERE}}}", f"{names} · 1 h"),
                Query(f"remit:budget_burn:6h{{{HERE}}}", f"{names} · 6 h"),
                steps=[(None, PLAIN), (1, GOOD), (6, CARE), (14.4, BAD)],
                decimals=1,
            ),
            lines(
                "Left lasts, at the pace of six hours",
                "How long what is left lasts. Compare it with the end of the window above. Empty where nothing was "
                "spent within six hours, without the recording rules, or as long as these have less to look at.",
                Query(f"remit:budget_lasts:6h{{{HERE}}}", names),
                unit="s",
            ),
            table(
                "Alerts on money",
                "Those that fire; the name leads to what to do. Empty is well, and empty without the rules of alerts.",
                {"Firing": (alerts(ALERTS), "none")},
                sort="alertname",
                hide=["Value"],
                overrides=[link("alertname", "Runbook", RUNBOOK)],
            ),
        ],
    )


def _detail() -> Row:
    agents, services = _week("agent", f'{HERE}, agent=~"$agent"'), _week("service", f'{HERE}, service=~"$service"')
    week = f"The last seven days, and how much more that is than in the seven before. {HISTORY}"
    columns = ("Last seven days", "Change")
    units = ("locale", "percentunit")
    usage = f"max by ({COST}, unit) (remit_usage_total{{{WHERE}}})"
    used_before = f"max by ({COST}, unit) (last_over_time(remit_usage_total{{{WHERE}}}[1h] offset $__range))"
    used = f"clamp_min({usage} - ({used_before} or {usage} * 0), 0)"
    return Row(
        "In detail",
        [
            table(
                "Week on week, by agent",
                week,
                {name: (query, unit) for name, query, unit in zip(columns, agents, units, strict=True)},
                decimals=2,
                overrides=[link("agent", "Why denied", DENIED)],
            ),
            table(
                "Week on week, by service",
                week,
                {name: (query, unit) for name, query, unit in zip(columns, services, units, strict=True)},
                decimals=2,
            ),
            table(
                "Who spent what on what",
                "Every pair of agent and service in this range. A click on an agent shows what it was denied.",
                {"Spent": (f"{spent(WHERE, 'agent, service, variant, owner, currency')} > 0", "locale")},
                decimals=2,
                overrides=[link("agent", "Why denied", DENIED)],
            ),
            table(
                "What was used",
                "Tokens, calls and other units that prices count, in this range.",
                {
                    "Used": (
                        f"sum by (agent, service, variant, unit) ({used}) > 0",
                        "locale",
                    )
                },
                decimals=0,
            ),
        ],
    )
