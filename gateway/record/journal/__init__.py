"""The journal: an append-only chain of JSON lines, written before a call with effects goes on. `entry` defines the
entries, `redaction` their content, `chain` links the lines. `writer` writes to disk, and `reader` finds and checks
files. `chain` documents the limits of its protection."""
