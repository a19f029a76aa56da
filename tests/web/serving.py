"""Settings of the site that the tests of `--serve` serve."""

from tests.settings import *  # noqa: F403

ROOT_URLCONF = "tests.web.serving_urls"
