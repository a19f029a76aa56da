import django.db.models.deletion
from django.db import migrations, models

from project.examples.cms import search


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Article",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("slug", models.SlugField(help_text="Its name in the address.", max_length=80, unique=True)),
                ("title", models.CharField(help_text="As readers see it.", max_length=200)),
                ("body", models.TextField(help_text="Plain text; an empty line begins a paragraph.")),
                (
                    "published_at",
                    models.DateTimeField(
                        blank=True, db_index=True, help_text="Empty or later than now: nobody sees it yet.", null=True
                    ),
                ),
                ("changed_at", models.DateTimeField(auto_now=True, help_text="Last change.")),
                (
                    "indexed_at",
                    models.DateTimeField(editable=False, help_text="The change that the index has seen.", null=True),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Picture",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("file", models.FileField(help_text="As it was uploaded.", upload_to="cms/pictures")),
                ("caption", models.CharField(blank=True, help_text="Text below the picture.", max_length=200)),
                ("thumbnail", models.FileField(editable=False, help_text="Made by a job.", upload_to="cms/thumbnails")),
                ("width", models.PositiveIntegerField(editable=False, help_text="Pixels of the original.", null=True)),
                ("height", models.PositiveIntegerField(editable=False, help_text="Pixels of the original.", null=True)),
                ("problem", models.CharField(editable=False, help_text="Why there is no thumbnail.", max_length=200)),
                (
                    "article",
                    models.ForeignKey(
                        help_text="Where it is shown.",
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="pictures",
                        to="cms.article",
                    ),
                ),
            ],
        ),
        migrations.RunPython(search.create, migrations.RunPython.noop, atomic=False),
    ]
