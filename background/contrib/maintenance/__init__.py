"""Maintenance: jobs that a site adopts by one line each. Nothing runs that was not asked for."""

from background.contrib.maintenance.databases import optimize_database
from background.contrib.maintenance.rows import clear_sessions, cull_cache, prune_history
from background.contrib.maintenance.uploads import orphaned_uploads

__all__ = ["clear_sessions", "cull_cache", "optimize_database", "orphaned_uploads", "prune_history"]
