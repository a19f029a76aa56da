import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Measurement",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(help_text="What was measured, with its unit.", max_length=50)),
                ("value", models.FloatField(help_text="In that unit.")),
                (
                    "taken_at",
                    models.DateTimeField(
                        db_index=True, default=django.utils.timezone.now, help_text="When it was measured."
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Request",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_index=True, help_text="When it was answered.")),
                ("line", models.TextField(help_text="Method and address.")),
                ("status", models.PositiveSmallIntegerField(help_text="Status of the answer.")),
                ("size", models.PositiveBigIntegerField(help_text="Bytes of the answer.")),
            ],
        ),
        migrations.CreateModel(
            name="HourSummary",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(help_text="What was measured, with its unit.", max_length=50)),
                ("hour", models.DateTimeField(help_text="Its first instant.")),
                ("count", models.PositiveIntegerField(help_text="How many measurements there were.")),
                ("minimum", models.FloatField(help_text="The least of them.")),
                ("average", models.FloatField(help_text="Their mean.")),
                ("maximum", models.FloatField(help_text="The greatest of them.")),
            ],
            options={
                "verbose_name_plural": "hour summaries",
                "constraints": [models.UniqueConstraint(fields=("name", "hour"), name="monitoring_one_per_hour")],
            },
        ),
    ]
