"""The canonical API: Connexion over Flask, one thin module per OpenAPI tag. `app.create_app` makes it for one hub."""

import warnings

with warnings.catch_warnings():
    # Connexion imports Starlette's test client at import, which warns about its own HTTP client; we use neither.
    warnings.simplefilter("ignore")
    import connexion  # noqa: F401
