"""A site that watches itself: services that measure, alerts that come and go, jobs that tidy up."""

from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    name = "project.examples.monitoring"
    verbose_name = "Monitoring"
    default_auto_field = "django.db.models.BigAutoField"
