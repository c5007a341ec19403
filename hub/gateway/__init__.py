"""The ASGI edge: webhooks, and a guard that every body passes before the API sees it."""
