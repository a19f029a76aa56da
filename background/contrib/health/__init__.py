"""Watching the site's health: an app of its own, and the names that a site's background.py needs."""

from background.contrib.health.declaring import Unhealthy, check, health_changed

__all__ = ["Unhealthy", "check", "health_changed"]
