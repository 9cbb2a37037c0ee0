"""What tests share: a MongoDB, the server in this process or its own, the peer, HTTP clients."""
