"""LibreLinkUp's cloud as an ASGI app of its own, with faults on switches; shares no code with the client."""
