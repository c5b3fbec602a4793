"""What the pipeline costs beside a bare Celery task that does the same work by hand."""
