"""Run a job on Kubernetes, as a RayJob of KubeRay."""
