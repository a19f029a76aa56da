import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Account",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(help_text="Name of the customer.", max_length=100, unique=True)),
                (
                    "plan",
                    models.CharField(
                        choices=[("trial", "Trial"), ("paid", "Paid"), ("expired", "Expired")],
                        default="trial",
                        help_text="What may be used.",
                        max_length=10,
                    ),
                ),
                ("trial_ends_at", models.DateTimeField(blank=True, help_text="When the trial is over.", null=True)),
                (
                    "reminded_at",
                    models.DateTimeField(
                        blank=True, help_text="When the owner was told that it soon will be.", null=True
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        help_text="Who pays, and gets the mail.",
                        on_delete=django.db.models.deletion.CASCADE,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "permissions": [("export_account", "Can take away the data of any account")],
            },
        ),
        migrations.CreateModel(
            name="Usage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("metric", models.CharField(help_text="What was used.", max_length=50)),
                ("day", models.DateField(help_text="On the site's calendar.")),
                ("amount", models.PositiveBigIntegerField(default=0, help_text="How much.")),
                (
                    "account",
                    models.ForeignKey(
                        help_text="Who used it.",
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="usage",
                        to="saas.account",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "usage",
            },
        ),
        migrations.AddIndex(
            model_name="account",
            index=models.Index(fields=["plan", "trial_ends_at"], name="saas_trials"),
        ),
        migrations.AddConstraint(
            model_name="usage",
            constraint=models.UniqueConstraint(fields=("account", "metric", "day"), name="saas_one_per_day"),
        ),
    ]
