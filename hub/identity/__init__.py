"""Who is who: API clients and their scopes, and the vault that keeps connections' credentials."""
