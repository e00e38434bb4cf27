"""HTTP/1.1 on both sides: the server at the edge and the client of upstreams, with their bounds."""
