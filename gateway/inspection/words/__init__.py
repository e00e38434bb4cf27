"""The words of texts: digests, records and dates, and their grounds in the goal of a task."""
