"""The values that the phases hand to one another. Pure: no I/O, no clock, no randomness.

Every value is frozen. A refusal is a value too; an exception (see `errors`) means that something
outside the gateway failed. Those that are made for each call are of msgspec: each takes a tenth of the time that a frozen
dataclass does, and a call makes two dozen.
"""
