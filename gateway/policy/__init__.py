"""Policy: ask an engine about each call, and read the answer strictly.

The package imports nothing, so the process that tries a policy starts fast.
"""
