"""The vocabulary of the wire: what a message is, and how it is answered. Pure: no I/O, no clock, no randomness."""
