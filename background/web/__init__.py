"""Own what speaks HTTP: health, metrics, the site's own server as a service."""
