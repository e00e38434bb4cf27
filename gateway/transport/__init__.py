"""The HTTP server and its edge. Nothing here knows what a message means."""
