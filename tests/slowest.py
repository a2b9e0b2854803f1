"""The files of tests that take longest, the longest first: CI begins with them, else one worker ends alone.

A file is played whole by one worker, which starts its sidecar, OPA and Envoy once. One that is missing here, or is
no longer slow, costs nothing but a wait at the end.
"""

from __future__ import annotations

SLOWEST = (
    "e2e/test_demo.py",
    "e2e/test_team.py",
    "e2e/test_agents.py",
    "integration/test_egress_attacks.py",
    "integration/test_views_leaks.py",
    "integration/test_views_pairs.py",
    "integration/test_egress_reload.py",
    "integration/test_lockdown.py",
    "integration/test_egress_smuggling.py",
    "crash/test_kill.py",
    "cli/test_check.py",
    "rules/test_rules.py",
    "crash/test_kill_data.py",
    "integration/test_views_oracle.py",
    "race/test_approval_orders.py",
    "race/test_killed.py",
    "crash/test_kill_members.py",
    "race/test_cuts.py",
    "integration/test_desk.py",
    "integration/test_console_browser.py",
    "integration/test_bundle_up.py",
    "integration/test_identity_pod.py",
    "race/test_races.py",
    "race/test_approval_interleavings.py",
    "race/test_approval_replays.py",
    "integration/test_store_million.py",
    "integration/test_installation_page.py",
    "integration/test_footprint.py",
    "chart/test_refusals.py",
    "chart/test_rendered.py",
    "stateful/test_ledger.py",
    "stateful/test_approvals.py",
    "contracts/test_store_approvals.py",
    "cli/test_docs.py",
    "cli/test_suggest.py",
    "integration/test_database_postgres.py",
    "stateful/test_labels.py",
    "cli/test_up.py",
    "cli/test_k8s_check.py",
    "contracts/test_database.py",
    "integration/test_database_memory.py",
    "integration/test_egress_cuts.py",
    "integration/test_egress_secrets.py",
    "integration/test_egress_stops.py",
    "integration/test_egress_held.py",
    "integration/test_policy_mutation.py",
    "cli/test_mcp.py",
    "dashboards/test_real.py",
    "chart/test_values.py",
    "integration/test_certificate_rotation.py",
    "integration/test_egress_drain.py",
    "cli/test_up_mounted.py",
)


def order(path: str) -> int:
    """The place of a file among others, by its path below tests/; those that are not named come last."""
    return SLOWEST.index(path) if path in SLOWEST else len(SLOWEST)
