"""The vocabulary of the wire: the messages and their answers. Pure: no I/O, no clock, no randomness."""
