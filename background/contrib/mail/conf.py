"""Own the settings of the part: `BACKGROUND["MAIL"]`."""

from dataclasses import dataclass

from background.conf import part


@part("MAIL")
@dataclass(frozen=True, slots=True)
class MailSettings:
    backend: str = "django.core.mail.backends.smtp.EmailBackend"  # that delivers, where MAILERS does not say it
    rate: int | None = None  # messages a minute over all hosts; None: no limit
    keep_sent: float = 7.0  # days
    keep_failed: float = 30.0
