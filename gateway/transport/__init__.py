"""The HTTP edge: raw ASGI on uvicorn. Nothing here knows what a message means."""
