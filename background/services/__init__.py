"""Own what an app subclasses."""
