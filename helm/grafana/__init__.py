"""The dashboards for Grafana, written as Python: `python -m helm.grafana [--check]` makes their JSON."""
