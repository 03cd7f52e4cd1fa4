"""Grafana dashboards as code, rendered into the chart: `PYTHONPATH=hack python -m dashboards DIRECTORY`."""
