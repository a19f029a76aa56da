import datetime

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveBigIntegerField(help_text="1, 2, 3, … without a gap.", unique=True)),
                ("at", models.DateTimeField(help_text="When it was written down.")),
                ("actor", models.CharField(help_text="Who.", max_length=100)),
                ("action", models.CharField(help_text="Did what.", max_length=100)),
                ("detail", models.TextField(help_text="JSON, as it was signed.")),
                (
                    "digest",
                    models.CharField(
                        help_text="HMAC-SHA-256 of all the above and of the digest before.", max_length=64
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "audit entries",
            },
        ),
        migrations.CreateModel(
            name="AuditHead",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveBigIntegerField(default=0, help_text="Number of the last entry.")),
                ("digest", models.CharField(default="", help_text="Its digest.", max_length=64)),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Load",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(help_text="Name of the file as it was dropped.", max_length=100)),
                ("checksum", models.CharField(help_text="SHA-256 of its content.", max_length=64, unique=True)),
                ("reason", models.CharField(blank=True, help_text="Why nothing of it could be used.", max_length=200)),
                ("lines", models.PositiveIntegerField(default=0, help_text="Lines that became facts.")),
                ("rejected", models.PositiveIntegerField(default=0, help_text="Lines that did not.")),
                ("loaded_at", models.DateTimeField(auto_now_add=True, help_text="When.")),
            ],
        ),
        migrations.CreateModel(
            name="Product",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sku", models.CharField(help_text="Its number.", max_length=40, unique=True, verbose_name="SKU")),
                ("name", models.CharField(help_text="As customers know it.", max_length=100)),
                ("category", models.CharField(help_text="For reports.", max_length=50)),
            ],
        ),
        migrations.CreateModel(
            name="Store",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("code", models.CharField(help_text="As the files say it.", max_length=20, unique=True)),
                ("name", models.CharField(help_text="As people say it.", max_length=100)),
            ],
        ),
        migrations.CreateModel(
            name="RejectedLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "number",
                    models.PositiveIntegerField(help_text="In the file, the head being line 1.", verbose_name="line"),
                ),
                ("reason", models.CharField(help_text="What is wrong with it.", max_length=200)),
                ("text", models.CharField(help_text="How it begins.", max_length=200)),
                (
                    "load",
                    models.ForeignKey(
                        help_text="Where it stands.",
                        on_delete=django.db.models.deletion.CASCADE,
                        to="enterprise.load",
                        verbose_name="file",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Sale",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "reference",
                    models.CharField(
                        help_text="The source's number.",
                        max_length=40,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[A-Z0-9._/-]+\\Z", "These are not letters, digits and ._/- alone."
                            )
                        ],
                    ),
                ),
                (
                    "day",
                    models.DateField(
                        help_text="When it was sold.",
                        validators=[django.core.validators.MinValueValidator(datetime.date(1900, 1, 1))],
                    ),
                ),
                ("quantity", models.IntegerField(help_text="Pieces; below zero: taken back.")),
                (
                    "amount",
                    models.DecimalField(decimal_places=2, help_text="What was paid for all of it.", max_digits=12),
                ),
                (
                    "load",
                    models.ForeignKey(
                        blank=True,
                        help_text="Empty: it came over HTTP.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="enterprise.load",
                        verbose_name="file",
                    ),
                ),
                (
                    "product",
                    models.ForeignKey(
                        help_text="What.", on_delete=django.db.models.deletion.PROTECT, to="enterprise.product"
                    ),
                ),
                (
                    "store",
                    models.ForeignKey(
                        help_text="Where.", on_delete=django.db.models.deletion.PROTECT, to="enterprise.store"
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["day", "store"], name="enterprise_by_day")],
            },
        ),
    ]
