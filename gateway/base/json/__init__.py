"""JSON with one reading: strict reading, canonical writing, and scalars."""
