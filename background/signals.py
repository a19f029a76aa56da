"""Own the Django signals that the app sends; receivers run where the event happens and must be quick."""

from django.dispatch import Signal

# A run has reached a final state; arguments: run_id, task, status, job_name. Sent after the write.
run_finished = Signal()
# A host has started or is about to stop; argument: host (a `background.host.Host`).
host_started = Signal()
host_stopping = Signal()
# A service's execute or tick raised; arguments: name, error.
service_failed = Signal()
