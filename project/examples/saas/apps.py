"""A service that is paid for: trials that end, usage that is metered and reported, data that can be taken away."""

from django.apps import AppConfig


class SaasConfig(AppConfig):
    name = "project.examples.saas"
    verbose_name = "Subscriptions"
