"""What comes back is looked at, message by message, while it streams."""
