"""A connector in a process of its own: the steps of `hub.sdk.steps` over a pipe. The hub's side is `hub.runtime.isolation`."""
