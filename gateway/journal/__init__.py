"""The record: an append-only chain of JSON lines, written before a call that can change something goes on.

`entry` says what is written, `redaction` what of it, `chain` how lines hold together, `writer` puts them on disk,
`reader` finds and checks them. What the chain protects against, and what not, is said in `chain`.
"""
