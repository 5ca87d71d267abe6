"""The model: architecture, weights, tokenizer, one decoder pass."""
