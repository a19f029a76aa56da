"""Own what an app decorates."""
