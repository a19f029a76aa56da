"""The site for ASGI servers, and for `runbackground --serve`."""

import os

from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

application = get_asgi_application()

if settings.DEBUG:
    # As runserver does. Without DEBUG static files are the web server's or WhiteNoise's business: `collectstatic`
    # puts them into STATIC_ROOT.
    application = ASGIStaticFilesHandler(application)
