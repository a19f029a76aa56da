"""Own the signal that a check has raised an alarm, or has recovered; it waits for no quiet hours."""

from django.dispatch import Signal

# Arguments: check, state ("failing" or "recovered"), detail, since (when it began to fail), at. Receivers must be quick.
health_changed = Signal()
