"""Own the tables of other schedulers as their migrations make them: django-celery-beat 2.9, django-q2 1.11, django-apscheduler 0.7."""

from __future__ import annotations

from django.db import models


class Old(models.Model):
    class Meta:
        abstract = True
        app_label = "old"  # installed nowhere, so nothing migrates it


class Crontab(Old):
    minute = models.CharField(max_length=240, default="*")
    hour = models.CharField(max_length=96, default="*")
    day_of_week = models.CharField(max_length=64, default="*")
    day_of_month = models.CharField(max_length=124, default="*")
    month_of_year = models.CharField(max_length=64, default="*")
    timezone = models.CharField(max_length=63, default="UTC")

    class Meta(Old.Meta):
        db_table = "django_celery_beat_crontabschedule"


class Interval(Old):
    every = models.IntegerField()
    period = models.CharField(max_length=24)

    class Meta(Old.Meta):
        db_table = "django_celery_beat_intervalschedule"


class Solar(Old):
    event = models.CharField(max_length=24)
    latitude = models.DecimalField(max_digits=9, decimal_places=6)
    longitude = models.DecimalField(max_digits=9, decimal_places=6)

    class Meta(Old.Meta):
        db_table = "django_celery_beat_solarschedule"


class Clocked(Old):
    clocked_time = models.DateTimeField()

    class Meta(Old.Meta):
        db_table = "django_celery_beat_clockedschedule"


class PeriodicTask(Old):
    name = models.CharField(max_length=200, unique=True)
    task = models.CharField(max_length=200)
    args = models.TextField(default="[]")
    kwargs = models.TextField(default="{}")
    queue = models.CharField(max_length=200, null=True)
    exchange = models.CharField(max_length=200, null=True)
    routing_key = models.CharField(max_length=200, null=True)
    expires = models.DateTimeField(null=True)
    enabled = models.BooleanField(default=True)
    last_run_at = models.DateTimeField(null=True)
    total_run_count = models.PositiveIntegerField(default=0)
    date_changed = models.DateTimeField(auto_now=True)
    description = models.TextField(default="")
    crontab = models.ForeignKey(Crontab, models.CASCADE, null=True)
    interval = models.ForeignKey(Interval, models.CASCADE, null=True)
    solar = models.ForeignKey(Solar, models.CASCADE, null=True)
    clocked = models.ForeignKey(Clocked, models.CASCADE, null=True)
    one_off = models.BooleanField(default=False)
    start_time = models.DateTimeField(null=True)
    priority = models.PositiveIntegerField(null=True)
    headers = models.TextField(default="{}")
    expire_seconds = models.PositiveIntegerField(null=True)

    class Meta(Old.Meta):
        db_table = "django_celery_beat_periodictask"


class QSchedule(Old):
    func = models.CharField(max_length=256)
    hook = models.CharField(max_length=256, null=True)
    args = models.TextField(null=True)
    kwargs = models.TextField(null=True)
    repeats = models.IntegerField(default=-1)
    next_run = models.DateTimeField(null=True)
    task = models.CharField(max_length=100, null=True)
    name = models.CharField(max_length=100, null=True)
    minutes = models.PositiveSmallIntegerField(null=True)
    cron = models.CharField(max_length=100, null=True)
    cluster = models.CharField(max_length=100, null=True)
    schedule_type = models.CharField(max_length=2, default="O")
    intended_date_kwarg = models.CharField(max_length=100, null=True)

    class Meta(Old.Meta):
        db_table = "django_q_schedule"


class DjangoJob(Old):
    id = models.CharField(max_length=255, primary_key=True)
    next_run_time = models.DateTimeField(null=True)
    job_state = models.BinaryField()

    class Meta(Old.Meta):
        db_table = "django_apscheduler_djangojob"


OLD = (Crontab, Interval, Solar, Clocked, PeriodicTask, QSchedule, DjangoJob)
