"""Values passed between the phases. Pure: no I/O, no clock, no randomness. Every value is frozen. A refusal is a value
too; an exception (see `errors`) means a failure outside of the gateway. Values made for each call use msgspec: it takes
a tenth of a frozen dataclass's time, and a call makes two dozen."""
