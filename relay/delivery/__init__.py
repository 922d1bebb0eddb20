"""From due to settled: claim, choose a provider, send, record what became of it."""
