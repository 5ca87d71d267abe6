"""What a user of the server asks for: when, how long a prompt, how many tokens, how fast."""

from __future__ import annotations

from typing import NamedTuple


class Request(NamedTuple):
    """One request. `slo_tbt_s` and `slo_ttft_s` are its own limits; None takes the run's."""

    id: int
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    slo_tbt_s: float | None = None
    slo_ttft_s: float | None = None

    @property
    def final_tokens(self) -> int:
        """KV held when the last token comes out; that token's own KV is never written."""
        return self.prompt_tokens + self.output_tokens - 1
