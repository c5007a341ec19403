"""The canonical API: Connexion over Flask, one thin module per OpenAPI tag. `app.create_app` makes it for one hub."""
