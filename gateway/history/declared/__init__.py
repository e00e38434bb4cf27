"""Facts that the author of a policy declares: marks of calls, their fold into tables, and the accounts that hold tables."""
