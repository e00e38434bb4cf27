"""Leases: credentials of systems, each lent to the calls of a task for one upstream and one scope.

The gateway obtains a credential after the policy allowed a call, and attaches it to the call. No agent holds a credential.
A lease ends with its task.
"""
