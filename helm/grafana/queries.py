"""Queries that several panels ask.

Counters are added up with what a series counted before it was first seen: increase() alone does not see a series'
first count, and a rare reason of a denial has no other. Money comes from the store, which every desk tells alike: the
maximum over them is the truth.
"""

from __future__ import annotations

COST = "installation, agent, service, variant, owner, currency"
PODS = "installation, job, namespace, pod, instance"
HERE = 'installation=~"$installation"'
RANGE = ("$__range", "$__range_s")
TEN_MINUTES = ("10m", "600")
"""A window as a duration, and in seconds. That of lines over time is fixed: they say the same at every zoom."""


def counted(selected: str, by: str, window: tuple[str, str] = RANGE) -> str:
    """How often something was counted within a window, of a counter that is told by each member."""
    length, seconds = window
    known = (
        f"last_over_time(remit_build_info[10m] offset {length})"
        f" or last_over_time(remit_start_time_seconds[{length}]) > time() - {seconds}"
    )
    first = f"max_over_time({selected}[{length}]) unless last_over_time({selected}[10m] offset {length})"
    return (
        f"sum by ({by}) (({first} and on (installation, job, instance, pod) ({known}))"
        f" or increase({selected}[{length}]))"
    )


def spent(where: str, by: str, window: str = "$__range") -> str:
    """Money within a window; what has no past counts whole."""
    now = f"max by ({COST}) (remit_cost_total{{{where}}})"
    then = f"max by ({COST}) (last_over_time(remit_cost_total{{{where}}}[1h] offset {window}))"
    return f"sum by ({by}) (clamp_min({now} - ({then} or {now} * 0), 0))"


def by_team(where: str, window: str = "$__range") -> str:
    """Money within a window, by the team of whoever spent it."""
    each = spent(where, "installation, agent, currency", window)
    team = "topk by (installation, agent) (1, group by (installation, agent, team) (remit_agent_info))"
    none = f'label_replace({each}, "team", "(none)", "", "")'
    return (
        f"sum by (team, currency) ({each} * on (installation, agent) group_left (team) {team}"
        f" or on (installation, agent, currency) {none})"
    )


def quantile(share: str, metric: str, by: str) -> str:
    """How long the share of cases took at most."""
    names = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({names}) (rate({metric}_bucket{{{HERE}}}[$__rate_interval])))"


def alerts(names: str) -> str:
    """Remit's alerts that fire."""
    return (
        "max by (alertname, severity, owner, installation, agent, service, budget, pod)"
        f' (ALERTS{{alertstate="firing", alertname=~"{names}", {HERE}}})'
    )
