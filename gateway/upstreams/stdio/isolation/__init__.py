"""Isolation of stdio servers from the gateway.

`needs` finds the files of a command, `view` bounds the server's files, and `bubblewrap` puts the view into a sandbox.
`confine` runs inside, before the server. `machine` finds the means of this machine. `launch` puts all together.
"""
