"""The console: pages for the people who answer for the gateway, at `/console`.

It reads the same interfaces as the command line, and answers questions through the same office as the API and the socket.
No call passes through here. A call costs nothing more while no page is open.
"""
