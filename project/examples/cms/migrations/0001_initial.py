import django.db.models.deletion
from django.db import migrations, models

from project.examples.cms import search


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Backup",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "name",
                    models.CharField(help_text="Name of its folder.", max_length=40, unique=True, verbose_name="name"),
                ),
                (
                    "made_at",
                    models.DateTimeField(
                        auto_now_add=True, help_text="When it had been verified.", verbose_name="made at"
                    ),
                ),
                (
                    "database",
                    models.CharField(
                        help_text="How the database was copied and restored.", max_length=100, verbose_name="database"
                    ),
                ),
                (
                    "rows",
                    models.PositiveBigIntegerField(
                        help_text="Rows in all tables, as counted after restoring.", verbose_name="rows"
                    ),
                ),
                (
                    "files",
                    models.PositiveIntegerField(
                        help_text="Uploaded files in it, each read again.", verbose_name="files"
                    ),
                ),
                ("size", models.PositiveBigIntegerField(help_text="Bytes on the disk.", verbose_name="size")),
            ],
            options={
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Article",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "slug",
                    models.SlugField(
                        help_text="Its name in the address.", max_length=80, unique=True, verbose_name="slug"
                    ),
                ),
                ("title", models.CharField(help_text="As readers see it.", max_length=200, verbose_name="title")),
                (
                    "body",
                    models.TextField(help_text="Plain text; an empty line begins a paragraph.", verbose_name="body"),
                ),
                (
                    "published_at",
                    models.DateTimeField(
                        blank=True, help_text="Empty: nobody sees it yet.", null=True, verbose_name="published at"
                    ),
                ),
                (
                    "changed_at",
                    models.DateTimeField(auto_now=True, help_text="Last change.", verbose_name="changed at"),
                ),
                (
                    "indexed_at",
                    models.DateTimeField(
                        editable=False,
                        help_text="The change that the full-text index has seen.",
                        null=True,
                        verbose_name="indexed at",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["-published_at"], name="cms_newest")],
            },
        ),
        migrations.CreateModel(
            name="Picture",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "file",
                    models.FileField(help_text="As it was uploaded.", upload_to="cms/pictures", verbose_name="file"),
                ),
                (
                    "caption",
                    models.CharField(
                        blank=True, help_text="Text below the picture.", max_length=200, verbose_name="caption"
                    ),
                ),
                (
                    "thumbnail",
                    models.FileField(
                        editable=False, help_text="Made by a job.", upload_to="cms/thumbnails", verbose_name="thumbnail"
                    ),
                ),
                (
                    "width",
                    models.PositiveIntegerField(
                        editable=False, help_text="Pixels of the original.", null=True, verbose_name="width"
                    ),
                ),
                (
                    "height",
                    models.PositiveIntegerField(
                        editable=False, help_text="Pixels of the original.", null=True, verbose_name="height"
                    ),
                ),
                (
                    "problem",
                    models.CharField(
                        editable=False, help_text="Why there is no thumbnail.", max_length=200, verbose_name="problem"
                    ),
                ),
                (
                    "article",
                    models.ForeignKey(
                        help_text="Where it is shown.",
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="pictures",
                        to="cms.article",
                        verbose_name="article",
                    ),
                ),
            ],
        ),
        migrations.RunPython(search.create, search.drop, atomic=False),
    ]
