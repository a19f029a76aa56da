"""Own the settings of the part: `BACKGROUND["CELERY"]`."""

from dataclasses import dataclass

from background.conf import part


@part("CELERY")
@dataclass(frozen=True, slots=True)
class CelerySettings:
    app: str = ""  # dotted path of the site's Celery app
    queue: str = ""  # of Celery; {queue} is the run's; "": where Celery's own settings route `background.execute`
    patience: float = 300.0  # seconds that a run waits there before it is taken back and sent anew
