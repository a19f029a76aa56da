"""A site that watches itself: services that measure and read its log, health checks, jobs that tidy up."""

from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    name = "project.examples.monitoring"
    verbose_name = "Monitoring"
