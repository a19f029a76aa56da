"""Own the machinery of a host, made of services like the user's."""
