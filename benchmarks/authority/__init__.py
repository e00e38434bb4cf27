"""The time from an end to the death of lent credentials: `make bench ARGS=authority`."""
