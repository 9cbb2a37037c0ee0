"""Official SDKs, and the ways of others on the wire, against the server."""
