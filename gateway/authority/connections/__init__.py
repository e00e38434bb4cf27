"""Users' own connections to authorization servers of upstreams: consent, code flow, and sealed refresh tokens.

`links`, `browsers` and `flow` are pure. `connections` keeps the connections, and `store` the file. `server` talks to the
authorization server. `office` leads a browser from the link to the connection.
"""
