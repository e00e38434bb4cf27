"""Finds credentials in what passes, and says which one, never what it is.

`ruleset` loads formats, `detect` finds them in text, `forms` undoes encodings, `fingerprint` names values, `arguments`
looks at calls, `stream` at results while they pass. Nothing here reads a clock, a socket or randomness.
"""
