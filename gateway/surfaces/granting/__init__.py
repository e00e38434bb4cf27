"""Grants beside the record: proposals from observed calls, their proof, and the last use of each grant."""
