"""Kubernetes: objects from decisions, values from objects, and a narrow client."""
