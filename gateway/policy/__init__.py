"""Policy: what is asked of Open Policy Agent, by which engine, and how strictly its answer is read."""

from gateway.policy.policy import Policy, PolicyEvent, PolicyStatus

__all__ = ["Policy", "PolicyEvent", "PolicyStatus"]
