"""What a run leaves behind: figures of requests and policies, and their files."""
