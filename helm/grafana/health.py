"""Is it us: whether Remit's own parts work, and if they do, whether an upstream does not."""

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
from helm.grafana.queries import HERE, PODS, alerts, counted, quantile

SERVICE = f'{HERE}, service=~"$service"'
OURS = (
    "Remit(PolicyEngineDown|StoreDown|EgressDown|SidecarMissing|DeskAbsent|OwnFailures|JournalSlow|RecordsUnshipped"
    "|CheckpointStale|ReloadRefused|RevisionsDiffer|CertificateExpires|CertificateExpiresSoon|LabelOverflow|Restarting)"
)
FAILURES = "pdp_unavailable|store_unavailable|policy_undefined|policy_invalid|policy_error|facts_changed"
RUNBOOK = RUNBOOKS + "${__value.text}.md"
POD = "{{pod}} {{instance}}"
UP = {
    "mappings": [
        {"type": "value", "options": {"0": {"text": "down", "color": BAD}, "1": {"text": "up", "color": GOOD}}}
    ]
}
WELL = [(None, BAD), (1, GOOD)]

VARIABLES = (
    Variable("installation", ["remit_build_info"], any=True),
    Variable("service", ["remit_service_info", "remit_upstream_requests_total"], ["installation"]),
)


def dashboard() -> Json:
    """`Remit: is it us`."""
    says = "Whether Remit's own parts work; where they do, whether it is an upstream that is slow or fails."
    rows = [_now(), _speed(), _upstreams(), _journal(), _members()]
    return made("health", "Remit: is it us", says, VARIABLES, rows, since="3h")


def _down(metric: str) -> str:
    return f"count({metric}{{{HERE}}} == 0) or vector(0)"


def _now() -> Row:
    none = [(None, GOOD), (1, BAD)]
    parts = {"width": 4, "decimals": 0, "steps": none}
    own = f'{HERE}, effect="DENY", reason=~"{FAILURES}"'
    failed = f"sum({counted(f'remit_decisions_total{{{own}}}', 'installation')}) or vector(0)"
    everything = counted(f"remit_decisions_total{{{HERE}}}", "installation")
    return Row(
        "Is something of ours down?",
        [
            number(
                "Sidecars that answer",
                "Of the pods that are to be governed, how many have a sidecar that answers. Below 100 % look at the "
                "list "
                "of members below.",
                Query(f'avg(up{{job="remit-sidecar", {HERE}}})', "of all"),
                unit="percentunit",
                steps=[(None, BAD), (1, GOOD)],
            ),
            number(
                "Desks that answer",
                "How many desks are up. 0 where there are to be some: nobody can approve or halt there. No data "
                "where no "
                "desk is asked, as with the embedded store.",
                Query(f'sum(up{{job="remit-desk", {HERE}}})', "desks"),
                decimals=0,
                steps=WELL,
            ),
            number(
                "Policy engines down",
                "Members whose OPA does not answer: all requests there are denied as pdp_unavailable. 0 is well.",
                Query(_down("remit_pdp_up"), "down"),
                **parts,
            ),
            number(
                "Stores down",
                "Members that cannot read or record in their store: nothing is allowed there. 0 is well.",
                Query(_down("remit_store_up"), "down"),
                **parts,
            ),
            number(
                "Egresses down",
                "Members whose Envoy does not answer: API calls of their agents do not leave. 0 is well.",
                Query(_down("remit_egress_up"), "down"),
                **parts,
            ),
            number(
                "Reloads refused",
                "Members that refused the last catalogue or policies, and go on by those before. 0 is well.",
                Query(_down("remit_reload_success"), "refused"),
                **parts,
            ),
            number(
                "Denied for our own failures",
                "Of all decisions in the time range, those denied because OPA, the policy or the store failed. If "
                "this is "
                "0 and agents are denied, it is a rule: see why denied.",
                Query(f"({failed}) / (sum({everything}) > 0)", "of all"),
                unit="percentunit",
                width=6,
                steps=[(None, GOOD), (0.001, CARE), (0.01, BAD)],
            ),
            number(
                "Policy revisions in force",
                "1 is well; 2 for as long as a roll-out takes. More, or longer: pods decide differently.",
                Query(
                    f"max(count by (installation) (count by (installation, revision) (remit_policy_info{{{HERE}}})))",
                    "revisions",
                ),
                decimals=0,
                width=6,
                steps=[(None, GOOD), (2, CARE)],
            ),
            number(
                "Certificates: the first expires",
                "The one that expires first. Certificates that are renewed daily are always near; the alert knows. "
                "No data "
                "where no certificate is used.",
                Query(f"min(remit_certificate_expiry_seconds{{{HERE}}}) - time()", "left"),
                unit="s",
                width=6,
                steps=[(None, BAD), (7200, CARE), (604800, GOOD)],
            ),
            number(
                "Names counted as other",
                "Values of labels within the time range that the catalogue does not have, or beyond the 200th of a "
                "label. "
                "They are in all sums, but nobody sees whose they are. 0 is well.",
                Query(
                    f"sum({counted(f'remit_label_overflow_total{{{HERE}}}', 'installation')}) or vector(0)", "values"
                ),
                decimals=0,
                width=6,
                steps=[(None, GOOD), (1, CARE)],
            ),
            table(
                "Alerts on Remit itself",
                "Those that fire; the name leads to what to do. Empty is well, and empty without the rules of alerts.",
                {"Firing": (alerts(OURS), "none")},
                sort="alertname",
                hide=["Value"],
                width=24,
                height=6,
                overrides=[link("alertname", "Runbook", RUNBOOK)],
            ),
        ],
    )


def _speed() -> Row:
    stages = "remit_decision_duration_seconds"
    return Row(
        "Are we slow?",
        [
            lines(
                "Decisions, by stage: half of them",
                "Half of all decisions took at most this. `total` is what an agent waits for; `pdp` is OPA and policy, "
                "`store` is recording and budgets.",
                Query(quantile("0.5", stages, "stage"), "{{stage}}"),
                unit="s",
                width=8,
            ),
            lines(
                "Decisions, by stage: all but one in a hundred",
                "99 of 100 decisions took at most this. Compare with the half: far above means waiting, for a "
                "processor or "
                "a disk.",
                Query(quantile("0.99", stages, "stage"), "{{stage}}"),
                unit="s",
                width=8,
            ),
            lines(
                "Decisions per second",
                "How much there is to do. Where it rises with the times beside it, more processors help.",
                Query(
                    f'sum by (installation) (rate({stages}_count{{stage="total", {HERE}}}[$__rate_interval]))',
                    "decisions",
                ),
                unit="reqps",
                width=8,
            ),
        ],
    )


def _upstreams() -> Row:
    answers = counted(f"remit_upstream_requests_total{{{SERVICE}}}", "service, variant, code")
    rate = f"rate(remit_upstream_requests_total{{{SERVICE}}}[$__rate_interval])"
    codes = f'sum by (service, class) (label_replace({rate}, "class", "${{1}}xx", "code", "(.).*"))'
    times = [
        Query(
            f"histogram_quantile({share}, sum by (service, le) "
            f"(rate(remit_upstream_duration_seconds_bucket{{{SERVICE}}}[$__rate_interval])))",
            f"{{{{service}}}} · {name}",
        )
        for share, name in (("0.5", "half"), ("0.99", "99 of 100"))
    ]
    return Row(
        "Or is it them?",
        [
            lines(
                "Until an upstream begins to answer",
                "Not our time: from the request's leaving to the first byte of the answer.",
                *times,
                unit="s",
                width=8,
            ),
            lines(
                "Answers of upstreams",
                "By service and class of HTTP status: 4xx is the request's fault or a limit of the provider's, 5xx "
                "is the "
                "provider's.",
                Query(codes, "{{service}} · {{class}}"),
                unit="reqps",
                width=8,
            ),
            table(
                "Answers, by status",
                "Within the time range. 429 is the provider's limit on how often it may be asked.",
                {"Answers": (f"{answers} > 0", "none")},
                decimals=0,
                width=8,
            ),
        ],
    )


def _journal() -> Row:
    fsync = "remit_journal_fsync_seconds"
    return Row(
        "Is everything recorded?",
        [
            lines(
                "Until records are durable",
                "Every decision waits for that. Above 250 ms for one in a hundred is an alert: the disk or "
                "PostgreSQL is slow.",
                Query(quantile("0.5", fsync, ""), "half"),
                Query(quantile("0.99", fsync, ""), "99 of 100"),
                unit="s",
                steps=[(None, PLAIN), (0.25, BAD)],
            ),
            lines(
                "Oldest record on a pod's disk alone",
                "Of sidecars that decide ahead of PostgreSQL: how long a record has not reached it. Above a minute "
                "do not "
                "delete the pod. No line where none decides ahead.",
                Query(f"max by ({PODS}) (remit_unshipped_oldest_age_seconds{{{HERE}}})", POD),
                unit="s",
                steps=[(None, PLAIN), (60, BAD)],
            ),
            lines(
                "Oldest record without a signature",
                "How long a record has waited for a signed head over it: ten seconds are usual.",
                Query(f"max by ({PODS}) (remit_unsigned_oldest_age_seconds{{{HERE}}})", POD),
                unit="s",
                steps=[(None, PLAIN), (120, BAD)],
            ),
            lines(
                "Age of the last signed head",
                "Of the journal of whoever tells what lives in the store. It grows while nothing is recorded, which "
                "is well.",
                Query(f"max by ({PODS}) (remit_checkpoint_age_seconds{{{HERE}}})", POD),
                unit="s",
            ),
        ],
    )


def _members() -> Row:
    return Row(
        "Members",
        [
            table(
                "Members",
                "Every pod that is to be governed, and every desk: whether it answers, since when, and whether its "
                "parts do. "
                "An empty field is of a part that the member does not have.",
                {
                    "Answers": (f'max by ({PODS}) (up{{job=~"remit-(sidecar|desk)", {HERE}}})', "none"),
                    "OPA": (f"max by ({PODS}) (remit_pdp_up{{{HERE}}})", "none"),
                    "Store": (f"max by ({PODS}) (remit_store_up{{{HERE}}})", "none"),
                    "Egress": (f"max by ({PODS}) (remit_egress_up{{{HERE}}})", "none"),
                    "Reload": (f"max by ({PODS}) (remit_reload_success{{{HERE}}})", "none"),
                    "Started": (f"max by ({PODS}) (remit_start_time_seconds{{{HERE}}}) * 1000", "dateTimeFromNow"),
                },
                width=24,
                overrides=[_mapped(each) for each in ("Answers", "OPA", "Store", "Egress", "Reload")],
            ),
            table(
                "Policy revision of each member",
                "All are the same, but during a roll-out. One that stays behind decides by old rules.",
                {"In force": (f"group by ({PODS}, revision) (remit_policy_info{{{HERE}}})", "none")},
                sort="revision",
                hide=["Value"],
            ),
            bars(
                "Versions",
                "How many members run each version of Remit.",
                Query(f"count by (version) (remit_build_info{{{HERE}}})", "{{version}}"),
                decimals=0,
                width=6,
            ),
            bars(
                "Restarts in this range",
                "How often each member started anew. Three in an hour is an alert.",
                Query(f"sort_desc(max by ({PODS}) (changes(remit_start_time_seconds{{{HERE}}}[$__range])))", POD),
                decimals=0,
                width=6,
                steps=[(None, GOOD), (1, CARE), (3, BAD)],
            ),
            table(
                "Certificates",
                "When the certificate in force expires: grpc is the sidecar's own, desk the desk's, egress that "
                "towards "
                "upstreams. Empty where none is used.",
                {
                    "Expires": (
                        f"min by ({PODS}, use) (remit_certificate_expiry_seconds{{{HERE}}}) * 1000",
                        "dateTimeFromNow",
                    )
                },
                width=24,
                height=6,
            ),
        ],
    )


def _mapped(column: str) -> Json:
    return {"matcher": {"id": "byName", "options": column}, "properties": [{"id": "mappings", "value": UP["mappings"]}]}
