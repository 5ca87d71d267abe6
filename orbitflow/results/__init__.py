"""The results of a run: figures of requests and policies, and their files."""
