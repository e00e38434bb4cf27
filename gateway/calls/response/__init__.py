"""The way of an answer back to its caller: opened, inspected, concealed, observed, and settled once."""
