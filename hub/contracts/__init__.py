"""The registry of contracts: the OpenAPI document and the canonical types, as they are served."""
