"""Settings of a process that delivers queued mail to the SMTP server of a test, at SMTP_PORT."""

import os

from tests.contrib.smtp import delivered_by
from tests.settings import *  # noqa: F403

globals().update(delivered_by(int(os.environ["SMTP_PORT"])))
