"""The process round a job: supervision, Redis, logs, progress; what a job computes is not known here."""
