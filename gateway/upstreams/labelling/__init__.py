"""Proposals of labels for tools: from a reviewed library, and from the words that a server says of itself."""
