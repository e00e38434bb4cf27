"""Finds credentials in what passes, and says which one, never what it is.

`ruleset` loads formats, `named` knows names that credentials stand under, `detect` finds both in text, `forms` undoes
encodings, `fingerprint` names values. `calls` looks at arguments, `stream` at results while they pass, `origins` keeps
which system has shown what. Nothing here reads a clock, a socket or randomness.
"""
