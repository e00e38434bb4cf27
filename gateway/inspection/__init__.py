"""Inspection of calls and answers, message by message, while they stream."""
