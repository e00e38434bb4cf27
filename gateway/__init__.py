"""opagate: a Model Context Protocol tool gateway in which Open Policy Agent decides on every call."""
