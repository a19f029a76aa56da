import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Charge",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.CharField(help_text="Of the shop's order.", max_length=20, unique=True)),
                ("amount", models.DecimalField(decimal_places=2, help_text="Money.", max_digits=10)),
                ("refunded_at", models.DateTimeField(blank=True, help_text="When it was given back.", null=True)),
            ],
            options={
                "verbose_name_plural": "charges (bank)",
            },
        ),
        migrations.CreateModel(
            name="Goods",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sku", models.CharField(help_text="Its name.", max_length=20, unique=True, verbose_name="SKU")),
                ("name", models.CharField(help_text="What it is.", max_length=100)),
                ("price", models.DecimalField(decimal_places=2, help_text="Recommended price.", max_digits=8)),
                ("quantity", models.IntegerField(help_text="Pieces on the shelf.")),
                ("changed_at", models.DateTimeField(auto_now=True, help_text="Last change.")),
            ],
            options={
                "verbose_name_plural": "goods (warehouse)",
            },
        ),
        migrations.CreateModel(
            name="Product",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "sku",
                    models.CharField(
                        help_text="The warehouse's name for it.", max_length=20, unique=True, verbose_name="SKU"
                    ),
                ),
                ("name", models.CharField(help_text="As customers see it.", max_length=100)),
                ("price", models.DecimalField(decimal_places=2, help_text="Of one piece.", max_digits=8)),
                ("level", models.IntegerField(help_text="Pieces in the warehouse, as far as the shop knows.")),
                (
                    "reserved",
                    models.IntegerField(default=0, help_text="Pieces promised to orders that are not shipped yet."),
                ),
                ("active", models.BooleanField(default=True, help_text="Whether the warehouse still has it.")),
                (
                    "seen_at",
                    models.DateTimeField(blank=True, help_text="The last synchronisation that met it.", null=True),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Shipment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.CharField(help_text="Of the shop's order.", max_length=20, unique=True)),
                ("sent_at", models.DateTimeField(auto_now_add=True, help_text="When it left.")),
            ],
            options={
                "verbose_name_plural": "shipments (warehouse)",
            },
        ),
        migrations.CreateModel(
            name="Order",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("email", models.EmailField(help_text="Who hears of it.", max_length=254)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("cart", "Cart"),
                            ("placed", "Placed"),
                            ("reserved", "Reserved"),
                            ("paid", "Paid"),
                            ("shipped", "Shipped"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="cart",
                        help_text="How far it is.",
                        max_length=10,
                    ),
                ),
                ("reason", models.CharField(blank=True, help_text="Why it was cancelled.", max_length=200)),
                ("changed_at", models.DateTimeField(auto_now=True, help_text="Last change of the cart or the status.")),
                ("reminded_at", models.DateTimeField(blank=True, help_text="When the cart was mailed.", null=True)),
            ],
            options={
                "indexes": [models.Index(fields=["status", "changed_at"], name="shop_by_status")],
            },
        ),
        migrations.CreateModel(
            name="OrderLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("quantity", models.PositiveIntegerField(help_text="Pieces.")),
                (
                    "price",
                    models.DecimalField(decimal_places=2, help_text="Of one piece, when it was chosen.", max_digits=8),
                ),
                (
                    "order",
                    models.ForeignKey(
                        help_text="Whose line it is.",
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="lines",
                        to="shop.order",
                    ),
                ),
                (
                    "product",
                    models.ForeignKey(
                        help_text="What is wanted.", on_delete=django.db.models.deletion.PROTECT, to="shop.product"
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("order", "product"), name="shop_one_line_per_product")],
            },
        ),
    ]
