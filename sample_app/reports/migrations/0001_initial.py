import uuid

from django.db import migrations, models

import dispatch.models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Report",
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
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Waiting for a worker"),
                            ("running", "Running"),
                            ("done", "Done"),
                            ("failed", "Failed"),
                        ],
                        default="queued",
                        max_length=20,
                    ),
                ),
                ("progress", models.PositiveSmallIntegerField(default=0, help_text="Per cent.")),
                ("rows", models.JSONField(default=list)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("progress__lte", 100)), name="report_progress_per_cent"
                    )
                ],
            },
        ),
    ]
