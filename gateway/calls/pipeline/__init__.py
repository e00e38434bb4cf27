"""The way of a call, stage by stage: admit, prepare, decide, approve, issue, forward."""
