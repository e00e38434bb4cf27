"""The tools and prompts of upstreams: listed, pinned and labelled."""
