"""Sessions, tasks of the protocol and request states belong to one principal (invariant: nothing in the hands of
another)."""
