"""Recorded decisions with their rules, facts and earlier calls, for `opagate journal explain` and for the console."""
