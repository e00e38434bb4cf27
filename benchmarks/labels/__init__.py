"""How often proposals of labels agree with a person, on the tools of real servers."""
