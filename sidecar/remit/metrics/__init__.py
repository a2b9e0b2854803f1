"""Every metric's name and labels, and wrappers around ports so that the inside never mentions metrics."""

from remit.metrics.registry import STAGES, Metrics
from remit.metrics.stored import APPROVALS_AT_ONCE
from remit.metrics.vocabulary import MAX_VALUES
from remit.metrics.wrappers import MeteredPdp, metered_store

__all__ = ["APPROVALS_AT_ONCE", "MAX_VALUES", "STAGES", "MeteredPdp", "Metrics", "metered_store"]
