"""One decision of a policy explained: where KV lies, what a pass takes, and why."""
