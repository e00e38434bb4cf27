"""The pages of the gateway beside MCP, on Starlette: probes, documents, `/tasks`, and the console to come.

`application` holds the routes: a new page is a line there. The edge has judged Host, Origin and head before. No call to
an upstream passes through here.
"""

from gateway.surfaces.pages.application import build_pages
from gateway.surfaces.pages.probes import PROBES

__all__ = ["PROBES", "build_pages"]
