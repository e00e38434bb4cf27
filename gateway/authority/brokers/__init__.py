"""Brokers: adapters that obtain a credential from its issuer, and end it there with a proof."""
