from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Effect",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.CharField(db_index=True, max_length=100)),
                ("started_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(auto_now_add=True)),
                ("node", models.CharField(help_text="Name of the Celery worker.", max_length=200)),
                ("pid", models.PositiveIntegerField()),
                (
                    "redelivered",
                    models.BooleanField(help_text="The message had been given to a worker before."),
                ),
            ],
        ),
    ]
