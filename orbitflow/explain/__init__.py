"""One decision of a policy, taken apart: where KV lies after it, what a pass takes, and why."""
