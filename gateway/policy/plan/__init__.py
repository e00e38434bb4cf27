"""The policy as OPA's own plan, turned into Python. It needs OPA when a policy is compiled, and no OPA when one is asked.

`intermediate` reads a plan, `generator` writes Python from it, and `program` asks the Python. `values`, `numbers` and the
modules `*_functions` are what the written Python calls. `store` has the plans, and the cache of compiled Python.
"""
