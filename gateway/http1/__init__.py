"""A lean HTTP/1.1 client for what lies on the way of every call: upstreams, and OPA.

llhttp (httptools) reads, and this package decides what an answer may look like, when a connection is used again, and
when it is not. No redirects, cookies, proxies, content codings or HTTP/2: nothing that a call does not need.
"""
