"""The back office of a chain of shops: sales in a star schema, reconciled, and an audit log that cannot be altered unseen."""

from django.apps import AppConfig


class EnterpriseConfig(AppConfig):
    name = "project.examples.enterprise"
    verbose_name = "Back office"
