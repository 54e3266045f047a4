"""Views of pods, workloads and their forks."""
