import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Alert",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("check_name", models.CharField(max_length=50, verbose_name="check")),
                ("open_check", models.CharField(blank=True, editable=False, max_length=50, null=True, unique=True)),
                (
                    "severity",
                    models.CharField(choices=[("warning", "Warning"), ("critical", "Critical")], max_length=10),
                ),
                ("message", models.CharField(max_length=250)),
                ("raised_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("cleared_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "default_permissions": ("view",),
                "indexes": [models.Index(fields=["-raised_at"], name="monitoring_newest_alert")],
            },
        ),
        migrations.CreateModel(
            name="HourSummary",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("check_name", models.CharField(max_length=50, verbose_name="check")),
                ("hour", models.DateTimeField(help_text="Its first instant.")),
                ("count", models.PositiveIntegerField()),
                ("minimum", models.FloatField(null=True)),
                ("maximum", models.FloatField(null=True)),
                ("average", models.FloatField(null=True)),
                ("failures", models.PositiveIntegerField()),
            ],
            options={
                "verbose_name_plural": "hour summaries",
                "default_permissions": ("view",),
                "constraints": [models.UniqueConstraint(fields=("check_name", "hour"), name="monitoring_one_per_hour")],
            },
        ),
        migrations.CreateModel(
            name="Measurement",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("check_name", models.CharField(max_length=50, verbose_name="check")),
                ("value", models.FloatField(help_text="Empty: nothing could be measured.", null=True)),
                ("unit", models.CharField(max_length=20)),
                ("taken_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "ok",
                    models.BooleanField(help_text="Empty: there was nothing to judge.", null=True, verbose_name="OK"),
                ),
                ("detail", models.CharField(blank=True, max_length=200)),
            ],
            options={
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["check_name", "-taken_at"], name="monitoring_by_check"),
                    models.Index(fields=["taken_at"], name="monitoring_by_time"),
                ],
            },
        ),
    ]
