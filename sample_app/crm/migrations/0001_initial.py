import uuid

from django.db import migrations, models

import dispatch.models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Lead",
            fields=[
                (
                    "due_at",
                    models.DateTimeField(
                        blank=True,
                        db_index=True,
                        default=dispatch.models.first_due,
                        help_text="When to send; empty: finished.",
                        null=True,
                    ),
                ),
                (
                    "sends",
                    models.PositiveIntegerField(default=0, help_text="Messages that the sweeper has sent."),
                ),
                (
                    "leased_until",
                    models.DateTimeField(blank=True, help_text="A task holds the row until then.", null=True),
                ),
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("name", models.CharField(max_length=150)),
                ("email", models.EmailField(max_length=254)),
                ("phone", models.CharField(blank=True, max_length=30)),
                (
                    "status",
                    models.CharField(
                        choices=[("pending", "Waiting"), ("synced", "In the CRM"), ("failed", "Failed")],
                        default="pending",
                        max_length=20,
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "abstract": False,
            },
        ),
    ]
