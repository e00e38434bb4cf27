"""Recorded decisions with their rules, facts and earlier calls, for `opagate explain` and for the console."""
