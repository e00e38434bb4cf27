"""What an upstream gives to one principal is of no use to another: sessions, request states and tasks of the protocol
(`sessions`, `ownership`, `conversations`), and credentials that agents know by handles (`vault`)."""
