"""Workers: programs that compute one case on request, ours and each peer's, all over one protocol."""
