"""The destinations in texts: hosts, addresses, paths and links, each in its normal form."""
