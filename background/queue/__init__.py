"""Own the only code that changes `Run.status`."""
