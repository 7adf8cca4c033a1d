"""What the files of a Django project say about how it is deployed. Nothing of it is run."""
